//! Whole plans: of a lab's first run, its end, and of changes between.

mod links;
mod machines;

use std::collections::BTreeSet;

use super::example::{host, link, on, topology, up, vm};
use super::{Plan, Step, plan};
use crate::lab::{BaseDisk, Content, IfName, Task, VlanId};
use crate::state::{Domain, DomainName, HostState, LOCALHOST, Link, LinkKind, Site, Start, desired, localhost};
use crate::topology::GuestDisk;

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
        mtu: None,
        gateway: None,
        purpose: "test".to_owned(),
    }
}

fn bridge() -> Link {
    Link {
        kind: LinkKind::Bridge { stp: None, mac: None },
        master: None,
        addresses: BTreeSet::new(),
        mtu: None,
        gateway: None,
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
fn a_guest_with_a_disk_is_started_from_a_saved_state_only_where_its_disk_is_made() {
    let domains = |site: &mut Site, change: &dyn Fn(&mut Domain)| {
        let states = site.values_mut();
        states.flat_map(|state| state.domains.values_mut()).for_each(change);
    };
    let mut to = up();
    domains(&mut to, &|domain| domain.start = Start::Warm);
    let starts = |from: &Site| {
        let plan = plan(from, &to);
        let starts = plan.steps().filter_map(|(_, step)| match step {
            Step::StartDomain(name, how) => Some((name.vm().to_string(), *how)),
            _ => None,
        });
        starts.collect::<Vec<_>>()
    };
    let (kernel, disk) = ("vm1".to_owned(), "vm2".to_owned());
    assert_eq!(
        starts(&Site::new()),
        [(kernel.clone(), Start::Warm), (disk.clone(), Start::Warm)]
    );
    let mut crashed = up();
    domains(&mut crashed, &|domain| domain.running = false);
    assert_eq!(starts(&crashed), [(kernel, Start::Warm), (disk, Start::Boot)]);
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
fn a_disk_is_grown_while_its_guest_is_stopped_and_keeps_its_content() {
    let mut edited = topology();
    for name in ["vm1", "vm2"] {
        edited.guests.get_mut(&vm(name)).unwrap().disk_mib = Some(20 << 10);
    }
    let wanted = desired(&edited, &[].into());
    assert_eq!(
        lines(&plan(&up(), &wanted)),
        [
            "node2: stop domain quick.vm2",
            "node2: undefine domain quick.vm2",
            "node2: grow the disk of vm2 to 20480 MiB",
            "node2: define domain quick.vm2 (128 MiB, 1 CPU)",
            "node2: start domain quick.vm2",
            "node2: configure vm2 over its console: 10.0.1.3/24",
        ],
        "vm1 has no disk"
    );
    assert!(plan(&wanted, &wanted).is_empty());
}

#[test]
fn a_further_disk_is_grown_in_place_and_what_deletes_data_has_a_line_that_says_so() {
    let with = |disks: &[GuestDisk]| {
        let mut topology = topology();
        topology.guests.get_mut(&vm("vm2")).unwrap().disks = disks.to_vec();
        desired(&topology, &[].into())
    };
    let blank = |mib| GuestDisk::Blank { mib };
    let over = |base: &str| {
        GuestDisk::Over(BaseDisk {
            base: base.into(),
            format: "qcow2".to_owned(),
        })
    };
    let restart = [
        "node2: start domain quick.vm2",
        "node2: configure vm2 over its console: 10.0.1.3/24",
    ];
    let disks_of = |from: &[GuestDisk], to: &[GuestDisk]| {
        let lines = lines(&plan(&with(from), &with(to)));
        if !lines.is_empty() {
            assert_eq!(lines[0], "node2: stop domain quick.vm2");
            assert_eq!(lines[lines.len() - 2..], restart);
        }
        let of_disks = lines.into_iter().filter(|line| line.contains(" disk "));
        of_disks
            .map(|line| line["node2: ".len()..].to_owned())
            .collect::<Vec<_>>()
    };
    let (gib, data) = (blank(1024), over("/images/data"));
    let create = [
        "create disk 1 of vm2 (1024 MiB, empty at first)",
        "create disk 2 of vm2 (over /images/data)",
    ];
    let both = [gib.clone(), data.clone()];
    assert_eq!(disks_of(&[], &both), create);
    assert!(disks_of(&both, &both).is_empty());
    assert_eq!(
        disks_of(std::slice::from_ref(&gib), &[blank(2048)]),
        ["grow disk 1 of vm2 to 2048 MiB"]
    );
    assert_eq!(
        disks_of(std::slice::from_ref(&gib), &[blank(512)]),
        [
            "delete disk 1 of vm2 with all data on it (1024 MiB, empty at first)",
            "create disk 1 of vm2 (512 MiB, empty at first)",
        ]
    );
    assert_eq!(
        disks_of(&both, &[gib]),
        ["delete disk 2 of vm2 with all data on it (over /images/data)"]
    );
    let mut real = with(&both);
    real.remove(&localhost());
    let down = lines(&plan(&real, &Site::new()));
    let removed = down.iter().filter(|line| line.contains("delete disk ")).count();
    assert_eq!(removed, 2, "{down:?}");
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

/// The lab with these commands in both guests.
fn with_commands(commands: &[&str]) -> Site {
    let mut site = up();
    for domain in site.values_mut().flat_map(|state| state.domains.values_mut()) {
        domain.tasks = commands.iter().map(|text| Task::Run(Content::from(*text))).collect();
    }
    site
}

#[test]
fn commands_run_from_the_first_that_differs_and_are_not_undone() {
    let lines = |from: &[&str], to: &[&str]| lines(&plan(&with_commands(from), &with_commands(to)));
    assert_eq!(lines(&["a", "b"], &["a", "b"]), [""; 0]);
    assert_eq!(
        lines(&["a"], &["a", "b"]),
        [
            "node1: run 1 command in vm1 over its console",
            "node2: run 1 command in vm2 over its console"
        ]
    );
    assert_eq!(
        lines(&["a", "b", "c"], &["x", "b", "c"])[0],
        "node1: run 3 commands in vm1 over its console"
    );
    assert_eq!(lines(&["a", "b"], &["a"]), [""; 0]);
    // What is known by its digest only, as for a rollback, cannot be run.
    let mut known = with_commands(&["b"]);
    for domain in known.values_mut().flat_map(|state| state.domains.values_mut()) {
        domain.tasks = serde_json::from_value(serde_json::to_value(&domain.tasks).unwrap()).unwrap();
    }
    assert_eq!(plan(&with_commands(&["a"]), &known).steps().count(), 0);
}

#[test]
fn a_restarted_guest_with_a_disk_keeps_what_was_done_and_one_without_does_it_again() {
    let mut from = with_commands(&["a"]);
    for domain in from.values_mut().flat_map(|state| state.domains.values_mut()) {
        domain.memory_mib = 64;
    }
    let plan = plan(&from, &with_commands(&["a"]));
    let runs: Vec<String> = lines(&plan)
        .into_iter()
        .filter(|line| line.contains("command"))
        .collect();
    assert_eq!(runs, ["node1: run 1 command in vm1 over its console"]);
    let kept = plan.steps().find_map(|(_, step)| match step {
        Step::DefineDomain(name, defined) if *name == domain("vm2") => Some(defined.tasks.len()),
        _ => None,
    });
    assert_eq!(kept, Some(1));
}
