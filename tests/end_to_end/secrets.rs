//! FAULTS 48, 62 and 63: who can read what of a lab with secrets in every place, and what its names and its guests can do
//! to a terminal.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::local::Local;
use crate::support::lab::{Bench, said};
use crate::support::processes;
use crate::support::server::{Act, Server};

const PASSWORD: &str = "S3cr3tPw-of-the-console";
const URL: &str = "s3cr3t-of-the-url";
const CONTENT: &str = "S3CR3T-OF-THE-IMAGE";
const SECRETS: [&str; 3] = [PASSWORD, URL, CONTENT];

/// A lab whose guest boots from a private file with nothing in it that boots: its console never has a prompt.
fn lab(mirror: &str, sum: &str) -> String {
    format!(
        r##"
name = "LABNAME"
image = "secret"
[images.secret]
mirrors = ["{mirror}", "private.img"]
sha256 = "{sum}"
format = "raw"
cloud_init = true
machine = {{ memory = "64MiB" }}
console = {{ prompt = "# ", login = {{ user = "netlab", password = "{PASSWORD}" }}, boot_seconds = 3 }}
[images.elsewhere]
mirrors = ["{mirror}"]
sha256 = "{sum}"
format = "raw"
console = {{ prompt = "# " }}
[hosts.node1]
[networks.service]
subnet = "10.0.1.0/24"
bridge = "br1"
gateway = {{ address = "10.0.1.1", on = "node1" }}
dhcp = true
[vms.v]
host = "node1"
nics = [{{ network = "service" }}]
"##
    )
}

fn no_secret(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} has {secret}:\n{text}");
    }
}

