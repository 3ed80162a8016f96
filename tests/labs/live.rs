//! What every test here does: bring a lab of the repository up, ask, and take it down again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::lab::{Bench, PATIENT};

/// A question and whether it had to be answered.
pub type Cells = BTreeMap<(String, String), bool>;

/// The labs of the repository.
pub fn labs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("labs")
}

/// Brings up `labs/<lab>.toml` under another name, does `meanwhile`, and verifies it; gives the matrix, in which every
/// cell was as expected, and what `meanwhile` gave. Nothing is left afterwards.
pub fn live<T>(
    test: &str,
    lab: &str,
    meanwhile: impl FnOnce(&Bench) -> T,
    then: impl FnOnce(&Bench, T),
) -> Option<Cells> {
    let text = std::fs::read_to_string(labs().join(format!("{lab}.toml"))).unwrap();
    let named = format!("name = \"{lab}\"\n");
    assert_eq!(text.matches(&named).count(), 1, "a lab is named like its file");
    let bench = Bench::new(test, lab, &text.replace(&named, "name = \"LABNAME\"\n"))?;
    bench.good(&["-q", "up", bench.file()]);
    let again = bench.good(&["up", bench.file()]);
    assert!(again.contains("nothing to do"), "{again}");

    let made = meanwhile(&bench);
    let cells = verified(&bench);
    then(&bench, made);

    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    Some(cells)
}

/// The matrix, every cell of which is as expected.
pub fn verified(bench: &Bench) -> Cells {
    let output = bench.run(&["verify", "--wait", PATIENT, "--json", bench.file()]);
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{said}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let cells = report["cells"].as_array().unwrap().iter().map(|cell| {
        let word = |key: &str| cell[key].as_str().unwrap().to_owned();
        assert_eq!(word("verdict"), "pass", "{cell:#}");
        ((word("from"), word("to")), cell["reach"].as_bool().unwrap())
    });
    cells.collect()
}

/// Cells as a test writes them down.
pub fn cells(expected: &[(&str, &str, bool)]) -> Cells {
    let cells = expected
        .iter()
        .map(|(from, to, reach)| ((String::from(*from), String::from(*to)), *reach));
    cells.collect()
}

/// A command in the network namespace of an emulated switch or router.
fn at(bench: &Bench, machine: &str, argv: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &format!("netlab.{}.{machine}", bench.name)]);
    command.args(argv);
    command
}

/// From here on a router remembers from which addresses it is asked for an echo.
pub fn remember_sources(bench: &Bench, router: &str) {
    let rules = r#"
        table ip seen {
            set sources { type ipv4_addr; flags dynamic; size 256; }
            chain input {
                type filter hook input priority 0;
                iifname "eth0" icmp type echo-request add @sources { ip saddr }
            }
        }"#;
    let mut nft = at(bench, router, &["nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

/// The addresses that it has seen.
pub fn sources(bench: &Bench, router: &str) -> BTreeSet<String> {
    let output = at(bench, router, &["nft", "-j", "list", "set", "ip", "seen", "sources"])
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects = json["nftables"].as_array().unwrap();
    let set = objects.iter().find_map(|object| object.get("set")).unwrap();
    let elements = set["elem"].as_array().map(Vec::as_slice).unwrap_or_default();
    elements
        .iter()
        .map(|address| address.as_str().unwrap().to_owned())
        .collect()
}
