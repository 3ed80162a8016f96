//! Labs with an uplink to the outside: who reaches it, with which source address, and who is not reached from there.

use std::collections::BTreeSet;

use super::live::{cells, live, remember_sources, sources};

const WORLD: &str = "203.0.113.1";

fn addresses<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(str::to_owned).into()
}

#[test]
fn nat_lets_hosts_and_guests_out_under_one_address_and_nobody_in() {
    let test = "nat_lets_hosts_and_guests_out_under_one_address_and_nobody_in";
    let found = live(
        test,
        "nat",
        |bench| remember_sources(bench, "home"),
        |bench, ()| assert_eq!(sources(bench, "home"), addresses(["192.168.99.108"])),
    );
    let Some(found) = found else { return };
    let expected = cells(&[
        ("vm-1", "vm-2", true),
        ("vm-2", "vm-1", true),
        ("vm-1", "gw service", true),
        ("vm-2", "gw service", true),
        ("vm-1", WORLD, true),
        ("vm-2", WORLD, true),
        ("node1", WORLD, true),
        ("node2", WORLD, true),
        ("home", "10.0.1.2", false),
        ("home", "172.16.99.109", false),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn snat_floating_gives_one_guest_an_address_of_its_own_in_both_directions() {
    let test = "snat_floating_gives_one_guest_an_address_of_its_own_in_both_directions";
    let found = live(
        test,
        "snat-floating",
        |bench| remember_sources(bench, "home"),
        // Two guests ask for the world: one under each.
        |bench, ()| assert_eq!(sources(bench, "home"), addresses(["192.168.99.108", "192.168.99.50"])),
    );
    let Some(found) = found else { return };
    let expected = cells(&[
        ("plain", "web", true),
        ("web", "plain", true),
        ("plain", "gw service", true),
        ("web", "gw service", true),
        ("plain", WORLD, true),
        ("web", WORLD, true),
        ("home", "192.168.99.50", true),
        ("home", "10.0.1.3", false),
        ("home", "10.0.1.2", false),
    ]);
    assert_eq!(found, expected);
}
