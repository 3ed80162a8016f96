//! Emulated machines that are removed, replaced or dead, and what that means for the hosts inside.

use super::super::example::{host, on, topology, up};
use super::super::plan;
use super::{lines, place};
use crate::state::{LOCALHOST, Site, desired, localhost};

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
        "localhost: remove emulated machine node1 with all that is in it",
        "localhost: remove emulated machine node2 with all that is in it",
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
    let removed = place(
        &lines,
        "localhost: remove emulated machine node2 with all that is in it",
    );
    assert!(removed < place(&lines, "localhost: create emulated host node2"));
    place(&lines, "node2: create the disk of vm2 over /images/disk/base.img");
}

#[test]
fn an_emulated_host_is_removed_as_a_whole_after_its_guests_are_stopped() {
    assert_eq!(
        lines(&plan(&up(), &Site::new())),
        [
            "node1: stop domain quick.vm1",
            "node2: stop domain quick.vm2",
            "localhost: unplug the cable from node1:eth0 to node2:eth0",
            "localhost: remove emulated machine node1 with all that is in it",
            "localhost: remove emulated machine node2 with all that is in it",
        ]
    );
}

#[test]
fn a_host_that_is_not_emulated_is_emptied_in_the_opposite_order() {
    let mut real = up();
    real.remove(&localhost());
    assert_eq!(
        lines(&plan(&real, &Site::new())),
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
        ]
    );
}

#[test]
fn a_machine_that_has_something_else_behind_it_is_configured_again_and_not_replaced() {
    let mut other = up();
    let machine = on(&mut other, LOCALHOST).machines.get_mut(&host("node1")).unwrap();
    machine.outside.insert("203.0.113.1/32".parse().unwrap());
    assert_eq!(
        lines(&plan(&other, &up())),
        ["localhost: configure the NICs of emulated host node1"]
    );
}
