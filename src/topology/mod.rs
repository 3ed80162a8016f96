//! Every choice made: takes a [`Lab`](crate::lab::Lab) and the catalog entries it uses, gives a [`Topology`] in which
//! each address, MAC, bridge and tap has its value. Deterministic: the same lab gives the same topology, and adding a
//! VM changes no other VM's choices where that can be helped. Never looks at a host.

mod allocate;
mod ifname;

pub use allocate::allocate;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::lab::{
    Cable, Connect, HostName, IfName, Image, ImageName, LabHostNic, LabName, MacAddr, NetworkName, VlanId, VmName,
};

/// A lab with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The lab's name.
    pub lab: LabName,
    /// Hosts, as the lab describes them.
    pub hosts: BTreeMap<HostName, TopologyHost>,
    /// Cables between emulated hosts.
    pub cables: Vec<Cable>,
    /// Guests by name.
    pub guests: BTreeMap<VmName, Guest>,
    /// Catalog entries of the images in use.
    pub images: BTreeMap<ImageName, Image>,
    /// Addresses outside the lab that every guest must reach.
    pub outside: Vec<IpAddr>,
}

/// A host and the segments it takes part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyHost {
    /// How it is reached.
    pub connect: Connect,
    /// Its NICs by the lab file.
    pub nics: BTreeMap<IfName, LabHostNic>,
    /// The networks present on it: those with a VM or the gateway there.
    pub segments: BTreeMap<NetworkName, Segment>,
}

/// One network's part on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The bridge's name.
    pub bridge: IfName,
    /// Spanning tree.
    pub stp: bool,
    /// The NIC that carries the network off the host.
    pub uplink: Option<IfName>,
    /// 802.1Q id on that NIC; absent: untagged.
    pub vlan: Option<VlanId>,
    /// The network's subnet.
    pub subnet: Ipv4Net,
    /// The gateway address, where this host has it.
    pub gateway: Option<Ipv4Addr>,
}

/// A virtual machine with all its choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Where it runs.
    pub host: HostName,
    /// What it runs.
    pub image: ImageName,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Its NICs, in the guest's order.
    pub nics: Vec<GuestNic>,
    /// Its default route: the gateway of its first NIC whose network has one.
    pub default_route: Option<Ipv4Addr>,
    /// Name servers it is given.
    pub nameservers: Vec<IpAddr>,
}

/// A guest's NIC with all its choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestNic {
    /// The network.
    pub network: NetworkName,
    /// The bridge it is plugged into, on the guest's host.
    pub bridge: IfName,
    /// The tap's name on the host.
    pub tap: IfName,
    /// MAC address.
    pub mac: MacAddr,
    /// Address with the subnet's prefix length.
    pub address: Ipv4Net,
    /// The network's gateway address, if it has one.
    pub gateway: Option<Ipv4Addr>,
}
