//! Guests on ports of Open vSwitch's bridges that try to be another one.

use super::live::labs;
use super::tenants::{report, texts};
use super::tunnels::without_ovs;
use crate::support::lab::Bench;

/// The lab `tenants` on Open vSwitch.
fn on_ovs() -> String {
    let text = std::fs::read_to_string(labs().join("tenants.toml")).unwrap();
    let text = text.replace("name = \"tenants\"", "name = \"LABNAME\"");
    let on_ovs = text.replace("\ntenant = ", "\nswitch = \"ovs\"\ntenant = ");
    assert_eq!(on_ovs.matches("switch = \"ovs\"").count(), 2);
    on_ovs
}

/// Both guests tried an address that is not theirs, and nothing of it passed.
#[track_caller]
fn assert_secured(bench: &Bench) {
    let (found, as_expected) = report(bench);
    assert!(as_expected, "{found:#}");
    let notes = texts(&found["notes"]).join("\n");
    for guest in ["red", "blue"] {
        assert!(notes.contains(&format!("{guest} sent from 10.0.")), "{notes}");
    }
    assert_eq!(notes.matches("let nothing pass").count(), 2, "{notes}");
}

/// Packets that the flows of this priority have dropped on node1.
fn dropped(bench: &Bench, priority: &str) -> u64 {
    let flows = bench.inside(
        "node1",
        &[
            "sh",
            "-c",
            "for bridge in $(ovs-vsctl list-br); do ovs-ofctl dump-flows $bridge cookie=0x6e65746c/-1; done",
        ],
    );
    let of_it = flows.lines().filter(|line| line.contains(priority));
    let packets = of_it.map(|line| line.split_once("n_packets=").unwrap().1.split_once(',').unwrap().0);
    packets.map(|packets| packets.parse::<u64>().unwrap()).sum()
}

#[test]
fn flows_of_open_vswitch_let_a_guest_send_with_its_own_addresses_only() {
    let test = "flows_of_open_vswitch_let_a_guest_send_with_its_own_addresses_only";
    if without_ovs(test) {
        return;
    }
    let Some(bench) = Bench::new(test, "sec", &on_ovs()) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let again = bench.good(&["up", bench.file()]);
    assert!(again.contains("nothing to do"), "{again}");
    assert_secured(&bench);

    // Another MAC address than its own.
    let exec = |command: &str| bench.run(&["exec", "-n", bench.file(), "red", "--", command]);
    let own = "ping -c2 -W2 10.0.1.1";
    assert!(exec(own).status.success());
    let before = dropped(&bench, "priority=300");
    let forged = "d=$(ls /sys/class/net | grep -v lo | head -n1); own=$(cat /sys/class/net/$d/address); \
                  ip link set dev $d address 52:54:00:00:00:99; ping -c2 -W1 10.0.1.1; status=$?; \
                  ip link set dev $d address $own; exit $status";
    assert!(!exec(forged).status.success());
    assert!(dropped(&bench, "priority=300") > before);
    assert!(exec(own).status.success(), "with its own again");

    // The flows are what keeps it: without them both pass, which verify and plan see, and up loads them again.
    let delete = "for bridge in $(ovs-vsctl list-br); do ovs-ofctl del-flows $bridge cookie=0x6e65746c/-1; done";
    bench.inside("node1", &["sh", "-c", delete]);
    let (found, as_expected) = report(&bench);
    assert!(!as_expected, "{found:#}");
    let faults = texts(&found["faults"]);
    for guest in ["red", "blue"] {
        let text = format!("{guest}: packets from ");
        let passes = |fault: &&str| fault.starts_with(&text) && fault.ends_with("pass its port");
        assert!(faults.iter().any(passes), "{faults:#?}");
    }
    let drift = texts(&found["drift"]).join("\n");
    assert!(drift.contains("let only 10.0.1.2 ("), "{drift}");
    bench.good(&["-q", "up", bench.file()]);

    // The port of a guest that is started again is another one.
    bench.good(&["-q", "restart", &bench.name, "red"]);
    let again = bench.good(&["up", bench.file()]);
    assert!(!again.contains("load firewall rules"), "{again}");
    assert_secured(&bench);

    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
