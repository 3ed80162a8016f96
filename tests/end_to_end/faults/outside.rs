//! Faults between the gateway's host and the router outside.

use super::table::At::{Guest, Host};
use super::table::{Fault, fault};

/// Faults of the lab with a router outside: each is removed by its own commands and `up`.
pub(super) const OUTSIDE: &[Fault] = &[
    fault(
        Host("node1"),
        "nft list table ip netlab-LABNAME | sed 's/snat to 192.168.99.108/masquerade/' >/run/rules && \
         nft delete table ip netlab-LABNAME && nft -f /run/rules",
        "rm /run/rules",
        &[("plain", "203.0.113.1")],
        &["node1: the address translation of 10.0.1.0/24 leaving by eth1 to source address 192.168.99.108 is missing"],
    ),
    fault(
        Host("node1"),
        "nft list table ip netlab-LABNAME | sed 's/snat to 192.168.99.108/snat to 192.168.99.7/' >/run/rules && \
         nft delete table ip netlab-LABNAME && nft -f /run/rules",
        "rm /run/rules",
        &[("plain", "203.0.113.1")],
        &[
            "to source address 192.168.99.108 is missing (found instead: of 10.0.1.0/24 leaving by eth1 to source address 192.168.99.7)",
        ],
    ),
    fault(
        Host("node1"),
        "ip route del default",
        "true",
        &[("plain", "203.0.113.1"), ("web", "203.0.113.1")],
        &["node1: it has no route to 203.0.113.1, and no default route"],
    ),
    fault(
        Host("node1"),
        "ip link set dev eth1 down",
        "ip link set dev eth1 up",
        ALL_OUTSIDE,
        &["node1: link eth1 towards 203.0.113.1 is down"],
    ),
    fault(
        Host("node1"),
        "ip link set dev eth1 mtu 1400",
        "ip link set dev eth1 mtu 1500",
        &[("plain", "203.0.113.1"), ("web", "203.0.113.1")],
        &["node1: link eth1 towards 203.0.113.1 has an MTU of only 1400 bytes"],
    ),
    fault(
        Host("node1"),
        "sysctl -qw net.ipv4.ip_forward=0",
        "true",
        ALL_OUTSIDE,
        &["node1: net.ipv4.ip_forward is not 1"],
    ),
    fault(
        Host("node1"),
        "sysctl -qw net.ipv4.conf.eth1.forwarding=0",
        "sysctl -qw net.ipv4.conf.eth1.forwarding=1",
        &[("home", "192.168.99.50")],
        &["node1: net.ipv4.conf.eth1.forwarding is 0"],
    ),
    fault(
        Host("node1"),
        "ip route add 203.0.113.1 dev eth0",
        "ip route del 203.0.113.1 dev eth0",
        &[("plain", "203.0.113.1"), ("web", "203.0.113.1")],
        &["node1: its route to 203.0.113.1 is 203.0.113.1/32 dev eth0, not by eth1"],
    ),
    fault(
        Host("node1"),
        "ip rule add from 10.0.1.2 lookup 77 && ip route add blackhole default table 77",
        "ip rule del from 10.0.1.2 lookup 77; ip route del blackhole default table 77",
        &[("plain", "203.0.113.1")],
        &["node1: its route to 0.0.0.0/0 is blackhole: it drops packets"],
    ),
    // The router knows where the address was, and the host forwards what comes there: pings are still answered.
    fault(
        Host("node1"),
        "ip addr del 192.168.99.50/32 dev eth1",
        "true",
        &[("home", "192.168.99.50"), ("web", "203.0.113.1")],
        &["node1: no link has the floating address 192.168.99.50 of guest web"],
    ),
    fault(
        Guest("home"),
        "ip route add blackhole 192.168.99.0/25",
        "ip route del blackhole 192.168.99.0/25",
        &[
            ("home", "192.168.99.50"),
            ("plain", "203.0.113.1"),
            ("web", "203.0.113.1"),
        ],
        &["home: its route to 192.168.99.0/25 is blackhole: it drops packets"],
    ),
    fault(
        Guest("home"),
        "nft 'table ip other { chain c { type filter hook input priority 0; icmp type echo-request drop; }; }'",
        "nft delete table ip other",
        &[("plain", "203.0.113.1"), ("web", "203.0.113.1")],
        &["home: a rule that is not the lab's drops packets: table ip other, chain c: icmp type echo-request drop"],
    ),
    fault(
        Host("node1"),
        "ip link set dev $(ls /sys/class/net | grep ^service-) mtu 1280",
        "ip link set dev $(ls /sys/class/net | grep ^service-) mtu 1500",
        &[("home", "192.168.99.50")],
        &["towards 10.0.1.3 has an MTU of only 1280 bytes"],
    ),
    // The router sees the address that the gateway's host gives the packets.
    fault(
        Guest("home"),
        "nft 'table ip other { chain c { type filter hook input priority 0; ip saddr 192.168.99.108 drop; }; }'",
        "nft delete table ip other",
        &[("plain", "203.0.113.1")],
        &["home: a rule that is not the lab's drops packets: table ip other, chain c: ip saddr 192.168.99.108 drop"],
    ),
    fault(
        Host("node1"),
        "nft 'table ip other { chain c { type filter hook prerouting priority -300; ip saddr 10.0.1.2 notrack; }; }'",
        "nft delete table ip other",
        &[("plain", "203.0.113.1")],
        &["home: packets of guest plain arrive from 10.0.1.2, not from 192.168.99.108: node1 does not translate"],
    ),
];

/// Everything from and to the outside.
const ALL_OUTSIDE: &[(&str, &str)] = &[
    ("home", "192.168.99.50"),
    ("plain", "203.0.113.1"),
    ("web", "203.0.113.1"),
];
