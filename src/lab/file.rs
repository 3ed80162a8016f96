//! The values of a lab file, each with its place: what [`super::read`] returns and [`super::check`] takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::names::{DnsName, HostName, IfName, ImageName, LabName, MacAddr, NetworkName, TenantName, VlanId, VmName};
use super::{
    BondMode, Class, Connect, Datapath, ExtraDisk, HashPolicy, LacpRate, PortMode, Serve, Shaping, TunnelKind,
};

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
    /// For every VM.
    pub setup: SetupFile,
    /// Names for templates.
    pub vars: BTreeMap<String, String>,
    pub hosts: Vec<HostFile>,
    pub switches: Vec<SwitchFile>,
    pub routers: Vec<RouterFile>,
    pub cables: Vec<CableFile>,
    pub networks: Vec<NetworkFile>,
    pub routes: Vec<RouteFile>,
    pub nat: Vec<NatFile>,
    pub vms: Vec<VmFile>,
    pub outside: Vec<IpAddr>,
    pub outside_names: Vec<DnsName>,
    pub pings: Vec<PingFile>,
    pub checks: Vec<CheckFile>,
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
    pub shaping: Option<Shaping>,
    /// It is a bond.
    pub bond: Option<BondFile>,
}

/// The keys of a bond that a NIC does not have.
#[derive(Debug)]
pub(super) struct BondFile {
    pub nics: Vec<At<IfName>>,
    pub mode: BondMode,
    pub miimon: Option<u32>,
    pub lacp_rate: Option<At<LacpRate>>,
    pub xmit_hash_policy: Option<At<HashPolicy>>,
    pub primary: Option<At<IfName>>,
}

#[derive(Debug)]
pub(super) struct SwitchFile {
    pub name: At<HostName>,
    pub ports: Vec<(At<IfName>, PortMode)>,
    pub stp: bool,
    pub lags: Vec<Vec<At<IfName>>>,
}

#[derive(Debug)]
pub(super) struct RouterFile {
    pub name: At<HostName>,
    pub nics: Vec<HostNicFile>,
    pub outside: Vec<At<Ipv4Net>>,
    /// The place of `"host"` in `outside`.
    pub to_host: Option<Range<usize>>,
    pub names: Vec<(DnsName, Vec<Ipv4Addr>)>,
}

#[derive(Debug)]
pub(super) struct CableFile {
    pub ends: [At<CableEndFile>; 2],
    pub shaping: Option<Shaping>,
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
#[expect(clippy::struct_excessive_bools, reason = "keys that a network has or has not")]
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
    /// The place of `dhcp = true` or `dhcp = { lease = "2m" }`.
    pub dhcp: Option<Range<usize>>,
    /// How long a lease lasts, in seconds.
    pub dhcp_lease: Option<u32>,
    pub nameservers: Vec<IpAddr>,
    pub tenant: Option<At<TenantName>>,
    pub port_security: bool,
    pub shaping: Option<Shaping>,
}

#[derive(Debug)]
pub(super) struct RouteFile {
    pub span: Range<usize>,
    pub between: Vec<At<TenantName>>,
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
    pub disks: Vec<ExtraDisk>,
    pub cdrom: Option<PathBuf>,
    pub cpus: u32,
    pub nics: Vec<NicFile>,
    pub setup: SetupFile,
    pub floating: Option<At<Ipv4Addr>>,
    pub serve: Vec<At<Serve>>,
    pub forward: Vec<ForwardFile>,
}

#[derive(Debug)]
pub(super) struct ForwardFile {
    pub host: At<u16>,
    pub guest: At<u16>,
}

/// What a VM is given besides its NICs; of a list that is written, what could be read.
#[derive(Debug, Default)]
pub(super) struct SetupFile {
    pub ssh_keys: Option<Vec<At<String>>>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub user_data: Option<At<String>>,
    pub packages: Option<Vec<String>>,
    pub files: Option<Vec<GuestFileFile>>,
    pub run: Option<Vec<At<String>>>,
}

/// Has either `content` or `from`.
#[derive(Debug)]
pub(super) struct GuestFileFile {
    pub path: String,
    pub content: Option<At<String>>,
    pub from: Option<At<String>>,
    pub mode: u16,
}

#[derive(Debug)]
pub(super) struct NicFile {
    pub network: At<NetworkName>,
    pub address: Option<At<Ipv4Addr>>,
    pub mac: Option<At<MacAddr>>,
    pub port_security: Option<bool>,
    pub shaping: Option<Shaping>,
}

#[derive(Debug)]
pub(super) struct PingFile {
    pub from: Vec<At<String>>,
    pub to: IpAddr,
    pub reach: bool,
}

/// A `[[verify.check]]`.
#[derive(Debug)]
pub(super) struct CheckFile {
    pub span: Range<usize>,
    pub name: Option<String>,
    pub from: Vec<At<String>>,
    pub to: Option<At<String>>,
    pub tcp: Option<At<u16>>,
    pub http: Option<At<UrlFile>>,
    pub status: Option<At<u16>>,
    pub text: Option<At<String>>,
    pub dns: Option<At<DnsName>>,
    pub answer: Option<At<BTreeSet<Ipv4Addr>>>,
    pub max_rtt_ms: Option<At<u32>>,
    pub mtu: Option<At<u16>>,
    pub reach: bool,
    pub hint: Option<String>,
    /// Something of it was wrong, and is reported.
    pub broken: bool,
}

/// The parts of `http = "http://web:8080/page"`.
#[derive(Debug)]
pub(super) struct UrlFile {
    pub host: String,
    pub port: u16,
    pub path: String,
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
    pub port_security: bool,
}

/// nova-network's managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    Flat,
    FlatDhcp,
    Vlan,
}
