//! Switches and routers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use netlab::host::Host;
use netlab::lab::{Asked, Cable, CableEnd, PortMode};
use netlab::plan::{Step, plan};
use netlab::state::survey::VLAN_FILTERING;
use netlab::state::{HostState, Machine, MachineKind, MachineNic, Site, localhost};

use super::bench::{Bench, ip, name, nic, wait_until};

fn end(machine: &str, port: &str) -> CableEnd {
    CableEnd {
        host: name(machine),
        nic: nic(port),
    }
}

/// A cable from a router's eth0 to a port of the switch `rack`.
fn to_rack(router: &str, port: &str) -> Cable {
    let mut ends = [end(router, "eth0"), end("rack", port)];
    ends.sort();
    Cable { ends }
}

fn router(address: &str, gateway: Option<&str>, outside: &[&str]) -> Machine {
    let eth0 = MachineNic {
        address: Some(address.parse().unwrap()),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        ..MachineNic::default()
    };
    Machine {
        stp: false,
        lags: BTreeSet::new(),
        kind: MachineKind::Router,
        nics: BTreeMap::from([(nic("eth0"), eth0)]),
        names: BTreeMap::new(),
        outside: outside.iter().map(|address| address.parse().unwrap()).collect(),
        to_host: None,
        changed: BTreeSet::new(),
        alive: true,
    }
}

fn switch(ports: &[(&str, PortMode)]) -> Machine {
    let nics = ports.iter().map(|(port, mode)| {
        let config = MachineNic {
            port: mode.clone(),
            ..MachineNic::default()
        };
        (nic(port), config)
    });
    Machine {
        stp: false,
        lags: BTreeSet::new(),
        kind: MachineKind::Switch,
        nics: nics.collect(),
        outside: BTreeSet::new(),
        names: BTreeMap::new(),
        to_host: None,
        changed: BTreeSet::new(),
        alive: true,
    }
}

/// Two routers at a switch of open ports; the first has an address outside and is the second's default gateway. A third port
/// has no cable.
fn desired() -> HostState {
    HostState {
        machines: BTreeMap::from([
            (name("home"), router("192.168.99.1/24", None, &["203.0.113.1/32"])),
            (name("shed"), router("192.168.99.2/24", Some("192.168.99.1"), &[])),
            (
                name("rack"),
                switch(&[
                    ("p1", PortMode::Open),
                    ("p2", PortMode::Open),
                    ("spare", PortMode::Open),
                ]),
            ),
        ]),
        cables: BTreeSet::from([to_rack("home", "p1"), to_rack("shed", "p2")]),
        ..HostState::default()
    }
}

fn site(localhost_state: HostState) -> Site {
    [(localhost(), localhost_state)].into()
}

/// Brings the emulated machines to `wanted`, from any state.
fn converge(bench: &Bench, wanted: HostState) {
    let steps: Vec<Step> = plan(&site(bench.observe()), &site(wanted))
        .steps()
        .map(|(_, step)| step.clone())
        .collect();
    bench.apply(&steps).unwrap();
}

/// Pings `to` from `from`: echo requests sent and replies received.
fn ping(bench: &Bench, from: &str, to: &str) -> netlab::guest::Answer {
    let to: std::net::IpAddr = to.parse().unwrap();
    bench
        .emulator
        .ping(
            &bench.lab,
            &Asked::Router(name(from)),
            &[to.into()],
            &netlab::guest::ProbeOptions::default(),
        )
        .unwrap()[&to]
        .answer
        .clone()
}

fn answers(bench: &Bench, from: &str, to: &str) -> bool {
    match ping(bench, from, to) {
        netlab::guest::Answer::Counted { sent: 2, received, .. } => received == 2,
        other => panic!("{other:?}"),
    }
}

