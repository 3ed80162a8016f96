//! Emulated machines: hosts, and the switches and routers between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::lab::{DnsName, IfName, Lag, PortMode};

/// An emulated machine: a host, a switch or a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// What it is.
    #[serde(default)]
    pub kind: MachineKind,
    /// Its NICs with the addresses it boots with; of a switch, its ports.
    pub nics: BTreeMap<IfName, MachineNic>,
    /// Addresses behind a router, on its loopback device, which simulate the outside network; it is configured again where
    /// they differ.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub outside: BTreeSet<Ipv4Net>,
    /// A router's address on its link to the network of the machine that netlab runs on; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_host: Option<Ipv4Net>,
    /// Names that a router resolves, by a DNS server of its own; it is configured again where they differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<DnsName, BTreeSet<Ipv4Addr>>,
    /// A switch has spanning tree.
    #[serde(default)]
    pub stp: bool,
    /// A switch's link aggregations.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lags: BTreeSet<Lag>,
    /// NICs of a host that are no longer configured as recorded: down, or without their address or default route; ports of
    /// a switch that are down. Only ever observed; they are configured again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub changed: BTreeSet<IfName>,
    /// It is alive: a host's init and libvirt daemon, a switch's bridge. `false` is only ever observed: such a
    /// machine is removed and recreated.
    pub alive: bool,
}

/// What an emulated machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineKind {
    /// A host: network, mount and PID namespace, init, libvirt daemon.
    #[default]
    Host,
    /// A switch: a network namespace with one bridge that has all NICs as its ports.
    Switch,
    /// A router: a network namespace that forwards between its NICs and answers for the outside.
    Router,
}

/// A NIC of an emulated machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineNic {
    /// Address with prefix length.
    pub address: Option<Ipv4Net>,
    /// Default gateway through this NIC.
    pub gateway: Option<Ipv4Addr>,
    /// Its MTU in bytes where that is more than Ethernet's 1500; absent: 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Which frames pass; only of a switch's port anything but [`PortMode::Open`].
    #[serde(default)]
    pub port: PortMode,
}

impl Machine {
    /// Returns whether it is as `other`, apart from what is configured again: NICs that were changed, and what is behind a
    /// router.
    pub fn is_configured_as(&self, other: &Self) -> bool {
        // Destructured exhaustively, so that a new field is an error here.
        let Self {
            kind,
            nics,
            outside: _,
            to_host,
            names: _,
            stp,
            lags,
            changed: _,
            alive,
        } = self;
        *kind == other.kind
            && *nics == other.nics
            && *to_host == other.to_host
            && *stp == other.stp
            && *lags == other.lags
            && *alive == other.alive
    }
}

impl std::fmt::Display for MachineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Host => "host",
            Self::Switch => "switch",
            Self::Router => "router",
        })
    }
}
