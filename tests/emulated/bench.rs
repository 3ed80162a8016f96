//! Two machines and a cable, and functions that inspect them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use netlab::lab::{Cable, CableEnd, HostName, IfName};
use netlab::plan::Step;
use netlab::state::{HostState, Machine, MachineKind, MachineNic};
use netlab::transport::{Cmd, LocalShell, Shell};
use rustix::process::{Pid, Signal, kill_process};

pub use crate::support::machines::Machines as Bench;
pub use crate::support::{PATIENCE, processes, wait_until};

pub fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

pub fn nic(name: &str) -> IfName {
    name.parse().unwrap()
}

pub fn cable() -> Cable {
    let end = |host| CableEnd {
        host: name(host),
        nic: nic("eth0"),
    };
    Cable {
        ends: [end("node1"), end("node2")],
    }
}

/// Returns a machine whose eth0 has this address.
pub fn with_address(address: &str) -> Machine {
    let eth0 = MachineNic {
        address: Some(address.parse().unwrap()),
        ..MachineNic::default()
    };
    Machine {
        stp: false,
        lags: BTreeSet::new(),
        kind: MachineKind::Host,
        outside: BTreeSet::new(),
        names: BTreeMap::new(),
        to_host: None,
        changed: BTreeSet::new(),
        nics: BTreeMap::from([(nic("eth0"), eth0)]),
        alive: true,
    }
}

/// Returns two machines and a cable; the first has another NIC, with a default gateway and without a cable.
pub fn desired() -> HostState {
    let mut first = with_address("172.16.99.108/24");
    let eth1 = MachineNic {
        address: Some("192.168.7.2/24".parse().unwrap()),
        gateway: Some("192.168.7.1".parse().unwrap()),
        ..MachineNic::default()
    };
    first.nics.insert(nic("eth1"), eth1);
    HostState {
        machines: BTreeMap::from([
            (name("node1"), first),
            (name("node2"), with_address("172.16.99.109/24")),
        ]),
        cables: BTreeSet::from([cable()]),
        ..HostState::default()
    }
}

pub fn steps_to(state: &HostState) -> Vec<Step> {
    let create = state.machines.keys().cloned().map(Step::CreateMachine);
    let plug = state.cables.iter().cloned().map(Step::PlugCable);
    let configure = state.machines.clone().into_iter();
    create
        .chain(plug)
        .chain(configure.map(|(host, machine)| Step::ConfigureMachine(host, machine)))
        .collect()
}

/// Processes in a network namespace, named as /proc/PID/ns/net names it; zombies not counted.
pub fn namesakes(namespace: &Path) -> Vec<u32> {
    processes()
        .into_iter()
        .map(|(pid, _)| pid)
        .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|net| net == namespace))
        .collect()
}

/// Returns the process of that name whose parent is `parent`.
pub fn child(parent: u32, command: &str) -> Option<u32> {
    processes().into_iter().map(|(pid, _)| pid).find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&format!("PPid:\t{parent}\n")) && status.contains(&format!("Name:\t{command}\n"))
    })
}

pub fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

pub fn libvirt_daemon(init: u32) -> Option<u32> {
    child(init, "libvirtd").or_else(|| child(init, "virtqemud"))
}

pub fn ip(arguments: &[&str]) -> String {
    let argv = ["ip"].iter().chain(arguments).copied();
    String::from_utf8(LocalShell.check(&Cmd::new(argv)).unwrap()).unwrap()
}
