use super::*;
use crate::lab::{Dialect, Lab, parse};

const HEAD: &str = "name = \"a\"\nimage = \"mine\"\n[hosts.h]\n[networks.n]\nsubnet = \"10.0.0.0/24\"\n";

fn read(images: &str) -> Result<Lab, Vec<String>> {
    let text = format!("{HEAD}{images}");
    parse("labs/lab.toml", &text, &BTreeSet::from(["mini".parse().unwrap()])).map_err(|problems| {
        let line = |problem: super::super::Problem| {
            let at = problem.span.offset()..problem.span.offset() + problem.span.len();
            format!("{} | {}", problem.message, text[at].trim())
        };
        problems.problems.into_iter().map(line).collect()
    })
}

#[test]
fn a_lab_has_images_of_its_own() {
    let sum = "ab".repeat(32);
    let lab = read(&format!(
        "[images.mine]\nmirrors = [\"https://a.example/x.bz2\", \"file:///srv/x.bz2\", \"x.bz2\"]\n\
         sha256 = \"{sum}\"\ncompression = \"bzip2\"\nformat = \"raw\"\ndialect = \"ifconfig\"\n\
         unpacked = {{ git_blob = \"{}\", at_most = \"64MiB\" }}\n\
         machine = {{ arch = \"i686\", disk_bus = \"ide\", nic_model = \"ne2k_pci\", memory = \"128MiB\" }}\n\
         console = {{ kind = \"vga\", prompt = \"# \", login = {{ user = \"root\" }} }}\n",
        "0c".repeat(20)
    ))
    .unwrap();
    let entry = &lab.images[&"mine".parse().unwrap()];
    let ImageSource::Download(download) = &entry.source else {
        panic!("{entry:?}")
    };
    assert_eq!(
        download.mirrors,
        [
            Location::Url("https://a.example/x.bz2".to_owned()),
            Location::File("/srv/x.bz2".into()),
            Location::File("labs/x.bz2".into())
        ]
    );
    assert_eq!(download.digest.as_ref().unwrap().to_string(), format!("sha256:{sum}"));
    assert_eq!(download.unpacked.as_ref().unwrap().kind(), DigestKind::GitBlob);
    assert_eq!((download.at_most, download.format), (64 << 20, Format::Raw));
    assert_eq!(
        (entry.console.kind, entry.console.dialect),
        (ConsoleKind::Vga, Dialect::Ifconfig)
    );
    assert_eq!(entry.console.login.as_ref().unwrap().prompt, "login: ");
    assert_eq!((entry.machine.arch.as_str(), entry.machine.memory_mib), ("i686", 128));
    // Written and read again it is the same.
    let written = crate::lab::write(&lab);
    let again = parse("lab.toml", &written, &BTreeSet::from(["mini".parse().unwrap()]));
    assert_eq!(
        again.unwrap_or_else(|problems| panic!("{written}{problems:?}")).images,
        lab.images
    );
}

#[test]
fn every_problem_of_an_image_is_reported_at_once() {
    let found = read(
        "[images.mine]\nmirrors = [\"ftp://a/x\", \"https:///x\", \"file://x\"]\nsha256 = \"12\"\n\
         compression = \"rar\"\nmachine = { disk_bus = \"floppy\", arch = \"<x/>\", nic = 1 }\n\
         console = { kind = \"paper\" }\nsize = 1\n\
         [images.mini]\nrecipe = \"mini\"\nformat = \"raw\"\nconsole = { prompt = \"# \" }\n",
    )
    .unwrap_err();
    for wanted in [
        "unsupported URL scheme `ftp`",
        "`https:///x` is not a URL",
        "a `file://` URL has an absolute path",
        "a sha256 is 64 hex digits; these are 2 | \"12\"",
        "unknown compression `rar`",
        "unknown disk bus `floppy`",
        "`<x/>` is not a name of libvirt",
        "unknown key `nic`",
        "unknown console kind `paper`",
        "the console has no `prompt`",
        "unknown key `size`",
        "the image has no `format`",
        "the catalog has an image `mini` already | mini",
        "an image with a `recipe` has no `format`",
    ] {
        assert!(
            found.iter().any(|line| line.contains(wanted)),
            "{wanted} not in {found:#?}"
        );
    }
    assert!(!found.iter().any(|line| line.contains("no image `mine`")), "{found:#?}");
}

#[test]
fn only_a_guest_whose_memory_may_be_every_guests_is_started_from_a_saved_state() {
    let warm = |text: &str| {
        let lab = read(&format!("[images.mine]\n{text}\n"));
        lab.map(|lab| lab.images[&"mine".parse().unwrap()].warm)
    };
    let serial = "console = { prompt = \"# \" }";
    let login = "console = { prompt = \"# \", login = { user = \"root\", password = \"secret\" } }";
    let screen = "console = { kind = \"vga\", prompt = \"# \" }";
    let kernel = "kernel = \"bzImage\"";
    assert_eq!(warm(&format!("recipe = \"mini\"\n{serial}")), Ok(true));
    assert_eq!(warm(&format!("recipe = \"mini\"\nwarm = false\n{serial}")), Ok(false));
    assert_eq!(warm(&format!("recipe = \"mini\"\n{login}")), Ok(false));
    assert_eq!(warm(&format!("{kernel}\n{serial}")), Ok(false));
    assert_eq!(warm(&format!("{kernel}\nwarm = true\n{serial}")), Ok(true));
    let disk = "mirrors = [\"d.img\"]\nformat = \"raw\"";
    assert_eq!(warm(&format!("{disk}\n{serial}")), Ok(false));
    assert_eq!(warm(&format!("{disk}\nwarm = true\n{serial}")), Ok(true));
    let cloud = "cloud_init = true\nwarm = true";
    assert_eq!(warm(&format!("{disk}\n{cloud}\n{login}")), Ok(true));
    assert_eq!(warm(&format!("{disk}\ncloud_init = true\n{login}")), Ok(false));
    for (text, who) in [
        (format!("{kernel}\nwarm = true\n{screen}"), "whose console is a screen"),
        (
            format!("{kernel}\nwarm = true\n{login}"),
            "without cloud-init whose console asks for a login",
        ),
    ] {
        let message = format!("a guest {who} is not started from a saved state | true");
        assert_eq!(warm(&text), Err(vec![message]));
    }
}
