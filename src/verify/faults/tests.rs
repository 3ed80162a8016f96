//! Faults by what hosts and guests show.

use std::time::Duration;

use super::*;
use crate::lab::MacAddr;
use crate::plan::example::{host, topology, vm};
use crate::state::view::{Learned, Neighbor, Port};

/// The faults of the example lab, of whose hosts `view` is what node2 shows and `guest` what vm2 shows.
fn found(view: View, guest: GuestView) -> Vec<String> {
    let topology = topology();
    let mac: MacAddr = "02:00:00:00:00:11".parse().unwrap();
    let bridge = Port {
        mac: Some(mac),
        ..Port::default()
    };
    let node1 = View {
        ports: [("br1".to_owned(), bridge)].into(),
        ..View::default()
    };
    let traces = Traces {
        topology: &topology,
        views: &[(host("node1"), node1), (host("node2"), view)].into(),
        guests: &[(vm("vm2"), guest)].into(),
        since: Duration::from_secs(5),
    };
    faults(&traces).into_iter().map(|fault| fault.text).collect()
}

/// What vm2 shows, which has what it was given.
fn vm2() -> GuestView {
    let address = topology().guests[&vm("vm2")].nics[0].address.addr();
    GuestView {
        addresses: [address].into(),
        ..GuestView::default()
    }
}

fn mac_of(name: &str) -> MacAddr {
    topology().guests[&vm(name)].nics[0].mac
}

fn learned(mac: MacAddr, port: &str, age: u64) -> View {
    let one = Learned {
        mac,
        bridge: "br1".to_owned(),
        port: port.to_owned(),
        age: Some(Duration::from_secs(age)),
    };
    View {
        learned: vec![one],
        ..View::default()
    }
}

#[test]
fn a_mac_address_learned_from_its_own_port_is_no_fault_and_from_another_one_is() {
    let clean = |view| found(view, vm2());
    assert_eq!(clean(learned(mac_of("vm1"), "eth0", 1)), [""; 0]);
    let strange = clean(learned(mac_of("vm1"), "st0", 1));
    assert!(
        strange[0].contains("of guest vm1 from port st0, not from eth0"),
        "{strange:?}"
    );
    assert_eq!(
        clean(learned(mac_of("vm1"), "st0", 9)),
        [""; 0],
        "what is older than the pings is not of them"
    );
}

#[test]
fn a_neighbor_with_another_mac_address_than_the_labs_is_a_fault_that_names_both_owners() {
    let address = "10.0.1.1".parse().unwrap();
    let good = GuestView {
        arp: [(address, "02:00:00:00:00:11".parse().unwrap())].into(),
        ..vm2()
    };
    assert_eq!(found(View::default(), good), [""; 0]);
    let stolen = GuestView {
        arp: [(address, mac_of("vm1"))].into(),
        ..vm2()
    };
    let text = found(View::default(), stolen).concat();
    assert!(
        text.contains("10.0.1.1 of bridge br1 of host node1 belongs to guest vm1 (node1)"),
        "{text}"
    );
    let neighbor = Neighbor {
        address: "10.0.1.2".parse().unwrap(),
        link: "br1".to_owned(),
        mac: Some("02:00:00:00:00:99".parse().unwrap()),
        permanent: true,
        used: Duration::from_secs(99),
    };
    let view = View {
        neighbors: vec![neighbor],
        ..View::default()
    };
    let text = found(view, vm2()).concat();
    assert!(
        text.contains("(set by hand) 10.0.1.2 of guest vm1 (node1) belongs to a machine"),
        "{text}"
    );
}
