//! Faults of bridges and ports of Open vSwitch.

use super::table::At::Host;
use super::table::{Fault, R2_ALONE, fault};

/// Two VLANs over one cable; `blue` is on one host only.
pub(super) const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0 = {}
[hosts.node2]
nics.eth0 = {}
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[networks.red]
subnet = "10.0.1.0/24"
switch = "ovs"
uplink = "eth0"
vlan = 10
bridge = "br-red"
gateway = { address = "10.0.1.1", on = "node1" }
[networks.blue]
subnet = "10.0.2.0/24"
switch = "ovs"
uplink = "eth0"
vlan = 20
bridge = "br-blue"
[vms.r1]
host = "node1"
memory = "96MiB"
nics = [{ network = "red", address = "10.0.1.2" }]
[vms.r2]
host = "node2"
memory = "96MiB"
nics = [{ network = "red", address = "10.0.1.3" }]
[vms.b1]
host = "node1"
memory = "96MiB"
nics = [{ network = "blue", address = "10.0.2.2" }]
"#;

pub(super) const SWITCHED: &[Fault] = &[
    fault(
        Host("node1"),
        "ovs-vsctl set Port $(ovs-vsctl --bare --columns=name find Port tag=10) tag=20",
        "true",
        &[("r1", "r2"), ("r2", "r1"), ("r2", "gw red"), ("b1", "r1"), ("r1", "b1")],
        &[
            "network blue and network red are joined",
            "node1: link eth0.10 of network red has VLAN id 20, not 10",
        ],
    ),
    fault(
        Host("node1"),
        "ovs-vsctl set Port eth0 trunks=20",
        "ovs-vsctl clear Port eth0 trunks",
        R2_ALONE,
        &[
            "node1: link eth0 of network red passes frames of VLAN 20 only, not those of VLAN 10",
            "fix: `ovs-vsctl clear port eth0 trunks` on node1",
        ],
    ),
    fault(
        Host("node2"),
        "ovs-vsctl set Port eth0 trunks=20,30",
        "ovs-vsctl clear Port eth0 trunks",
        R2_ALONE,
        &["node2: link eth0 of network red passes frames of VLAN 20, 30 only, not those of VLAN 10"],
    ),
    fault(
        Host("node2"),
        "ovs-vsctl set Port TAP-r2 tag=7",
        "ovs-vsctl clear Port TAP-r2 tag",
        R2_ALONE,
        &["of guest r2 is in VLAN 7 only (tag)"],
    ),
    fault(
        Host("node1"),
        "ovs-vsctl del-port TAP-r1 && ovs-vsctl add-port br-blue TAP-r1",
        "ovs-vsctl del-port TAP-r1 && ovs-vsctl add-port br-red TAP-r1",
        &[("r1", "r2"), ("r2", "r1"), ("r1", "b1"), ("b1", "r1")],
        &["of guest r1 is attached to br-blue, not to br-red"],
    ),
    fault(
        Host("node2"),
        "ovs-ofctl add-flow br-red priority=9,ip,nw_dst=10.0.1.3,actions=drop",
        "ovs-ofctl del-flows br-red ip,nw_dst=10.0.1.3",
        R2_ALONE,
        &["node2: bridge br-red has a flow that is not the lab's: priority=9,ip,nw_dst=10.0.1.3 actions=drop"],
    ),
    fault(
        Host("node2"),
        "ovs-ofctl del-flows br-red",
        "ovs-ofctl add-flow br-red priority=0,actions=NORMAL",
        R2_ALONE,
        &["node2: bridge br-red has no flow that forwards packets like a switch"],
    ),
    // Nothing that is read shows it: the packets are followed.
    fault(
        Host("node2"),
        "ovs-ofctl mod-port br-red TAP-r2 no-forward",
        "ovs-ofctl mod-port br-red TAP-r2 forward",
        R2_ALONE,
        &["packets vanish between"],
    ),
];