#[test]
fn routers_at_a_switch_are_created_used_observed_and_removed_without_a_trace() {
    let Some(bench) = Bench::new("routers_at_a_switch") else {
        return;
    };
    let before = bench.traces();
    converge(&bench, desired());
    assert_eq!(bench.observe(), desired());
    assert!(
        !bench.machine(&name("home")).exists(),
        "it is a namespace and nothing else"
    );

    assert!(answers(&bench, "shed", "192.168.99.1") && answers(&bench, "home", "192.168.99.2"));
    assert!(answers(&bench, "shed", "203.0.113.1"), "the address outside");
    assert!(!answers(&bench, "shed", "203.0.113.2") && !answers(&bench, "home", "10.0.1.1"));
    assert!(
        bench
            .emulator
            .ping(
                &bench.lab,
                &Asked::Router(name("nobody")),
                &[],
                &netlab::guest::ProbeOptions::default()
            )
            .is_err()
    );

    converge(&bench, HostState::default());
    assert_eq!(bench.traces(), before);
}

#[test]
fn a_switch_with_spanning_tree_blocks_the_second_of_two_cables_to_one_without() {
    let Some(bench) = Bench::new("spanning_tree") else {
        return;
    };
    let ports = ["p1", "p2", "p3"].map(|port| (port, PortMode::Open));
    let with_stp = Machine {
        stp: true,
        ..switch(&ports)
    };
    let cable = |a: (&str, &str), b: (&str, &str)| Cable {
        ends: [end(a.0, a.1), end(b.0, b.1)],
    };
    let second = cable(("desk", "p3"), ("rack", "p3"));
    let wanted = HostState {
        machines: BTreeMap::from([
            (name("home"), router("192.168.99.1/24", None, &[])),
            (name("shed"), router("192.168.99.2/24", None, &[])),
            (name("desk"), switch(&ports)),
            (name("rack"), with_stp),
        ]),
        cables: BTreeSet::from([
            cable(("desk", "p1"), ("home", "eth0")),
            cable(("desk", "p2"), ("rack", "p2")),
            second.clone(),
            to_rack("shed", "p1"),
        ]),
        ..HostState::default()
    };
    converge(&bench, wanted.clone());
    assert_eq!(bench.observe(), wanted);
    // Listening and learning take two forward delays, 4 s.
    let address = "192.168.99.1";
    wait_until("a ping through the switches", || {
        matches!(
            ping(&bench, "shed", address),
            netlab::guest::Answer::Counted { received: 2, .. }
        )
    });
    let rack = bench.namespace("rack");
    let states = ["p2", "p3"].map(|port| ip(&["-n", &rack, "-details", "link", "show", "dev", port]));
    let blocked = states.iter().filter(|state| state.contains("state blocking")).count();
    assert_eq!(blocked, 1, "{states:#?}");

    let mut without = wanted;
    without.cables.remove(&second);
    if let Some(rack) = without.machines.get_mut(&name("rack")) {
        rack.stp = false;
    }
    converge(&bench, without.clone());
    assert_eq!(bench.observe(), without);
    assert!(answers(&bench, "shed", address), "without a delay");
}

#[test]
fn a_change_of_a_device_by_hand_is_observed_and_repaired() {
    let Some(bench) = Bench::new("changed_by_hand") else {
        return;
    };
    converge(&bench, desired());
    let [home, shed, rack] = ["home", "shed", "rack"].map(|machine| bench.namespace(machine));
    let changes: [&[&str]; 8] = [
        &["-n", &home, "address", "del", "203.0.113.1/32", "dev", "lo"],
        &["-n", &home, "address", "flush", "dev", "eth0"],
        &["-n", &home, "link", "set", "dev", "eth0", "down"],
        &["-n", &shed, "route", "del", "default"],
        &["netns", "exec", &home, "sysctl", "-qw", "net.ipv4.ip_forward=0"],
        &["-n", &rack, "link", "set", "dev", "p1", "nomaster"],
        &["-n", &rack, "link", "set", "dev", "_bridge", "down"],
        &["-n", &rack, "link", "del", "dev", "_bridge"],
    ];
    for change in changes {
        ip(change);
        assert_ne!(bench.observe(), desired(), "{change:?}");
        converge(&bench, desired());
        assert_eq!(bench.observe(), desired(), "{change:?}");
    }
}

