//! Tenants that one host routes for, and guests that send from addresses which are not theirs.

use serde_json::Value;

use super::live::{cells, live};
use crate::support::lab::{Bench, PATIENT};

/// What `verify` reports, and whether all is as expected.
pub fn report(bench: &Bench) -> (Value, bool) {
    let output = bench.run(&["verify", "--wait", PATIENT, "--json", bench.file()]);
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (report, output.status.success())
}

pub fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|item| item["text"].as_str().or(item.as_str()).unwrap())
        .collect()
}

/// The leases that the DHCP servers of node1 have granted.
fn leases(bench: &Bench) -> String {
    bench.inside("node1", &["sh", "-c", "cat /run/netlab/dhcp/*/leases"])
}

/// Proves that the rules keep the tenants apart, since without them nothing does.
fn without_rules(bench: &Bench) {
    let ruleset = |family: &str, chain: &str| {
        let table = format!("netlab-{}", bench.name);
        bench.inside("node1", &["nft", "flush", "chain", family, &table, chain]);
    };
    ruleset("ip", "forward");
    ruleset("bridge", "prerouting");
    let (found, as_expected) = report(bench);
    assert!(!as_expected);
    let drift = texts(&found["drift"]);
    assert!(
        drift.iter().any(|line| line.contains("load firewall rules")),
        "{drift:?}"
    );
    let faults = texts(&found["faults"]);
    for guest in ["red", "blue"] {
        let text = format!("{guest}: packets from ");
        let passes = |fault: &&str| fault.starts_with(&text) && fault.ends_with("pass its port");
        assert!(faults.iter().any(passes), "{faults:#?}");
    }
    let failed = |from: &str, to: &str| {
        let mut cells = found["cells"].as_array().unwrap().iter();
        cells.any(|cell| cell["from"] == from && cell["to"] == to && cell["verdict"] == "fail")
    };
    assert!(failed("red", "blue") && failed("blue", "red"), "{found:#}");
}

#[test]
fn tenants_are_kept_apart_and_guests_cannot_forge_addresses() {
    let test = "tenants_are_kept_apart_and_guests_cannot_forge_addresses";
    let then = |bench: &Bench, ()| {
        without_rules(bench);
        bench.good(&["-q", "up", bench.file()]);
        let (found, as_expected) = report(bench);
        assert!(as_expected, "{found:#}");
        let notes = texts(&found["notes"]).join("\n");
        assert_eq!(notes.matches("dropped all").count(), 2, "{notes}");
        for guest in ["red", "blue"] {
            let text = format!("{guest} sent from 10.0.");
            assert!(notes.contains(&text) && notes.contains("let nothing pass"), "{notes}");
        }

        // The lease of a VM that is removed is released.
        assert!(leases(bench).contains(" 10.0.1.2 red "), "{}", leases(bench));
        let text = std::fs::read_to_string(&bench.lab).unwrap();
        let (before, after) = text.split_once("[vms.red]").unwrap();
        let (_, rest) = after.split_once("# A floating").unwrap();
        let (rest, _) = rest.split_once("[[verify.ping]]").unwrap();
        bench.write(&format!("{before}# A floating{rest}"));
        bench.good(&["-q", "up", bench.file()]);
        assert!(!leases(bench).contains("red"), "{}", leases(bench));
    };
    let Some(found) = live(test, "tenants", |_| (), then) else {
        return;
    };
    let expected = cells(&[
        ("red", "blue", false),
        ("blue", "red", false),
        ("red", "gw red", true),
        ("blue", "gw blue", true),
        ("red", "192.168.99.50", true),
        ("home", "192.168.99.50", true),
    ]);
    assert_eq!(found, expected);
}
