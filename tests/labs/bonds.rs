//! The lab with bonds: one cable pulled changes nothing that guests see, and both pulled are named as the cause.

use super::live::{cells, live};
use super::tunnels::without_ovs;
use crate::support::lab::{Bench, PATIENT};
use crate::support::wait_until;

/// Disables or enables a port of the switch: to the other end of its cable as if it were pulled or plugged in again.
fn port(bench: &Bench, port: &str, state: &str) {
    let namespace = format!("netlab.{}.rack", bench.name);
    let mut command = std::process::Command::new("ip");
    command.args(["netns", "exec", &namespace, "ip", "link", "set", port, state]);
    assert!(command.status().unwrap().success(), "{port} {state}");
}

/// The line of `status` on node1's bond has this.
fn status_has(bench: &Bench, wanted: &str) {
    wait_until(wanted, || {
        let status = bench.good(&["status", &bench.name]);
        status
            .lines()
            .any(|line| line.starts_with("bond0  node1") && line.contains(wanted))
    });
}

#[test]
fn a_pulled_cable_of_a_bond_degrades_it_and_without_any_its_guests_are_cut_off() {
    let test = "a_pulled_cable_of_a_bond_degrades_it_and_without_any_its_guests_are_cut_off";
    if without_ovs(test) {
        return;
    }
    let pulled = |bench: &Bench| {
        status_has(bench, "up ");
        port(bench, "p1", "down");
        status_has(bench, "degraded");
        let verified = bench.run(&["verify", "--wait", PATIENT, bench.file()]);
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        let matrix = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success(), "{said}{matrix}");
        assert!(
            said.contains("node1: bond bond0 is degraded: eth0 has no carrier"),
            "{said}"
        );
        port(bench, "p2", "down");
        status_has(bench, "down");
        let verified = bench.run(&["verify", bench.file()]);
        let matrix = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert_eq!(verified.status.code(), Some(1), "{matrix}");
        let cause =
            "node1: link bond0 of network service has no carrier: no cable of its NICs eth0 and eth1 is connected";
        assert!(matrix.contains(cause), "{matrix}");
        let repaired = bench.good(&["-q", "up", bench.file()]);
        assert!(!repaired.contains("nothing to do"), "{repaired}");
        status_has(bench, "up ");
    };
    let Some(found) = live(test, "bond", pulled, |_, ()| ()) else {
        return;
    };
    let expected = cells(&[
        ("vm1", "vm2", true),
        ("vm2", "vm1", true),
        ("vm1", "gw service", true),
        ("vm2", "gw service", true),
    ]);
    assert_eq!(found, expected);
}
