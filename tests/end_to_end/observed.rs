//! What a run leaves for finding a fault: `-v`, the lab's log, the record of the last run, and the archive
//! for a bug report.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::lab::{Bench, EMPTY};

/// An image that is not used, with a password that no report may show.
const SECRET: &str = "sw0rdf1sh";

fn with_secret() -> String {
    let image = "[images.theirs]\nmirrors = [\"https://me:PASSWORD@example.org/a.img\"]\nformat = \"raw\"\n\
                 console = { prompt = \"# \", login = { user = \"me\", password = \"PASSWORD\" } }\n";
    format!("{EMPTY}{}", image.replace("PASSWORD", SECRET))
}

#[test]
fn verbose_prints_and_the_log_records_every_command_sent_to_a_host() {
    let test = "verbose_prints_and_the_log_records_every_command_sent_to_a_host";
    let Some(bench) = Bench::new(test, "obs", EMPTY) else {
        return;
    };
    let mut up = bench.netlab(&["-v", "up", bench.file()]);
    let output = up.env("NETLAB_LOG", "debug").output().unwrap();
    let printed = crate::support::lab::said(&output, 0);
    let log = bench.state().join("labs").join(&bench.name).join("netlab.log");
    let recorded = std::fs::read_to_string(&log).unwrap();
    for (what, text) in [("stderr", &printed), ("the log", &recorded)] {
        let command = text
            .lines()
            .find(|line| line.contains("netlab::command") && line.contains("node1") && line.contains("ip "));
        let command = command.unwrap_or_else(|| panic!("no command in {what}: {text}"));
        assert!(command.contains("status=0"), "{command}");
        assert!(text.contains("netlab::libvirt"), "no libvirt call in {what}: {text}");
    }
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let quiet = bench.run(&["-q", "plan", bench.file()]);
    assert_eq!(String::from_utf8_lossy(&quiet.stderr), "", "nothing without -v");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn status_says_where_the_last_run_was_interrupted() {
    let Some(bench) = Bench::new("status_says_where_the_last_run_was_interrupted", "lst", EMPTY) else {
        return;
    };
    // The first boundary: the first step is recorded and not executed.
    assert!(bench.killed(&["-q", "up", bench.file()], 1));
    let text = bench.good(&["status", &bench.name]);
    assert!(
        text.contains("last run: up, 2") && text.contains(" UTC, interrupted at localhost: create emulated host node1"),
        "{text}"
    );
    let status: Value = serde_json::from_str(&bench.good(&["status", "--json", &bench.name])).unwrap();
    assert_eq!(status["last_run"]["outcome"], "interrupted-during", "{status:#}");
    assert_eq!(status["last_run"]["host"], "localhost", "{status:#}");
    bench.good(&["-q", "up", bench.file()]);
    let text = bench.good(&["status", &bench.name]);
    assert!(text.contains(" UTC, finished\n"), "{text}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn the_archive_for_a_bug_report_has_everything_but_passwords() {
    let test = "the_archive_for_a_bug_report_has_everything_but_passwords";
    let Some(bench) = Bench::new(test, "rep", &with_secret()) else {
        return;
    };
    let mut up = bench.netlab(&["up", bench.file()]);
    crate::support::lab::said(&up.env("NETLAB_LOG", "debug").output().unwrap(), 0);
    // As if a guest's console and a tool had shown it.
    let folder = bench.state().join("labs").join(&bench.name);
    std::fs::create_dir_all(folder.join("transcripts")).unwrap();
    std::fs::write(folder.join("transcripts/vm1.log"), format!("Password: {SECRET}\n")).unwrap();

    let archive = bench.path("report.tar.gz");
    bench.run(&["doctor", bench.file(), "--report", archive.to_str().unwrap()]);
    assert_eq!(archive.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut files = BTreeMap::new();
    let unpacked = flate2::read::GzDecoder::new(std::fs::File::open(&archive).unwrap());
    for entry in tar::Archive::new(unpacked).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert!(!text.contains(SECRET), "{}: {text}", path.display());
        let name = path.strip_prefix(format!("netlab-report-{}", bench.name)).unwrap();
        files.insert(name.to_str().unwrap().to_owned(), text);
    }
    let has = |name: &str, part: &str| {
        let text = files
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", files.keys()));
        assert!(text.contains(part), "{name}: {text}");
    };
    has("versions.txt", concat!("netlab ", env!("CARGO_PKG_VERSION")));
    has("lab.toml", "password = \"***\"");
    has("lab.toml", "https://me:***@example.org/a.img");
    has("plan.txt", "");
    has("doctor.json", "\"verdict\"");
    has("journal", "netlab-journal");
    has("netlab.log", "netlab::command");
    has("transcripts/vm1.log", "Password: ***");
    has("hosts/node1.log", "");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
