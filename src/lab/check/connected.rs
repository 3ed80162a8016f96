//! Networks of several hosts that nothing connects between them: legal, and hardly ever meant.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Check;
use super::wires::Wires;
use crate::lab::file::{NetworkFile, UplinkFile};
use crate::lab::{Cable, CableEnd, Connect, GatewayHosts, HostName, IfName, Network, NetworkName, Vm, VmName};

impl Check<'_> {
    /// Warns of networks whose hosts are not connected, unless the file says that this is meant.
    pub(super) fn connected(&mut self, networks: &[NetworkFile], cables: &[Cable], placed: &Placed<'_>) {
        let mut found: Vec<(Range<usize>, String, String)> = Vec::new();
        let wires = Wires::of(cables, &self.switches);
        for file in networks {
            let name = &file.name.value;
            let Some(network) = self.networks.get(name) else {
                continue;
            };
            let hosts = placed.hosts(network, name);
            let uplink = |host: &HostName| network.uplinks.of(host, &self.hosts);
            if let (Some(span), true) = (&file.isolated, hosts.iter().any(|host| uplink(host).is_some())) {
                let message = format!("network `{name}` is isolated and has an uplink");
                found.push((span.clone(), message, "remove one of the two".to_owned()));
            }
            if hosts.len() < 2 || network.isolated || file.tunnel.is_some() {
                continue;
            }
            let meant = "or write `isolated = true` under the network if each host is to have one of its own";
            let without: Vec<&HostName> = hosts.iter().copied().filter(|host| uplink(host).is_none()).collect();
            if !without.is_empty() {
                let message = format!(
                    "nothing connects network `{name}` between hosts {}: {} for it",
                    list(&hosts),
                    if without.len() == hosts.len() {
                        "no host has an uplink".to_owned()
                    } else {
                        format!("host {} has no uplink", list(&without))
                    }
                );
                let help = format!("add `uplink = \"<NIC>\"`, {meant}");
                found.push((file.name.span.clone(), message, help));
                continue;
            }
            // The cables of real machines are not described.
            let emulated = |host: &&HostName| {
                self.hosts
                    .get(*host)
                    .is_some_and(|host| host.connect == Connect::Emulated)
            };
            if !hosts.iter().all(emulated) {
                continue;
            }
            let ends: Vec<CableEnd> = hosts.iter().filter_map(|host| Some(end(host, uplink(host)?))).collect();
            let [one, rest @ ..] = &ends[..] else {
                continue;
            };
            let reached = wires.reached(&self.plugged(one), network.vlan);
            let apart = rest
                .iter()
                .find(|other| !self.plugged(other).iter().any(|end| reached.has(end)));
            if let Some(other) = apart {
                let tag = network.vlan.map_or_else(String::new, |id| format!(" with VLAN {id}"));
                let message = format!(
                    "no cable connects network `{name}` between {}:{} and {}:{}{tag}",
                    one.host, one.nic, other.host, other.nic
                );
                let help = format!("add a cable, or let the switch pass the network, {meant}");
                let span = match &file.uplink {
                    Some(UplinkFile::Everywhere(at)) => at.span.clone(),
                    _ => file.name.span.clone(),
                };
                found.push((span, message, help));
            }
        }
        for (span, message, help) in found {
            self.warn(&span, message, help);
        }
    }

    /// Returns the NICs that have the cables of an uplink: of a bond, its NICs.
    fn plugged(&self, uplink: &CableEnd) -> Vec<CableEnd> {
        let nic = self.hosts.get(&uplink.host).and_then(|host| host.nics.get(&uplink.nic));
        match nic.and_then(|nic| nic.bond.as_ref()) {
            Some(bond) => bond.nics.iter().map(|nic| end(&uplink.host, nic)).collect(),
            None => vec![uplink.clone()],
        }
    }
}

fn end(host: &HostName, nic: &IfName) -> CableEnd {
    let (host, nic) = (host.clone(), nic.clone());
    CableEnd { host, nic }
}

/// The hosts of each network's guests.
pub(super) struct Placed<'a>(BTreeMap<&'a NetworkName, BTreeSet<&'a HostName>>);

impl<'a> Placed<'a> {
    pub(super) fn of(vms: &'a BTreeMap<VmName, Vm>) -> Self {
        let mut hosts: BTreeMap<&NetworkName, BTreeSet<&HostName>> = BTreeMap::new();
        for vm in vms.values() {
            for nic in &vm.nics {
                hosts.entry(&nic.network).or_default().insert(&vm.host);
            }
        }
        Self(hosts)
    }

    /// Returns the hosts that take part in a network with a guest, the gateway or an address, in order.
    pub(super) fn hosts(&self, network: &'a Network, name: &NetworkName) -> Vec<&'a HostName> {
        let mut hosts = self.0.get(name).cloned().unwrap_or_default();
        hosts.extend(network.addresses.keys());
        if let Some(GatewayHosts::One(host)) = network.gateway.as_ref().map(|gateway| &gateway.on) {
            hosts.insert(host);
        }
        hosts.into_iter().collect()
    }
}

fn list(hosts: &[&HostName]) -> String {
    let names: Vec<String> = hosts.iter().map(|host| format!("`{host}`")).collect();
    names.join(", ")
}
