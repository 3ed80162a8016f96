//! Every table of a lab file with its keys.

use super::bonds::BOND;
use super::choices::{
    CLASSES, DATAPATHS, LEAST_MTU, MANAGERS, MOST_ADDRESSES, MOST_DELAY, MOST_MTU, SWITCHES, TUNNELS, names_of,
};
use super::images::IMAGE;
use super::kinds::{
    DNS_NAME, HOST, IMAGE_NAME, IP, IPV4, LAB_NAME, LEASE, LINK, MAC, NETWORK_NAME, SUBNET, TENANT, TO_HOST, VLAN,
    VM_NAME, key, required,
};
use super::setup::{FILES, PACKAGES, PASSWORD, RUN, SSH_KEYS, USER, USER_DATA};
use super::shaping::{DELAY, JITTER, LINK_STATE, LOSS, RATE};
use super::verify::VERIFY;
use super::vms::VM;
use super::{Kind, Table};

/// The whole file.
pub(in crate::lab) const LAB: Table = Table {
    name: "the lab",
    keys: &[
        required("name", LAB_NAME, "Name of the lab, part of every object's name."),
        key(
            "image",
            IMAGE_NAME,
            "Image of every VM that has none of its own; default: mini.",
        ),
        key(
            "images",
            Kind::Named(&IMAGE_NAME, &Kind::Table(&IMAGE)),
            "Images besides those of the catalog, by name.",
        ),
        required("hosts", Kind::Named(&HOST, &Kind::Table(&HOST_TABLE)), "Hosts by name."),
        key(
            "switches",
            Kind::Named(&HOST, &Kind::Table(&SWITCH)),
            "Emulated switches by name.",
        ),
        key(
            "routers",
            Kind::Named(&HOST, &Kind::Table(&ROUTER)),
            "Emulated routers by name.",
        ),
        key(
            "cables",
            Kind::List(&Kind::Table(&CABLE)),
            "Cables between emulated machines.",
        ),
        key(
            "networks",
            Kind::Named(&NETWORK_NAME, &Kind::Table(&NETWORK)),
            "Networks by name: each one layer 2 segment with one IPv4 subnet.",
        ),
        key(
            "route",
            Kind::List(&Kind::Table(&ROUTE)),
            "Tenants whose networks are routed to each other.",
        ),
        key(
            "nat",
            Kind::List(&Kind::Table(&NAT)),
            "Source address translation on hosts.",
        ),
        key(
            "nova",
            Kind::Table(&NOVA),
            "Networks as a manager of nova-network builds them.",
        ),
        key(
            "vms",
            Kind::Named(&VM_NAME, &Kind::Table(&VM)),
            "Virtual machines by name.",
        ),
        SSH_KEYS,
        USER,
        PASSWORD,
        USER_DATA,
        PACKAGES,
        FILES,
        RUN,
        key(
            "vars",
            Kind::Named(
                &Kind::Pattern("^[A-Za-z0-9_-]+$", "domain"),
                &Kind::Either(&Kind::Text, &Kind::Either(&Kind::Integer(0, u32::MAX), &Kind::Flag)),
            ),
            "Names for `{{ vars.NAME }}` in files and commands.",
        ),
        key(
            "verify",
            Kind::Table(&VERIFY),
            "What `netlab verify` pings besides guests and gateways.",
        ),
    ],
};

/// `[hosts.X]`.
pub(in crate::lab) const HOST_TABLE: Table = Table {
    name: "a host",
    keys: &[
        key(
            "connect",
            Kind::Either(
                &Kind::Choice(|| vec!["emulated", "local"]),
                &Kind::Pattern("^ssh:", "ssh://root@node1"),
            ),
            "How the host is reached: emulated (default), local, or ssh://user@host.",
        ),
        key(
            "nics",
            Kind::Named(&LINK, &Kind::Table(&HOST_NIC)),
            "NICs by name: those that an emulated host has; of a real host, those that it is expected to have.",
        ),
        key(
            "bonds",
            Kind::Named(&LINK, &Kind::Table(&BOND)),
            "Bonds of several NICs by name, each a NIC like any other.",
        ),
    ],
};

/// `nics.X` of a host or router.
pub(in crate::lab) const HOST_NIC: Table = Table {
    name: "a NIC of a host or router",
    keys: &[
        key("address", SUBNET, "Address with prefix length."),
        key("gateway", IPV4, "Default gateway through this NIC."),
        key(
            "takeover",
            Kind::Flag,
            "A real host's NIC may be attached to a bridge although the host is reached through it.",
        ),
        LINK_STATE,
        RATE,
        DELAY,
        JITTER,
        LOSS,
    ],
};

