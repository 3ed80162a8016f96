//! Who must reach whom, on small topologies.

use std::collections::BTreeMap;

use super::*;
use crate::lab::{Class, Connect, MacAddr, Ping, SwitchKind};
use crate::topology::{Segment, Tenants, TopologyHost, derive};

/// Guests as (name, host, network, address); segments as (host, network, uplink, gateway).
pub fn topology(guests: &[(&str, &str, &str, &str)], segments: &[(&str, &str, bool, Option<&str>)]) -> Topology {
    let gateway_of = |network: &str| {
        let found = segments
            .iter()
            .find(|(_, name, _, gateway)| *name == network && gateway.is_some());
        found
            .and_then(|(_, _, _, gateway)| *gateway)
            .map(|text| text.parse().unwrap())
    };
    let mut hosts: BTreeMap<HostName, TopologyHost> = BTreeMap::new();
    for (host, network, uplink, gateway) in segments {
        let host = hosts.entry(host.parse().unwrap()).or_insert_with(|| TopologyHost {
            connect: Connect::Emulated,
            nics: BTreeMap::new(),
            segments: BTreeMap::new(),
            nat: Vec::new(),
        });
        let segment = Segment {
            class: Class::Service,
            bridge: "br0".parse().unwrap(),
            mac: None,
            stp: None,
            uplink: uplink.then(|| "eth0".parse().unwrap()),
            vlan: None,
            mtu: None,
            switch: SwitchKind::Bridge,
            tunnel: None,
            subnet: "10.0.0.0/24".parse().unwrap(),
            gateway: gateway.map(|text| text.parse().unwrap()),
            gateway_everywhere: false,
            address: None,
            dhcp: None,
        };
        host.segments.insert(network.parse().unwrap(), segment);
    }
    let guests = guests.iter().map(|(name, host, network, address)| {
        let nic = GuestNic {
            network: network.parse().unwrap(),
            bridge: "br0".parse().unwrap(),
            tap: "tap0".parse().unwrap(),
            mac: "52:54:00:00:00:01".parse::<MacAddr>().unwrap(),
            address: address.parse().unwrap(),
            gateway: gateway_of(network),
            dhcp: false,
            mtu: None,
            port_security: false,
        };
        let guest = Guest {
            uuid: derive::uuid(name),
            host: host.parse().unwrap(),
            image: "tiny".parse().unwrap(),
            memory_mib: 64,
            disk_mib: None,
            disks: Vec::new(),
            disk_numbers: crate::topology::DiskNumbers::default(),
            cdrom: None,
            cpus: 1,
            default_route: nic.gateway,
            nics: vec![nic],
            nameservers: Vec::new(),
            floating: None,
            serve: Vec::new(),
            forward: Vec::new(),
            setup: crate::topology::GuestSetup::default(),
        };
        (name.parse().unwrap(), guest)
    });
    Topology {
        lab: "lab".parse().unwrap(),
        guests: guests.collect(),
        hosts,
        switches: BTreeMap::new(),
        routers: BTreeMap::new(),
        cables: Vec::new(),
        shaping: crate::topology::LinkShaping::default(),
        tenants: Tenants::default(),
        images: BTreeMap::new(),
        outside: Vec::new(),
        pings: Vec::new(),
        checks: Vec::new(),
    }
}

fn reach(topology: &Topology, from: &str, to: &str) -> bool {
    let all = expected(topology);
    all.iter()
        .find(|one| one.from == Asked::Vm(from.parse().unwrap()) && one.to == to)
        .unwrap()
        .reach
}

const ACROSS: [(&str, &str, &str, &str); 2] = [("a", "n1", "red", "10.0.0.1/24"), ("b", "n2", "red", "10.0.0.2/24")];
const SEPARATE: [(&str, &str, &str, &str); 2] = [("a", "n1", "red", "10.0.0.1/24"), ("b", "n1", "blue", "10.0.1.2/24")];

#[test]
fn guests_of_one_network_on_one_host_reach_each_other_without_an_uplink() {
    let guests = [("a", "n1", "red", "10.0.0.1/24"), ("b", "n1", "red", "10.0.0.2/24")];
    let topology = topology(&guests, &[("n1", "red", false, None)]);
    assert!(reach(&topology, "a", "b") && reach(&topology, "b", "a"));
}

