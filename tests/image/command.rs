//! `netlab image` as a user types it.

use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;

use super::fetch::{content, sha256};
use crate::support::server::{Act, Server};

fn netlab(cache: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("netlab"));
    command
        .args(arguments)
        .env("NETLAB_CACHE_DIR", cache.join("cache"))
        .env("NETLAB_STATE_DIR", cache.join("state"))
        .current_dir(cache);
    command
}

/// Exit status, stdout and stderr.
fn run(cache: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = netlab(cache, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn lab(cache: &Path, image: &str) {
    let text = format!(
        "name = \"a\"\nimage = \"mine\"\n[hosts.h]\n[networks.n]\nsubnet = \"10.0.0.0/24\"\n[images.mine]\n{image}\n\
         format = \"raw\"\nconsole = {{ prompt = \"# \" }}\n"
    );
    std::fs::write(cache.join("lab.toml"), text).unwrap();
}

#[test]
fn an_image_of_a_lab_is_pulled_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path();
    let file = content();
    let server = Server::start(&file, &[Act::Give]);
    lab(cache, &format!("mirrors = [\"{}\"]", server.url()));
    let (code, _, said) = run(cache, &["image", "pull", "mine"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("there is no image `mine`") && said.contains("--lab FILE"),
        "{said}"
    );
    let (code, _, said) = run(cache, &["image", "pull", "mine", "--lab", "lab.toml"]);
    assert_eq!(code, 1);
    assert!(said.contains("--allow-unverified"), "{said}");
    let (code, out, said) = run(
        cache,
        &["image", "pull", "mine", "--lab", "lab.toml", "--allow-unverified"],
    );
    assert_eq!(code, 0, "{said}");
    let sum = format!("sha256 = \"{}\"", sha256(&file).hex());
    assert!(out.contains(&sum) && said.contains(&sum), "{out}{said}");
    let (_, out, _) = run(cache, &["image", "list", "--lab", "lab.toml"]);
    let line = |name: &str, out: &str| out.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("mine", &out).contains("here   2 MiB"), "{out}");
    assert!(line("linux-0.2", &out).contains(" -  "), "{out}");
    assert!(!run(cache, &["image", "list"]).1.contains("mine"));
    let (code, out, _) = run(cache, &["image", "rm", "mine", "--lab", "lab.toml"]);
    assert_eq!((code, out.as_str()), (0, "image mine: removed\n"));
    let (code, out, _) = run(cache, &["image", "rm", "mine", "--lab", "lab.toml"]);
    assert_eq!((code, out.as_str()), (0, "image mine: not in the cache\n"));
}

#[test]
fn an_image_in_use_stays() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path();
    let used = cache.join("state/labs/quickstart");
    std::fs::create_dir_all(&used).unwrap();
    std::fs::write(used.join("images.toml"), "folders = [\"mini\"]\n").unwrap();
    for name in ["mini", "mini-e1000"] {
        let (code, _, said) = run(cache, &["image", "rm", name]);
        assert_eq!(code, 1);
        assert!(said.contains("in use by lab quickstart"), "{said}");
    }
}

#[test]
fn importing_a_file_without_a_description_prints_one_to_copy() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path();
    std::fs::write(cache.join("disk.img"), content()).unwrap();
    let (code, _, said) = run(cache, &["image", "import", "disk.img", "mine"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("[images.mine]") && said.contains(sha256(&content()).hex()),
        "{said}"
    );
    lab(
        cache,
        &format!("mirrors = [\"disk.img\"]\nsha256 = \"{}\"", sha256(&content()).hex()),
    );
    let (code, _, said) = run(cache, &["image", "import", "disk.img", "mine", "--lab", "lab.toml"]);
    assert_eq!(code, 0, "{said}");
    let (code, _, said) = run(cache, &["image", "import", "disk.img", "linux-0.2"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("linux-0.2` cannot be fetched:\n  disk.img: it cannot be unpacked"),
        "{said}"
    );
}

#[test]
fn another_image_for_one_run_must_be_known_and_change_something() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path();
    let text = "name = \"a\"\n[hosts.h]\n[networks.n]\nsubnet = \"10.0.0.0/24\"\n[vms.v]\nimage = \"mini\"\n\
                nics = [{ network = \"n\" }]\n";
    std::fs::write(cache.join("lab.toml"), text).unwrap();
    let (code, _, said) = run(cache, &["plan", "--image", "nimi"]);
    assert_eq!(code, 2);
    assert!(said.contains("there is no image `nimi`"), "{said}");
    let (code, _, said) = run(cache, &["plan", "--image", "mini-e1000"]);
    assert_eq!(code, 2);
    assert!(said.contains("has no effect"), "{said}");
}

