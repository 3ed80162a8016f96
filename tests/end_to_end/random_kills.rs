//! FAULTS 1, 2 and 51 on emulated hosts: runs killed at any time, not only between two steps.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use netlab::lab::HostName;
use netlab::plan::Step;
use netlab::state::{Machine, MachineKind};
use netlab::transport::{Cmd, NamespaceShell, Shell as _};

use crate::labs::tunnels::without_ovs;
use crate::support::kills::{Site, rounds};
use crate::support::lab::Bench;
use crate::support::machines::Machines;
use crate::support::whole::{self, SCRIPT, WORD};

/// Two hosts and a router; DHCP, address translation, and an uplink whose address is moved to the bridge.
const LAB: &str = r#"
name = "LABNAME"
[routers.home]
nics.eth0.address = "192.168.99.1/24"
outside = "203.0.113.1/32"
[hosts.node1]
nics.eth0.address = "172.16.99.108/24"
nics.eth1 = { address = "192.168.99.108/24", gateway = "192.168.99.1" }
[hosts.node2]
nics.eth0.address = "172.16.99.109/24"
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[[cables]]
ends = ["node1:eth1", "home:eth0"]
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
gateway = { address = "10.0.1.1", on = "node1" }
dhcp = true
[[nat]]
on = "node1"
from = "service"
out = "eth1"
source = "192.168.99.108"
"#;

/// A network with a tag, for kernels that have 802.1Q.
const TAGGED: &str = r#"
[networks.tagged]
subnet = "10.0.2.0/24"
uplink = "eth0"
vlan = 10
gateway = { address = "10.0.2.1", on = "node1" }
"#;

/// As [`LAB`], over bonds, with a network in tunnels and one with a tag, all of Open vSwitch.
const OVS: &str = r#"
name = "LABNAME"
[routers.home]
nics.eth0.address = "192.168.99.1/24"
outside = "203.0.113.1/32"
[switches.rack]
[hosts.node1.bonds.bond0]
nics = ["eth0", "eth1"]
mode = "active-backup"
address = "172.16.99.108/24"
[hosts.node1.nics.eth2]
address = "192.168.99.108/24"
gateway = "192.168.99.1"
[hosts.node2.bonds.bond0]
nics = ["eth0", "eth1"]
mode = "active-backup"
address = "172.16.99.109/24"
[[cables]]
ends = ["node1:eth0", "rack:p1"]
[[cables]]
ends = ["node1:eth1", "rack:p2"]
[[cables]]
ends = ["node2:eth0", "rack:p3"]
[[cables]]
ends = ["node2:eth1", "rack:p4"]
[[cables]]
ends = ["node1:eth2", "home:eth0"]
[networks.service]
subnet = "10.0.1.0/24"
switch = "ovs"
tunnel = "gre"
underlay = "bond0"
gateway = { address = "10.0.1.1", on = "node1" }
addresses = { node2 = "10.0.1.9" }
dhcp = true
[networks.tagged]
subnet = "10.0.2.0/24"
switch = "ovs"
uplink = "bond0"
vlan = 10
addresses = { node1 = "10.0.2.1", node2 = "10.0.2.2" }
[[nat]]
on = "node1"
from = "service"
out = "eth2"
source = "192.168.99.108"
"#;

const GUEST: &str = r#"
[vms.web]
host = "node2"
memory = "96MiB"
nics = [{ network = "service" }]
floating = "192.168.99.50"
"#;

/// An emulated machine on which netlab runs with a lab of emulated hosts: all that it has is this lab's.
struct Inside {
    machines: Machines,
    lab: String,
    pid: u32,
}

impl Inside {
    fn new(test: &str, text: &str) -> Option<Self> {
        let machines = Machines::new(test)?;
        let host: HostName = "box".parse().unwrap();
        let machine = Machine {
            stp: false,
            lags: BTreeSet::new(),
            nics: [].into(),
            kind: MachineKind::Host,
            outside: BTreeSet::new(),
            names: std::collections::BTreeMap::new(),
            to_host: None,
            changed: BTreeSet::new(),
            alive: true,
        };
        let steps = [
            Step::CreateMachine(host.clone()),
            Step::ConfigureMachine(host.clone(), machine),
        ];
        machines.apply(&steps).unwrap();
        let inside = Self {
            pid: machines.pid(&host),
            lab: format!("rk{}", std::process::id()),
            machines,
        };
        inside.run(&["mount", "-t", "tmpfs", "tmpfs", "/tmp"]);
        let text = text.replace("LABNAME", &inside.lab);
        std::fs::write(inside.path(false), &text).unwrap();
        std::fs::write(inside.path(true), text + GUEST).unwrap();
        Some(inside)
    }

    fn path(&self, guest: bool) -> PathBuf {
        let name = if guest { "guest.toml" } else { "plain.toml" };
        self.machines.folder().join(name)
    }

    fn run(&self, argv: &[&str]) -> String {
        let shell = NamespaceShell::of_process(self.pid);
        String::from_utf8_lossy(&shell.check(&Cmd::new(argv.iter().copied())).unwrap()).into_owned()
    }
}

/// The lab of Linux bridges, as far as the kernel goes.
fn bridges() -> String {
    let tagged = std::path::Path::new("/sys/module/8021q").exists();
    format!("{LAB}{}", if tagged { TAGGED } else { "" })
}

impl Site for Inside {
    fn netlab(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--net", "--mount", "--pid", "--"])
            .arg(env!("CARGO_BIN_EXE_netlab"))
            .args(arguments)
            .env("NETLAB_STATE_DIR", "/var/lib/netlab")
            .env("NETLAB_CACHE_DIR", Bench::cache());
        command
    }

    fn lab(&self) -> &str {
        &self.lab
    }

    fn file(&self, guest: bool) -> String {
        self.path(guest).to_str().unwrap().to_owned()
    }

    fn observe(&self) -> BTreeSet<String> {
        whole::read(&self.run(&["sh", "-c", SCRIPT, WORD, WORD]), &self.lab)
    }
}

#[test]
fn emulated_hosts_are_restored_by_up_or_down_whenever_the_run_before_was_killed() {
    let test = "emulated_hosts_are_restored_by_up_or_down_whenever_the_run_before_was_killed";
    let Some(inside) = Inside::new(test, &bridges()) else {
        return;
    };
    rounds(&inside, 8);
}

#[test]
#[ignore = "soak: hundreds of rounds"]
fn emulated_hosts_are_restored_by_up_or_down_after_each_of_250_kills() {
    let test = "emulated_hosts_are_restored_by_up_or_down_after_each_of_250_kills";
    let Some(inside) = Inside::new(test, &bridges()) else {
        return;
    };
    rounds(&inside, 250);
}

#[test]
#[ignore = "soak: dozens of rounds with Open vSwitch, whose steps are killed like those of Linux bridges"]
fn hosts_with_bonds_and_tunnels_of_open_vswitch_are_restored_whenever_the_run_before_was_killed() {
    let test = "hosts_with_bonds_and_tunnels_of_open_vswitch_are_restored_whenever_the_run_before_was_killed";
    if without_ovs(test) {
        return;
    }
    let Some(inside) = Inside::new(test, OVS) else { return };
    rounds(&inside, 60);
}