/// `[switches.X]`.
pub(in crate::lab) const SWITCH: Table = Table {
    name: "a switch",
    keys: &[
        key("ports", Kind::Named(&LINK, &Kind::Table(&PORT)), "Ports by name."),
        key("stp", Kind::Flag, "Spanning tree; default: false."),
        key(
            "lags",
            Kind::List(&Kind::List(&LINK)),
            "Link aggregations: lists of at least two ports that lead to one bond.",
        ),
    ],
};

/// `ports.X` of a switch.
pub(in crate::lab) const PORT: Table = Table {
    name: "a switch's port",
    keys: &[
        key("access", VLAN, "VLAN that untagged frames belong to."),
        key("trunk", Kind::List(&VLAN), "VLANs that pass with their tags."),
    ],
};

/// `[routers.X]`.
pub(in crate::lab) const ROUTER: Table = Table {
    name: "a router",
    keys: &[
        key("nics", Kind::Named(&LINK, &Kind::Table(&HOST_NIC)), "NICs by name."),
        key(
            "outside",
            Kind::OneOrMore(&Kind::Either(&SUBNET, &TO_HOST)),
            "Addresses outside of the lab that answer pings; or `host`: the network of the machine that netlab runs on.",
        ),
        key(
            "names",
            Kind::Named(&DNS_NAME, &Kind::OneOrMore(&IPV4)),
            "Names that it resolves, with their addresses; it answers DNS only where it has some.",
        ),
    ],
};

/// `[[cables]]`.
pub(in crate::lab) const CABLE: Table = Table {
    name: "a cable",
    keys: &[
        required(
            "ends",
            Kind::Two(&Kind::Text, "[\"node1:eth0\", \"node2:eth0\"]"),
            "The two ends: `host:nic`, or a switch alone for its next port.",
        ),
        LINK_STATE,
        RATE,
        DELAY,
        JITTER,
        LOSS,
    ],
};

const RELEASED: &str = "The lease of a VM that is removed is released: always true.";

/// `[networks.X]`.
pub(in crate::lab) const NETWORK: Table = Table {
    name: "a network",
    keys: &[
        key(
            "class",
            Kind::Choice(|| names_of(&CLASSES)),
            "What it is for; default: service.",
        ),
        required("subnet", SUBNET, "The subnet that addresses are allocated from."),
        key(
            "uplink",
            Kind::Either(&LINK, &Kind::Named(&HOST, &LINK)),
            "NIC that carries the network to other hosts, on every host that has it or by host.",
        ),
        key("vlan", VLAN, "802.1Q id on the uplink; default: untagged."),
        key("bridge", LINK, "Name of the bridge on every host; default: derived."),
        key(
            "bridge_mac",
            Kind::Named(&HOST, &MAC),
            "MAC address of the bridge, by host; default: derived, or that of an untagged uplink.",
        ),
        key("stp", Kind::Flag, "Spanning tree on the bridge; default: false."),
        key(
            "isolated",
            Kind::Flag,
            "Nothing connects the network between its hosts, and that is meant; default: false.",
        ),
        key(
            "forward_delay",
            Kind::Integer(0, MOST_DELAY as u32),
            "Forward delay of the bridge, in seconds: from 2 with spanning tree, on Open vSwitch from 4 (default: 15), 0 without.",
        ),
        key(
            "mtu",
            Kind::Integer(LEAST_MTU, MOST_MTU),
            "MTU in bytes of the guests and of all that carries their frames; default: 1500, or what fits into the tunnel.",
        ),
        key(
            "switch",
            Kind::Choice(|| names_of(&SWITCHES)),
            "What its bridges are made of: Linux bridges (default), or Open vSwitch.",
        ),
        key(
            "datapath",
            Kind::Choice(|| names_of(&DATAPATHS)),
            "Data path of Open vSwitch: the kernel's where the host has it (default), always the kernel's, or in user space.",
        ),
        key(
            "tunnel",
            Kind::Choice(|| names_of(&TUNNELS)),
            "Protocol of the tunnels that connect its hosts, instead of an uplink.",
        ),
        key(
            "key",
            Kind::Integer(1, u32::MAX),
            "Number that distinguishes the network in its tunnels (VNI or GRE key); default: derived.",
        ),
        key(
            "underlay",
            Kind::Either(&NETWORK_NAME, &LINK),
            "Network or NIC whose addresses the tunnels end at; default: the only NIC of each host that has an address.",
        ),
        key(
            "addresses",
            Kind::Named(&HOST, &IPV4),
            "Addresses of hosts on the bridge besides the gateway's.",
        ),
        key("gateway", Kind::Table(&GATEWAY), "The router of the network."),
        key(
            "dhcp",
            Kind::Either(&Kind::Flag, &Kind::Table(&DHCP)),
            "The gateway's host serves DHCP and DNS; default: false.",
        ),
        key("force_dhcp_release", Kind::Flag, RELEASED),
        key("nameservers", Kind::List(&IP), "Name servers of the guests."),
        key(
            "tenant",
            TENANT,
            "Whose network it is: it is not routed to networks of other tenants.",
        ),
        key(
            "port_security",
            Kind::Flag,
            "Guests send with their own MAC and IPv4 address only, and serve no DHCP; default: false.",
        ),
        RATE,
        DELAY,
        JITTER,
        LOSS,
    ],
};

