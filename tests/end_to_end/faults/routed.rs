//! Faults of layer 3, of rules on the hosts, and of guests, in the lab of `table`.

use super::table::At::{Guest, Host};
use super::table::{Fault, R2_ALONE, fault};

/// The cells of r1, which is on the gateway's host.
const R1: &[(&str, &str)] = &[("r1", "gw red"), ("r1", "r2"), ("r2", "r1")];

/// Faults of layer 3 and of rules on the hosts.
pub(super) const ROUTED: &[Fault] = &[
    fault(
        Host("node1"),
        "ip addr del 10.0.1.1/24 dev br-red",
        "ip addr add 10.0.1.1/24 dev br-red",
        &[("r1", "gw red"), ("r2", "gw red")],
        &["node1: bridge br-red of network red lacks the gateway address 10.0.1.1"],
    ),
    fault(
        Host("node1"),
        "ip route add blackhole 10.0.1.2",
        "ip route del blackhole 10.0.1.2",
        &[("r1", "gw red")],
        &["node1: its route to 10.0.1.2/32 is blackhole: it drops packets"],
    ),
    fault(
        Host("node1"),
        "ip route add 10.0.1.2 dev br-blue",
        "ip route del 10.0.1.2 dev br-blue",
        &[("r1", "gw red")],
        &["node1: its route to 10.0.1.2 is 10.0.1.2/32 dev br-blue, not by br-red"],
    ),
    fault(
        Host("node1"),
        "ip rule add from 10.0.1.1 lookup 99 && ip route add default via 10.0.1.3 table 99",
        "ip rule del from 10.0.1.1 lookup 99; ip route flush table 99",
        &[("r1", "gw red")],
        &["node1: its route to 10.0.1.2 is default via 10.0.1.3 dev br-red, not on the link"],
    ),
    fault(
        Host("node1"),
        "ip rule add to 10.0.1.2 prohibit",
        "ip rule del to 10.0.1.2 prohibit",
        &[("r1", "gw red")],
        &["to 10.0.1.2/32 prohibit` drops packets to 10.0.1.2"],
    ),
    fault(
        Host("node1"),
        "sysctl -qw net.ipv4.icmp_echo_ignore_all=1",
        "sysctl -qw net.ipv4.icmp_echo_ignore_all=0",
        &[("r1", "gw red"), ("r2", "gw red")],
        &["node1: it ignores echo requests: net.ipv4.icmp_echo_ignore_all is 1"],
    ),
    fault(
        Host("node1"),
        "sysctl -qw net.ipv4.conf.br-red.proxy_arp=1",
        "sysctl -qw net.ipv4.conf.br-red.proxy_arp=0",
        &[("r1", "b1"), ("r2", "b1")],
        &["node1: bridge br-red of network red answers ARP requests for addresses of other networks (proxy_arp)"],
    ),
    fault(
        Host("node2"),
        "nft 'table bridge other { chain c { type filter hook forward priority 0; ip saddr 10.0.1.2 drop; }; }'",
        "nft delete table bridge other",
        &[("r1", "r2"), ("r2", "r1")],
        &["node2: a rule that is not the lab's drops packets: table bridge other, chain c: ip saddr 10.0.1.2 drop"],
    ),
    fault(
        Host("node2"),
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1 && \
         nft 'table ip other { chain c { type filter hook forward priority 0; policy drop; }; }'",
        "nft delete table ip other; sysctl -qw net.bridge.bridge-nf-call-iptables=0",
        R2_ALONE,
        &["node2: a rule that is not the lab's drops packets: table ip other, chain c: policy drop"],
    ),
    // What is sent elsewhere, and who answers there.
    fault(
        Host("node1"),
        "nft 'table ip other { chain c { type nat hook prerouting priority -150; ip saddr 10.0.1.2 ip daddr 10.0.1.1 dnat to \
         10.0.1.3; }; }'",
        "nft delete table ip other",
        &[("r1", "gw red")],
        &[
            "node1: a rule that is not the lab's translates or diverts packets: table ip other, chain c: ip saddr 10.0.1.2",
        ],
    ),
    fault(
        Host("node1"),
        "ip addr add 10.0.1.3/32 dev lo",
        "ip addr del 10.0.1.3/32 dev lo",
        &[("r1", "r2"), ("r2", "gw red")],
        &["node1: link lo has the address 10.0.1.3 of guest r2 (node2)"],
    ),
    // Guests remember the gateway's hardware address for a while.
    fault(
        Host("node1"),
        "nft 'table arp other { chain c { type filter hook input priority 0; drop; }; }'",
        "nft delete table arp other",
        &[("r1", "gw red"), ("r2", "gw red")],
        &["node1: a rule that is not the lab's drops packets: table arp other, chain c: drop"],
    ),
    fault(
        Host("node1"),
        "sysctl -qw net.ipv4.conf.br-red.arp_ignore=8",
        "sysctl -qw net.ipv4.conf.br-red.arp_ignore=0",
        &[("r1", "gw red"), ("r2", "gw red")],
        &["node1: br-red answers no ARP requests: arp_ignore is 8"],
    ),
    fault(
        Host("node1"),
        "nft 'table ip other { chain c { type filter hook input priority 0; icmp type echo-request drop; }; }'",
        "nft delete table ip other",
        &[("r1", "gw red"), ("r2", "gw red")],
        &["node1: a rule that is not the lab's drops packets: table ip other, chain c: icmp type echo-request drop"],
    ),
    fault(
        Host("node1"),
        "nft 'table netdev other { chain c { type filter hook ingress device TAP-r1 priority 0; ip daddr 10.0.1.3 drop; }; }'",
        "nft delete table netdev other",
        &[("r1", "r2"), ("r2", "r1")],
        &["node1: a rule that is not the lab's drops packets: table netdev other, chain c: ip daddr 10.0.1.3 drop"],
    ),
    fault(
        Host("node1"),
        "ip link set dev br-red arp off",
        "ip link set dev br-red arp on",
        &[("r1", "gw red"), ("r2", "gw red")],
        &["node1: link br-red of network red does not use ARP"],
    ),
];

