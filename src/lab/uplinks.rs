//! The NICs that carry a network to other hosts.

use std::collections::BTreeMap;

use super::{HostName, IfName, LabHost};

/// The NICs that carry a network to other hosts. A network that names one NIC for all hosts has no entry for each: with
/// thousands of both there are millions of pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Uplinks {
    /// None: the network stays inside each host.
    #[default]
    None,
    /// The NIC of this name, of each host that has one.
    Everywhere(IfName),
    /// These; other hosts have none.
    On(BTreeMap<HostName, IfName>),
}

impl Uplinks {
    /// Returns the NIC of `host`, which is one of the lab's `hosts`.
    pub fn of<'a>(&'a self, host: &HostName, hosts: &BTreeMap<HostName, LabHost>) -> Option<&'a IfName> {
        match self {
            Self::None => None,
            Self::Everywhere(nic) => hosts.get(host)?.nics.contains_key(nic).then_some(nic),
            Self::On(nics) => nics.get(host),
        }
    }
}
