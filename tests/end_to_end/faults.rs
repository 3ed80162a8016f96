//! FAULTS 55 and 56: faults put in by hand into a lab that is up, each with the cells that must be red and the words that
//! must appear. One lab for many faults: a fault is removed before the next one, and `verify` must then be green.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::labs::tunnels::without_ovs;
use crate::support::lab::{Bench, PATIENT, said};

mod more;
mod outside;
mod routed;
mod switched;
mod table;

use more::MORE;
use outside::OUTSIDE;
use routed::{GUESTS, ROUTED};
use switched::SWITCHED;
use table::{At, FAULTS, Fault, LAB};

fn change(bench: &Bench, at: &At, command: &str) {
    match at {
        At::Hosts(hosts) => {
            for host in hosts {
                change(bench, &At::Host(host), command);
            }
        }
        At::Host(host) => {
            let mut command = command.replace("LABNAME", &bench.name);
            for (vm, at) in [("r1", "node1"), ("r2", "node2"), ("b1", "node1")] {
                // Of a NIC `virsh domiflist` prints tap, type, bridge, model and MAC address.
                for (name, column) in [(format!("TAP-{vm}"), 0), (format!("MAC-{vm}"), 4)] {
                    if command.contains(&name) {
                        let nics = bench.inside(at, &["virsh", "-q", "domiflist", &format!("{}.{vm}", bench.name)]);
                        command = command.replace(&name, nics.split_whitespace().nth(column).unwrap());
                    }
                }
            }
            bench.inside(host, &["sh", "-c", &command]);
        }
        At::Guest(vm) => _ = bench.good(&["-q", "exec", &bench.name, vm, "--", "sh", "-c", command]),
    }
}

/// Verifies a lab; gives its red cells and all that was said.
fn verified(bench: &Bench) -> (BTreeSet<(String, String)>, String) {
    let output = bench.run(&["verify", "--wait", "10", "--json", bench.file()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(&text).unwrap();
    let word = |cell: &Value, key: &str| cell[key].as_str().unwrap().to_owned();
    let cells = report["cells"].as_array().unwrap().iter();
    let red: BTreeSet<_> = cells
        .filter(|cell| cell["verdict"] != "pass")
        .map(|cell| (word(cell, "from"), word(cell, "to")))
        .collect();
    let green = red.is_empty() && report["as_expected"] == true;
    assert_eq!(output.status.code(), Some(i32::from(!green)), "{text}");
    (red, text)
}

/// What a fault must have caused and did not.
fn missing(fault: &Fault, red: &BTreeSet<(String, String)>, said: &str) -> Vec<String> {
    let cells = fault
        .red
        .iter()
        .filter(|(from, to)| !red.contains(&((*from).to_owned(), (*to).to_owned())));
    let words = fault.words.iter().filter(|words| !said.contains(**words));
    let cells = cells.map(|(from, to)| format!("{from} -> {to} is not red"));
    cells.chain(words.map(|words| format!("not said: {words}"))).collect()
}

fn up(test: &str) -> Option<Bench> {
    let bench = Bench::new(test, "flt", LAB)?;
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "verify", "--wait", PATIENT, bench.file()]);
    Some(bench)
}

