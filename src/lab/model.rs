//! The checked lab: plain data, references resolved, counts expanded. Nothing here has been chosen yet; what the
//! user left open is `None` and is decided in [`crate::topology`].

mod image;

pub use image::{BaseDisk, Boot, ConsoleKind, Dialect, Firmware, Image, ImageConsole, ImageMachine, Login, Video};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::names::{DnsName, HostName, IfName, ImageName, LabName, MacAddr, NetworkName, TenantName, VlanId, VmName};
use super::problem::Problem;
use super::{LabBond, Serve, ServiceCheck, Setup, Shaping, SshTarget, SwitchKind, Tunnel, Uplinks};

/// Ethernet's MTU in bytes (RFC 894), the default of a network.
pub const ETHERNET_MTU: u16 = 1500;

/// One lab, as written and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    /// Its name, part of every object's name.
    pub name: LabName,
    /// Hosts by name.
    pub hosts: BTreeMap<HostName, LabHost>,
    /// Emulated switches by name; names of hosts, switches and routers are all different.
    pub switches: BTreeMap<HostName, Switch>,
    /// Emulated routers by name.
    pub routers: BTreeMap<HostName, Router>,
    /// Direct cables between NICs of emulated hosts, switches and routers; between real hosts, those that they have where
    /// the lab is emulated.
    pub cables: Vec<Cable>,
    /// Limits of cables, in each direction.
    pub cable_shaping: BTreeMap<Cable, Shaping>,
    /// Networks by name.
    pub networks: BTreeMap<NetworkName, Network>,
    /// Tenants whose networks are routed to each other.
    pub routes: Vec<BTreeSet<TenantName>>,
    /// Source address translation on hosts.
    pub nat: Vec<NatRule>,
    /// Virtual machines by name, `count` already expanded (`web` × 2 = `web-1`, `web-2`).
    pub vms: BTreeMap<VmName, Vm>,
    /// What `netlab verify` pings besides guest to guest and guest to gateway.
    pub verify: Verify,
    /// What every VM is given that is not given something else itself.
    pub setup: Setup,
    /// Images that the lab describes itself.
    pub images: BTreeMap<ImageName, super::ImageEntry>,
    /// What is probably a mistake, but possible.
    pub warnings: Vec<Problem>,
}

/// A host of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabHost {
    /// How netlab reaches it.
    pub connect: Connect,
    /// NICs that an emulated host is given; for a real host what its NICs are expected to be.
    pub nics: BTreeMap<IfName, LabHostNic>,
}

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connect {
    /// A network, mount and PID namespace on localhost with its own libvirt daemon.
    Emulated,
    /// localhost and its `qemu:///system`.
    Local,
    /// A machine behind ssh, and its `qemu:///system`.
    Ssh(SshTarget),
}

/// As in lab.toml.
impl std::fmt::Display for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Emulated => f.write_str("emulated"),
            Self::Local => f.write_str("local"),
            Self::Ssh(target) => target.fmt(f),
        }
    }
}

/// A NIC of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabHostNic {
    /// Address with prefix length, e.g. `172.16.99.108/24`.
    pub address: Option<Ipv4Net>,
    /// Default gateway reached through this NIC.
    pub gateway: Option<Ipv4Addr>,
    /// A real host's NIC may be attached to a bridge although the host itself is reached through it.
    pub takeover: bool,
    /// It is a bond of other NICs.
    pub bond: Option<LabBond>,
    /// Limits of what the host sends by it.
    pub shaping: Option<Shaping>,
}

/// An emulated switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switch {
    /// Its ports by name: those of the file and those that a cable adds.
    pub ports: BTreeMap<IfName, PortMode>,
    /// Spanning tree.
    pub stp: bool,
    /// Link aggregations.
    pub lags: BTreeSet<Lag>,
}

/// A link aggregation of a switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lag {
    /// Its ports.
    pub ports: BTreeSet<IfName>,
    /// Both ends agree on it by LACP.
    pub lacp: bool,
}

/// Which frames pass a switch's port.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortMode {
    /// All, tagged or not, unchanged: a switch without VLANs.
    #[default]
    Open,
    /// Untagged frames, which belong to this VLAN inside the switch.
    Access(VlanId),
    /// Frames tagged with one of these.
    Trunk(BTreeSet<VlanId>),
}

/// An emulated router: the simulated uplink to the outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Router {
    /// Its NICs on the lab's side.
    pub nics: BTreeMap<IfName, LabHostNic>,
    /// Addresses on its other side, which answer pings.
    pub outside: BTreeSet<Ipv4Net>,
    /// It leads to the network of the machine that netlab runs on.
    pub to_host: bool,
    /// Names that it resolves; it answers DNS only where it has some.
    pub names: BTreeMap<DnsName, BTreeSet<Ipv4Addr>>,
}

/// Packets from these subnets that leave `on` by `out` get another source address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatRule {
    /// The host.
    pub on: HostName,
    /// Where the packets come from.
    pub from: Vec<Ipv4Net>,
    /// The host NIC they leave by.
    pub out: IfName,
    /// The address they get (SNAT); absent: the one of the link they leave by (masquerade).
    pub source: Option<Ipv4Addr>,
}

/// A direct cable between two NICs of emulated hosts; `ends` is in sorted order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cable {
    /// The two NICs.
    pub ends: [CableEnd; 2],
}

/// One end of a cable, written `node1:eth0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CableEnd {
    /// The host, switch or router.
    pub host: HostName,
    /// The NIC on it.
    pub nic: IfName,
}

