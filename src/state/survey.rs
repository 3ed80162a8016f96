//! What a host is and has, apart from the lab: gathered in a constant number of commands, judged in
//! [`crate::plan`]'s preflight, before anything is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::lab::{IfName, MacAddr};
use crate::state::NicConfig;

/// The kernel feature of bridges that sort frames by VLAN, as [`Survey::missing_modules`] calls it.
pub const VLAN_FILTERING: &str = "bridge vlan_filtering";

/// What a host is and has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// NICs of the host that are not ours, with what stands on them (for a taken one: what stood on it).
    pub nics: BTreeMap<IfName, NicConfig>,
    /// Every other link name in use that is not this lab's, with its owner ("lab other", "libvirt", "someone else").
    pub foreign_links: BTreeMap<String, String>,
    /// Subnets that the host reaches by links which are not this lab's, with the link's name.
    pub subnets: Vec<(IpNet, String)>,
    /// Addresses that the host has and not from this lab, with the link's name.
    pub addresses: BTreeMap<IpAddr, String>,
    /// The MTU of each NIC, in bytes.
    pub mtus: BTreeMap<IfName, u32>,
    /// nftables tables of this lab's name that are not this lab's, e.g. `ip netlab-quick`.
    pub foreign_tables: BTreeSet<String>,
    /// Chains of others that drop what the host forwards.
    pub forward_drops: Vec<ForwardDrop>,
    /// Bridged packets pass such chains, too: br_netfilter is there and told to.
    pub bridge_nf: bool,
    /// Domain names that are not this lab's, with their owner.
    pub foreign_domains: BTreeMap<String, String>,
    /// MAC addresses of domains that are not this lab's, with the domain's name.
    pub foreign_macs: BTreeMap<MacAddr, String>,
    /// Programs that were looked for and found, e.g. `ip`, `nft`, `dnsmasq`.
    pub programs: BTreeSet<String>,
    /// Kernel features that were looked for and are missing, e.g. `8021q`.
    pub missing_modules: BTreeSet<String>,
    /// Memory that can be given to guests, in MiB (MemAvailable of /proc/meminfo); 0: unknown.
    pub memory_mib: u64,
    /// Architectures QEMU can run here, in libvirt's words; empty: unknown.
    pub arches: BTreeSet<String>,
    /// Whether KVM really works.
    pub kvm: Kvm,
    /// The host's own address of the ssh session that it is reached by, if it is.
    pub reached_at: Option<IpAddr>,
}

/// How every link of a host stands at one moment, by name.
pub type Ports = BTreeMap<String, Port>;

/// How a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Administratively up.
    pub up: bool,
    /// Something is at its other end.
    pub carrier: bool,
    /// The bridge it is plugged into.
    pub master: Option<String>,
    /// Largest packet it takes, in bytes.
    pub mtu: u32,
}

/// A chain of somebody else that drops forwarded packets unless a rule accepts them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardDrop {
    /// Its family, table and name, as in `nft add rule`.
    pub chain: String,
    /// It is iptables' own.
    pub by_iptables: bool,
    /// Links from which it accepts everything.
    pub accepts_from: BTreeSet<String>,
    /// Links to which it accepts everything.
    pub accepts_to: BTreeSet<String>,
}

/// Whether hardware virtualization can be used. An openable /dev/kvm proves nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kvm {
    /// The CPU has it and libvirt offers it.
    Usable,
    /// No /dev/kvm.
    #[default]
    Absent,
    /// There is a /dev/kvm, but it cannot work: why.
    Useless(String),
}
