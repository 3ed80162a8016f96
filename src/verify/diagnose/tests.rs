//! The first fault on a path.

use std::collections::BTreeMap;

use super::*;
use crate::lab::{Asked, HostName};
use crate::plan::example::{host, link, on, topology, up, vm};
use crate::state::Site;
use crate::state::view::{Port, View};
use crate::verify::{Matrix, expected};

/// The desired links of both hosts.
fn views() -> BTreeMap<HostName, View> {
    let port = |master: Option<&str>| Port {
        up: true,
        carrier: true,
        master: master.map(str::to_owned),
        mtu: 1500,
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
fn a_stopped_guest_is_named_at_either_end() {
    for (guest, at) in [("vm1", "node1"), ("vm2", "node2")] {
        let found = diagnosed("vm1", |site, _| {
            for domain in on(site, at).domains.values_mut() {
                domain.running = false;
            }
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
    let small = port("node1", "tap1", |port| port.mtu = 1400);
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