/// One L2 segment with one IPv4 subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "every one is a key of the lab file that is there or not"
)]
pub struct Network {
    /// What it is for.
    pub class: Class,
    /// The subnet guests' addresses come from.
    pub subnet: Ipv4Net,
    /// The NICs that carry it to other hosts.
    pub uplinks: Uplinks,
    /// 802.1Q id on the uplink; absent: untagged, the NIC itself is attached to the bridge.
    pub vlan: Option<VlanId>,
    /// The bridge's name on every host; absent: derived.
    pub bridge: Option<IfName>,
    /// The bridge's MAC address, host by host; elsewhere derived, or that of an untagged uplink.
    pub bridge_mac: BTreeMap<HostName, MacAddr>,
    /// Spanning tree on the bridge (default off).
    pub stp: bool,
    /// Nothing connects its hosts, and that is meant.
    pub isolated: bool,
    /// Forward delay of the bridge in seconds; absent: 15 with spanning tree, 0 without.
    pub forward_delay: Option<u8>,
    /// MTU of the guests and of all that carries their frames, in bytes; absent: [`ETHERNET_MTU`], or what fits into
    /// a tunnel.
    pub mtu: Option<u16>,
    /// What its bridges are made of.
    pub switch: SwitchKind,
    /// Tunnels connect its hosts.
    pub tunnel: Option<Tunnel>,
    /// Addresses that hosts have on the bridge besides the gateway's.
    pub addresses: BTreeMap<HostName, Ipv4Addr>,
    /// The address hosts route this network with.
    pub gateway: Option<Gateway>,
    /// The gateway hosts serve DHCP and DNS; guests get their addresses from them.
    pub dhcp: bool,
    /// How long a lease lasts, in seconds; absent: for ever.
    pub dhcp_lease: Option<u32>,
    /// Name servers of the guests, or of the DHCP server that forwards to them.
    pub nameservers: Vec<IpAddr>,
    /// Whose it is: it is not routed to networks of other tenants. Absent: it is routed to all.
    pub tenant: Option<TenantName>,
    /// Guests send with their own MAC and IPv4 address only, and serve no DHCP.
    pub port_security: bool,
    /// Limits of what is sent to each guest.
    pub shaping: Option<Shaping>,
}

/// What a network is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The connection to the outside.
    Public,
    /// The hosts' own, not for guests.
    Management,
    /// The hosts' storage.
    Storage,
    /// Guests.
    #[default]
    Service,
}

/// The router of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its address, inside the network's subnet.
    pub address: Ipv4Addr,
    /// Who has it.
    pub on: GatewayHosts,
}

/// The hosts that have a network's gateway address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayHosts {
    /// This one.
    One(HostName),
    /// Each host with a guest of the network, for its own guests.
    Every,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    /// Where it runs.
    pub host: HostName,
    /// What it runs.
    pub image: ImageName,
    /// Memory in MiB; absent: that of the image.
    pub memory_mib: Option<u64>,
    /// Least size of its disk in MiB; absent: that of the image.
    pub disk_mib: Option<u64>,
    /// Further disks, in the guest's order.
    pub disks: Vec<ExtraDisk>,
    /// Image of a CD that is in its drive.
    pub cdrom: Option<PathBuf>,
    /// Virtual CPUs, at least 1.
    pub cpus: u32,
    /// Its NICs, in the order the guest sees them.
    pub nics: Vec<Nic>,
    /// An outside address that is translated to it.
    pub floating: Option<Ipv4Addr>,
    /// Services that it runs, by port.
    pub serve: Vec<Serve>,
    /// Ports of the machine that netlab runs on which lead to it.
    pub forward: Vec<Forward>,
    /// What it is given besides.
    pub setup: Setup,
}

/// A disk of a VM besides the one that it boots from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExtraDisk {
    /// Empty at first.
    Blank {
        /// Its size in MiB.
        mib: u64,
    },
    /// It begins with what is in this file, which is never written.
    File(PathBuf),
}

/// A port of 127.0.0.1 that leads to one of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The TCP port on the machine that netlab runs on.
    pub host: u16,
    /// The TCP port in the VM.
    pub guest: u16,
}

/// A guest's NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The network it is on.
    pub network: NetworkName,
    /// Its address; absent: allocated.
    pub address: Option<Ipv4Addr>,
    /// Its MAC address; absent: derived from lab, vm and position.
    pub mac: Option<MacAddr>,
    /// The guest sends with its own addresses only; absent: as the network has it.
    pub port_security: Option<bool>,
    /// Limits of what is sent to the guest by it; absent: those of the network.
    pub shaping: Option<Shaping>,
}

/// The `[verify]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verify {
    /// Addresses outside the lab that every guest must reach.
    pub outside: Vec<IpAddr>,
    /// Names outside the lab that every guest must resolve and reach.
    pub outside_names: Vec<DnsName>,
    /// Further pings, each with its answer.
    pub pings: Vec<Ping>,
    /// Questions about services and paths.
    pub checks: Vec<ServiceCheck>,
}

/// A ping that must be answered, or must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// The guests, hosts and routers that ping.
    pub from: Vec<Asked>,
    /// What is pinged.
    pub to: IpAddr,
    /// Whether it must answer; false: it must not.
    pub reach: bool,
}

/// A machine that can ping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// A guest, over its console.
    Vm(VmName),
    /// A host, by its own ping program.
    Host(HostName),
    /// An emulated router.
    Router(HostName),
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vm(name) => name.fmt(f),
            Self::Host(name) | Self::Router(name) => name.fmt(f),
        }
    }
}
