//! Faults by what hosts and guests show.

use std::time::Duration;

use super::*;
use crate::lab::MacAddr;
use crate::plan::example::{host, topology, vm};
use crate::state::view::{Learned, Neighbor, Port};

/// What a host shows, with a link that has all of its addresses.
fn addressed(name: &str, mut view: View) -> View {
    let topology = topology();
    let here = &topology.hosts[&host(name)];
    let nics = here.nics.values().filter_map(|nic| nic.address).map(Into::into);
    let segments = here.segments.values();
    let own = segments.flat_map(|segment| segment.gateway.into_iter().chain(segment.address));
    let port = Port {
        addresses: nics.chain(own.map(|own| IpAddr::from(own).into())).collect(),
        ..Port::default()
    };
    if !view.ports.is_empty() {
        view.ports.insert("own".to_owned(), port);
    }
    view
}

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
        views: &[
            (host("node1"), addressed("node1", node1)),
            (host("node2"), addressed("node2", view)),
        ]
        .into(),
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
fn an_entry_set_by_hand_that_sends_a_guests_frames_to_another_port_is_a_fault() {
    let fixed = |port: &str| {
        let view = learned(mac_of("vm1"), port, 0);
        View {
            fixed: view.learned,
            ..View::default()
        }
    };
    assert_eq!(found(fixed("eth0"), vm2()), [""; 0]);
    let faults = found(fixed("st0"), vm2());
    assert!(
        faults[0].contains("frames for guest vm1 to port st0, not to eth0") && faults[0].contains("dev st0 master"),
        "{faults:?}"
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

/// A host with `br1` and its uplink.
fn bridge(options: &[&str]) -> View {
    let port = |master: Option<&str>, options: &[&str]| Port {
        up: true,
        carrier: true,
        master: master.map(str::to_owned),
        options: options.iter().map(ToString::to_string).collect(),
        ..Port::default()
    };
    View {
        ports: [
            ("br1".to_owned(), port(None, &[])),
            ("eth0".to_owned(), port(Some("br1"), options)),
            ("tap2".to_owned(), port(Some("br1"), options)),
        ]
        .into(),
        ..View::default()
    }
}

#[test]
fn a_port_that_does_not_learn_is_a_fault_of_its_guest_or_of_its_network() {
    assert_eq!(found(bridge(&[]), vm2()), [""; 0]);
    let faults = found(bridge(&["learning off"]), vm2()).join("\n");
    assert!(
        faults.contains("node2: link tap2 of guest vm2 learns no addresses"),
        "{faults}"
    );
    assert!(
        faults.contains("node2: link eth0 of network service learns no addresses"),
        "{faults}"
    );
    assert_eq!(found(bridge(&["isolated on"]), vm2()), [""; 0]);
}

#[test]
fn a_bridge_that_answers_for_other_networks_is_a_fault() {
    let mut view = bridge(&[]);
    view.settings.insert("ipv4/conf/br1/proxy_arp".to_owned(), 1);
    let faults = found(view, vm2());
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].starts_with("node2: bridge br1 of network service answers ARP requests"),
        "{faults:?}"
    );
}

#[test]
fn two_cables_between_two_bridges_are_a_loop_unless_spanning_tree_blocks_one() {
    let mut topology = topology();
    let mut second = topology.cables[0].clone();
    for end in &mut second.ends {
        end.nic = "eth1".parse().unwrap();
    }
    topology.cables.push(second);
    let loops = |state: &str| {
        let mut view = bridge(&[]);
        let mut eth1 = view.ports["eth0"].clone();
        eth1.stp = Some(state.to_owned());
        view.ports.insert("eth1".to_owned(), eth1);
        let traces = Traces {
            topology: &topology,
            views: &[(host("node1"), view.clone()), (host("node2"), view)].into(),
            guests: &BTreeMap::new(),
            since: Duration::from_secs(5),
        };
        faults(&traces)
            .into_iter()
            .filter(|fault| fault.text.contains("loop"))
            .count()
    };
    assert_eq!((loops("forwarding"), loops("blocking")), (1, 0));
}

#[test]
fn an_address_that_its_machine_lacks_is_a_fault_of_what_is_sent_to_it_or_by_it() {
    let mut topology = topology();
    let floating = crate::topology::GuestFloating {
        address: [192, 168, 99, 50].into(),
        host: host("node1"),
        nic: "eth0".parse().unwrap(),
    };
    topology.guests.get_mut(&vm("vm2")).unwrap().floating = Some(floating);
    topology.outside = vec![[203, 0, 113, 1].into()];
    let mut node1 = addressed("node1", bridge(&[]));
    let own = &mut node1.ports.get_mut("own").unwrap().addresses;
    own.retain(|net| net.addr() != IpAddr::from([10, 0, 1, 1]));
    let traces = Traces {
        topology: &topology,
        views: &[(host("node1"), node1)].into(),
        guests: &BTreeMap::new(),
        since: Duration::from_secs(5),
    };
    let found = faults(&traces);
    let texts: Vec<&str> = found.iter().map(|fault| fault.text.as_str()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts
            .iter()
            .any(|text| text.contains("lacks the gateway address 10.0.1.1"))
    );
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with("node1: no link has the floating address 192.168.99.50 of guest vm2"))
    );
    let red = |only: &str| -> Vec<String> {
        let one = found
            .iter()
            .filter(|fault| fault.text.contains(only))
            .cloned()
            .collect();
        let mut matrix = crate::verify::Matrix::new(crate::verify::expected(&topology), &BTreeMap::new());
        for cell in &mut matrix.cells {
            cell.verdict = crate::verify::Verdict::Pass;
        }
        apply(&topology, &mut matrix, one);
        let cells = matrix.cells.iter().filter(|cell| cell.cause.is_some());
        cells
            .map(|cell| format!("{} {}", cell.expectation.from, cell.expectation.to))
            .collect()
    };
    assert_eq!(red("floating"), ["vm2 203.0.113.1"]);
    assert_eq!(
        red("gateway"),
        ["vm1 gw service", "vm1 203.0.113.1", "vm2 gw service", "vm2 203.0.113.1"]
    );
}
