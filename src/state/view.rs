//! What the kernel of a host, switch or router shows of its links and of the packets that passed: read for evidence,
//! never part of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

use crate::lab::MacAddr;

/// What one machine shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Every link, by name.
    pub ports: Ports,
    /// What its bridges have learned.
    pub learned: Vec<Learned>,
    /// The flows of each bridge of Open vSwitch.
    pub flows: BTreeMap<String, Flows>,
    /// The entries of their forwarding databases that do not change with what they learn: set by hand, or of their own.
    pub fixed: Vec<Learned>,
    /// Its neighbor table.
    pub neighbors: Vec<Neighbor>,
    /// Its routes of every table.
    pub routes: Vec<ViewRoute>,
    /// Its rules of policy routing, the one that counts first; none: those of a kernel without any.
    pub rules: Vec<PolicyRule>,
    /// Settings of its kernel that decide about packets, by their name under /proc/sys/net, e.g. `ipv4/conf/br1/rp_filter`.
    pub settings: BTreeMap<String, u64>,
    /// It forwards IPv4 packets; absent: unknown.
    pub forwards: Option<bool>,
    /// Rules that drop packets, of whatever owner.
    pub drops: Vec<PacketRule>,
    /// Rules that change a packet's addresses or send it elsewhere, of whatever owner.
    pub diverts: Vec<PacketRule>,
    /// Bridged packets pass the rules for routed ones, too: br_netfilter is loaded and enabled.
    pub bridged_rules: bool,
}

/// The state of every link, by name.
pub type Ports = BTreeMap<String, Port>;

/// The state of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the kernel's own flags, each independent of the others"
)]
pub struct Port {
    /// Administratively up.
    pub up: bool,
    /// It has a peer.
    pub carrier: bool,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// Its MTU, in bytes; absent for a port of Open vSwitch that is no device of the kernel.
    pub mtu: Option<u32>,
    /// Its hardware address.
    pub mac: Option<MacAddr>,
    /// Its addresses.
    pub addresses: BTreeSet<IpNet>,
    /// As a bridge's port: `forwarding`, `blocking`, `listening`, `learning` or `disabled`.
    pub stp: Option<String>,
    /// As a bridge's port: the options that differ from the kernel's defaults, as bridge(8) takes them, e.g. `learning
    /// off`, `isolated on`.
    pub options: Vec<String>,
    /// It does not use ARP.
    pub noarp: bool,
    /// As a VLAN device: its id.
    pub vlan: Option<u16>,
    /// As a port of Open vSwitch: the VLAN that it is in, if only one.
    pub tag: Option<u16>,
    /// As a port of Open vSwitch: the VLANs that it passes, 0 for untagged frames; none: all.
    pub trunks: Vec<u16>,
    /// The lower device, or a veth's peer on the same machine.
    pub link: Option<String>,
    /// As a bridge: it filters by VLAN.
    pub filters_vlans: bool,
    /// As a bridge: spanning tree is enabled.
    pub spanning_tree: bool,
    /// Its queueing discipline, e.g. `noqueue`, `netem`.
    pub qdisc: String,
}

/// The flows of a bridge of Open vSwitch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flows {
    /// One of them forwards like a switch, as that of every new bridge does (`actions=NORMAL`, ovs-ofctl(8)).
    pub switch: bool,
    /// Those that are neither that one nor netlab's, as ovs-ofctl prints them.
    pub others: Vec<String>,
}

/// A hardware address in the forwarding database of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The address.
    pub mac: MacAddr,
    /// The bridge.
    pub bridge: String,
    /// The port that frames for it leave by: the one by which frames from it came in.
    pub port: String,
    /// How long ago the last such frame came in; absent: unknown.
    pub age: Option<Duration>,
}

/// An entry of a neighbor table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// The address.
    pub address: IpAddr,
    /// The link that it is on.
    pub link: String,
    /// Its hardware address; absent: nobody answered.
    pub mac: Option<MacAddr>,
    /// It was set by hand and does not change by itself.
    pub permanent: bool,
    /// How long ago it was last used.
    pub used: Duration,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRoute {
    /// `unicast`, `blackhole`, `unreachable`, `prohibit`, …
    pub kind: String,
    /// Destination.
    pub to: IpNet,
    /// Next hop.
    pub via: Option<IpAddr>,
    /// The link.
    pub link: Option<String>,
    /// Its table; absent: main.
    pub table: Option<String>,
    /// Its metric.
    pub metric: u32,
}

/// A rule of policy routing (ip-rule(8)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyRule {
    /// Source addresses; absent: all.
    pub from: Option<IpNet>,
    /// Destination addresses; absent: all.
    pub to: Option<IpNet>,
    /// The link that a packet came in by; absent: any.
    pub iif: Option<String>,
    /// It depends on something else, e.g. a mark, which pings do not have.
    pub conditional: bool,
    /// The table that decides.
    pub table: Option<String>,
    /// What is done instead of a search in a table, e.g. `blackhole`.
    pub action: Option<String>,
    /// The rule in words, e.g. `from 10.0.1.2 lookup 100`.
    pub text: String,
}

/// A rule that decides about packets, or a chain's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketRule {
    /// The family of the table, e.g. `ip`, `inet`, `bridge`.
    pub family: String,
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub chain: String,
    /// Where the chain is entered, e.g. `forward`; absent: another chain jumps to it.
    pub hook: Option<String>,
    /// The rule as nft(8) prints it, e.g. `ip saddr 10.0.1.2 drop`.
    pub rule: String,
}

/// Packets of one kind that passed a link while they were counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The link.
    pub link: String,
    /// What they are.
    pub kind: PassedKind,
    /// Bytes of an echo's payload; 0 for ARP.
    pub size: u16,
    /// Source; for ARP that of the sender.
    pub from: Ipv4Addr,
    /// Destination; for ARP the address that is asked for, or the one that asked.
    pub to: Ipv4Addr,
    /// The hardware address that the frames are sent to; absent: not seen.
    pub next: Option<MacAddr>,
    /// How many.
    pub count: u32,
}

/// What a counted packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassedKind {
    /// An echo request (RFC 792).
    Request,
    /// An echo reply.
    Reply,
    /// An ARP request (RFC 826).
    ArpRequest,
    /// An ARP reply.
    ArpReply,
}
