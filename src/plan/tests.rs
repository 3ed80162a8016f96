use std::collections::BTreeSet;

use super::example::{host, link, on, topology, up, vm};
use super::{Plan, plan};
use crate::lab::{IfName, VlanId};
use crate::state::{DomainName, HostState, LOCALHOST, Link, LinkKind, Site, desired};

/// The plan as a user reads it, `host: step`.
fn lines(plan: &Plan) -> Vec<String> {
    plan.steps().map(|(host, step)| format!("{host}: {step}")).collect()
}

fn domain(name: &str) -> DomainName {
    DomainName::new(&topology().lab, &vm(name))
}

fn place(lines: &[String], wanted: &str) -> usize {
    let place = lines.iter().position(|line| line == wanted);
    place.unwrap_or_else(|| panic!("no `{wanted}` in {lines:#?}"))
}

fn vlan(parent: &str, id: i64, master: Option<&str>) -> Link {
    Link {
        kind: LinkKind::Vlan {
            parent: link(parent),
            id: VlanId::try_from(id).unwrap(),
        },
        master: master.map(link),
        addresses: BTreeSet::new(),
        purpose: "test".to_owned(),
    }
}

fn bridge() -> Link {
    Link {
        kind: LinkKind::Bridge { stp: false, mac: None },
        master: None,
        addresses: BTreeSet::new(),
        purpose: "test".to_owned(),
    }
}

/// A site of one host with these links.
fn links<const N: usize>(links: [(&str, Link); N]) -> Site {
    let state = HostState {
        links: links.map(|(name, value)| (link(name), value)).into(),
        ..HostState::default()
    };
    Site::from([(host("home"), state)])
}

#[test]
fn a_lab_is_created_from_its_emulated_machines_to_its_guests() {
    assert_eq!(
        lines(&plan(&Site::new(), &up())),
        [
            "localhost: create emulated host node1",
            "localhost: create emulated host node2",
            "localhost: plug a cable from node1:eth0 to node2:eth0",
            "localhost: configure the NICs of emulated host node1",
            "localhost: configure the NICs of emulated host node2",
            "node1: create bridge br1, address 10.0.1.1/24 for network service",
            "node1: attach eth0 to bridge br1, moving 172.16.99.1/24",
            "node1: set net.ipv4.ip_forward to 1",
            "node2: create bridge br1 for network service",
            "node2: attach eth0 to bridge br1, moving 172.16.99.2/24",
            "node2: create the disk of vm2 over /images/disk/base.img",
            "node1: define domain quick.vm1 (128 MiB, 1 CPU)",
            "node2: define domain quick.vm2 (128 MiB, 1 CPU)",
            "node1: start domain quick.vm1",
            "node1: configure vm1 over its console: 10.0.1.2/24",
            "node2: start domain quick.vm2",
            "node2: configure vm2 over its console: 10.0.1.3/24",
        ]
    );
}

#[test]
fn a_lab_is_removed_in_the_opposite_order_and_hosts_are_emptied_first() {
    assert_eq!(
        lines(&plan(&up(), &Site::new())),
        [
            "node1: stop domain quick.vm1",
            "node1: undefine domain quick.vm1",
            "node2: stop domain quick.vm2",
            "node2: undefine domain quick.vm2",
            "node2: delete the disk of vm2",
            "node1: restore net.ipv4.ip_forward",
            "node1: detach eth0 from bridge br1, restoring 172.16.99.1/24",
            "node1: delete link br1",
            "node2: detach eth0 from bridge br1, restoring 172.16.99.2/24",
            "node2: delete link br1",
            "localhost: unplug the cable from node1:eth0 to node2:eth0",
            "localhost: remove emulated machine node1",
            "localhost: remove emulated machine node2",
        ]
    );
}

#[test]
fn up_twice_and_down_twice_have_nothing_to_do_the_second_time() {
    assert!(plan(&up(), &up()).is_empty());
    assert!(plan(&Site::new(), &Site::new()).is_empty());
}

