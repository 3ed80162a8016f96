//! What publishers say of their images: lists of checksums and newer releases, from a server that imitates theirs.

use std::process::Command;

use netlab::image::{Update, built, checksums, forget, newer};
use netlab::lab::{Digest, DigestKind, ImageEntry, ImageSource, Location};

use super::fetch::{Case, content, sha256};
use crate::support::server::Server;

/// A case whose image and list of checksums are on `server`.
fn case(server: &Server, image: &str, list: &str) -> Case {
    let mut case = Case::new(&[], None);
    case.download.mirrors = vec![Location::Url(server.at(image))];
    case.download.checksums = Some(server.at(list));
    case
}

#[test]
fn an_image_is_verified_by_its_publishers_list_and_a_later_change_is_noticed() {
    let server = Server::site();
    let whole = content();
    let line = |bytes: &[u8]| format!("{}  other.img\n{} *disk.img\n", "0".repeat(64), sha256(bytes).hex());
    server.put("/x/disk.img", &whole);
    server.put("/x/SHA256SUMS", line(&whole).as_bytes());
    let case = case(&server, "/x/disk.img", "/x/SHA256SUMS");
    let built_now = case.obtain().unwrap();
    assert_eq!(built_now.published, Some(sha256(&whole)));
    assert!(case.disk() == whole);

    // The publisher replaces the file under its name.
    let replaced = [&whole[..], b"new"].concat();
    server.put("/x/disk.img", &replaced);
    server.put("/x/SHA256SUMS", line(&replaced).as_bytes());
    let resolve = || checksums::resolve(&case.download, &case.folders, case.options.limits.stall);
    let changed = resolve().unwrap_err();
    assert!(
        changed.to_string().contains("has changed: disk.img was sha256:"),
        "{changed}"
    );
    assert!(changed.help().contains("image rm"), "{}", changed.help());
    // Also where the image itself is no longer in the cache.
    std::fs::remove_dir_all(netlab::image::folder(&case.name, &case.entry(), &case.folders)).unwrap();
    assert!(case.refused().contains("has changed"));
    forget(&case.name, &case.entry(), &case.folders).unwrap();
    case.obtain().unwrap();
    assert!(case.disk() == replaced);
}

#[test]
fn an_image_that_differs_from_the_list_or_is_not_in_it_is_refused() {
    let server = Server::site();
    server.put("/disk.img", &content());
    server.put("/wrong", format!("SHA256 (disk.img) = {}\n", "0".repeat(64)).as_bytes());
    server.put("/other", format!("{}  disk.img.xz\n", "0".repeat(64)).as_bytes());
    server.put(
        "/two",
        format!("{}  disk.img\n{}  disk.img\n", "0".repeat(64), "1".repeat(64)).as_bytes(),
    );
    for (list, wanted) in [
        ("/wrong", "the download should be sha256:0000"),
        ("/other", "has no SHA-256 or SHA-512 of disk.img"),
        ("/two", "two different digests"),
        ("/none", "status 404"),
    ] {
        let case = case(&server, "/disk.img", list);
        let error = case.refused();
        assert!(error.contains(wanted), "{list}: {error}");
        assert!(built(&case.name, &case.entry(), &case.folders).is_none());
    }
    // What the entry itself states counts, and the list is not asked.
    let mut case = case(&server, "/disk.img", "/none");
    case.download.digest = Some(sha256(&content()));
    case.obtain().unwrap();
}

const PAGE: &str = "<html><head><title>Index of /images/</title></head><body><h1>Index of /images/</h1><hr><pre>\
<a href=\"../\">../</a>\n<a href=\"20260923-2610/\">20260923-2610/</a>  23-Sep-2026 10:00  -\n\
<a href=\"20261102-2650/\">20261102-2650/</a>  02-Nov-2026 10:00  -\n\
<a href=\"20261103-2655/\">20261103-2655/</a>  03-Nov-2026 10:00  -\n<a href=\"latest/\">latest/</a></pre></body></html>";

