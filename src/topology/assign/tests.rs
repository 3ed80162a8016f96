use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::lab::{Lab, parse};
use crate::topology::{Existing, ExistingNic, Topology, allocate, reallocate};

/// A lab of two networks with `more` after them.
fn lab(more: &str) -> Lab {
    let text = format!(
        "name = \"t\"\nimage = \"i\"\n[images.i]\nrecipe = \"mini\"\ncmdline = \"\"\nconsole = {{ prompt = \"# \" }}\n\
         [hosts.node1]\nnics.eth0.address = \"10.0.0.4/24\"\n\
         [networks.n]\nsubnet = \"10.0.0.0/24\"\nuplink = \"eth0\"\ngateway = {{ address = \"10.0.0.1\" }}\n\
         [networks.m]\nsubnet = \"10.0.1.0/24\"\nnameservers = [\"10.0.1.1\"]\n{more}"
    );
    parse("lab.toml", &text, &[].into()).unwrap_or_else(|wrong| panic!("{:#?}", wrong.problems))
}

fn vm(name: &str, nics: &str) -> String {
    format!("[vms.{name}]\nnics = [{nics}]\n")
}

/// What is observed once `topology` is up.
fn existing(topology: &Topology) -> Existing {
    let guests = topology.guests.iter().map(|(name, guest)| {
        let nics = guest.nics.iter().map(|nic| ExistingNic {
            tap: nic.tap.clone(),
            mac: nic.mac,
            address: Some(nic.address.addr()),
        });
        (name.clone(), nics.collect())
    });
    Existing {
        guests: guests.collect(),
        ..Existing::default()
    }
}

/// Each guest's addresses.
fn addresses(topology: &Topology) -> BTreeMap<String, Vec<String>> {
    let guests = topology.guests.iter().map(|(name, guest)| {
        let nics = guest.nics.iter().map(|nic| nic.address.addr().to_string());
        (name.to_string(), nics.collect())
    });
    guests.collect()
}

fn fresh(more: &str) -> Topology {
    allocate(&lab(more), &BTreeMap::new())
}

fn grown(before: &Topology, more: &str) -> Topology {
    reallocate(&lab(more), &BTreeMap::new(), &existing(before))
}

#[test]
fn the_addresses_of_hosts_gateways_and_name_servers_are_taken() {
    let all = [
        vm("a", "{ network = \"n\" }, { network = \"m\" }"),
        vm("b", "{ network = \"n\" }"),
        vm("c", "{ network = \"n\" }"),
    ];
    let topology = fresh(&all.concat());
    let wanted = [
        ("a", vec!["10.0.0.2", "10.0.1.2"]),
        ("b", vec!["10.0.0.3"]),
        ("c", vec!["10.0.0.5"]),
    ];
    let wanted = wanted.map(|(name, addresses)| (name.to_owned(), addresses.into_iter().map(str::to_owned).collect()));
    assert_eq!(addresses(&topology), wanted.into());
}

#[test]
fn an_address_that_only_the_host_knows_is_avoided() {
    let mut hosts = Existing::default();
    hosts.hosts.insert([10, 0, 0, 2].into());
    let topology = reallocate(&lab(&vm("a", "{ network = \"n\" }")), &BTreeMap::new(), &hosts);
    assert_eq!(addresses(&topology)["a"], ["10.0.0.3"]);
}

#[test]
fn a_count_is_numbered_by_value() {
    let topology = fresh("[vms.v]\ncount = 11\nnics = [{ network = \"m\" }]\n");
    let addresses = addresses(&topology);
    assert_eq!(
        (&addresses["v-2"][0][..], &addresses["v-10"][0][..]),
        ("10.0.1.3", "10.0.1.11")
    );
}

#[test]
fn a_vm_that_sorts_first_takes_a_free_address() {
    let before = fresh(&vm("b", "{ network = \"n\" }"));
    let after = grown(
        &before,
        &[vm("a", "{ network = \"n\" }"), vm("b", "{ network = \"n\" }")].concat(),
    );
    assert_eq!(addresses(&after)["b"], addresses(&before)["b"]);
    assert_eq!(addresses(&after)["a"], ["10.0.0.3"]);
}

#[test]
fn an_address_in_the_file_is_taken_from_the_guest_that_has_it() {
    let before = fresh(&vm("b", "{ network = \"n\" }"));
    let fixed = vm("a", "{ network = \"n\", address = \"10.0.0.2\" }");
    let after = grown(&before, &[fixed, vm("b", "{ network = \"n\" }")].concat());
    assert_eq!(addresses(&after)["a"], ["10.0.0.2"]);
    assert_eq!(addresses(&after)["b"], ["10.0.0.3"]);
}

#[test]
fn an_address_outside_the_network_is_given_up() {
    let before = fresh(&vm("b", "{ network = \"n\" }"));
    let after = grown(&before, &vm("b", "{ network = \"m\" }"));
    assert_eq!(addresses(&after)["b"], ["10.0.1.2"]);
    let mac = |topology: &Topology| topology.guests.values().next().unwrap().nics[0].mac;
    assert_eq!(mac(&after), mac(&before));
}

#[test]
fn a_nic_keeps_its_address_when_another_is_put_before_it() {
    let before = fresh(&[vm("a", "{ network = \"n\" }"), vm("b", "{ network = \"n\" }")].concat());
    let both = "{ network = \"m\" }, { network = \"n\" }";
    let after = grown(&before, &[vm("a", "{ network = \"n\" }"), vm("b", both)].concat());
    assert_eq!(addresses(&after)["b"], ["10.0.1.2", "10.0.0.3"]);
}

proptest! {
    /// Names are short, so that taps and MAC addresses are derived from colliding ones as well.
    #[test]
    fn growing_a_lab_never_changes_what_a_guest_has(
        old in prop::collection::btree_set("[a-c][a-c0-9]{0,2}", 1..12),
        new in prop::collection::btree_set("[a-c][a-c0-9]{0,2}", 1..12),
        fixed in 100_u8..110,
    ) {
        let text = |names: &std::collections::BTreeSet<String>, more: &str| {
            names.iter().map(|name| vm(name, "{ network = \"n\" }, { network = \"m\" }")).chain([more.to_owned()]).collect::<String>()
        };
        let before = fresh(&text(&old, ""));
        let all = old.union(&new).cloned().collect();
        let fixed = vm("fixed", &format!("{{ network = \"n\", address = \"10.0.0.{fixed}\" }}"));
        let after = grown(&before, &text(&all, &fixed));
        for (name, guest) in &before.guests {
            prop_assert_eq!(&after.guests[name], guest);
        }
        let mut seen = std::collections::BTreeSet::new();
        for nic in after.guests.values().flat_map(|guest| &guest.nics) {
            prop_assert!(seen.insert(nic.address.to_string()) && seen.insert(nic.mac.to_string()));
            prop_assert!(seen.insert(nic.tap.to_string()));
        }
        // What is observed of the grown lab gives the grown lab.
        prop_assert_eq!(grown(&after, &text(&all, &fixed_again(&after))), after);
    }
}

/// The VM `fixed` of the property, as written in the file.
fn fixed_again(topology: &Topology) -> String {
    let address = addresses(topology)["fixed"][0].clone();
    vm("fixed", &format!("{{ network = \"n\", address = \"{address}\" }}"))
}
