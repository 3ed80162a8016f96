//! Tunnels that carry a network between hosts, and the addresses that they end at.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{GatewayHosts, HostName, IfName, LabHost, Network, NetworkName};

/// A network's tunnels: one between each two hosts that have a part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The protocol.
    pub kind: TunnelKind,
    /// The number that distinguishes the network on the underlay: VNI or GRE key; absent: derived.
    pub key: Option<u32>,
    /// What carries the tunnels; absent: the one NIC of each host that has an address.
    pub underlay: Option<Underlay>,
}

/// What carries tunnels between hosts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Underlay {
    /// The addresses that hosts have on this network.
    Network(NetworkName),
    /// The addresses of the NIC of this name.
    Nic(IfName),
}

/// The protocol of a tunnel, over IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelKind {
    /// VXLAN, RFC 7348.
    Vxlan,
    /// Ethernet over GRE with a key, RFC 2784 and 2890; Open vSwitch only.
    Gre,
    /// Geneve, RFC 8926; Open vSwitch only.
    Geneve,
}

impl TunnelKind {
    /// Returns the bytes that it adds to a packet inside: the outer IPv4 header (20), the protocol's own headers, and
    /// the Ethernet header inside (14).
    pub fn overhead(self) -> u16 {
        match self {
            // UDP 8, VXLAN or Geneve 8.
            Self::Vxlan | Self::Geneve => 50,
            // GRE 4, key 4.
            Self::Gre => 42,
        }
    }

    /// Returns the protocol that Open vSwitch calls `name`.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Vxlan, Self::Gre, Self::Geneve]
            .into_iter()
            .find(|kind| kind.to_string() == name)
    }

    /// Returns the largest key.
    pub fn most(self) -> u32 {
        match self {
            Self::Vxlan | Self::Geneve => 0x00ff_ffff,
            Self::Gre => u32::MAX,
        }
    }
}

/// As in lab.toml.
impl std::fmt::Display for TunnelKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Vxlan => "vxlan",
            Self::Gre => "gre",
            Self::Geneve => "geneve",
        })
    }
}

impl std::fmt::Display for Underlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(name) => name.fmt(f),
            Self::Nic(name) => name.fmt(f),
        }
    }
}

/// Returns the NIC of `host` that tunnels over `underlay` end at; none where it is a network that carries them.
pub(crate) fn nic(hosts: &BTreeMap<HostName, LabHost>, underlay: Option<&Underlay>, host: &HostName) -> Option<IfName> {
    match underlay {
        Some(Underlay::Network(_)) => None,
        Some(Underlay::Nic(nic)) => Some(nic.clone()),
        None => {
            let nics = &hosts.get(host)?.nics;
            nics.iter()
                .find(|(_, nic)| nic.address.is_some())
                .map(|(name, _)| name.clone())
        }
    }
}

/// Returns the address at which tunnels over `underlay` end on `host`; none where it has no such address, or several.
pub(crate) fn endpoint(
    hosts: &BTreeMap<HostName, LabHost>,
    networks: &BTreeMap<NetworkName, Network>,
    underlay: Option<&Underlay>,
    host: &HostName,
) -> Option<Ipv4Addr> {
    let nics = &hosts.get(host)?.nics;
    match underlay {
        Some(Underlay::Network(name)) => {
            let network = networks.get(name)?;
            let of_gateway = network.gateway.as_ref().filter(|gateway| match &gateway.on {
                GatewayHosts::One(on) => on == host,
                GatewayHosts::Every => false,
            });
            let own = network.addresses.get(host).copied();
            own.or(of_gateway.map(|gateway| gateway.address))
        }
        Some(Underlay::Nic(nic)) => Some(nics.get(nic)?.address?.addr()),
        None => {
            let mut addresses = nics.values().filter_map(|nic| nic.address);
            let first = addresses.next()?;
            addresses.next().is_none().then(|| first.addr())
        }
    }
}
