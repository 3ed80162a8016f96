//! FAULTS 55 and 56: faults put in by hand into a lab that is up, each with the cells that must be red and the words that
//! must appear. One lab for many faults: a fault is removed before the next one, and `verify` must then be green.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::lab::{Bench, PATIENT};

/// Two networks on two hosts; `red` has a gateway, `blue` has none, so that nothing leads from one to the other.
const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0 = {}
nics.eth1 = {}
[hosts.node2]
nics.eth0 = {}
nics.eth1 = {}
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[[cables]]
ends = ["node1:eth1", "node2:eth1"]
[networks.red]
subnet = "10.0.1.0/24"
uplink = "eth0"
bridge = "br-red"
gateway = { address = "10.0.1.1", on = "node1" }
[networks.blue]
subnet = "10.0.2.0/24"
uplink = "eth1"
bridge = "br-blue"
addresses = { node2 = "10.0.2.9" }
[vms.r1]
host = "node1"
memory = "96MiB"
nics = [{ network = "red", address = "10.0.1.2" }]
[vms.r2]
host = "node2"
memory = "96MiB"
nics = [{ network = "red", address = "10.0.1.3" }]
[vms.b1]
host = "node1"
memory = "96MiB"
nics = [{ network = "blue", address = "10.0.2.2" }]
"#;

/// The cells between the two networks.
const BETWEEN: &[(&str, &str)] = &[("r1", "b1"), ("r2", "b1"), ("b1", "r1"), ("b1", "r2")];

