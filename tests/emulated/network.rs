//! Cables and NICs.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use netlab::plan::Step;
use netlab::state::HostState;

use super::bench::{Bench, cable, desired, ip, name, namesakes, nic, steps_to, with_address};

#[test]
fn two_machines_and_a_cable_are_created_used_observed_and_removed() {
    let Some(bench) = Bench::new("two_machines_and_a_cable") else {
        return;
    };
    let before = bench.traces();
    let desired = desired();
    bench.apply(&steps_to(&desired)).unwrap();

    assert_eq!(bench.observe(), desired);
    for host in desired.machines.keys() {
        assert_eq!(bench.connect(host).unwrap().hostname().unwrap(), host.as_str());
    }
    let ping = [
        "netns",
        "exec",
        &bench.namespace("node1"),
        "busybox",
        "ping",
        "-c1",
        "-W5",
        "172.16.99.109",
    ];
    assert!(ip(&ping).contains(" 0% packet loss"));

    let links = ip(&["-n", &bench.namespace("node1"), "link", "show", "dev", "eth1"]);
    assert!(links.contains("NO-CARRIER") && links.contains(",UP"), "{links}");
    let routes = ip(&["-n", &bench.namespace("node1"), "route"]);
    assert!(routes.contains("default via 192.168.7.1 dev eth1"), "{routes}");

    // A stranger's pair in a machine is no cable of the lab.
    let node1 = bench.namespace("node1");
    ip(&[
        "-n", &node1, "link", "add", "name", "st0", "type", "veth", "peer", "name", "st1",
    ]);
    assert_eq!(bench.observe(), desired);
    ip(&["-n", &node1, "link", "delete", "dev", "st0"]);
    // Nor is one to a namespace without a name, where the other end has the number that a NIC of the lab has here.
    let mut elsewhere = Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
    let (pid, own) = (elsewhere.id().to_string(), fs::read_link("/proc/self/ns/net").unwrap());
    for _ in 0..100 {
        if fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|there| there != own) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let eth0 = ip(&["-n", &node1, "-o", "link", "show", "dev", "eth0"]);
    let (index, _) = eth0.split_once(':').unwrap();
    ip(&[
        "-n", &node1, "link", "add", "name", "st0", "type", "veth", "peer", "name", "st1", "index", index, "netns",
        &pid,
    ]);
    assert_eq!(bench.observe(), desired);
    ip(&["-n", &node1, "link", "delete", "dev", "st0"]);
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();

    let namespaces: Vec<_> = desired
        .machines
        .keys()
        .map(|host| fs::read_link(format!("/proc/{}/ns/net", bench.pid(host))).unwrap())
        .collect();
    bench
        .apply(&[
            Step::UnplugCable(cable()),
            Step::RemoveMachine(name("node1")),
            Step::RemoveMachine(name("node2")),
        ])
        .unwrap();
    assert_eq!(bench.traces(), before);
    for namespace in namespaces {
        assert_eq!(namesakes(&namespace), [0; 0], "processes in the namespace");
    }
    assert_eq!(bench.observe(), HostState::default());
}

#[test]
fn a_cable_replaces_a_nic_without_one_and_its_removal_recreates_that_nic() {
    let Some(bench) = Bench::new("a_cable_takes") else {
        return;
    };
    let mut desired = desired();
    desired.cables.clear();
    bench.apply(&steps_to(&desired)).unwrap();
    assert_eq!(bench.observe(), desired);

    let configure = |host: &str| Step::ConfigureMachine(name(host), desired.machines[&name(host)].clone());
    bench
        .apply(&[Step::PlugCable(cable()), configure("node1"), configure("node2")])
        .unwrap();
    assert_eq!(bench.observe().cables, BTreeSet::from([cable()]));
    assert_eq!(bench.observe().machines, desired.machines);

    bench.apply(&[Step::UnplugCable(cable())]).unwrap();
    bench.apply(&[Step::UnplugCable(cable())]).unwrap();
    assert!(!bench.observe().machines[&name("node1")].nics.contains_key(&nic("eth0")));
    bench.apply(&[configure("node1"), configure("node2")]).unwrap();
    assert_eq!(bench.observe(), desired);
}

#[test]
fn an_edited_address_replaces_the_old_one_unless_the_nic_is_attached_to_a_bridge() {
    let Some(bench) = Bench::new("edited_address") else {
        return;
    };
    let (host, namespace) = (name("node1"), bench.namespace("node1"));
    let to = |address| Step::ConfigureMachine(name("node1"), with_address(address));
    bench
        .apply(&[Step::CreateMachine(host.clone()), to("10.9.0.1/24")])
        .unwrap();
    bench.apply(&[to("10.9.0.2/24")]).unwrap();
    let addresses = ip(&["-n", &namespace, "address", "show", "dev", "eth0"]);
    assert!(
        addresses.contains("10.9.0.2/24") && !addresses.contains("10.9.0.1/24"),
        "{addresses}"
    );

    ip(&["-n", &namespace, "link", "add", "name", "br1", "type", "bridge"]);
    ip(&["-n", &namespace, "link", "set", "dev", "eth0", "master", "br1"]);
    ip(&["-n", &namespace, "address", "flush", "dev", "eth0"]);
    assert_eq!(bench.observe().machines[&host], with_address("10.9.0.2/24"));
    bench.apply(&[to("10.9.0.2/24")]).unwrap();
    assert!(!ip(&["-n", &namespace, "address", "show", "dev", "eth0"]).contains("10.9"));
    let errors = bench.apply(&[to("10.9.0.3/24")]).unwrap_err();
    assert!(errors[0].cause.to_string().contains("br1"), "{}", errors[0].cause);
}