fn all(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The files below `folders` with a secret in them, as they are for `prefix`, a command that runs another as some user.
fn files_with_secrets(prefix: &[&str], folders: &[PathBuf]) -> Vec<PathBuf> {
    let patterns = SECRETS.iter().flat_map(|secret| ["-e", secret]);
    let mut words = prefix
        .iter()
        .copied()
        .chain(["grep", "-rlaF"])
        .chain(patterns)
        .chain(["--"]);
    let mut command = Command::new(words.next().unwrap());
    let output = command.args(words).args(folders).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(PathBuf::from).collect()
}

/// Asserts that screens are on loopback, and DHCP and DNS on the lab's bridge.
fn listeners(bench: &Bench) {
    let listening = bench.inside("node1", &["ss", "-Hltun"]);
    let local = |line: &str| line.split_whitespace().nth(4).unwrap_or_default().to_owned();
    for address in listening.lines().map(local) {
        let allowed = ["127.0.0.1:", "[::1]:", "10.0.1.1:53", "0.0.0.0%br1:67", "[::]%br1:"];
        let link_local = address.starts_with("[fe80:") && address.ends_with("%br1]:53") || address.contains("%br1:53");
        assert!(
            allowed.iter().any(|start| address.starts_with(start)) || link_local,
            "{address}: {listening}"
        );
    }
    assert!(
        listening.contains("127.0.0.1:59") && listening.contains("%br1:67"),
        "{listening}"
    );
}

#[test]
fn nobody_else_can_read_a_secret_of_a_lab_that_is_up() {
    let test = "nobody_else_can_read_a_secret_of_a_lab_that_is_up";
    let mut image = CONTENT.as_bytes().to_vec();
    image.resize(1 << 20, 0);
    let server = Server::start(&image, &[Act::Status(404)]);
    let mirror = server.url().replace("http://", &format!("http://user:{URL}@"));
    let Some(bench) = Bench::new(test, "sec", "") else {
        return;
    };
    let private = bench.path("private.img");
    std::fs::write(&private, &image).unwrap();
    let sum = netlab::image::digest::of_file(netlab::lab::DigestKind::Sha256, &private).unwrap();
    bench.write(&lab(&mirror, sum.hex()));
    std::fs::set_permissions(&private, PermissionsExt::from_mode(0o600)).unwrap();
    // The lab file has secrets as well: how it is protected is its owner's affair.
    std::fs::set_permissions(&bench.lab, PermissionsExt::from_mode(0o600)).unwrap();
    // The bench's own temporary folder is closed to others: opened here, to test netlab's folders and not this one.
    std::fs::set_permissions(bench.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let cache = bench.path("c");
    let run = |arguments: &[&str]| {
        let mut command = bench.netlab(arguments);
        command.env("NETLAB_CACHE_DIR", &cache).env("NETLAB_LOG", "trace");
        command.output().unwrap()
    };

    let pull = all(&run(&["-vv", "image", "pull", "elsewhere", "--lab", bench.file()]));
    assert!(
        pull.contains("http://user:***@127.0.0.1"),
        "the mirror is named: {pull}"
    );
    no_secret("what `image pull` prints", &pull);
    // The guest does not answer: the rest of the lab stays up.
    let up = all(&run(&["-vv", "up", bench.file()]));
    assert!(up.contains("the rest of the lab is up"), "{up}");
    no_secret("what `up` prints", &up);
    let report = bench.path("report.tar.gz");
    let commands: [&[&str]; 9] = [
        &["plan", bench.file()],
        &["plan", "--json", bench.file()],
        &["status", &bench.name],
        &["status", "--json", &bench.name],
        &["verify", "--json", bench.file()],
        &["image", "list", "--lab", bench.file()],
        &["image", "list", "--json", "--lab", bench.file()],
        &["image", "pull", "secret", "--json", "--lab", bench.file()],
        &["doctor", "--report", report.to_str().unwrap(), bench.file()],
    ];
    for command in commands {
        no_secret(&format!("what {command:?} prints"), &all(&run(command)));
    }
    let unpacked = Command::new("tar").args(["-xzOf"]).arg(&report).output().unwrap();
    assert!(unpacked.status.success());
    no_secret("the report", &all(&unpacked));

    // Files, as another user sees them and as they are.
    let folders = [bench.state(), cache.clone(), PathBuf::from("/run/netlab")];
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let open = files_with_secrets(&nobody, &folders);
    assert!(open.is_empty(), "others can read {open:?}");
    let found = files_with_secrets(&["env"], &folders);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in &found {
        assert_eq!(mode(file) & 0o077, 0, "{} has a secret", file.display());
        // Of the folder of a lab's disks on a host, QEMU's user may open one that it knows.
        assert_eq!(mode(file.parent().unwrap()) & 0o066, 0, "{}", file.display());
        if file.ends_with("disk") {
            assert_eq!(mode(file.parent().unwrap()), 0o700, "{}", file.display());
        }
    }
    let names: Vec<String> = found.iter().map(|file| file.display().to_string()).collect();
    for part in ["passwords.json", "/disk"] {
        assert!(
            names.iter().any(|name| name.ends_with(part)),
            "no {part} was found: {names:?}"
        );
    }
    assert!(
        !names.iter().any(|name| ["journal", "netlab.log", "seed.iso"]
            .iter()
            .any(|end| name.ends_with(end))),
        "{names:?}"
    );

    // What libvirt shows to those who may only read.
    let domain = format!("{}.v", bench.name);
    let xml = bench.inside("node1", &["virsh", "-r", "-c", "qemu:///system", "dumpxml", &domain]);
    assert!(xml.contains("netlab:seed") && xml.contains("sha256:"), "{xml}");
    no_secret("the domain", &xml);

    for (pid, line) in processes() {
        // That of a grep of another test's may well have it.
        assert!(
            !line.contains(PASSWORD) && !line.contains(CONTENT),
            "process {pid}: {line}"
        );
    }

    listeners(&bench);
    let down = all(&run(&["-vv", "down", &bench.name]));
    no_secret("what `down` prints", &down);
    bench.assert_as_before();
}

/// FAULTS 63: the kernel accepts any byte in the name of a link.
#[test]
fn names_of_others_cannot_write_to_the_terminal() {
    let test = "names_of_others_cannot_write_to_the_terminal";
    let Some(machine) = Local::new(test, "esc") else {
        return;
    };
    let name = "e\u{1b}[31m\u{202e}\u{9b}";
    machine.do_(&["ip", "link", "add", "name", name, "type", "bridge"]);
    machine.do_(&["ip", "address", "add", "10.0.1.9/16", "dev", name]);
    machine.do_(&["ip", "link", "set", "dev", name, "up"]);
    let file = machine.lab(
        "mine",
        "[networks.n]\nsubnet = \"10.0.1.0/24\"\ngateway = { address = \"10.0.1.1\" }\n",
    );
    for arguments in [
        &["up", &file][..],
        &["-vv", "plan", &file],
        &["doctor", &file],
        &["doctor", "--json", &file],
    ] {
        let text = said(&machine.run(arguments), 1);
        assert!(text.contains("10.0.0.0/16"), "{arguments:?}: {text}");
        let bad = |one: &char| *one != '\n' && (one.is_control() || ['\u{202e}', '\u{9b}'].contains(one));
        assert_eq!(text.chars().find(bad), None, "{arguments:?}: {text}");
        let escape = if arguments.contains(&"--json") {
            "\\u001b[31m\\u202e\\u009b"
        } else {
            "\\u{1b}[31m\\u{202e}\\u{9b}"
        };
        assert!(text.contains(escape), "{arguments:?}: {text}");
    }
    machine.do_(&["ip", "link", "delete", "dev", name]);
    machine.end();
}