/// A server with two releases that are newer than the entry's, of which the newest has no list of checksums yet.
fn publisher() -> (Server, ImageEntry, String) {
    let server = Server::site();
    let hex = "cd".repeat(64);
    server.put("/images/", PAGE.as_bytes());
    server.put(
        "/images/20261102-2650/SHA512SUMS",
        format!("{hex}  d-20261102-2650.qcow2\n").as_bytes(),
    );
    let mut case = case(&server, "/images/20260923-2610/d-20260923-2610.qcow2", "/none");
    case.download.checksums = None;
    case.download.digest = Some(Digest::new(DigestKind::Sha512, &"ab".repeat(64)).unwrap());
    let entry = ImageEntry {
        description: "D of 2026-09-23".to_owned(),
        ..case.entry()
    };
    (server, entry, hex)
}

#[test]
fn a_newer_release_is_found_with_its_checksum() {
    let (server, entry, hex) = publisher();
    let stall = std::time::Duration::from_secs(60);
    let Update::Newer { was, is, entry: newest } = newer(&entry, stall) else {
        panic!("{:?}", newer(&entry, stall))
    };
    assert_eq!(
        (was.to_string().as_str(), is.to_string().as_str()),
        ("20260923-2610", "20261102-2650")
    );
    assert_eq!(newest.description, "D of 2026-11-02");
    let ImageSource::Download(download) = &newest.source else {
        panic!("{newest:?}")
    };
    let url = server.at("/images/20261102-2650/d-20261102-2650.qcow2");
    assert_eq!(download.mirrors, [Location::Url(url)]);
    assert_eq!(download.checksums, Some(server.at("/images/20261102-2650/SHA512SUMS")));
    assert_eq!(download.digest, Some(Digest::new(DigestKind::Sha512, &hex).unwrap()));
    assert!(
        matches!(newer(&newest, stall), Update::Newer { .. }),
        "one without a list"
    );

    server.put(
        "/images/",
        b"<html><body><pre><a href=\"20260923-2610/\">x</a></pre></body></html>",
    );
    assert!(matches!(newer(&entry, stall), Update::Newest(_)));
    // A list without a release of such a name, e.g. of a mirror that needs a login, says nothing about newer ones.
    for list in [&b""[..], b"<a href=\"latest/\">latest</a>"] {
        server.put("/images/", list);
        assert!(matches!(newer(&entry, stall), Update::Nothing { .. }));
    }
}

#[test]
fn the_command_prints_an_entry_that_a_lab_file_can_have() {
    let (_server, entry, hex) = publisher();
    let folder = tempfile::tempdir().unwrap();
    let lab = folder.path().join("lab.toml");
    let of = |name: &str, entry: &str| format!("name = \"x\"\nhosts.h = {{}}\n{}", entry.replace("[images.d]", name));
    let written = netlab::lab::write_image(&"d".parse().unwrap(), &entry);
    std::fs::write(&lab, of("[images.d]", &written)).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_netlab"))
            .args(arguments)
            .args(["--lab", lab.to_str().unwrap()])
            .env("NETLAB_CACHE_DIR", folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&["image", "update", "d"]);
    assert!(
        text.starts_with("d: 20261102-2650 is newer than 20260923-2610;"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&run(&["--json", "image", "update", "d"])).unwrap();
    assert_eq!(json[0]["state"], "newer");
    assert_eq!(json[0]["newest"], "20261102-2650");
    let printed = json[0]["entry"].as_str().unwrap();
    assert!(
        printed.contains("[images.d-20261102]") && printed.contains(&hex),
        "{printed}"
    );
    assert!(text.contains(printed.trim_end()), "{text}");
    std::fs::write(&lab, of("", printed)).unwrap();
    let list = run(&["image", "list"]);
    assert!(list.contains("d-20261102"), "{list}");
    // The printed entry is for a file that others may read: the credentials are written by the user.
    std::fs::write(
        &lab,
        of("[images.d]", &written).replace("http://", "http://u:secretpw@"),
    )
    .unwrap();
    let text = run(&["image", "update", "d"]);
    assert!(text.contains("http://u:***@") && !text.contains("secretpw"), "{text}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "no image was fetched: {left:?}");
}
