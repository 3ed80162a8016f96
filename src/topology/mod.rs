//! Every choice made: takes a [`Lab`](crate::lab::Lab) and the catalog entries it uses, returns a [`Topology`] in which each
//! address, MAC address, UUID, bridge and tap has its value. Deterministic: the same lab has the same topology on hosts
//! that have nothing of it yet. Guests that exist keep the addresses, MAC addresses and taps that they have, whatever is
//! added to the lab ([`reallocate`]). Never reads a host.
//!
//! ```
//! use std::collections::{BTreeMap, BTreeSet};
//! use netlab::lab::parse;
//! use netlab::topology::allocate;
//!
//! let lab = parse("lab.toml", r#"
//!     name = "one"
//!     hosts.node1 = { nics.eth0 = {} }
//!     networks.service = { subnet = "10.0.1.0/24" }
//! "#, &BTreeSet::new())?;
//! let topology = allocate(&lab, &BTreeMap::new());
//! assert_eq!(topology.hosts.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod allocate;
mod assign;
pub mod derive;
mod disks;
mod setup;
mod shaping;
mod tenants;
mod tunnels;

pub use allocate::{allocate, reallocate};
pub use disks::DiskNumbers;
pub use setup::{GuestSetup, expand};
pub use shaping::{LinkShaping, stated};
pub use tenants::{RoutesByTenant, Tenants};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use uuid::Uuid;

use crate::lab::{
    BaseDisk, Cable, Class, Connect, Datapath, Forward, HostName, IfName, Image, ImageName, LabHostNic, LabName,
    MacAddr, NatRule, NetworkName, Ping, Proxies, Router, Serve, ServiceCheck, Switch, SwitchKind, TunnelKind, VlanId,
    VmName,
};

/// What the hosts of a lab have already: guests keep what they were given, and new ones are given none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Existing {
    /// The NICs of the lab's guests, in the guests' order.
    pub guests: BTreeMap<VmName, Vec<ExistingNic>>,
    /// Addresses that hosts have besides those that the lab gives them.
    pub hosts: BTreeSet<Ipv4Addr>,
    /// The further disks of guests, by their numbers.
    pub disks: BTreeMap<VmName, BTreeMap<u8, GuestDisk>>,
    /// The SSH keys that guests with cloud-init were given.
    pub ssh_keys: BTreeMap<VmName, Vec<String>>,
}

/// A NIC of an existing guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingNic {
    /// The tap's name on the host.
    pub tap: IfName,
    /// MAC address.
    pub mac: MacAddr,
    /// The address that it was given, where that is known.
    pub address: Option<Ipv4Addr>,
}

/// A lab in which every choice is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The lab's name.
    pub lab: LabName,
    /// Hosts, as the lab describes them.
    pub hosts: BTreeMap<HostName, TopologyHost>,
    /// Emulated switches.
    pub switches: BTreeMap<HostName, Switch>,
    /// Emulated routers.
    pub routers: BTreeMap<HostName, Router>,
    /// Cables between emulated machines.
    pub cables: Vec<Cable>,
    /// Limits of links.
    pub shaping: LinkShaping,
    /// Whose networks are whose.
    pub tenants: Tenants,
    /// Guests by name.
    pub guests: BTreeMap<VmName, Guest>,
    /// Catalog entries of the images in use.
    pub images: BTreeMap<ImageName, Image>,
    /// Addresses outside the lab that every guest must reach.
    pub outside: Vec<IpAddr>,
    /// Further pings, each with its answer.
    pub pings: Vec<Ping>,
    /// Questions about services and paths, those about names outside the lab included.
    pub checks: Vec<ServiceCheck>,
}

/// The guests and cables that concern one host.
#[derive(Debug, Clone, Default)]
pub struct OnHost<'a> {
    /// Those that it runs, in order.
    pub guests: Vec<(&'a VmName, &'a Guest)>,
    /// Those whose floating address it has; another host may run them.
    pub floating: Vec<(&'a VmName, &'a Guest, &'a GuestFloating)>,
    /// Its NICs with a cable.
    pub plugged: BTreeSet<&'a IfName>,
}

