//! FAULTS 1, 2 and 51 on hosts behind ssh: runs killed at any time, not only between two steps.

use std::collections::BTreeSet;
use std::process::Command;

use crate::machines::Machines;
use crate::support::kills::{Site, rounds};

/// DHCP, address translation, and an uplink whose addresses and route are moved to the bridge.
const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
nics.eth0 = {}
nics.mgmt.address = "10.200.1.2/24"
[hosts.node2]
connect = "ssh://root@10.200.2.2"
nics.eth0 = {}
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
gateway = { address = "10.0.1.1", on = "node1" }
dhcp = true
[[nat]]
on = "node1"
from = "service"
out = "mgmt"
source = "10.200.1.2"
"#;

const GUEST: &str = r#"
[vms.web]
host = "node2"
memory = "96MiB"
nics = [{ network = "service" }]
floating = "10.200.1.50"
"#;

struct Behind {
    machines: Machines,
}

impl Behind {
    fn new(test: &str) -> Option<Self> {
        let machines = Machines::new(test)?;
        machines.run("node1", &["ip", "addr", "add", "10.200.3.1/24", "dev", "eth0"]);
        machines.run("node1", &["ip", "route", "add", "10.99.0.0/16", "via", "10.200.3.2"]);
        machines.run("node2", &["ip", "addr", "add", "10.200.3.2/24", "dev", "eth0"]);
        let text = LAB.replace("LABNAME", &machines.name);
        std::fs::write(machines.keyring.path("plain.toml"), &text).unwrap();
        std::fs::write(machines.keyring.path("guest.toml"), text + GUEST).unwrap();
        Some(Self { machines })
    }
}

impl Site for Behind {
    fn netlab(&self, arguments: &[&str]) -> Command {
        self.machines.netlab(arguments)
    }

    fn lab(&self) -> &str {
        &self.machines.name
    }

    fn file(&self, guest: bool) -> String {
        let file = if guest { "guest.toml" } else { "plain.toml" };
        self.machines.keyring.path(file).to_str().unwrap().to_owned()
    }

    fn observe(&self) -> BTreeSet<String> {
        self.machines.snapshot()
    }
}

#[test]
fn hosts_behind_ssh_are_restored_by_up_or_down_whenever_the_run_before_was_killed() {
    let Some(behind) = Behind::new("random kills") else {
        return;
    };
    rounds(&behind, 4);
}

#[test]
#[ignore = "soak: hundreds of rounds"]
fn hosts_behind_ssh_are_restored_by_up_or_down_after_each_of_250_kills() {
    let Some(behind) = Behind::new("random kills") else {
        return;
    };
    rounds(&behind, 250);
}