/// The memory that a process holds, in KiB: pages of the program and its libraries are the kernel's.
fn memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn fetching_and_unpacking_16_mib_takes_less_than_32_mib() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path();
    std::fs::write(cache.join("disk"), content().repeat(16)).unwrap();
    assert!(
        Command::new("bzip2")
            .arg(cache.join("disk"))
            .status()
            .unwrap()
            .success()
    );
    let file = std::fs::read(cache.join("disk.bz2")).unwrap();
    let server = Server::start(&file, &[Act::Give]);
    let sum = sha256(&file);
    lab(
        cache,
        &format!(
            "mirrors = [\"{}\"]\nsha256 = \"{}\"\ncompression = \"bzip2\"",
            server.url(),
            sum.hex()
        ),
    );
    let mut child = netlab(cache, &["image", "pull", "mine", "--lab", "lab.toml"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = memory(child.id()).unwrap_or(0).max(most);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    assert!((1024..32 * 1024).contains(&most), "{most} KiB");
}

#[test]
fn a_file_is_imported_like_another_image_and_described_for_a_lab_file() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path();
    std::fs::write(cache.join("disk.img"), content()).unwrap();
    assert!(
        Command::new("gzip")
            .arg(cache.join("disk.img"))
            .status()
            .unwrap()
            .success()
    );
    let (code, out, said) = run(
        cache,
        &["image", "import", "disk.img.gz", "mine", "--like", "debian-12"],
    );
    assert_eq!(code, 0, "{said}");
    for wanted in [
        "[images.mine]",
        "compression = \"gzip\"",
        "format = \"raw\"",
        "cloud_init = true",
        "user = \"netlab\"",
    ] {
        assert!(out.contains(wanted), "{wanted} not in {out}");
    }
    // What is printed is the image that was imported.
    let text = format!("name = \"a\"\nimage = \"mine\"\n[hosts.h]\n[networks.n]\nsubnet = \"10.0.0.0/24\"\n{out}");
    std::fs::write(cache.join("lab.toml"), text).unwrap();
    let (_, list, said) = run(cache, &["image", "list", "--lab", "lab.toml"]);
    let line = list.lines().find(|line| line.starts_with("mine"));
    assert!(line.is_some_and(|line| line.contains("here   2 MiB")), "{list}{said}");
    let (code, _, said) = run(
        cache,
        &["image", "import", "disk.img.gz", "mini", "--like", "debian-12"],
    );
    assert_eq!(code, 2, "{said}");
    std::fs::write(cache.join("empty"), "").unwrap();
    let (code, _, said) = run(cache, &["image", "import", "empty", "mine", "--like", "debian-12"]);
    assert!(code == 1 && said.contains("the file is empty"), "{said}");
}

#[test]
fn a_path_may_begin_with_the_home_folder_and_a_password_in_a_url_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path();
    std::fs::write(cache.join("disk.img"), content()).unwrap();
    let sum = sha256(&content());
    lab(
        cache,
        &format!("mirrors = [\"~/disk.img\"]\nsha256 = \"{}  disk.img\"", sum.hex()),
    );
    let output = netlab(cache, &["image", "pull", "mine", "--lab", "lab.toml"])
        .env("HOME", cache)
        .env_remove("SUDO_USER")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lab(
        cache,
        &format!("mirrors = \"~no-such-user/disk.img\"\nsha256 = \"{}\"", sum.hex()),
    );
    let (code, _, said) = run(cache, &["image", "pull", "mine", "--lab", "lab.toml"]);
    assert!(code != 0 && said.contains("there is no user `no-such-user`"), "{said}");
    for mirror in ["http://u:secretpw@127.0.0.1:1/nope", "https://u:secretpw@h/a b"] {
        lab(
            cache,
            &format!("mirrors = [\"{mirror}\"]\nsha256 = \"{}\"", "0".repeat(64)),
        );
        let (code, out, said) = run(cache, &["image", "pull", "mine", "--lab", "lab.toml"]);
        assert_ne!(code, 0);
        assert!(!out.contains("secretpw") && !said.contains("secretpw"), "{out}{said}");
    }
}
