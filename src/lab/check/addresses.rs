//! Addresses: each has one owner, is inside its subnet, and every subnet has enough of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use ipnet::Ipv4Net;

use super::Check;
use super::connected::Placed;
use crate::lab::file::{At, LabFile, NetworkFile, UplinkFile};
use crate::lab::{HostName, IfName, NetworkName, Vm, VmName};

/// Who has an address.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    /// In messages.
    pub(super) name: String,
    /// The host and its NIC, where it is one.
    pub(super) nic: Option<(HostName, IfName)>,
    /// A VM's NIC, which the count of VMs includes.
    pub(super) guest: bool,
}

impl Owner {
    /// Somebody who is no host's NIC and no VM's.
    pub(super) fn other(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            nic: None,
            guest: false,
        }
    }
}

/// How many addresses guests and gateway can have.
pub(super) fn usable(subnet: Ipv4Net) -> u64 {
    (1_u64 << (32 - u32::from(subnet.prefix_len()))).saturating_sub(2)
}

/// The first or last address of a subnet, which no host can have.
pub(super) fn is_edge(address: Ipv4Addr, subnet: Ipv4Net) -> bool {
    usable(subnet) > 0 && (address == subnet.network() || address == subnet.broadcast())
}

/// Addresses that are somebody's and may be mentioned several times: of name servers, of the routers that hosts and
/// routers use, and of what is outside.
pub(super) fn mentioned(file: &LabFile) -> BTreeSet<Ipv4Addr> {
    let servers = file.networks.iter().flat_map(|network| &network.nameservers);
    let named = servers.chain(&file.outside).filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    let hosts = file.hosts.iter().flat_map(|host| &host.nics);
    let nics = hosts.chain(file.routers.iter().flat_map(|router| &router.nics));
    let gateways = nics.filter_map(|nic| Some(nic.gateway.as_ref()?.value));
    let sources = file.nat.iter().filter_map(|rule| Some(rule.source.as_ref()?.value));
    named.chain(gateways).chain(sources).collect()
}

impl Check<'_> {
    /// Assigns an address to `owner`; reports if somebody else has it.
    pub(super) fn own(&mut self, address: Ipv4Addr, span: &Range<usize>, owner: Owner) {
        if let Some(other) = self.owners.get(&address) {
            let message = format!("address {address} is used twice: {} and {}", other.name, owner.name);
            self.add(span, message, "");
        } else {
            self.owners.insert(address, owner);
        }
    }

    /// Assigns an address of a network to `owner`.
    pub(super) fn address(&mut self, network: &NetworkName, subnet: Ipv4Net, at: &At<Ipv4Addr>, owner: Owner) {
        let At { value: address, span } = at;
        self.inside(network, subnet, at);
        self.own(*address, span, owner);
    }

    /// Assigns an address of a network to `host`. It may be the one of the NIC that the network's bridge attaches there:
    /// the bridge then has it anyway.
    pub(super) fn address_of_host(&mut self, network: &NetworkFile, at: &At<Ipv4Addr>, host: &HostName, name: String) {
        if let Some(subnet) = &network.subnet {
            self.inside(&network.name.value, subnet.value, at);
        }
        let on_bridge = |(owner, nic): &(HostName, IfName)| owner == host && attaches(network, host, nic);
        let owner = self.owners.get(&at.value).and_then(|owner| owner.nic.as_ref());
        if !owner.is_some_and(on_bridge) {
            self.own(at.value, &at.span, Owner::other(name));
        }
    }

    fn inside(&mut self, network: &NetworkName, subnet: Ipv4Net, at: &At<Ipv4Addr>) {
        let At { value: address, span } = at;
        if subnet.contains(address) {
            self.no_edge(*address, subnet, span);
        } else {
            let message = format!("{address} is outside `{subnet}`, the subnet of network `{network}`");
            self.add(span, message, "");
        }
    }

    /// Reports the first and the last address of a subnet.
    pub(super) fn no_edge(&mut self, address: Ipv4Addr, subnet: Ipv4Net, span: &Range<usize>) {
        if is_edge(address, subnet) {
            let message = format!("{address} is the network or broadcast address of `{}`", subnet.trunc());
            self.add(span, message, "");
        }
    }

    /// A network's subnet is not also behind another NIC of a host on which the network is: the host could not know
    /// which of the two leads to an address.
    pub(super) fn shared_subnets(&mut self, file: &LabFile, placed: &Placed<'_>) {
        for written in &file.networks {
            let name = &written.name.value;
            let (Some(At { value: subnet, span }), Some(network)) = (&written.subnet, self.networks.get(name)) else {
                continue;
            };
            let mut found = None;
            // The hosts with a bridge of the network.
            let on = placed.hosts(network, name);
            for (host, described) in on.into_iter().filter_map(|host| self.hosts.get_key_value(host)) {
                // A NIC that the network attaches to its bridge, which then has the NIC's addresses.
                let attached = network.uplinks.of(host, &self.hosts).filter(|_| network.vlan.is_none());
                let others = described.nics.iter().filter(|(nic, _)| attached != Some(*nic));
                for (nic, behind) in others.filter_map(|(nic, described)| Some((nic, described.address?))) {
                    if behind.contains(subnet) || subnet.contains(&behind) {
                        found.get_or_insert_with(|| format!("`{}` of `{host}:{nic}`", behind.trunc()));
                    }
                }
            }
            if let Some(other) = found {
                let message = format!("subnet `{subnet}` of network `{name}` overlaps {other}");
                let help = "use that NIC as the network's untagged uplink, or choose another subnet";
                self.add(&span.clone(), message, help);
            }
        }
    }

    /// Whether every subnet has enough addresses for its guests.
    pub(super) fn capacity(&mut self, file: &LabFile, vms: &BTreeMap<VmName, Vm>) {
        let mut nics: BTreeMap<&NetworkName, usize> = BTreeMap::new();
        for nic in vms.values().flat_map(|vm| &vm.nics) {
            *nics.entry(&nic.network).or_default() += 1;
        }
        for network in &file.networks {
            let Some(At { value: subnet, span }) = &network.subnet else {
                continue;
            };
            let nics = nics.get(&network.name.value).copied().unwrap_or_default();
            let inside = subnet.network()..=subnet.broadcast();
            let owners = self.owners.range(inside.clone()).filter(|(_, owner)| !owner.guest);
            let others: BTreeSet<_> = owners
                .map(|(address, _)| address)
                .chain(self.mentioned.range(inside))
                .collect();
            let (wanted, there) = ((nics + others.len()) as u64, usable(*subnet));
            if there > 0 && wanted > there {
                let message = format!("subnet `{subnet}` is too small: {wanted} of {there} addresses");
                self.add(span, message, "use a shorter prefix");
            }
        }
    }
}

/// Whether `network` attaches `nic` of `host` to its bridge, so that the bridge has the NIC's addresses.
fn attaches(network: &NetworkFile, host: &HostName, nic: &IfName) -> bool {
    let uplink = match &network.uplink {
        Some(UplinkFile::Everywhere(At { value, .. })) => Some(value),
        Some(UplinkFile::PerHost(ends)) => ends.iter().find(|(at, _)| at.value == *host).map(|(_, nic)| &nic.value),
        None => None,
    };
    network.vlan.is_none() && uplink == Some(nic)
}
