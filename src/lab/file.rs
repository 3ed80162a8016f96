//! The values of a lab file, each with its place: what [`super::read`] returns and [`super::check`] takes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use ipnet::Ipv4Net;

use super::names::{HostName, IfName, ImageName, LabName, MacAddr, NetworkName, VlanId, VmName};
use super::{Class, Connect, Datapath, PortMode, TunnelKind};

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

#[derive(Debug)]
pub(super) struct LabFile {
    pub name: Option<LabName>,
    pub image: Option<At<ImageName>>,
    pub hosts: Vec<HostFile>,
    pub switches: Vec<SwitchFile>,
    pub routers: Vec<RouterFile>,
    pub cables: Vec<[At<CableEndFile>; 2]>,
    pub networks: Vec<NetworkFile>,
    pub nat: Vec<NatFile>,
    pub vms: Vec<VmFile>,
    pub outside: Vec<IpAddr>,
    pub pings: Vec<PingFile>,
    /// Tables of names, by their keys, of which something could not be read.
    pub broken: BTreeSet<&'static str>,
    /// Until it is expanded into networks.
    pub nova: Option<NovaFile>,
}

#[derive(Debug)]
pub(super) struct HostFile {
    pub name: At<HostName>,
    pub connect: Connect,
    pub nics: Vec<HostNicFile>,
}

#[derive(Debug)]
pub(super) struct HostNicFile {
    pub name: At<IfName>,
    pub address: Option<At<Ipv4Net>>,
    pub gateway: Option<At<Ipv4Addr>>,
    pub takeover: bool,
}

#[derive(Debug)]
pub(super) struct SwitchFile {
    pub name: At<HostName>,
    pub ports: Vec<(At<IfName>, PortMode)>,
    pub stp: bool,
}

#[derive(Debug)]
pub(super) struct RouterFile {
    pub name: At<HostName>,
    pub nics: Vec<HostNicFile>,
    pub outside: Vec<At<Ipv4Net>>,
}

/// `node1:eth0`, or a switch alone: its next port.
#[derive(Debug)]
pub(super) struct CableEndFile {
    pub machine: HostName,
    pub nic: Option<IfName>,
}

#[derive(Debug)]
pub(super) enum UplinkFile {
    Everywhere(At<IfName>),
    PerHost(Vec<(At<HostName>, At<IfName>)>),
}

#[derive(Debug)]
pub(super) struct NetworkFile {
    pub name: At<NetworkName>,
    pub class: Class,
    pub subnet: Option<At<Ipv4Net>>,
    pub uplink: Option<UplinkFile>,
    pub vlan: Option<At<VlanId>>,
    pub bridge: Option<At<IfName>>,
    pub bridge_mac: Vec<(At<HostName>, At<MacAddr>)>,
    pub stp: bool,
    /// The place of `isolated = true`.
    pub isolated: Option<Range<usize>>,
    pub forward_delay: Option<At<u8>>,
    pub mtu: Option<u16>,
    /// `switch = "ovs"`.
    pub ovs: bool,
    pub datapath: Option<At<Option<Datapath>>>,
    pub tunnel: Option<At<TunnelKind>>,
    pub key: Option<At<u32>>,
    pub underlay: Option<At<String>>,
    pub addresses: Vec<(At<HostName>, At<Ipv4Addr>)>,
    pub gateway: Option<GatewayFile>,
    /// A gateway is written, but could not be read.
    pub wrong_gateway: bool,
    /// The place of `dhcp = true`.
    pub dhcp: Option<Range<usize>>,
    pub nameservers: Vec<IpAddr>,
}

#[derive(Debug)]
pub(super) struct GatewayFile {
    pub address: At<Ipv4Addr>,
    pub on: OnFile,
}

/// The hosts that have a gateway.
#[derive(Debug)]
pub(super) enum OnFile {
    /// Not given.
    Absent,
    /// Given and wrong, already reported.
    Wrong,
    One(At<HostName>),
    Every,
}

#[derive(Debug)]
pub(super) struct NatFile {
    pub span: Range<usize>,
    pub on: Option<At<HostName>>,
    pub from: Vec<At<NatFrom>>,
    pub out: Option<At<IfName>>,
    pub source: Option<At<Ipv4Addr>>,
}

#[derive(Debug, Clone)]
pub(super) enum NatFrom {
    Subnet(Ipv4Net),
    Network(NetworkName),
}

#[derive(Debug)]
pub(super) struct VmFile {
    pub name: At<VmName>,
    pub hosts: Vec<At<HostName>>,
    /// Whether a host was given, right or wrong.
    pub placed: bool,
    pub count: Option<At<u32>>,
    pub image: Option<At<ImageName>>,
    pub memory_mib: Option<u64>,
    pub disk_mib: Option<u64>,
    pub cpus: u32,
    pub nics: Vec<NicFile>,
    pub floating: Option<At<Ipv4Addr>>,
}

#[derive(Debug)]
pub(super) struct NicFile {
    pub network: At<NetworkName>,
    pub address: Option<At<Ipv4Addr>>,
    pub mac: Option<At<MacAddr>>,
}

#[derive(Debug)]
pub(super) struct PingFile {
    pub from: Vec<At<String>>,
    pub to: IpAddr,
    pub reach: bool,
}

/// The values of a `[nova]` table, by nova-network's own names.
#[derive(Debug)]
pub(super) struct NovaFile {
    pub span: Range<usize>,
    pub manager: Manager,
    pub tenants: Vec<At<NetworkName>>,
    pub fixed_range: Option<At<Ipv4Net>>,
    pub network_size: Option<At<u32>>,
    pub vlan_start: Option<At<VlanId>>,
    pub vlan_interface: Option<At<IfName>>,
    pub flat_interface: Option<At<IfName>>,
    pub flat_network_bridge: Option<At<IfName>>,
    pub public_interface: Option<At<IfName>>,
    pub routing_source_ip: Option<At<Ipv4Addr>>,
    pub network_host: Option<At<HostName>>,
    /// The place of `multi_host = true`.
    pub multi_host: Option<Range<usize>>,
    pub gateway: Option<At<Ipv4Addr>>,
    pub network_device_mtu: Option<u16>,
    pub dns: Vec<IpAddr>,
}

/// nova-network's managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    Flat,
    FlatDhcp,
    Vlan,
}
