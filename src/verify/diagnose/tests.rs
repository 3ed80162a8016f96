//! The first fault on a path.

use std::collections::BTreeMap;

use super::*;
use crate::lab::{Asked, HostName};
use crate::plan::example::{host, link, on, topology, up, vm};
use crate::state::Site;
use crate::state::view::{Port, View, ViewRoute};
use crate::verify::{Expectation, Matrix, expected};

/// The desired links of both hosts.
fn views() -> BTreeMap<HostName, View> {
    let port = |master: Option<&str>| Port {
        up: true,
        carrier: true,
        master: master.map(str::to_owned),
        mtu: Some(1500),
        ..Port::default()
    };
    let of = |number: u8| {
        let tap = (format!("tap{number}"), port(Some("br1")));
        let eth0 = ("eth0".to_owned(), port(Some("br1")));
        View {
            ports: [("br1".to_owned(), port(None)), eth0, tap].into(),
            ..View::default()
        }
    };
    [(host("node1"), of(1)), (host("node2"), of(2))].into()
}

/// The diagnosis of `vm2` not reaching `to`, after `damage`.
fn diagnosed(to: &str, damage: impl Fn(&mut Site, &mut BTreeMap<HostName, View>)) -> Option<String> {
    let topology = topology();
    let expectations = expected(&topology).into_iter();
    let asked = expectations
        .filter(|one| one.from == Asked::Vm(vm("vm2")) && one.to == to)
        .collect();
    let mut cell = Matrix::new(asked, &BTreeMap::new()).cells.remove(0);
    cell.verdict = Verdict::Fail;
    cell.small_only = true;
    let (mut observed, mut views) = (up(), views());
    damage(&mut observed, &mut views);
    let evidence = Evidence {
        topology: &topology,
        nics: Nics::of(&topology),
        observed: &observed,
        views: &views,
        guests: &BTreeMap::new(),
        desired: &up(),
    };
    assert_eq!(
        diagnose(&evidence, &cell).is_some(),
        first(&path(&evidence, &cell)).is_some()
    );
    first(&path(&evidence, &cell)).map(|finding| finding.text.clone())
}

#[test]
fn without_an_observed_fault_there_is_no_diagnosis() {
    assert_eq!(diagnosed("vm1", |_, _| ()), None);
    assert_eq!(diagnosed("gw service", |_, _| ()), None);
}

#[test]
fn a_stopped_guest_without_its_tap_is_named_at_either_end() {
    for (guest, at, tap) in [("vm1", "node1", "tap1"), ("vm2", "node2", "tap2")] {
        let found = diagnosed("vm1", |site, views| {
            for domain in on(site, at).domains.values_mut() {
                domain.running = false;
            }
            let ports = &mut views.get_mut(&host(at)).unwrap().ports;
            ports.remove(tap).unwrap();
            // It was the only one on its bridge.
            ports.get_mut("br1").unwrap().carrier = false;
        });
        assert_eq!(found, Some(format!("{at}: guest {guest} is not running")));
    }
}

#[test]
fn the_first_faulty_link_of_the_path_is_named_with_its_fault() {
    let port = |at: &str, name: &'static str, change: fn(&mut Port)| {
        let at = host(at);
        diagnosed("vm1", move |_, views| {
            change(views.get_mut(&at).unwrap().ports.get_mut(name).unwrap());
        })
    };
    let tap = port("node2", "tap2", |port| port.master = None);
    assert_eq!(
        tap.unwrap(),
        "node2: link tap2 of guest vm2 is not attached to bridge br1"
    );
    let bridge = port("node2", "br1", |port| port.up = false);
    assert_eq!(
        bridge.unwrap(),
        "node2: bridge br1, whose port tap2 of guest vm2 is, is down"
    );
    let uplink = port("node1", "eth0", |port| port.carrier = false);
    assert!(
        uplink
            .unwrap()
            .starts_with("node1: link eth0 of network service has no carrier")
    );
    let small = port("node1", "tap1", |port| port.mtu = Some(1400));
    assert_eq!(
        small.unwrap(),
        "node1: link tap1 of guest vm1 has an MTU of only 1400 bytes"
    );
    let missing = diagnosed("vm1", |_, views| {
        views.get_mut(&host("node1")).unwrap().ports.remove("eth0");
    });
    assert_eq!(missing.unwrap(), "node1: link eth0 of network service does not exist");
}

#[test]
fn a_missing_gateway_address_is_named() {
    let found = diagnosed("gw service", |site, _| {
        on(site, "node1").links.get_mut(&link("br1")).unwrap().addresses.clear();
    });
    let wanted = "node1: bridge br1 of network service lacks the gateway address 10.0.1.1";
    assert_eq!(found.as_deref(), Some(wanted));
}

#[test]
fn a_stopped_emulated_host_comes_before_its_guests() {
    let found = diagnosed("vm1", |site, _| {
        on(site, "localhost").machines.get_mut(&host("node1")).unwrap().alive = false;
        site.remove(&host("node1"));
    });
    assert_eq!(found.as_deref(), Some("node1: the emulated host is not running"));
}

