//! The faults, each with the commands that put it in and remove it, the cells that it must make red and the words that must
//! appear.

/// Two networks on two hosts; `red` has a gateway, `blue` has none, so that nothing leads from one to the other.
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
[networks.blue]
subnet = "10.0.2.0/24"
uplink = "eth1"
bridge = "br-blue"
addresses = { node2 = "10.0.2.9" }
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

/// The cells between the two networks.
const BETWEEN: &[(&str, &str)] = &[("r1", "b1"), ("r2", "b1"), ("b1", "r1"), ("b1", "r2")];

/// Where a fault is put in: a host, two of them, or a guest by its console, or a router.
#[derive(Clone, Copy)]
pub(super) enum At {
    Host(&'static str),
    Hosts([&'static str; 2]),
    Guest(&'static str),
}

/// A fault: where, the commands that put it in and remove it, the cells that must be red, the words that must appear.
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) put: &'static str,
    pub(super) remove: &'static str,
    pub(super) red: &'static [(&'static str, &'static str)],
    pub(super) words: &'static [&'static str],
}

/// The cells over node2's uplink.
pub(super) const R2_ALONE: &[(&str, &str)] = &[("r1", "r2"), ("r2", "gw red"), ("r2", "r1")];

use At::{Guest, Host, Hosts};

pub(super) const fn fault(
    at: At,
    put: &'static str,
    remove: &'static str,
    red: &'static [(&'static str, &'static str)],
    words: &'static [&'static str],
) -> Fault {
    Fault {
        at,
        put,
        remove,
        red,
        words,
    }
}