/// FAULTS 43: while a port listens and learns nothing is asked. About 8 s, of which spanning tree takes 4: its forward
/// delay is the least that there is.
#[test]
fn ports_that_listen_or_learn_are_waited_for_and_named() {
    let test = "ports_that_listen_or_learn_are_waited_for_and_named";
    let text = "name = \"LABNAME\"\n[hosts.node1]\nnics.eth0 = {}\n[hosts.node2]\nnics.eth0 = {}\n\
                [[cables]]\nends = [\"node1:eth0\", \"node2:eth0\"]\n\
                [networks.n]\nsubnet = \"10.0.1.0/24\"\nuplink = \"eth0\"\nbridge = \"br-n\"\nstp = true\n\
                forward_delay = 2\naddresses = { node1 = \"10.0.1.7\", node2 = \"10.0.1.8\" }\n\
                [[verify.ping]]\nfrom = [\"node1\"]\nto = \"10.0.1.8\"\n";
    let Some(bench) = Bench::new(test, "stp", text) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    bench.inside(
        "node1",
        &["sh", "-c", "ip link set dev eth0 down && ip link set dev eth0 up"],
    );
    let output = bench.run(&["verify", bench.file()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(
        said.contains("for spanning tree") && said.contains("node1: eth0"),
        "{said}"
    );
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// The lab of `labs/snat-floating.toml`: one floating address, and a source address besides that of the NIC.
fn floating() -> String {
    let text = include_str!("../../labs/snat-floating.toml").replace("name = \"snat-floating\"", "name = \"LABNAME\"");
    assert!(text.contains("source = \"192.168.99.108\""));
    text
}

/// FAULTS 57: rules of address translation that are missing or others than the lab's; and causes of what lies outside.
/// About 20 s, of which half are two guests that boot.
#[test]
fn an_answer_of_somebody_else_is_red_and_cells_outside_have_a_cause() {
    let test = "an_answer_of_somebody_else_is_red_and_cells_outside_have_a_cause";
    let Some(bench) = Bench::new(test, "flo", &floating()) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "verify", "--wait", PATIENT, bench.file()]);
    let table = format!("netlab-{}", bench.name);
    let nft = |rules: &str| _ = bench.inside("node1", &["nft", &rules.replace("TABLE", &table)]);
    let check = |red: &'static [(&'static str, &'static str)], words: &'static [&'static str]| {
        let (found, said) = verified(&bench);
        let fault = Fault {
            at: At::Host("node1"),
            put: "",
            remove: "",
            red,
            words,
        };
        let missing = missing(&fault, &found, &said);
        assert!(missing.is_empty(), "{missing:#?}\n{said}");
    };
    // The host that has the floating address answers itself, since nothing translates it.
    nft("delete table ip TABLE");
    check(
        &[
            ("home", "192.168.99.50"),
            ("plain", "203.0.113.1"),
            ("web", "203.0.113.1"),
        ],
        &["node1: the address translation of floating address 192.168.99.50 to 10.0.1.3 is missing"],
    );
    bench.good(&["-q", "up", bench.file()]);
    // Somebody's own rule comes before the lab's: the lab's rules are all present.
    nft(
        "table ip other { chain pre { type nat hook prerouting priority -150; ip daddr 192.168.99.50 dnat to 10.0.1.2; }; \
         chain post { type nat hook postrouting priority 90; ip saddr 10.0.1.3 masquerade; }; }",
    );
    check(
        &[("home", "192.168.99.50"), ("web", "203.0.113.1")],
        &[
            "do not pass",
            "the tap of guest web: another machine answers",
            "home: no ping to 203.0.113.1 came from 192.168.99.50, the source address of guest web outside",
        ],
    );
    nft("delete table ip other");
    // What lies outside of the networks.
    bench.inside("node1", &["ip", "route", "add", "blackhole", "203.0.113.1"]);
    check(
        &[("plain", "203.0.113.1"), ("web", "203.0.113.1")],
        &["node1: its route to 203.0.113.1/32 is blackhole: it drops packets"],
    );
    bench.inside("node1", &["ip", "route", "delete", "blackhole", "203.0.113.1"]);
    nft("table inet other { chain fw { type filter hook forward priority 0; ip daddr 203.0.113.1 drop; }; }");
    check(
        &[("plain", "203.0.113.1"), ("web", "203.0.113.1")],
        &["node1: a rule that is not the lab's drops packets: table inet other, chain fw: ip daddr 203.0.113.1 drop"],
    );
    nft("delete table inet other");
    bench.good(&["-q", "verify", "--wait", PATIENT, bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// `diagnose` prints the path of one pair: that it works, the first broken hop with its fix, and where packets vanish of
/// which no machine shows anything.
fn diagnosed(bench: &Bench) {
    let path = bench.good(&["diagnose", &bench.name, "r1", "r2"]);
    assert!(path.starts_with("r1 -> r2 (10.0.1.3): works\n"), "{path}");
    for hop in [
        "guest r1: NIC eth0: up",
        "node1: link eth0 of network red: up, port of br-red",
        "guest r2: route back",
    ] {
        assert!(path.contains(hop), "{hop}: {path}");
    }
    let isolate = |state: &str| {
        let command =
            format!("bridge link set dev TAP-r2 isolated {state} && bridge link set dev eth0 isolated {state}");
        change(bench, &At::Host("node2"), &command);
    };
    isolate("on");
    let mut command = bench.netlab(&["diagnose", bench.file(), "r2", "10.0.1.2"]);
    let output = command.env("LC_ALL", "C").output().unwrap();
    let path = said(&output, 1);
    assert!(path.contains("r2 does not reach 10.0.1.2") && path.is_ascii(), "{path}");
    assert!(
        path.contains("packets vanish between") && path.contains("the other; shown by `tcpdump -ni"),
        "{path}"
    );
    assert!(
        path.contains("fix: `bridge link set dev") && path.contains("isolated off` on node2"),
        "{path}"
    );
    isolate("off");
    let path = bench.good(&["diagnose", bench.file(), "r1", "b1"]);
    let apart = "r1 -> b1 (10.0.2.2): kept apart, as the lab describes: none of 2 pings was answered";
    assert!(path.starts_with(apart), "{path}");
    let wrong = bench.bad(&["diagnose", bench.file(), "r1", "r3"], 2);
    assert!(
        wrong.contains("no VM, host or router \"r3\"") && wrong.contains("did you mean `r"),
        "{wrong}"
    );
}

/// About 20 s, of which half are three guests that boot.
#[test]
fn a_joined_network_a_stolen_gateway_address_and_a_strangers_address_are_red_with_both_owners() {
    let test = "a_joined_network_a_stolen_gateway_address_and_a_strangers_address_are_red_with_both_owners";
    let Some(bench) = up(test) else { return };
    let faults = [&FAULTS[0], &FAULTS[3], &FAULTS[5]];
    for fault in faults {
        change(&bench, &fault.at, fault.put);
    }
    let (red, said) = verified(&bench);
    let missing: Vec<_> = faults.iter().flat_map(|fault| missing(fault, &red, &said)).collect();
    assert!(missing.is_empty(), "{missing:#?}\n{said}");
    for fault in faults {
        change(&bench, &fault.at, fault.remove);
    }
    bench.good(&["-q", "verify", "--wait", PATIENT, bench.file()]);
    diagnosed(&bench);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// Puts in each fault, verifies, removes it, and verifies again; gives what was wrong.
fn each(bench: &Bench, faults: &[Fault], after: impl Fn()) -> Vec<String> {
    let mut wrong = Vec::new();
    for fault in faults {
        change(bench, &fault.at, fault.put);
        let (red, said) = verified(bench);
        let mut missing = missing(fault, &red, &said);
        if said.replace(' ', "").contains("\"as_expected\":true") {
            missing.push("all is green".to_owned());
        }
        eprintln!("{}: {missing:?}", fault.put);
        if !missing.is_empty() {
            wrong.push(format!("{}: {missing:#?}\n{said}", fault.put));
        }
        change(bench, &fault.at, fault.remove);
        after();
        let output = bench.run(&["verify", "--wait", "10", bench.file()]);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            eprintln!("after it was removed: {said}");
            wrong.push(format!("after `{}` was removed:\n{said}", fault.put));
        }
    }
    wrong
}

/// Brings a lab up, puts in each fault by itself, and takes it down.
fn all_of(test: &str, tag: &str, lab: &str, faults: &[Fault], repairs: bool) {
    let Some(bench) = Bench::new(test, tag, lab) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "verify", "--wait", PATIENT, bench.file()]);
    let up = || {
        if repairs {
            bench.good(&["-q", "up", bench.file()]);
        }
    };
    let wrong = each(&bench, faults, up);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
#[ignore = "soak: verifies a lab after each of many faults, and after each was removed"]
fn each_fault_of_layer_2_makes_its_cells_red_is_named_with_its_place_and_leaves_no_red_cell() {
    let test = "each_fault_of_layer_2_makes_its_cells_red_is_named_with_its_place_and_leaves_no_red_cell";
    all_of(test, "fl2", LAB, FAULTS, false);
}

#[test]
#[ignore = "soak: verifies a lab after each of many faults, and after each was removed"]
fn each_fault_of_layer_3_makes_its_cells_red_and_is_named_with_its_place() {
    let test = "each_fault_of_layer_3_makes_its_cells_red_and_is_named_with_its_place";
    all_of(test, "fl3", LAB, ROUTED, true);
}

#[test]
#[ignore = "soak: verifies a lab after each of many faults, and after each was removed"]
fn each_fault_of_a_guest_makes_its_cells_red_and_is_named() {
    let test = "each_fault_of_a_guest_makes_its_cells_red_and_is_named";
    all_of(test, "flg", LAB, GUESTS, true);
}

#[test]
#[ignore = "soak: verifies a lab after each of many faults, and after each was removed"]
fn each_fault_of_services_and_of_guests_with_two_nics_is_named_with_its_place() {
    let test = "each_fault_of_services_and_of_guests_with_two_nics_is_named_with_its_place";
    all_of(test, "fls", more::LAB, MORE, true);
}

#[test]
#[ignore = "soak: verifies a lab after each of many faults, and after each was removed"]
fn each_fault_towards_the_outside_makes_its_cells_red_and_up_removes_it() {
    let test = "each_fault_towards_the_outside_makes_its_cells_red_and_up_removes_it";
    all_of(test, "flx", &floating(), OUTSIDE, true);
}

#[test]
#[ignore = "soak: verifies a lab after each of many faults, and after each was removed"]
fn each_fault_of_open_vswitch_makes_its_cells_red_and_is_named_with_its_place() {
    let test = "each_fault_of_open_vswitch_makes_its_cells_red_and_is_named_with_its_place";
    if !without_ovs(test) {
        all_of(test, "flv", switched::LAB, SWITCHED, true);
    }
}