/// Faults of guests.
pub(super) const GUESTS: &[Fault] = &[
    fault(
        Host("node1"),
        "virsh -q suspend LABNAME.r1",
        "virsh -q resume LABNAME.r1",
        R1,
        &["node1: guest r1 does not run: it is paused", "netlab resume"],
    ),
    fault(
        Guest("r1"),
        "ip link set eth0 arp off",
        "ip link set eth0 arp on",
        R1,
        &["guest r1: NIC eth0 does not use ARP"],
    ),
    fault(
        Guest("r1"),
        "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all",
        "echo 0 >/proc/sys/net/ipv4/icmp_echo_ignore_all",
        &[("r2", "r1")],
        &["guest r1: it ignores echo requests: net.ipv4.icmp_echo_ignore_all is 1"],
    ),
    fault(
        Guest("r1"),
        "ip route del default; ip route add default via 10.0.1.9",
        "ip route del default; ip route add default via 10.0.1.1",
        &[("r1", "gw red")],
        &["guest r1: the default route is via 10.0.1.9 instead of 10.0.1.1"],
    ),
    fault(
        Guest("r1"),
        "ip link set eth0 down",
        "ip link set eth0 up; ip route add default via 10.0.1.1",
        R1,
        &["guest r1: NIC eth0 is down"],
    ),
    fault(
        Host("node1"),
        // The shell's own command line has the brackets.
        "kill -KILL $(pgrep -f 'guest=LABNAME[.]r1')",
        "true",
        R1,
        &["node1: guest r1 is not running"],
    ),
    fault(
        Guest("r1"),
        "echo 8 >/proc/sys/net/ipv4/conf/all/arp_ignore",
        "echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore",
        &[("r2", "r1")],
        &["guest r1: NIC eth0 answers no ARP requests: arp_ignore is 8"],
    ),
    fault(
        Guest("r1"),
        "ip route add unreachable 10.0.1.3",
        "ip route del unreachable 10.0.1.3",
        &[("r1", "r2"), ("r2", "r1")],
        &["guest r1: its route to 10.0.1.3/32 refuses packets"],
    ),
    fault(
        Guest("r1"),
        "arp -s 10.0.1.3 02:00:00:00:00:99",
        "arp -d 10.0.1.3",
        &[("r1", "r2"), ("r2", "r1")],
        &["guest r1: by its neighbor table (set by hand) 10.0.1.3 of guest r2 (node2) belongs to a machine"],
    ),
    fault(
        Host("node1"),
        "virsh -q reset LABNAME.r1",
        "true",
        R1,
        &["guest r1: it was restarted since it was configured: no NIC has its address"],
    ),
    fault(
        Host("node1"),
        "kill -STOP $(pgrep -f 'guest=LABNAME[.]r1')",
        "kill -CONT $(pgrep -f 'guest=LABNAME[.]r1')",
        R1,
        &["node1: guest r1 does not run", "kill -CONT"],
    ),
];