#[test]
fn a_run_that_stopped_after_any_step_is_completed_by_the_next_and_can_be_removed() {
    let Some(bench) = Bench::new("stopped_after_any") else {
        return;
    };
    let before = bench.traces();
    let steps: Vec<Step> = plan(&Site::new(), &site(desired()))
        .steps()
        .map(|(_, step)| step.clone())
        .collect();
    for length in 1..steps.len() {
        bench.apply(&steps[..length]).unwrap();
        assert_ne!(bench.observe(), desired(), "after {length} steps");
        converge(&bench, desired());
        assert_eq!(bench.observe(), desired(), "after {length} steps");
        converge(&bench, HostState::default());
        bench.apply(&steps[..length]).unwrap();
        converge(&bench, HostState::default());
        assert_eq!(bench.traces(), before, "after {length} steps");
    }
}

#[test]
fn a_foreign_namespace_of_a_devices_name_is_neither_adopted_nor_deleted() {
    let Some(bench) = Bench::new("foreign_device") else {
        return;
    };
    let namespace = bench.namespace("rack");
    ip(&["netns", "add", &namespace]);
    let errors = bench
        .apply(&[Step::CreateDevice(name("rack"), MachineKind::Switch)])
        .unwrap_err();
    assert!(format!("{} {}", errors[0], errors[0].cause).contains(&namespace));
    assert_eq!(bench.observe(), HostState::default());
    bench.apply(&[Step::RemoveMachine(name("rack"))]).unwrap();
    assert!(Path::new("/run/netns").join(&namespace).exists());
}

#[test]
fn a_switch_with_vlans_passes_what_its_ports_allow_or_is_an_error_without_kernel_support() {
    let Some(bench) = Bench::new("a_switch_with_vlans") else {
        return;
    };
    let id = |id: i64| id.try_into().unwrap();
    let access = |vlan| PortMode::Access(id(vlan));
    let hosts = ["a", "b", "c", "d"];
    let mut machines: BTreeMap<_, _> = hosts
        .iter()
        .zip(1..)
        .map(|(host, number)| (name(host), router(&format!("10.9.0.{number}/24"), None, &[])))
        .collect();
    let ports = [
        ("p1", access(10)),
        ("p2", access(10)),
        ("p3", PortMode::Open),
        ("p4", PortMode::Open),
        ("other", access(20)),
        ("trunk", PortMode::Trunk([id(1), id(10)].into())),
    ];
    machines.insert(name("rack"), switch(&ports));
    let wanted = HostState {
        machines,
        cables: hosts
            .iter()
            .zip(&ports)
            .map(|(host, (port, _))| to_rack(host, port))
            .collect(),
        ..HostState::default()
    };
    let survey = bench.emulator.survey(&bench.lab).unwrap();
    if survey.missing_modules.contains(VLAN_FILTERING) {
        // Tier 6 tests it with a kernel that supports it, too.
        let steps: Vec<Step> = plan(&Site::new(), &site(wanted.clone()))
            .steps()
            .map(|(_, step)| step.clone())
            .collect();
        let errors = bench.apply(&steps).unwrap_err();
        assert!(errors[0].cause.to_string().contains("vlan_"), "{}", errors[0].cause);
        assert_ne!(bench.observe(), wanted);
        return;
    }
    converge(&bench, wanted.clone());
    assert_eq!(bench.observe(), wanted);
    assert!(answers(&bench, "a", "10.9.0.2"), "one VLAN");
    assert!(
        !answers(&bench, "a", "10.9.0.3"),
        "untagged frames of an open port are in no port's VLAN"
    );
    assert!(answers(&bench, "c", "10.9.0.4"), "open ports");
    ip(&[
        "netns",
        "exec",
        &bench.namespace("rack"),
        "bridge",
        "vlan",
        "del",
        "dev",
        "p1",
        "vid",
        "10",
    ]);
    assert_ne!(bench.observe(), wanted);
    converge(&bench, wanted.clone());
    assert_eq!(bench.observe(), wanted);
}