/// `dhcp` of a network.
pub(in crate::lab) const DHCP: Table = Table {
    name: "dhcp",
    keys: &[key(
        "lease",
        LEASE,
        "How long a lease lasts before the guest renews it, e.g. 12h, from 2m; default: for ever.",
    )],
};

/// `gateway` of a network.
pub(in crate::lab) const GATEWAY: Table = Table {
    name: "a gateway",
    keys: &[
        required("address", IPV4, "Address in the network's subnet."),
        key(
            "on",
            HOST,
            "The host that has it, or `every-host`; default: the only host.",
        ),
    ],
};

/// `[[route]]`.
pub(in crate::lab) const ROUTE: Table = Table {
    name: "a route",
    keys: &[required(
        "between",
        Kind::List(&TENANT),
        "Tenants whose networks are routed to each other.",
    )],
};

/// `[[nat]]`.
pub(in crate::lab) const NAT: Table = Table {
    name: "a nat rule",
    keys: &[
        key("on", HOST, "The host; default: the only one."),
        required(
            "from",
            Kind::OneOrMore(&Kind::Either(&SUBNET, &NETWORK_NAME)),
            "Subnets or networks that are translated.",
        ),
        required("out", LINK, "NIC that the packets leave by."),
        key("source", IPV4, "New source address; default: that of the NIC."),
    ],
};

/// `[nova]`, with nova-network's own names.
pub(in crate::lab) const NOVA: Table = Table {
    name: "nova",
    keys: &[
        required("manager", Kind::Choice(|| names_of(&MANAGERS)), "The network manager."),
        key(
            "tenants",
            Kind::OneOrMore(&NETWORK_NAME),
            "Names of the networks; default: private.",
        ),
        key("fixed_range", SUBNET, "Range of all networks; default: 10.0.0.0/8."),
        key(
            "network_size",
            Kind::Integer(1, MOST_ADDRESSES),
            "Addresses of one network, a power of two; default: 256.",
        ),
        key("vlan_start", VLAN, "VLAN of the first tenant; default: 100."),
        key("vlan_interface", LINK, "Uplink of the VLANs."),
        key("flat_interface", LINK, "Uplink of the flat network."),
        key(
            "flat_network_bridge",
            LINK,
            "Bridge of the flat network; default: br100.",
        ),
        key("public_interface", LINK, "NIC for source address translation."),
        key("routing_source_ip", IPV4, "Source address of translated packets."),
        key("network_host", HOST, "The host that routes and serves DHCP."),
        key(
            "multi_host",
            Kind::Flag,
            "Every host routes for its own guests; default: false.",
        ),
        key(
            "gateway",
            IPV4,
            "Gateway of the network that has this address; default: the first address of each.",
        ),
        key(
            "network_device_mtu",
            Kind::Integer(LEAST_MTU, MOST_MTU),
            "MTU in bytes of the guests and of all that carries their frames; default: 1500.",
        ),
        key("dns", Kind::List(&IP), "Name servers."),
        key("force_dhcp_release", Kind::Flag, RELEASED),
        key(
            "port_security",
            Kind::Flag,
            "Guests send with their own MAC and IPv4 address only, and serve no DHCP; default: true.",
        ),
    ],
};