#[test]
fn guests_of_one_network_on_two_hosts_need_an_uplink_on_both() {
    let both = topology(&ACROSS, &[("n1", "red", true, None), ("n2", "red", true, None)]);
    assert!(reach(&both, "a", "b"));
    let one = topology(&ACROSS, &[("n1", "red", true, None), ("n2", "red", false, None)]);
    assert!(!reach(&one, "a", "b") && !reach(&one, "b", "a"));
}

#[test]
fn guests_of_two_networks_reach_each_other_through_one_host_with_both_gateways() {
    let segments = [
        ("n1", "red", false, Some("10.0.0.254")),
        ("n1", "blue", false, Some("10.0.1.254")),
    ];
    assert!(reach(&topology(&SEPARATE, &segments), "a", "b"));
}

#[test]
fn guests_of_two_tenants_reach_each_other_only_where_the_lab_routes_between_them() {
    let segments = [
        ("n1", "red", false, Some("10.0.0.254")),
        ("n1", "blue", false, Some("10.0.1.254")),
    ];
    let mut topology = topology(&SEPARATE, &segments);
    topology.tenants.of.insert("red".parse().unwrap(), "r".parse().unwrap());
    assert!(
        reach(&topology, "a", "b"),
        "a network without a tenant is routed to all"
    );
    topology
        .tenants
        .of
        .insert("blue".parse().unwrap(), "b".parse().unwrap());
    assert!(!reach(&topology, "a", "b") && !reach(&topology, "b", "a"));
    assert!(reach(&topology, "a", "gw red"));
    let dropped = |topology: &Topology, reach: bool| -> Vec<String> {
        let all = expected(topology);
        let found = all.iter().filter(|one| one.reach == reach);
        let found = found.filter_map(|one| kept_apart(topology, one));
        found.map(|(host, bridge)| format!("{host} {bridge}")).collect()
    };
    assert_eq!(dropped(&topology, false), ["n1 br0", "n1 br0"]);
    let lab = &topology.lab;
    assert_eq!(
        why_apart(&topology, "a", "b"),
        format!(
            "n1 drops what comes in by br0 for networks of other tenants, by a rule of table ip netlab-{lab}, chain forward; \
             shown by `nft list table ip netlab-{lab}` on n1"
        )
    );
    assert!(dropped(&topology, true).is_empty());
    let routed = |other: &str| vec![["r", other].map(|tenant| tenant.parse().unwrap()).into()];
    topology.tenants.routes = routed("g");
    assert!(!reach(&topology, "a", "b"));
    topology.tenants.routes = routed("b");
    assert!(reach(&topology, "a", "b"));
}

/// By what `from` is kept from reaching `to`.
fn why_apart(topology: &Topology, from: &str, to: &str) -> String {
    let from = Asked::Vm(from.parse().unwrap());
    let all = expected(topology);
    let asked = all.iter().find(|one| one.from == from && one.to == to && !one.reach);
    apart_by(topology, asked.unwrap())
}

#[test]
fn guests_of_two_networks_without_a_gateway_are_isolated() {
    let segments = [("n1", "red", false, Some("10.0.0.254")), ("n1", "blue", false, None)];
    let topology = topology(&SEPARATE, &segments);
    assert!(!reach(&topology, "a", "b"));
    assert_eq!(
        why_apart(&topology, "a", "b"),
        "no host routes from red to blue and back"
    );
}

#[test]
fn gateways_on_two_hosts_do_not_route_to_each_other() {
    let segments = [
        ("n1", "red", true, Some("10.0.0.254")),
        ("n1", "blue", true, None),
        ("n2", "blue", true, Some("10.0.1.254")),
    ];
    assert!(!reach(&topology(&SEPARATE, &segments), "a", "b"));
    assert!(reach(&topology(&SEPARATE, &segments), "b", "gw blue"));
}

