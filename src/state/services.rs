//! What a host does for its networks besides bridging: address translation, DHCP and names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::lab::{IfName, LabName, MacAddr, VmName};

/// The lab's rules on one host: its own nftables tables and flows of its Open vSwitch bridges, loaded and deleted as a whole. No other lab has rules in them,
/// and nothing outside of them is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// Source translation of what leaves by a link.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub nat: BTreeSet<Nat>,
    /// Outside addresses that are translated to guests.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub floating: BTreeSet<Floating>,
    /// Gateway addresses that several hosts have, kept apart on the segment between them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub local_gateways: BTreeSet<LocalGateway>,
    /// Bridges of networks of tenants that are kept apart, each with those that it is routed to, itself among them: what
    /// comes in by it is not routed out by the other ones, except to floating addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub together: BTreeMap<IfName, BTreeSet<IfName>>,
    /// Bridge ports on which a guest sends with its own addresses only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<IfName, PortSecurity>,
    /// The same for ports of Open vSwitch's bridges, by bridge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flows: BTreeMap<IfName, BTreeMap<IfName, PortSecurity>>,
    /// Gateway addresses that several hosts have, at ports of Open vSwitch's bridges, by bridge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gateway_flows: BTreeMap<IfName, BTreeSet<LocalGateway>>,
    /// The tables hold something that netlab did not write, or lack a part of it. `true` is only ever observed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub altered: bool,
}

/// Packets from a subnet that leave by a link get another source address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Nat {
    /// Where they come from.
    pub from: Ipv4Net,
    /// The link they leave by: a NIC, or the bridge that it is attached to.
    pub out: IfName,
    /// The source address they get (SNAT); absent: the link's own (masquerade).
    pub source: Option<Ipv4Addr>,
}

/// What is sent to an outside address goes to a guest, and what the guest sends out leaves under that address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Floating {
    /// The outside address.
    pub public: Ipv4Addr,
    /// The guest's own address.
    pub private: Ipv4Addr,
    /// The link towards the outside.
    pub out: IfName,
}

/// A gateway address that other hosts on the same segment have, too: no ARP for or from it, and no DHCP, passes `port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LocalGateway {
    /// The bridge port that leads to the other hosts.
    pub port: IfName,
    /// The address.
    pub address: Ipv4Addr,
}

/// The only addresses that the guest behind a port may send from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSecurity {
    /// Its MAC address, also in ARP.
    pub mac: MacAddr,
    /// Its IPv4 address, also in ARP.
    pub address: Ipv4Addr,
}

/// A DHCP and DNS server for one network, on one bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dhcp {
    /// Where it listens, and nowhere else.
    pub bridge: IfName,
    /// The network's subnet.
    pub subnet: Ipv4Net,
    /// The server's own address on the bridge: given out as router and name server.
    pub gateway: Ipv4Addr,
    /// The domain of the names: `vm1` and `vm1.<lab>` resolve.
    pub domain: LabName,
    /// Fixed leases: no other client gets one.
    pub leases: BTreeMap<MacAddr, Lease>,
    /// Name servers for all other names; none: other names do not resolve.
    pub nameservers: Vec<IpAddr>,
    /// MTU that is announced to guests, in bytes; absent: Ethernet's 1500.
    pub mtu: Option<u16>,
    /// How long a lease lasts, in seconds; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u32>,
    /// The server is alive; `false` is only ever observed.
    pub running: bool,
}

/// A fixed lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The guest, which is its host name.
    pub vm: VmName,
    /// Its address.
    pub address: Ipv4Addr,
}