#[test]
fn a_killed_guest_is_started_again_and_nothing_else_is_touched() {
    let mut crashed = up();
    let guest = on(&mut crashed, "node2").domains.get_mut(&domain("vm2")).unwrap();
    guest.running = false;
    guest.configured = None;
    assert_eq!(
        lines(&plan(&crashed, &up())),
        [
            "node2: start domain quick.vm2",
            "node2: configure vm2 over its console: 10.0.1.3/24",
        ]
    );
}

#[test]
fn a_running_guest_that_was_not_configured_is_only_configured() {
    let mut silent = up();
    on(&mut silent, "node1")
        .domains
        .get_mut(&domain("vm1"))
        .unwrap()
        .configured = None;
    assert_eq!(
        lines(&plan(&silent, &up())),
        ["node1: configure vm1 over its console: 10.0.1.2/24"]
    );
}

#[test]
fn a_guest_with_more_memory_is_redefined_and_keeps_its_disk() {
    let mut edited = topology();
    edited.guests.get_mut(&vm("vm2")).unwrap().memory_mib = 256;
    assert_eq!(
        lines(&plan(&up(), &desired(&edited, &[].into()))),
        [
            "node2: stop domain quick.vm2",
            "node2: undefine domain quick.vm2",
            "node2: define domain quick.vm2 (256 MiB, 1 CPU)",
            "node2: start domain quick.vm2",
            "node2: configure vm2 over its console: 10.0.1.3/24",
        ]
    );
}

#[test]
fn a_guest_over_another_base_is_redefined_with_a_new_disk() {
    let mut stale = up();
    on(&mut stale, "node2").volumes.get_mut(&domain("vm2")).unwrap().base = "/images/old".into();
    let lines = lines(&plan(&stale, &up()));
    assert_eq!(
        lines,
        [
            "node2: stop domain quick.vm2",
            "node2: undefine domain quick.vm2",
            "node2: delete the disk of vm2",
            "node2: create the disk of vm2 over /images/disk/base.img",
            "node2: define domain quick.vm2 (128 MiB, 1 CPU)",
            "node2: start domain quick.vm2",
            "node2: configure vm2 over its console: 10.0.1.3/24",
        ]
    );
}

#[test]
fn a_bridge_removed_by_hand_is_recreated_and_its_guests_are_restarted() {
    let mut broken = up();
    on(&mut broken, "node1").links.clear();
    assert_eq!(
        lines(&plan(&broken, &up())),
        [
            "node1: stop domain quick.vm1",
            "node1: detach eth0 from bridge br1, restoring 172.16.99.1/24",
            "node1: create bridge br1, address 10.0.1.1/24 for network service",
            "node1: attach eth0 to bridge br1, moving 172.16.99.1/24",
            "node1: start domain quick.vm1",
            "node1: configure vm1 over its console: 10.0.1.2/24",
        ]
    );
}

#[test]
fn after_a_reboot_dead_machines_are_recreated_and_down_only_removes_them() {
    let mut rebooted = Site::from([(host(LOCALHOST), up()[&host(LOCALHOST)].clone())]);
    for machine in on(&mut rebooted, LOCALHOST).machines.values_mut() {
        machine.alive = false;
    }
    let from_nothing = lines(&plan(&Site::new(), &up()));
    let again = lines(&plan(&rebooted, &up()));
    let removal = [
        "localhost: unplug the cable from node1:eth0 to node2:eth0",
        "localhost: remove emulated machine node1",
        "localhost: remove emulated machine node2",
    ];
    assert_eq!(again[..3], removal);
    assert_eq!(again[3..], from_nothing);
    assert_eq!(lines(&plan(&rebooted, &Site::new())), removal);
}

#[test]
fn what_is_recorded_inside_a_dead_machine_is_ignored() {
    let mut half = up();
    on(&mut half, LOCALHOST).machines.get_mut(&host("node1")).unwrap().alive = false;
    let lines = lines(&plan(&half, &up()));
    assert!(
        !lines.contains(&"node1: stop domain quick.vm1".to_owned()),
        "{lines:#?}"
    );
    place(&lines, "node1: start domain quick.vm1");
    let down = plan(&half, &Site::new());
    assert!(down.steps().all(|(at, _)| *at != host("node1")), "{down:#?}");
}

