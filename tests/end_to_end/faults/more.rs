//! Faults of guests with two NICs, of DHCP, and of floating addresses.

use super::table::At::{Guest, Host};
use super::table::{Fault, fault};

/// Two routed networks; `m` is in both, and `red` has a DHCP server.
pub(super) const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0 = {}
nics.eth1 = {}
[hosts.node2]
nics.eth0 = {}
nics.eth1 = {}
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[[cables]]
ends = ["node1:eth1", "node2:eth1"]
[networks.red]
subnet = "10.0.1.0/24"
uplink = "eth0"
bridge = "br-red"
gateway = { address = "10.0.1.1", on = "node1" }
dhcp = true
[networks.blue]
subnet = "10.0.2.0/24"
uplink = "eth1"
bridge = "br-blue"
gateway = { address = "10.0.2.1", on = "node1" }
[vms.r1]
host = "node1"
memory = "96MiB"
nics = [{ network = "red", address = "10.0.1.2" }]
serve = [{ tcp = 80, text = "hello" }]
[vms.m]
host = "node2"
memory = "96MiB"
nics = [{ network = "blue", address = "10.0.2.3" }, { network = "red", address = "10.0.1.3" }]
[[verify.check]]
from = ["m"]
to = "r1"
tcp = 80
[[verify.check]]
from = ["r1"]
dns = "r1"
"#;

pub(super) const MORE: &[Fault] = &[
    // r1's packets to m's other NIC come by the gateway, and m answers by the NIC in r1's own network.
    fault(
        Guest("m"),
        "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter",
        "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter",
        &[("r1", "m/blue")],
        &["guest m: NIC eth0 drops packets whose replies leave by another NIC: rp_filter is 1"],
    ),
    fault(
        Host("node2"),
        "ip netns add stranger && ip link add name st0 type veth peer name st1 netns stranger && \
         ip link set dev st0 master br-red up && ip -n stranger link set dev lo up && \
         ip -n stranger link set dev st1 up && ip -n stranger address add 10.0.1.99/24 dev st1 && \
         ip netns exec stranger dnsmasq --conf-file=/dev/null --port=0 --interface=st1 --bind-interfaces \
         --except-interface=lo --dhcp-range=10.0.1.150,10.0.1.160 --dhcp-leasefile=/run/strange.leases \
         --pid-file=/run/strange.pid",
        "kill $(cat /run/strange.pid); ip link delete dev st0; ip netns delete stranger; rm -f /run/strange.leases",
        &[],
        &["node1: another DHCP server answers on network red, from 10.0.1.99"],
    ),
    fault(
        Host("node1"),
        "pkill -STOP dnsmasq",
        "pkill -CONT dnsmasq",
        &[],
        &["node1: dnsmasq, the name server at 10.0.1.1, runs and does not answer"],
    ),
    fault(
        Host("node1"),
        "nft 'table inet other { chain c { type filter hook input priority 0; udp dport 53 drop; }; }'",
        "nft delete table inet other",
        &[],
        &["node1: a rule drops packets to udp port 53: table inet other, chain c: udp dport 53 drop"],
    ),
    fault(
        Host("node2"),
        "nft 'table bridge other { chain c { type filter hook forward priority 0; tcp dport 80 drop; }; }'",
        "nft delete table bridge other",
        &[],
        &["node2: a rule drops packets to tcp port 80: table bridge other, chain c: tcp dport 80 drop"],
    ),
    fault(
        Guest("r1"),
        "cp /etc/resolv.conf /tmp/r; echo nameserver 10.0.1.77 >/etc/resolv.conf",
        "cp /tmp/r /etc/resolv.conf",
        &[],
        &["guest r1: /etc/resolv.conf has name server 10.0.1.77, not 10.0.1.1"],
    ),
    fault(
        Guest("r1"),
        "ip addr add 10.0.1.3/24 dev eth0",
        "ip addr del 10.0.1.3/24 dev eth0",
        &[("r1", "m/red")],
        &["guest r1 (node1) has the address 10.0.1.3 of guest m (node2)"],
    ),
];
