//! Labs that stay among themselves: one wire, a switch, a gateway on every host.

use super::live::{cells, live};
use crate::support::lab::Bench;

#[test]
fn flat_hosts_and_guests_share_one_wire_and_management_goes_on() {
    let test = "flat_hosts_and_guests_share_one_wire_and_management_goes_on";
    let moved = |bench: &Bench| {
        let addresses = bench.inside("node2", &["ip", "-br", "-4", "address", "show", "dev", "br1"]);
        assert!(
            addresses.contains("10.0.1.102/24") && addresses.contains("172.16.99.109/24"),
            "{addresses}"
        );
        let port = bench.inside("node2", &["ip", "address", "show", "dev", "eth0"]);
        assert!(port.contains("master br1") && !port.contains("172.16.99"), "{port}");
        let route = bench.inside("node2", &["ip", "route", "show", "default"]);
        assert!(route.contains("via 172.16.99.108 dev br1"), "{route}");
    };
    let Some(found) = live(test, "flat", moved, |_, ()| ()) else {
        return;
    };
    let expected = cells(&[
        ("vm1", "vm2", true),
        ("vm2", "vm1", true),
        ("node2", "172.16.99.108", true),
        ("vm1", "10.0.1.102", true),
        ("node1", "10.0.1.102", true),
        ("node2", "10.0.1.2", true),
        ("vm1", "172.16.99.108", false),
        ("vm2", "172.16.99.108", false),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn switch_joins_three_hosts() {
    let Some(found) = live("switch_joins_three_hosts", "switch", |_| (), |_, ()| ()) else {
        return;
    };
    let expected = cells(&[
        ("vm-1", "vm-2", true),
        ("vm-2", "vm-1", true),
        ("node3", "172.16.99.101", true),
        ("node3", "172.16.99.102", true),
        ("node3", "10.0.1.2", false),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn multi_host_has_a_gateway_on_every_host_and_each_routes_its_own_guests() {
    let test = "multi_host_has_a_gateway_on_every_host_and_each_routes_its_own_guests";
    let Some(found) = live(test, "multi-host", |_| (), |_, ()| ()) else {
        return;
    };
    let expected = cells(&[
        ("red-1", "red-2", true),
        ("red-2", "red-1", true),
        ("blue", "red-1", true),
        ("red-1", "blue", true),
        ("blue", "red-2", false),
        ("red-2", "blue", false),
        ("blue", "gw blue", true),
        ("red-1", "gw red", true),
        ("red-2", "gw red", true),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn flat_dhcp_gives_every_guest_its_address_and_its_name() {
    let test = "flat_dhcp_gives_every_guest_its_address_and_its_name";
    let names = |bench: &Bench| {
        let name = format!("vm2.{}", bench.name);
        let answer = bench.inside("node1", &["busybox", "nslookup", &name, "10.0.1.1"]);
        assert!(answer.contains("10.0.1.3"), "{answer}");
    };
    let Some(found) = live(test, "flat-dhcp", names, |_, ()| ()) else {
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