/// Where a fault is put in: a host, or a guest by its console.
enum At {
    Host(&'static str),
    Guest(&'static str),
}

/// A fault: where, the commands that put it in and remove it, the cells that must be red, the words that must appear.
struct Fault {
    at: At,
    put: &'static str,
    remove: &'static str,
    red: &'static [(&'static str, &'static str)],
    words: &'static [&'static str],
}

const FAULTS: &[Fault] = &[
    // Two networks joined: by a veth pair, by a guest's tap, by a NIC of the host.
    Fault {
        at: At::Host("node1"),
        put: "ip link add name st0 type veth peer name st1 && ip link set dev st0 master br-red up && \
              ip link set dev st1 master br-blue up",
        remove: "ip link delete dev st0",
        red: BETWEEN,
        words: &["network blue and network red are joined", "node1", "port st"],
    },
    Fault {
        at: At::Host("node1"),
        put: "ip link set dev TAP-b1 master br-red",
        remove: "ip link set dev TAP-b1 master br-blue",
        red: BETWEEN,
        words: &[
            "network blue and network red are joined",
            "the tap of guest b1",
            "node1",
        ],
    },
    Fault {
        at: At::Host("node1"),
        put: "ip link set dev eth1 master br-red",
        remove: "ip link set dev eth1 master br-blue",
        red: BETWEEN,
        words: &[
            "network blue and network red are joined",
            "eth1, a NIC of the host",
            "node1",
        ],
    },
    // Somebody else has an address.
    Fault {
        at: At::Guest("r2"),
        put: "ip addr add 10.0.1.1/24 dev eth0",
        remove: "ip addr del 10.0.1.1/24 dev eth0",
        red: &[("r1", "gw red"), ("r2", "gw red")],
        words: &["guest r2 (node2) has the address 10.0.1.1 of bridge br-red of host node1"],
    },
    Fault {
        at: At::Guest("r2"),
        put: "ip addr add 10.0.1.2/24 dev eth0",
        remove: "ip addr del 10.0.1.2/24 dev eth0",
        red: &[("r2", "r1")],
        words: &["guest r2 (node2) has the address 10.0.1.2 of guest r1 (node1)"],
    },
    Fault {
        at: At::Host("node2"),
        put: "ip netns add stranger && ip link add name st0 type veth peer name st1 netns stranger && \
              ip link set dev st0 master br-red up && ip -n stranger link set dev st1 up && \
              ip -n stranger address add 10.0.1.2/24 dev st1",
        remove: "ip link delete dev st0; ip netns delete stranger",
        red: &[("r2", "r1")],
        words: &["10.0.1.2 of guest r1 (node1) belongs to a machine that is not the lab's"],
    },
    Fault {
        at: At::Host("node1"),
        put: "ip neigh replace 10.0.1.2 lladdr 02:00:00:00:00:99 nud permanent dev br-red",
        remove: "ip neigh del 10.0.1.2 dev br-red",
        red: &[("r1", "gw red")],
        words: &["node1: by its neighbor table on br-red (set by hand) 10.0.1.2 of guest r1 (node1) belongs to"],
    },
    // What a guest itself has otherwise than the lab.
    Fault {
        at: At::Guest("r1"),
        put: "ip addr del 10.0.1.2/24 dev eth0; ip addr add 10.0.1.2/30 dev eth0; ip route add default via 10.0.1.1",
        remove: "ip addr del 10.0.1.2/30 dev eth0; ip addr add 10.0.1.2/24 dev eth0; ip route add default via 10.0.1.1",
        red: &[("r1", "gw red"), ("r1", "r2"), ("r2", "r1")],
        words: &["guest r1: NIC eth0 has 10.0.1.2 with the mask /30, not /24"],
    },
    Fault {
        at: At::Guest("r1"),
        put: "ip link set eth0 mtu 1300",
        remove: "ip link set eth0 mtu 1500",
        red: &[("r1", "gw red"), ("r1", "r2"), ("r2", "r1")],
        words: &["guest r1: NIC eth0 has an MTU of 1300 bytes"],
    },
];

fn change(bench: &Bench, at: &At, command: &str) {
    match at {
        At::Host(host) => {
            let mut command = command.to_owned();
            for vm in ["r1", "r2", "b1"] {
                let name = format!("TAP-{vm}");
                if command.contains(&name) {
                    let taps = bench.inside(host, &["virsh", "-q", "domiflist", &format!("{}.{vm}", bench.name)]);
                    command = command.replace(&name, taps.split_whitespace().next().unwrap());
                }
            }
            bench.inside(host, &["sh", "-c", &command]);
        }
        At::Guest(vm) => _ = bench.good(&["-q", "exec", &bench.name, vm, "--", "sh", "-c", command]),
    }
}

/// Verifies a lab that must be red; gives its red cells and all that was said.
fn verified(bench: &Bench) -> (BTreeSet<(String, String)>, String) {
    let output = bench.run(&["verify", "--wait", "10", "--json", bench.file()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_str(&text).unwrap();
    let word = |cell: &Value, key: &str| cell[key].as_str().unwrap().to_owned();
    let cells = report["cells"].as_array().unwrap().iter();
    let red = cells
        .filter(|cell| cell["verdict"] != "pass")
        .map(|cell| (word(cell, "from"), word(cell, "to")));
    (red.collect(), text)
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

/// About 15 s, of which two thirds are three guests that boot.
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
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
#[ignore = "soak: verifies a lab after each of many faults, and after each was removed"]
fn each_fault_makes_its_cells_red_is_named_with_its_place_and_leaves_no_red_cell() {
    let test = "each_fault_makes_its_cells_red_is_named_with_its_place_and_leaves_no_red_cell";
    let Some(bench) = up(test) else { return };
    let mut wrong = Vec::new();
    for fault in FAULTS {
        change(&bench, &fault.at, fault.put);
        let (red, said) = verified(&bench);
        let missing = missing(fault, &red, &said);
        if !missing.is_empty() {
            wrong.push(format!("{}: {missing:#?}\n{said}", fault.put));
        }
        change(&bench, &fault.at, fault.remove);
        let output = bench.run(&["verify", "--wait", "10", bench.file()]);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            wrong.push(format!("after `{}` was removed:\n{said}", fault.put));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