/// Two hosts in a row lead outside: `far` by `near`, and `near` by the router's neighbor `edge`.
const ROW: &str = r#"
name = "row"
routers.home = { nics.eth0.address = "192.168.99.1/24", outside = "203.0.113.1/32" }
hosts.edge = { nics.eth0.address = "172.16.1.1/24", nics.eth1 = { address = "192.168.99.2/24", gateway = "192.168.99.1" } }
hosts.near = { nics.eth0 = { address = "172.16.1.2/24", gateway = "172.16.1.1" }, nics.eth1.address = "172.16.2.1/24" }
hosts.far = { nics.eth0 = { address = "172.16.2.2/24", gateway = "172.16.2.1" } }
cables = [
  { ends = ["far:eth0", "near:eth1"] },
  { ends = ["near:eth0", "edge:eth0"] },
  { ends = ["edge:eth1", "home:eth0"] },
]
nat = [{ on = "edge", from = ["172.16.0.0/16", "inner"], out = "eth1" }]
networks.inner = { subnet = "10.0.1.0/24", gateway = { address = "10.0.1.1", on = "far" } }
vms.v = { host = "far", nics = [{ network = "inner" }] }
verify.outside = ["203.0.113.1"]
verify.ping = [{ from = ["far"], to = "203.0.113.1" }]
"#;

#[test]
fn a_path_leads_outside_through_every_host_that_is_the_gateway_of_another() {
    let images = BTreeSet::from(["mini".parse().unwrap()]);
    let topology = crate::topology::allocate(&crate::lab::parse("row.toml", ROW, &images).unwrap(), &BTreeMap::new());
    let cells = Matrix::new(expected(&topology), &BTreeMap::new()).cells;
    let evidence = Evidence {
        topology: &topology,
        nics: Nics::of(&topology),
        observed: &Site::new(),
        views: &BTreeMap::new(),
        guests: &BTreeMap::new(),
        desired: &Site::new(),
    };
    let outside = cells.iter().filter(|cell| cell.expectation.to == "203.0.113.1");
    let outside: Vec<_> = outside.map(|cell| path(&evidence, cell)).collect();
    assert_eq!(outside.len(), 2, "of the guest and of its host");
    for hops in outside {
        let translating = hops.iter().filter(|hop| hop.what.starts_with("address translation"));
        let at: Vec<_> = translating.map(|hop| hop.at.as_str()).collect();
        assert!(at.ends_with(&["near", "edge"]), "{at:?}");
        assert!(hops.iter().any(|hop| hop.at == "home"), "{hops:?}");
    }
}

/// A lab with tunnels between two hosts and a large network; only the tunnels of `red` have a guest.
const SIZES: &str = r#"
name = "sizes"
hosts.node1 = { nics.eth0.address = "172.16.99.1/24" }
hosts.node2 = { nics.eth0.address = "172.16.99.2/24" }
cables = [{ ends = ["node1:eth0", "node2:eth0"] }]
[networks.storage]
subnet = "10.0.3.0/24"
tunnel = "vxlan"
addresses = { node1 = "10.0.3.1", node2 = "10.0.3.2" }
[networks.red]
subnet = "10.0.1.0/24"
switch = "ovs"
tunnel = "gre"
addresses = { node1 = "10.0.1.1", node2 = "10.0.1.2" }
[networks.large]
subnet = "10.0.9.0/24"
uplink = "eth0"
mtu = 9000
addresses = { node1 = "10.0.9.1", node2 = "10.0.9.2" }
[vms.v]
host = "node1"
nics = [{ network = "red" }]
"#;

#[test]
fn full_packets_have_the_mtu_of_the_network_also_where_it_has_no_guest() {
    let images = BTreeSet::from(["mini".parse().unwrap()]);
    let topology = crate::topology::allocate(
        &crate::lab::parse("sizes.toml", SIZES, &images).unwrap(),
        &BTreeMap::new(),
    );
    let nics = Nics::of(&topology);
    let size = |from: Asked, to: &str| full_packet(&topology, &nics, &from, to.parse().unwrap());
    let node2 = || Asked::Host(host("node2"));
    assert_eq!(size(node2(), "10.0.3.1"), 1450, "tunnels without a guest");
    assert_eq!(size(node2(), "10.0.1.1"), 1458, "tunnels with a guest");
    assert_eq!(size(node2(), "10.0.9.1"), 9000);
    assert_eq!(size(node2(), "172.16.99.1"), 1500);
    assert_eq!(size(node2(), "192.0.2.1"), 1500, "an address that nobody has");
    assert_eq!(size(Asked::Router(host("home")), "10.0.9.1"), 1500, "over Ethernet");
    assert_eq!(size(Asked::Vm(vm("v")), "10.0.1.2"), 1458);
}