#[test]
fn a_guests_configuration_is_removed_only_by_a_restart() {
    let mut silent = up();
    on(&mut silent, "node1")
        .domains
        .get_mut(&domain("vm1"))
        .unwrap()
        .configured = None;
    assert_eq!(
        lines(&plan(&up(), &silent)),
        ["node1: stop domain quick.vm1", "node1: start domain quick.vm1"]
    );
}

#[test]
fn a_port_of_a_deleted_bridge_is_recreated() {
    let from = links([("br1", bridge()), ("port", vlan("eth0", 10, Some("br1")))]);
    let to = links([("br2", bridge()), ("port", vlan("eth0", 10, Some("br2")))]);
    assert_eq!(
        lines(&plan(&from, &to)),
        [
            "home: delete link port",
            "home: delete link br1",
            "home: create bridge br2 for test",
            "home: create VLAN device port (id 10 on eth0), port of br2 for test",
        ]
    );
}

#[test]
fn a_vlan_device_is_deleted_and_recreated_with_the_cable_below_it() {
    let mut tagged = up();
    on(&mut tagged, "node2")
        .links
        .insert(link("eth0.10"), vlan("eth0", 10, None));
    let mut half = tagged.clone();
    on(&mut half, LOCALHOST).machines.get_mut(&host("node1")).unwrap().alive = false;
    let lines = lines(&plan(&half, &tagged));
    let deleted = place(&lines, "node2: delete link eth0.10");
    let replugged = place(&lines, "localhost: plug a cable from node1:eth0 to node2:eth0");
    let recreated = place(&lines, "node2: create VLAN device eth0.10 (id 10 on eth0) for test");
    assert!(deleted < replugged && replugged < recreated, "{lines:#?}");
}

#[test]
fn a_neighbor_of_a_replaced_machine_keeps_its_guests_and_reattaches_its_nic() {
    let mut half = up();
    on(&mut half, LOCALHOST).machines.get_mut(&host("node1")).unwrap().alive = false;
    let all = lines(&plan(&half, &up()));
    let on_node2: Vec<_> = all.iter().filter(|line| line.contains("node2")).collect();
    assert_eq!(
        on_node2,
        [
            "node2: detach eth0 from bridge br1, restoring 172.16.99.2/24",
            "localhost: unplug the cable from node1:eth0 to node2:eth0",
            "localhost: plug a cable from node1:eth0 to node2:eth0",
            "localhost: configure the NICs of emulated host node2",
            "node2: attach eth0 to bridge br1, moving 172.16.99.2/24",
        ]
    );
}

#[test]
fn a_machine_with_other_nics_is_replaced_with_everything_inside() {
    let mut edited = topology();
    edited.hosts.get_mut(&host("node2")).unwrap().nics.clear();
    let lines = lines(&plan(&up(), &desired(&edited, &[].into())));
    assert!(
        !lines.contains(&"node2: stop domain quick.vm2".to_owned()),
        "{lines:#?}"
    );
    let removed = place(&lines, "localhost: remove emulated machine node2");
    assert!(removed < place(&lines, "localhost: create emulated host node2"));
    place(&lines, "node2: create the disk of vm2 over /images/disk/base.img");
}

#[test]
fn what_was_on_an_uplink_is_a_fact_and_no_difference() {
    let mut other = up();
    on(&mut other, "node1").uplinks.get_mut(&link("eth0")).unwrap().was.up = false;
    assert!(plan(&other, &up()).is_empty());
}

