//! What a host is and has, apart from the lab: observed in a constant number of commands, checked in preflight before
//! anything is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::lab::{Firmware, IfName, MacAddr, TunnelKind};
use crate::state::NicConfig;

/// The kernel feature of bridges that filter frames by VLAN, by its name in [`Survey::missing_modules`].
pub const VLAN_FILTERING: &str = "bridge vlan_filtering";

/// The kernel's data path of Open vSwitch, by its name in [`Survey::missing_modules`].
pub const OPENVSWITCH: &str = "openvswitch";

/// The kernel's bonds, by the name of their module in [`Survey::missing_modules`].
pub const BONDING: &str = "bonding";

/// The queueing discipline that delays and drops frames, by its name in [`Survey::missing_modules`].
pub const NETEM: &str = "sch_netem";

/// What a host is and has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// NICs of the host, with what is configured on them (for an attached one: what was before).
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
    /// Bridged packets pass such chains, too: br_netfilter is loaded and enabled.
    pub bridge_nf: bool,
    /// Domain names that are not this lab's, with their owner.
    pub foreign_domains: BTreeMap<String, String>,
    /// MAC addresses of domains that are not this lab's, with the domain's name.
    pub foreign_macs: BTreeMap<MacAddr, String>,
    /// UUIDs of domains that are not this lab's, with the domain's name.
    #[serde(default)]
    pub foreign_uuids: BTreeMap<String, String>,
    /// Programs that were found of those that netlab uses, e.g. `ip`, `nft`, `dnsmasq`.
    pub programs: BTreeSet<String>,
    /// Open vSwitch's database is there: its daemons run.
    #[serde(default)]
    pub ovs_runs: bool,
    /// Kernel features that are missing of those that netlab uses, e.g. `8021q`.
    pub missing_modules: BTreeSet<String>,
    /// Tunnels that are not this lab's, by protocol and key (VNI), with the names of their devices.
    #[serde(skip)]
    pub foreign_keys: BTreeMap<(TunnelKind, u32), String>,
    /// Memory that is available to guests, in MiB (MemAvailable of /proc/meminfo); 0: unknown.
    pub memory_mib: u64,
    /// Free space of the folder that guests' disks are in, in MiB; none: unknown.
    #[serde(default)]
    pub disk_mib: Option<u64>,
    /// Architectures that QEMU can run on the host, by libvirt's names; none: unknown.
    pub arches: Option<BTreeSet<String>>,
    /// QEMU's machine types by architecture; of one that is absent they are unknown.
    #[serde(default)]
    pub machines: BTreeMap<String, BTreeSet<String>>,
    /// UEFI firmware that libvirt can select, by architecture (firmware.json of QEMU).
    #[serde(default)]
    pub firmware: BTreeMap<String, BTreeSet<Firmware>>,
    /// Whether KVM works.
    pub kvm: Kvm,
    /// TCP ports that somebody listens on and that 127.0.0.1 includes; only of localhost.
    #[serde(default)]
    pub listening: BTreeSet<u16>,
    /// The host's own address of the ssh session that it is reached by, if it is.
    pub reached_at: Option<IpAddr>,
}

/// A chain of others that drops forwarded packets unless a rule accepts them.
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
    /// There is a /dev/kvm, but it cannot work, for this reason.
    Useless(String),
}
