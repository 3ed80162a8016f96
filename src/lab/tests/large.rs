//! Large files: each takes seconds. What takes time in proportion to the square of the size would take many minutes, and a
//! test is ended after three.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{good, two, wrong};
use crate::topology::allocate;

fn many(count: u32, item: impl Fn(u32) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "{}", item(number));
        text
    })
}

#[test]
fn sixty_thousand_unknown_keys_are_a_hundred_problems() {
    let found = wrong(&format!(
        "name = \"t\"\n[hosts.a]\n{}",
        many(60_000, |n| format!("k{n} = {n}"))
    ));
    assert_eq!(found.len(), 100);
    assert!(
        found[99].contains("59900 further problems are not shown"),
        "{}",
        found[99]
    );
}

#[test]
fn eight_thousand_hosts_on_a_switch_are_a_lab() {
    let host = |n| format!("[hosts.h{n}]\nnics.eth0.address = \"10.{}.{}.1/24\"", n / 256, n % 256);
    let cable = |n| format!("[[cables]]\nends = [\"h{n}:eth0\", \"s\"]");
    let lab = good(&format!(
        "name = \"t\"\n[switches.s]\n{}{}",
        many(8_000, host),
        many(8_000, cable)
    ));
    assert_eq!(lab.cables.len(), 8_000);
}

#[test]
fn five_thousand_networks_and_as_many_vms_are_a_lab() {
    let network = |n| {
        let subnet = format!("10.{}.{}", n / 256, n % 256);
        format!(
            "[networks.n{n}]\nsubnet = \"{subnet}.0/24\"\ngateway = {{ address = \"{subnet}.1\", on = \"a\" }}\ndhcp = true"
        )
    };
    let vm = |n| format!("[vms.v{n}]\nhost = \"b\"\nnics = [{{ network = \"n{n}\" }}]");
    let lab = good(&two(&format!("{}{}", many(5_000, network), many(5_000, vm))));
    assert_eq!(allocate(&lab, &BTreeMap::new()).guests.len(), 5_000);
}

#[test]
fn many_references_to_nothing_are_a_hundred_problems() {
    let vm = |n| format!("[vms.v{n}]\nhost = \"host{n}\"");
    let host = |n| format!("[hosts.h{n}]");
    let found = wrong(&format!("name = \"t\"\n{}{}", many(4_000, host), many(4_000, vm)));
    assert_eq!(found.len(), 100);
}
