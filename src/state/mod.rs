//! What a lab owns on every host: one type, [`Site`], for what is observed and for what is desired. Plain data with one
//! value for one meaning, so that `==` means that there is nothing to do. [`desired`] turns a topology into a site; hosts
//! report theirs, and a [`Survey`] of everything else. Knows no host, no libvirt and no clock.
//!
//! ```
//! use netlab::state::{HostState, Link, LinkKind};
//!
//! let mut host = HostState::default();
//! let bridge = LinkKind::Bridge { stp: None, mac: None };
//! let link = Link { kind: bridge, master: None, addresses: [].into(), mtu: None, gateway: None, purpose: "network service".to_owned() };
//! host.links.insert("br1".parse()?, link);
//! assert_ne!(host, HostState::default());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod desired;
mod domain;
mod existing;
mod forward;
mod identity;
mod link;
mod machine;
mod reach;
mod services;
mod shaping;
pub mod survey;
pub mod view;

pub use desired::{datapath, desired, guest_config};
pub use domain::{
    Accel, CloudConfig, Disk, DiskName, Domain, DomainDisk, DomainName, DomainNic, GuestConfig, GuestNicConfig, SetUp,
    Start, Volume,
};
pub use existing::existing;
pub use forward::{PortForward, unreached};
pub use identity::{BondSeen, Condition, DomainSeen, Identities};
pub(crate) use link::PROVIDER;
pub use link::{Link, LinkKind, Missing, NicConfig, Route, Sysctl, Uplink};
pub use machine::{Machine, MachineKind, MachineNic};
pub use reach::reached_from;
pub use services::{Dhcp, Firewall, Floating, Lease, LocalGateway, Nat, PortSecurity};
pub use shaping::{Shaped, observable};
pub use survey::Survey;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::lab::{Cable, HostName, IfName, NetworkName};

/// Everything that a lab owns, host by host. On a host without an entry it owns nothing.
pub type Site = BTreeMap<HostName, HostState>;

/// What a lab owns on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Emulated hosts, switches and routers; only on [`localhost`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<HostName, Machine>,
    /// Cables between them; only on [`localhost`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cables: BTreeSet<Cable>,
    /// Ports of 127.0.0.1 that lead to guests; only on [`localhost`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forwards: BTreeMap<u16, PortForward>,
    /// Bridges and VLAN devices.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<IfName, Link>,
    /// Host NICs attached to a bridge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub uplinks: BTreeMap<IfName, Uplink>,
    /// Floating addresses on NICs that netlab did not create, each as a /32, recognized by their metric. (One on a
    /// bridge of the lab is among that link's addresses.)
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floating: BTreeMap<Ipv4Addr, IfName>,
    /// Limits of links, or that they are down.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shaped: Shaped,
    /// Kernel settings changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<Sysctl, String>,
    /// The lab's nftables rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Firewall>,
    /// DHCP and DNS servers, by the network they serve.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dhcp: BTreeMap<NetworkName, Dhcp>,
    /// Disks of guests, by domain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<DomainName, Volume>,
    /// Further disks of guests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<DiskName, Disk>,
    /// libvirt domains.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<DomainName, Domain>,
    /// Identifiers of the observed objects, to be compared before deleting; not part of equality.
    #[serde(default, skip_serializing_if = "Identities::is_empty")]
    pub seen: Identities,
}

/// The name of the machine that netlab runs on, which in a [`Site`] has the emulated machines. A host of a lab cannot
/// have this name.
pub const LOCALHOST: &str = "localhost";

/// Returns [`LOCALHOST`] as a name.
///
/// # Panics
/// Never: the constant is a legal name.
pub fn localhost() -> HostName {
    #[expect(clippy::expect_used, reason = "a constant that a test checks")]
    HostName::new(LOCALHOST).expect("a legal name")
}