impl Topology {
    /// Returns guests and cables by host, for a caller that reads many hosts: to ask each of them for each host takes the
    /// square of the lab's size.
    pub fn by_host(&self) -> BTreeMap<&HostName, OnHost<'_>> {
        let mut hosts: BTreeMap<&HostName, OnHost<'_>> =
            self.hosts.keys().map(|host| (host, OnHost::default())).collect();
        for (vm, guest) in &self.guests {
            hosts.entry(&guest.host).or_default().guests.push((vm, guest));
            if let Some(floating) = &guest.floating {
                let host = hosts.entry(&floating.host).or_default();
                host.floating.push((vm, guest, floating));
            }
        }
        for end in self.cables.iter().flat_map(|cable| &cable.ends) {
            if let Some(host) = hosts.get_mut(&end.host) {
                host.plugged.insert(&end.nic);
            }
        }
        hosts
    }

    /// Makes every host an emulated one, connected by the lab's cables.
    pub fn emulate(&mut self) {
        for host in self.hosts.values_mut() {
            host.connect = Connect::Emulated;
        }
    }

    /// Gives the commands and packages of guests the caller's proxies, where a router leads to this machine's network.
    pub fn with_proxies(&mut self, proxies: &Proxies) {
        if self.routers.values().any(|router| router.to_host) {
            setup::add_proxies(&mut self.guests, proxies);
        }
    }

    /// Replaces the files that guests have as disks by what `disk` returns for their paths, and those in their CD drives
    /// by what `cd` returns; what these do not know stays.
    pub fn with_files(&mut self, disk: impl Fn(&Path) -> Option<BaseDisk>, cd: impl Fn(&Path) -> Option<PathBuf>) {
        for guest in self.guests.values_mut() {
            for extra in &mut guest.disks {
                if let GuestDisk::Over(over) = extra
                    && let Some(known) = disk(&over.base)
                {
                    *over = known;
                }
            }
            if let Some(file) = &mut guest.cdrom
                && let Some(known) = cd(file)
            {
                *file = known;
            }
        }
    }
}

/// A host and the segments it takes part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyHost {
    /// How it is reached.
    pub connect: Connect,
    /// Its NICs by the lab file.
    pub nics: BTreeMap<IfName, LabHostNic>,
    /// The networks present on it: those with a VM, the gateway or an address of the host there.
    pub segments: BTreeMap<NetworkName, Segment>,
    /// Its source address translation.
    pub nat: Vec<NatRule>,
}

/// One network's part on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What the network is for.
    pub class: Class,
    /// The bridge's name.
    pub bridge: IfName,
    /// The bridge's MAC address; absent: that of its uplink.
    pub mac: Option<MacAddr>,
    /// Spanning tree with this forward delay, in seconds; absent: none.
    pub stp: Option<u8>,
    /// The NIC that carries the network off the host.
    pub uplink: Option<IfName>,
    /// MTU that the network states, in bytes.
    pub mtu: Option<u16>,
    /// 802.1Q id on that NIC; absent: untagged.
    pub vlan: Option<VlanId>,
    /// What the bridge is made of.
    pub switch: SwitchKind,
    /// The tunnels to the other hosts of the network.
    pub tunnel: Option<SegmentTunnel>,
    /// The network's subnet.
    pub subnet: Ipv4Net,
    /// The gateway address, where this host has it.
    pub gateway: Option<Ipv4Addr>,
    /// Other hosts on the segment have that gateway address, too.
    pub gateway_everywhere: bool,
    /// The host's own address besides the gateway's.
    pub address: Option<Ipv4Addr>,
    /// What this host serves the network's guests, where it does.
    pub dhcp: Option<SegmentDhcp>,
}

impl Segment {
    /// Something connects it to the network's segments on other hosts.
    pub fn is_connected(&self) -> bool {
        self.uplink.is_some() || self.tunnel.is_some()
    }

    /// Returns the NIC that becomes a port of a bridge, of which `datapath` is Open vSwitch's data path; none for a Linux
    /// bridge. Below a VLAN device, and below tunnels of the kernel, a NIC is unchanged.
    pub fn attached(&self, datapath: Option<Datapath>) -> Option<&IfName> {
        let over_tunnel = self.tunnel.as_ref().filter(|_| datapath == Some(Datapath::Netdev));
        let uplink = self
            .uplink
            .as_ref()
            .filter(|_| self.vlan.is_none() || datapath.is_some());
        uplink.or_else(|| over_tunnel?.nic.as_ref())
    }

