//! FAULTS 42, 44 and 46: networks that work badly, and what `verify` says of them.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::lab::{Bench, quickstart};

/// The quickstart with one guest on each of its hosts.
fn two_guests() -> String {
    let text = quickstart();
    text[..text.find("# `count`").unwrap()].to_owned()
}

/// Verifies a lab that is not as it should be; gives the report and all that was said.
fn verified(bench: &Bench) -> (Value, String) {
    let output = bench.run(&["verify", "--json", bench.file()]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json = serde_json::from_slice(&output.stdout).unwrap();
    (json, bench.bad(&["verify", bench.file()], 1))
}

/// The cell of `from` asking `to`.
fn cell<'a>(report: &'a Value, from: &str, to: &str) -> &'a Value {
    let cells = report["cells"].as_array().unwrap();
    cells
        .iter()
        .find(|cell| cell["from"] == from && cell["to"] == to)
        .unwrap()
}

#[test]
fn loss_a_small_path_mtu_and_a_duplicate_mac_address_are_each_reported_as_such() {
    let test = "loss_a_small_path_mtu_and_a_duplicate_mac_address_are_each_reported_as_such";
    let jumbo = two_guests().replacen("subnet =", "mtu = 9000\nsubnet =", 1);
    let Some(bench) = Bench::new(test, "bad", &jumbo) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "verify", bench.file()]);

    // What the network states reaches everything that carries its frames, and is watched.
    let show = "(ip -o link show br1; ip -o link show master br1) | sed 's/.* mtu \\([0-9]*\\).*/\\1/'";
    let mtus = || bench.inside("node1", &["sh", "-c", show]);
    assert_eq!(
        mtus().split_whitespace().collect::<Vec<_>>(),
        ["9000"; 3],
        "bridge, uplink, tap"
    );
    bench.inside("node1", &["ip", "link", "set", "dev", "br1", "mtu", "1500"]);
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("change link br1"), "{plan}");
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(mtus().split_whitespace().next(), Some("9000"));

    // FAULTS 46: every second request of vm1 is lost on node1; counted apart from vm3's, which come in between.
    let rules = "table bridge loss { chain forward { type filter hook forward priority 0; \
                 ip saddr 10.0.1.2 icmp type echo-request numgen inc mod 2 == 0 drop; }; };";
    bench.inside("node1", &["nft", rules]);
    let (report, said) = verified(&bench);
    // It was asked again, since a reply may only have been late: more pings do not make it a pass.
    let lossy = cell(&report, "vm1", "vm3");
    assert_eq!(
        (&lossy["verdict"], &lossy["asked"], &lossy["sent"]),
        (&"lossy".into(), &2.into(), &5.into()),
        "{report:#}"
    );
    assert!(
        ["lossy 2/5", "lossy 3/5"].iter().any(|one| said.contains(one)),
        "{said}"
    );
    assert!(said.contains("note: 1 cell asked again"), "{said}");
    bench.inside("node1", &["nft", "delete table bridge loss"]);

    // FAULTS 42: small packets pass, full ones vanish without a word.
    bench.inside("node2", &["ip", "link", "set", "dev", "eth0", "mtu", "1400"]);
    let (report, said) = verified(&bench);
    for (from, to) in [("vm1", "vm3"), ("vm3", "vm1")] {
        let small = cell(&report, from, to);
        assert_eq!(small["verdict"], "fail", "{report:#}");
        assert_eq!(small["small_only"], true, "{report:#}");
        let cause = small["cause"].as_str().unwrap();
        assert!(cause.contains("node2: link eth0") && cause.contains("1400"), "{cause}");
    }
    assert_eq!(
        cell(&report, "vm1", "gw service")["verdict"],
        "pass",
        "the path MTU suffices there: {report:#}"
    );
    assert!(said.contains("MTU"), "{said}");
    bench.inside("node2", &["ip", "link", "set", "dev", "eth0", "mtu", "9000"]);

    // FAULTS 44: a stranger on node2 with vm1's MAC address, who talks all the time.
    let mac = bench.inside("node1", &["virsh", "-q", "domiflist", &format!("{}.vm1", bench.name)]);
    let mac = mac.split_whitespace().last().unwrap();
    let script = "set -e; ip netns add stranger; ip link add name st0 type veth peer name st1 netns stranger; \
                  ip link set dev st0 master br1 up; ip -n stranger link set dev st1 address $0 up; \
                  ip -n stranger address add 10.0.1.99/24 dev st1";
    bench.inside("node2", &["sh", "-c", script, mac]);
    let mut talk = bench
        .enter("node2")
        .args([
            "ip", "netns", "exec", "stranger", "ping", "-q", "-i", "0.002", "10.0.1.3",
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (report, _) = verified(&bench);
    assert_ne!(cell(&report, "vm3", "vm1")["verdict"], "pass", "{report:#}");
    let script = "ip netns pids stranger | xargs kill; ip link delete dev st0; ip netns delete stranger";
    bench.inside("node2", &["sh", "-c", script]);
    talk.wait().unwrap();

    bench.good(&["-q", "verify", bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn a_port_pulled_by_hand_is_named_in_every_kind_of_report() {
    let test = "a_port_pulled_by_hand_is_named_in_every_kind_of_report";
    let Some(bench) = Bench::new(test, "rep", &two_guests()) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let taps = bench.inside("node1", &["virsh", "-q", "domiflist", &format!("{}.vm1", bench.name)]);
    let tap = taps.split_whitespace().next().unwrap();
    let watched = ["verify", "--watch=1", "--json", bench.file()];
    let mut watch = bench.netlab(&watched).stdout(Stdio::piped()).spawn().unwrap();
    let mut runs = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut run = || serde_json::from_str::<Value>(&runs.next().unwrap().unwrap()).unwrap();
    let first = run();
    assert_eq!(
        (&first["as_expected"], &first["changes"]),
        (&true.into(), &Value::Array(Vec::new())),
        "{first:#}"
    );
    bench.inside("node1", &["ip", "link", "set", "dev", tap, "nomaster"]);
    let changed = loop {
        let mut next = run();
        if next["changes"] != first["changes"] {
            break next["changes"].take();
        }
    };
    assert_eq!(changed[0]["before"], "pass", "{changed:#}");
    kill_process(Pid::from_child(&watch), Signal::INT).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(130));

    let (xml, page) = (bench.path("report.xml"), bench.path("report.html"));
    let (xml_arg, page_arg) = (xml.to_str().unwrap(), page.to_str().unwrap());
    let said = bench.bad(&["verify", "--junit", xml_arg, "--html", page_arg, bench.file()], 1);
    let cause = format!("node1: link {tap} of guest vm1 is not attached to bridge br1");
    let (xml, page) = (
        std::fs::read_to_string(xml).unwrap(),
        std::fs::read_to_string(page).unwrap(),
    );
    for report in [&said, &xml, &page] {
        assert!(report.contains(&cause), "{report}");
    }
    assert!(xml.contains("<testsuite ") && page.starts_with("<!DOCTYPE html>"));
    for part in [
        "class=\"vm bad\"",
        "<details open><summary>vm1: 2 cells",
        "<summary>vm3</summary><pre>",
        "QEMU",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // vm3 and its gateway are on the other side of the pulled port.
    assert!(said.contains("1 of 4 as expected"), "{said}");

    // Drift and failed probes are in one report.
    bench.inside("node1", &["virsh", "-q", "destroy", &format!("{}.vm1", bench.name)]);
    let (report, said) = verified(&bench);
    assert_eq!(
        report["drift"].as_array().unwrap().len(),
        2,
        "start and configure: {report:#}"
    );
    assert_eq!(cell(&report, "vm3", "gw service")["verdict"], "pass", "{report:#}");
    assert!(said.contains("guest vm1 is not running"), "{said}");
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "verify", bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