#[test]
fn an_uplink_that_moves_keeps_what_was_observed_on_it_first() {
    let mut found = up();
    let uplink = on(&mut found, "node1").uplinks.get_mut(&link("eth0")).unwrap();
    uplink.was.addresses = vec!["192.0.2.1/24".parse().unwrap()];
    let mut moved = up();
    let state = on(&mut moved, "node1");
    state.links.insert(link("br2"), bridge());
    state.uplinks.get_mut(&link("eth0")).unwrap().bridge = link("br2");
    assert_eq!(
        lines(&plan(&found, &moved)),
        [
            "node1: detach eth0 from bridge br1, restoring 192.0.2.1/24",
            "node1: create bridge br2 for test",
            "node1: attach eth0 to bridge br2, moving 192.0.2.1/24",
        ]
    );
}

#[test]
fn settings_of_a_link_change_in_place() {
    let mut stp = up();
    on(&mut stp, "node1").links.get_mut(&link("br1")).unwrap().kind = LinkKind::Bridge { stp: true, mac: None };
    assert_eq!(lines(&plan(&stp, &up())), ["node1: change link br1"]);
}

#[test]
fn addresses_of_a_link_that_remains_are_removed_and_added_one_by_one() {
    let mut other = up();
    on(&mut other, "node1").links.get_mut(&link("br1")).unwrap().addresses = ["10.0.1.9/24".parse().unwrap()].into();
    assert_eq!(
        lines(&plan(&other, &up())),
        [
            "node1: delete address 10.0.1.9/24 from br1",
            "node1: add address 10.0.1.1/24 to br1",
        ]
    );
}

#[test]
fn links_are_created_from_the_bottom_and_deleted_from_the_top() {
    let stacked = links([
        ("a-top", vlan("m-mid", 20, Some("z-br"))),
        ("m-mid", vlan("eth0", 10, None)),
        ("z-br", bridge()),
    ]);
    assert_eq!(
        lines(&plan(&Site::new(), &stacked)),
        [
            "home: create bridge z-br for test",
            "home: create VLAN device m-mid (id 10 on eth0) for test",
            "home: create VLAN device a-top (id 20 on m-mid), port of z-br for test",
        ]
    );
    assert_eq!(
        lines(&plan(&stacked, &Site::new())),
        [
            "home: delete link a-top",
            "home: delete link m-mid",
            "home: delete link z-br",
        ]
    );
}

#[test]
fn a_link_of_another_kind_is_recreated_with_all_that_depends_on_it() {
    let from = links([
        ("base", vlan("eth0", 10, None)),
        ("over", vlan("base", 20, Some("br1"))),
        ("br1", bridge()),
    ]);
    let to = links([
        ("base", bridge()),
        ("over", vlan("base", 20, Some("br1"))),
        ("br1", bridge()),
    ]);
    assert_eq!(
        lines(&plan(&from, &to)),
        [
            "home: delete link over",
            "home: delete link base",
            "home: create bridge base for test",
            "home: create VLAN device over (id 20 on base), port of br1 for test",
        ]
    );
}

#[test]
fn a_link_is_deleted_by_the_index_that_was_observed() {
    let mut from = links([("br1", bridge())]);
    on(&mut from, "home").seen.links.insert(link("br1"), 7);
    let plan = plan(&from, &Site::new());
    let (_, step) = plan.steps().next().unwrap();
    let expected = super::Step::DeleteLink {
        name: link("br1"),
        index: Some(7),
    };
    assert_eq!(*step, expected);
}

#[test]
fn a_ring_of_links_does_not_block_the_planner() {
    let ring = links([("one", vlan("two", 1, None)), ("two", vlan("one", 2, None))]);
    assert_eq!(plan(&Site::new(), &ring).steps().count(), 2);
    assert_eq!(plan(&ring, &Site::new()).steps().count(), 2);
}

#[test]
fn one_more_guest_is_the_only_change() {
    let mut edited = topology();
    let mut third = edited.guests[&vm("vm1")].clone();
    third.nics[0].tap = IfName::new("tap3").unwrap();
    edited.guests.insert(vm("vm3"), third);
    assert_eq!(
        lines(&plan(&up(), &desired(&edited, &[].into()))),
        [
            "node1: define domain quick.vm3 (128 MiB, 1 CPU)",
            "node1: start domain quick.vm3",
            "node1: configure vm3 over its console: 10.0.1.2/24",
        ]
    );
}