#[test]
fn a_host_whose_nic_is_a_port_sends_by_the_link_that_has_the_address() {
    let topology = topology();
    let port = |master: Option<&str>, address: Option<&str>| Port {
        up: true,
        carrier: true,
        mtu: Some(1500),
        master: master.map(str::to_owned),
        addresses: address.into_iter().map(|net| net.parse().unwrap()).collect(),
        ..Port::default()
    };
    let in_use = |nic: &str, ports: &[(&str, Port)]| {
        let ports = ports.iter().map(|(name, port)| ((*name).to_owned(), port.clone()));
        let view = View {
            ports: ports.collect(),
            ..View::default()
        };
        let views = [(host("node1"), view)].into();
        let evidence = Evidence {
            topology: &topology,
            nics: Nics::of(&topology),
            observed: &Site::new(),
            views: &views,
            guests: &BTreeMap::new(),
            desired: &Site::new(),
        };
        Path::new(&evidence, None).in_use(&host("node1"), &link(nic)).to_owned()
    };
    let (none, address) = (None, Some("192.168.1.1/24"));
    let provider = [("eth1", port(Some("br-eth1"), none)), ("br-eth1", port(None, address))];
    assert_eq!(in_use("eth1", &provider), "br-eth1");
    let local = Some("fe80::1/64");
    let local = [("eth1", port(Some("br-eth1"), local)), ("br-eth1", port(None, address))];
    assert_eq!(in_use("eth1", &local), "br-eth1", "only IPv4 addresses count");
    let bond = [
        ("eth1", port(Some("bond0"), none)),
        ("bond0", port(Some("br9"), none)),
        ("br9", port(None, address)),
    ];
    assert_eq!(in_use("eth1", &bond), "br9");
    let by_hand = [("eth1", port(Some("br9"), address)), ("br9", port(None, none))];
    assert_eq!(in_use("eth1", &by_hand), "eth1");
    let lost = [("eth1", port(Some("br9"), none)), ("br9", port(None, none))];
    assert_eq!(in_use("eth1", &lost), "eth1");
    assert_eq!(in_use("eth0", &[]), "br1", "the bridge of a network on the NIC");
}

#[test]
fn that_a_machine_has_no_route_is_repaired_by_up_only_where_the_lab_gives_it_one() {
    let images = BTreeSet::from(["mini".parse().unwrap()]);
    let topology = crate::topology::allocate(&crate::lab::parse("row.toml", ROW, &images).unwrap(), &BTreeMap::new());
    let loopback = ViewRoute {
        kind: "local".to_owned(),
        to: "127.0.0.0/8".parse().unwrap(),
        via: None,
        link: Some("lo".to_owned()),
        table: Some("local".to_owned()),
        metric: 0,
    };
    let view = View {
        routes: vec![loopback],
        ..View::default()
    };
    let views = [(host("home"), view.clone()), (host("near"), view)].into();
    let evidence = Evidence {
        topology: &topology,
        nics: Nics::of(&topology),
        observed: &Site::new(),
        views: &views,
        guests: &BTreeMap::new(),
        desired: &Site::new(),
    };
    let found = |from: Asked, to: &str| {
        let asked = Expectation {
            from,
            to: to.to_owned(),
            address: to.parse().unwrap(),
            reach: true,
        };
        let hops = path(&evidence, &Matrix::new(vec![asked], &BTreeMap::new()).cells[0]);
        let finding = first(&hops).unwrap();
        (finding.text.clone(), finding.fix.clone())
    };
    let guest = topology.guests[&vm("v")].nics[0].address.addr().to_string();
    let (text, fix) = found(Asked::Router(host("home")), &guest);
    let wanted = format!(
        "home: it has no route to {guest}: by the lab a router has none to the networks, whose guests are reached from there \
         at floating addresses only, and guest v has none"
    );
    assert_eq!((text, fix), (wanted, None));
    let (text, fix) = found(Asked::Router(host("home")), "198.51.100.1");
    assert_eq!(
        (text.as_str(), fix),
        ("home: it has no route to 198.51.100.1, and no default route", None)
    );
    let (_, fix) = found(Asked::Host(host("near")), "198.51.100.1");
    assert_eq!(fix.as_deref(), Some("`netlab up`"), "its default gateway is the lab's");
}

#[test]
fn a_port_without_an_mtu_passes_packets_of_every_size_and_shows_none() {
    let topology = topology();
    let mut views = views();
    views
        .get_mut(&host("node1"))
        .unwrap()
        .ports
        .get_mut("tap1")
        .unwrap()
        .mtu = None;
    let evidence = Evidence {
        topology: &topology,
        nics: Nics::of(&topology),
        observed: &up(),
        views: &views,
        guests: &BTreeMap::new(),
        desired: &up(),
    };
    let path = Path::new(&evidence, Some(1500));
    let shown = |link: &str| path.shows(&host("node1"), link).unwrap();
    assert_eq!(shown("tap1"), "up, port of br1");
    assert_eq!(shown("eth0"), "up, port of br1, MTU 1500");
    assert_eq!(path.port(&host("node1"), "tap1", Some("br1"), "of guest vm1"), None);
}