/// Faults of layer 2 on the hosts, and of addresses.
pub(super) const FAULTS: &[Fault] = &[
    // Two networks joined: by a veth pair, by a guest's tap, by a NIC of the host.
    Fault {
        at: Host("node1"),
        put: "ip link add name st0 type veth peer name st1 && ip link set dev st0 master br-red up && \
              ip link set dev st1 master br-blue up",
        remove: "ip link delete dev st0",
        red: BETWEEN,
        words: &["network blue and network red are joined", "node1", "port st"],
    },
    Fault {
        at: Host("node1"),
        put: "ip link set dev TAP-b1 master br-red",
        remove: "ip link set dev TAP-b1 master br-blue",
        red: BETWEEN,
        words: &[
            "network blue and network red are joined",
            "the tap of guest b1",
            "node1",
        ],
    },
    Fault {
        at: Host("node1"),
        put: "ip link set dev eth1 master br-red",
        remove: "ip link set dev eth1 master br-blue",
        red: BETWEEN,
        words: &[
            "network blue and network red are joined",
            "eth1, a NIC of the host",
            "node1",
        ],
    },
    Fault {
        at: Host("node1"),
        put: "bridge fdb replace MAC-r1 dev eth0 master static sticky",
        remove: "bridge fdb del MAC-r1 dev eth0 master",
        red: &[("r1", "r2"), ("r2", "r1"), ("r1", "gw red")],
        words: &["node1: bridge br-red sends the frames for guest r1 to port eth0, not to"],
    },
    // Somebody else has an address.
    Fault {
        at: Guest("r2"),
        put: "ip addr add 10.0.1.1/24 dev eth0",
        remove: "ip addr del 10.0.1.1/24 dev eth0",
        red: &[("r1", "gw red"), ("r2", "gw red")],
        words: &["guest r2 (node2) has the address 10.0.1.1 of bridge br-red of host node1"],
    },
    Fault {
        at: Guest("r2"),
        put: "ip addr add 10.0.1.2/24 dev eth0",
        remove: "ip addr del 10.0.1.2/24 dev eth0",
        red: &[("r2", "r1")],
        words: &["guest r2 (node2) has the address 10.0.1.2 of guest r1 (node1)"],
    },
    Fault {
        at: Host("node2"),
        put: "ip netns add stranger && ip link add name st0 type veth peer name st1 netns stranger && \
              ip link set dev st0 master br-red up && ip -n stranger link set dev st1 up && \
              ip -n stranger address add 10.0.1.2/24 dev st1",
        remove: "ip link delete dev st0; ip netns delete stranger",
        red: &[("r2", "r1")],
        words: &["10.0.1.2 of guest r1 (node1) belongs to a machine that is not the lab's"],
    },
    Fault {
        at: Host("node1"),
        put: "ip neigh replace 10.0.1.2 lladdr 02:00:00:00:00:99 nud permanent dev br-red",
        remove: "ip neigh del 10.0.1.2 dev br-red",
        red: &[("r1", "gw red")],
        words: &["node1: by its neighbor table on br-red (set by hand) 10.0.1.2 of guest r1 (node1) belongs to"],
    },
    // What a guest itself has otherwise than the lab.
    Fault {
        at: Guest("r1"),
        put: "ip addr del 10.0.1.2/24 dev eth0; ip addr add 10.0.1.2/30 dev eth0; ip route add default via 10.0.1.1",
        remove: "ip addr del 10.0.1.2/30 dev eth0; ip addr add 10.0.1.2/24 dev eth0; ip route add default via 10.0.1.1",
        red: &[("r1", "gw red"), ("r1", "r2"), ("r2", "r1")],
        words: &["guest r1: NIC eth0 has 10.0.1.2 with the mask /30, not /24"],
    },
    Fault {
        at: Guest("r1"),
        put: "ip link set eth0 mtu 1300",
        remove: "ip link set eth0 mtu 1500",
        red: &[("r1", "gw red"), ("r1", "r2"), ("r2", "r1")],
        words: &["guest r1: NIC eth0 has an MTU of 1300 bytes"],
    },
    // Layer 2 on the hosts.
    fault(
        Host("node1"),
        "ip tuntap add dev tp0 mode tap && ip tuntap add dev tp1 mode tap && ip link set dev tp0 master br-red up && \
         ip link set dev tp1 master br-blue up && (perl -e '$SIG{ALRM} = sub { exit }; alarm 90; my @taps = map { \
         open(my $tap, \"+<\", \"/dev/net/tun\") or die; ioctl($tap, 0x400454ca, pack(\"a16 s x22\", $_, 0x1002)) or die; $tap \
         } qw(tp0 tp1); open(my $file, \">\", \"/run/tp.pid\"); print $file $$; close $file; for (;;) { my $ready = \"\"; \
         vec($ready, fileno $_, 1) = 1 for @taps; select($ready, undef, undef, undef); for my $at (0, 1) { \
         vec($ready, fileno $taps[$at], 1) or next; sysread($taps[$at], my $frame, 4096); syswrite($taps[1 - $at], $frame) } }' \
         >/dev/null 2>&1 </dev/null &)",
        "kill $(cat /run/tp.pid); rm /run/tp.pid; ip link delete dev tp0; ip link delete dev tp1",
        BETWEEN,
        &[
            "network blue and network red are joined",
            "tp0 is no port of network red",
        ],
    ),
    fault(
        Host("node2"),
        "ip link set dev TAP-r2 nomaster",
        "ip link set dev TAP-r2 master br-red",
        R2_ALONE,
        &["of guest r2 is not attached to bridge br-red; shown by `ip -details link show dev"],
    ),
    fault(
        Host("node2"),
        "ip link set dev TAP-r2 down",
        "ip link set dev TAP-r2 up",
        R2_ALONE,
        &["of guest r2 is down", "fix: `ip link set dev"],
    ),
    fault(
        Host("node2"),
        "ip link set dev br-red down",
        "ip link set dev br-red up",
        R2_ALONE,
        &["node2: bridge br-red, whose port", "is down; shown by"],
    ),
    fault(
        Host("node2"),
        "ip link set dev eth0 down",
        "ip link set dev eth0 up",
        R2_ALONE,
        &["eth0 of network red"],
    ),
    fault(
        Host("node1"),
        "ip link set dev eth0 nomaster",
        "ip link set dev eth0 master br-red",
        R2_ALONE,
        &["node1: link eth0 of network red is not attached to bridge br-red"],
    ),
    fault(
        Host("node1"),
        // Without spanning tree the kernel makes a blocking port (4) forward again at once (br_make_forwarding).
        "bridge link set dev TAP-r1 state 0",
        "bridge link set dev TAP-r1 state 3",
        &[("r1", "gw red"), ("r1", "r2"), ("r2", "r1")],
        &["of guest r1 passes no frames: its spanning tree state is disabled"],
    ),
    fault(
        Host("node2"),
        "bridge link set dev eth0 state 1",
        "bridge link set dev eth0 state 3",
        R2_ALONE,
        &["node2: link eth0 of network red passes no frames: its spanning tree state is listening"],
    ),
    fault(
        Host("node2"),
        "bridge link set dev TAP-r2 learning off",
        "bridge link set dev TAP-r2 learning on",
        R2_ALONE,
        &["of guest r2 learns no addresses (learning off)"],
    ),
    fault(
        Host("node1"),
        "bridge link set dev TAP-r1 isolated on && bridge link set dev eth0 isolated on",
        "bridge link set dev TAP-r1 isolated off && bridge link set dev eth0 isolated off",
        &[("r1", "r2"), ("r2", "r1")],
        &["has the bridge option isolated on"],
    ),
    fault(
        Host("node1"),
        "ip link set dev TAP-r1 mtu 1400",
        "ip link set dev TAP-r1 mtu 1500",
        &[("r2", "r1")],
        &["of guest r1 has an MTU of only 1400 bytes", "mtu 1500` on node1"],
    ),
    fault(
        Host("node2"),
        "ip link set dev eth0 mtu 1400",
        "ip link set dev eth0 mtu 1500",
        R2_ALONE,
        &["node2: link eth0 of network red has an MTU of only 1400 bytes"],
    ),
    // A bridge keeps the frames for its ports' own addresses.
    fault(
        Host("node1"),
        "ip link set dev TAP-r1 address MAC-r1",
        "ip link set dev TAP-r1 address fe:54:00:00:00:01",
        &[("r2", "r1"), ("r1", "r2")],
        &["of guest r1 has the guest's own MAC address"],
    ),
    fault(
        Host("node2"),
        "ip netns add stranger && ip link add name st0 type veth peer name st1 netns stranger && \
         ip link set dev st0 master br-red up && ip -n stranger link set dev st1 address MAC-r1 && \
         ip -n stranger link set dev st1 up && ip -n stranger address add 10.0.1.77/24 dev st1 && \
         (ip netns exec stranger ping -q -i 0.002 -w 60 10.0.1.3 >/dev/null 2>&1 </dev/null &)",
        "ip link delete dev st0; ip netns delete stranger",
        &[("r2", "r1")],
        &["learned the MAC address", "of guest r1 from port st0"],
    ),
    // Two cables, and a cable from a bridge to itself. Without the flooding that would make frames go round for ever.
    fault(
        Hosts(["node1", "node2"]),
        "ip link set dev eth1 down && ip link set dev eth1 master br-red && \
         bridge link set dev eth1 flood off mcast_flood off bcast_flood off && ip link set dev eth1 up",
        "ip link set dev eth1 down && ip link set dev eth1 nomaster && ip link set dev eth1 master br-blue && \
         ip link set dev eth1 up",
        R2_ALONE,
        &[
            "a loop at layer 2 without spanning tree",
            "the cable from node1:eth0 to node2:eth0",
            "the cable from node1:eth1 to node2:eth1",
        ],
    ),
    fault(
        Host("node1"),
        "ip link add name st0 type veth peer name st1 && for at in st0 st1; do ip link set dev $at master br-red && \
         bridge link set dev $at flood off mcast_flood off bcast_flood off; done; ip link set dev st0 up && \
         ip link set dev st1 up",
        "ip link delete dev st0",
        R2_ALONE,
        &[
            "a loop at layer 2 without spanning tree",
            "the links st0 and st1 of node1",
        ],
    ),
];
