//! `netlab doctor` on machines behind ssh.

use serde_json::Value;

use crate::machines::{Machines, NODES};

#[test]
fn doctor_names_what_is_wrong_on_each_host_and_how_to_fix_it() {
    let Some(machines) = Machines::new("doctor") else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    // So that it can be measured from NIC to NIC.
    machines.run("node1", &["ip", "addr", "add", "10.200.3.1/24", "dev", "eth0"]);
    machines.run("node2", &["ip", "addr", "add", "10.200.3.2/24", "dev", "eth0"]);
    let before = machines.snapshot();
    let well = machines.good(&["doctor", lab]);
    for word in [
        "node1",
        "node2",
        "reachable",
        "libvirt",
        "clock",
        "disk",
        "rights",
        "path",
        "packets of 1500 bytes pass to",
    ] {
        assert!(well.contains(word), "{word}: {well}");
    }
    assert!(!well.contains("ERROR"), "{well}");
    machines.run("node2", &["ip", "link", "set", "eth0", "mtu", "1400"]);
    machines.run("node1", &["ip", "link", "add", "name", "vp", "type", "bridge"]);
    let text = std::fs::read_to_string(machines.lab()).unwrap();
    std::fs::write(
        machines.lab(),
        text.replace("uplink = \"eth0\"", "uplink = \"eth0\"\nbridge = \"vp\""),
    )
    .unwrap();
    let ill = machines.bad(&["doctor", lab]);
    assert!(ill.contains("1500 bytes do not pass to node2"), "{ill}");
    assert!(
        ill.contains("the name vp") && ill.contains("choose another name"),
        "{ill}"
    );
    machines.run("node1", &["ip", "link", "del", "vp"]);
    machines.run("node2", &["ip", "link", "set", "eth0", "mtu", "1500"]);
    machines.run("ctl", &["ip", "link", "set", "eth2", "down"]);
    let json = machines.output(&["doctor", "--json", lab]);
    assert_eq!(json.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let unreachable = json
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["check"] == "reachable" && one["host"] == "node2");
    assert_eq!(unreachable.unwrap()["verdict"], "error", "{json:#}");
    machines.run("ctl", &["ip", "link", "set", "eth2", "up"]);
    machines.assert_as(&before);
}

/// What doctor says of that chain on a host, other than that it is there.
fn complaints(machines: &Machines, host: &str) -> Vec<Value> {
    let lab = machines.lab();
    let output = machines.output(&["doctor", "--json", lab.to_str().unwrap()]);
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let ill = |one: &Value| {
        let of_chain = one["what"]
            .as_str()
            .is_some_and(|what| what.contains("`inet theirs pass`"));
        one["host"] == host && one["verdict"] != "ok" && of_chain
    };
    findings.into_iter().filter(ill).collect()
}

#[test]
fn doctor_names_the_chain_that_drops_what_is_forwarded_and_the_commands_that_let_the_lab_through() {
    let Some(machines) = Machines::new("firewall") else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let bridge_nf = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    let has_bridge_nf = machines
        .run("node2", &["sh", "-c", &format!("ls {bridge_nf} 2>/dev/null || true")])
        .contains("bridge-nf");
    for node in NODES {
        let chain =
            "add table inet theirs; add chain inet theirs pass { type filter hook forward priority 0; policy drop; }";
        machines.run(node, &["nft", chain]);
        if has_bridge_nf {
            machines.run(node, &["sh", "-c", &format!("echo 1 >{bridge_nf}")]);
        }
    }
    // node2 forwards nothing: there the chain blocks the lab only where it sees bridged packets.
    for node in if has_bridge_nf { &NODES[..] } else { &NODES[..1] } {
        let said = complaints(&machines, node);
        let [one] = &said[..] else { panic!("{node}: {said:#?}") };
        let (what, help) = (one["what"].as_str().unwrap(), one["help"].as_str().unwrap());
        assert_eq!(one["verdict"], "warning");
        assert!(
            what.contains("`inet theirs pass` drops packets that the host forwards"),
            "{what}"
        );
        assert_eq!(what.contains("even bridged ones"), has_bridge_nf, "{what}");
        let text = machines.good(&["doctor", lab]);
        assert!(
            text.contains("`inet theirs pass` drops") && text.contains("nft insert rule inet theirs pass"),
            "{text}"
        );
        // As a user would who copies it.
        machines.run(node, &["sh", "-c", help.split('`').nth(1).unwrap()]);
        assert_eq!(complaints(&machines, node), [] as [Value; 0], "behind {help}");
    }
}
