//! Links, uplinks and addresses.

use super::{bridge, lines, links, vlan};
use crate::plan::example::{link, on, up};
use crate::plan::{Step, plan};
use crate::state::{LinkKind, Site};

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
    on(&mut stp, "node1").links.get_mut(&link("br1")).unwrap().kind = LinkKind::Bridge {
        stp: Some(15),
        mac: None,
    };
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
    let expected = Step::DeleteLink {
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