/// Gives `guest` one more NIC; its default route is unchanged.
fn add_nic(topology: &mut Topology, guest: &str, network: &str, address: &str, gateway: Option<&str>) {
    let guest = topology.guests.get_mut(&guest.parse::<VmName>().unwrap()).unwrap();
    let mut nic = guest.nics[0].clone();
    nic.network = network.parse().unwrap();
    nic.address = address.parse().unwrap();
    nic.gateway = gateway.map(|text| text.parse().unwrap());
    guest.nics.push(nic);
}

#[test]
fn a_second_nic_on_a_network_without_a_gateway_is_isolated_from_other_networks() {
    let guests = [("a", "n1", "red", "10.0.0.1/24"), ("b", "n1", "red", "10.0.0.2/24")];
    let segments = [("n1", "red", false, Some("10.0.0.254")), ("n1", "blue", false, None)];
    let mut topology = topology(&guests, &segments);
    add_nic(&mut topology, "b", "blue", "10.0.1.2/24", None);
    assert!(reach(&topology, "a", "b/red"));
    assert!(!reach(&topology, "a", "b/blue"), "the router has no address in blue");
}

#[test]
fn a_router_reaches_a_second_nic_only_if_it_has_that_network() {
    let guests = [("a", "n1", "red", "10.0.0.1/24"), ("b", "n2", "red", "10.0.0.2/24")];
    for carried in [false, true] {
        let segments = [
            ("n1", "red", true, Some("10.0.0.254")),
            ("n2", "red", true, None),
            ("n1", "blue", carried, Some("10.0.1.254")),
            ("n2", "blue", carried, None),
        ];
        let mut topology = topology(&guests, &segments);
        add_nic(&mut topology, "b", "blue", "10.0.1.2/24", Some("10.0.1.254"));
        assert_eq!(reach(&topology, "a", "b/blue"), carried);
    }
}

#[test]
fn every_guest_must_reach_the_addresses_outside() {
    let mut topology = topology(&ACROSS, &[("n1", "red", true, None), ("n2", "red", true, None)]);
    topology.outside.push("192.0.2.1".parse().unwrap());
    assert!(reach(&topology, "a", "192.0.2.1") && reach(&topology, "b", "192.0.2.1"));
}

/// `red` and `blue` on two hosts with the same gateway address on each; a guest of each network on each host.
fn multi_host() -> Topology {
    let guests = [
        ("a1", "n1", "red", "10.0.0.1/24"),
        ("a2", "n2", "red", "10.0.0.2/24"),
        ("b1", "n1", "blue", "10.0.1.1/24"),
        ("b2", "n2", "blue", "10.0.1.2/24"),
    ];
    let segments = ["n1", "n2"].map(|host| {
        [
            (host, "red", true, Some("10.0.0.254")),
            (host, "blue", true, Some("10.0.1.254")),
        ]
    });
    let mut topology = topology(&guests, segments.as_flattened());
    for host in topology.hosts.values_mut() {
        for segment in host.segments.values_mut() {
            segment.gateway_everywhere = true;
        }
    }
    topology
}

#[test]
fn with_a_gateway_on_every_host_each_host_routes_between_its_own_guests_only() {
    let topology = multi_host();
    assert!(reach(&topology, "a1", "a2"), "one network is one segment");
    assert!(reach(&topology, "a1", "b1") && reach(&topology, "b2", "a2"));
    assert!(!reach(&topology, "a1", "b2") && !reach(&topology, "b2", "a1"));
    assert!(reach(&topology, "a1", "gw red") && reach(&topology, "a2", "gw red"));
}

#[test]
fn a_host_and_a_router_ping_what_the_lab_file_names() {
    let mut topology = topology(&ACROSS, &[("n1", "red", true, None), ("n2", "red", true, None)]);
    topology.pings.push(Ping {
        from: vec![
            Asked::Host("n2".parse().unwrap()),
            Asked::Router("home".parse().unwrap()),
        ],
        to: "192.0.2.1".parse().unwrap(),
        reach: false,
    });
    let asked = expected(&topology);
    let last: Vec<_> = asked.iter().rev().take(2).map(|one| (&one.from, one.reach)).collect();
    assert_eq!(last.len(), 2);
    assert!(last.iter().all(|(from, reach)| !matches!(from, Asked::Vm(_)) && !reach));
}