    /// Returns the bridge ports that lead to other hosts: the uplink or the VLAN device on it (of Open vSwitch, the patch
    /// of that name), or those of tunnels.
    pub fn ports(&self) -> Vec<IfName> {
        match &self.tunnel {
            Some(tunnel) if self.switch.is_ovs() => {
                let remotes = tunnel.remotes.keys();
                remotes.map(|host| derive::tunnel_port(&tunnel.device, host)).collect()
            }
            _ => self.port().into_iter().collect(),
        }
    }

    /// Returns the one port of a Linux bridge that leads to other hosts.
    pub fn port(&self) -> Option<IfName> {
        if let Some(tunnel) = &self.tunnel {
            return Some(tunnel.device.clone());
        }
        let nic = self.uplink.as_ref()?;
        Some(self.vlan.map_or_else(|| nic.clone(), |id| derive::vlan_device(nic, id)))
    }
}

/// A network's tunnels from one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentTunnel {
    /// The protocol.
    pub kind: TunnelKind,
    /// VNI or GRE key.
    pub key: u32,
    /// The name of the device, the same on every host. Open vSwitch has a port for each remote host instead, see
    /// [`Segment::ports`].
    pub device: IfName,
    /// The NIC whose address they end at; absent: the address is on the bridge of a network.
    pub nic: Option<IfName>,
    /// Where tunnels end on this host.
    pub local: Ipv4Addr,
    /// Where they end on each other host; never empty.
    pub remotes: BTreeMap<HostName, Ipv4Addr>,
}

/// A network's DHCP and DNS server on one of its gateway hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentDhcp {
    /// Every guest of the network, wherever it runs: its name and address by MAC.
    pub leases: BTreeMap<MacAddr, (VmName, Ipv4Addr)>,
    /// Name servers asked for other names.
    pub nameservers: Vec<IpAddr>,
    /// MTU that is announced to guests, in bytes.
    pub mtu: Option<u16>,
    /// How long a lease lasts, in seconds; absent: for ever.
    pub lease: Option<u32>,
}

/// A virtual machine with all its choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The UUID of its domain.
    pub uuid: Uuid,
    /// Where it runs.
    pub host: HostName,
    /// What it runs.
    pub image: ImageName,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Least size of its disk in MiB; absent: that of the image.
    pub disk_mib: Option<u64>,
    /// Further disks, in the guest's order.
    pub disks: Vec<GuestDisk>,
    /// The numbers of their files.
    pub disk_numbers: DiskNumbers,
    /// Image of a CD that is in its drive.
    pub cdrom: Option<PathBuf>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Its NICs, in the guest's order.
    pub nics: Vec<GuestNic>,
    /// Its default route: the gateway of its first NIC whose network has one.
    pub default_route: Option<Ipv4Addr>,
    /// Name servers it is given; those that it gets by DHCP are not among them.
    pub nameservers: Vec<IpAddr>,
    /// The outside address that is translated to it.
    pub floating: Option<GuestFloating>,
    /// Services that it runs.
    pub serve: Vec<Serve>,
    /// Ports of the machine that netlab runs on which lead to it.
    pub forward: Vec<Forward>,
    /// What it is given besides.
    pub setup: GuestSetup,
}

/// A disk of a guest besides the one that it boots from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestDisk {
    /// Empty at first.
    Blank {
        /// Its size in MiB.
        mib: u64,
    },
    /// An overlay over a file that is never written. What the user names is taken as raw until
    /// [`Topology::with_files`] has its format.
    Over(BaseDisk),
}

/// How a guest has a floating address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFloating {
    /// The outside address.
    pub address: Ipv4Addr,
    /// The host that has it on behalf of the guest: the guest's router.
    pub host: HostName,
    /// The NIC of that host that leads outside.
    pub nic: IfName,
}

/// A guest's NIC with all its choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestNic {
    /// The network.
    pub network: NetworkName,
    /// The bridge that it is a port of, on the guest's host.
    pub bridge: IfName,
    /// The tap's name on the host.
    pub tap: IfName,
    /// MAC address.
    pub mac: MacAddr,
    /// Address with the subnet's prefix length.
    pub address: Ipv4Net,
    /// The network's gateway address, if it has one.
    pub gateway: Option<Ipv4Addr>,
    /// It gets its address from a DHCP server.
    pub dhcp: bool,
    /// Its MTU in bytes; absent: 1500.
    pub mtu: Option<u16>,
    /// The guest sends with its own MAC and IPv4 address only, and serves no DHCP.
    pub port_security: bool,
}
