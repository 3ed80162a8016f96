//! Networks of several hosts that nothing connects between them: legal, and hardly ever meant.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Check;
use crate::lab::file::{NetworkFile, UplinkFile};
use crate::lab::{
    Cable, CableEnd, Connect, GatewayHosts, HostName, Network, NetworkName, PortMode, Switch, VlanId, Vm, VmName,
};

impl Check<'_> {
    /// Warns of networks whose hosts are not connected, unless the file says that this is meant.
    pub(super) fn connected(&mut self, networks: &[NetworkFile], cables: &[Cable], vms: &BTreeMap<VmName, Vm>) {
        let mut found: Vec<(Range<usize>, String, String)> = Vec::new();
        let placed = Placed::of(vms);
        let ends = other_ends(cables);
        for file in networks {
            let name = &file.name.value;
            let Some(network) = self.networks.get(name) else {
                continue;
            };
            let hosts = placed.hosts(network, name);
            if let (Some(span), true) = (
                &file.isolated,
                hosts.iter().any(|host| network.uplinks.contains_key(*host)),
            ) {
                let message = format!("network `{name}` is isolated and has an uplink");
                found.push((span.clone(), message, "remove one of the two".to_owned()));
            }
            if hosts.len() < 2 || network.isolated || file.tunnel.is_some() {
                continue;
            }
            let meant = "or write `isolated = true` under the network if each host is to have one of its own";
            let without: Vec<&HostName> = hosts
                .iter()
                .copied()
                .filter(|host| !network.uplinks.contains_key(*host))
                .collect();
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
            let end = |host: &HostName| CableEnd {
                host: host.clone(),
                nic: network.uplinks[host].clone(),
            };
            // Of a bond, its NICs.
            let plugged = |host: &HostName| -> Vec<CableEnd> {
                let bond = self.hosts[host]
                    .nics
                    .get(&end(host).nic)
                    .and_then(|nic| nic.bond.as_ref());
                let nics = bond.map(|bond| bond.nics.iter().cloned().collect());
                let nics: Vec<_> = nics.unwrap_or_else(|| vec![end(host).nic]);
                let at = |nic| CableEnd {
                    host: host.clone(),
                    nic,
                };
                nics.into_iter().map(at).collect()
            };
            let mut reached_ends = BTreeSet::new();
            for from in plugged(hosts[0]) {
                reached_ends.extend(reached(&ends, &self.switches, &from, network.vlan));
            }
            let apart: Vec<&HostName> = hosts[1..]
                .iter()
                .copied()
                .filter(|host| !plugged(host).iter().any(|end| reached_ends.contains(end)))
                .collect();
            if let Some(first) = apart.first() {
                let (one, other) = (end(hosts[0]), end(first));
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

/// The other end of each cable's ends.
fn other_ends(cables: &[Cable]) -> BTreeMap<&CableEnd, &CableEnd> {
    let ends = cables.iter().map(|cable| &cable.ends);
    ends.flat_map(|[a, b]| [(a, b), (b, a)]).collect()
}

/// The ends at which frames arrive with the tag `vlan` that leave `from` with it.
fn reached(
    ends: &BTreeMap<&CableEnd, &CableEnd>,
    switches: &BTreeMap<HostName, Switch>,
    from: &CableEnd,
    vlan: Option<VlanId>,
) -> BTreeSet<CableEnd> {
    let (mut seen, mut arrived) = (BTreeSet::new(), BTreeSet::new());
    let mut leaving = vec![(from.clone(), vlan)];
    while let Some((end, tag)) = leaving.pop() {
        if !seen.insert((end.clone(), tag)) {
            continue;
        }
        let Some(at) = ends.get(&end) else { continue };
        let Some(switch) = switches.get(&at.host) else {
            if tag == vlan {
                arrived.insert((*at).clone());
            }
            continue;
        };
        let inside = match switch.ports.get(&at.nic) {
            Some(PortMode::Access(id)) => tag.is_none().then_some(Some(*id)),
            Some(PortMode::Trunk(ids)) => tag.is_some_and(|id| ids.contains(&id)).then_some(tag),
            Some(PortMode::Open) | None => Some(tag),
        };
        let Some(inside) = inside else { continue };
        for (port, mode) in switch.ports.iter().filter(|(port, _)| **port != at.nic) {
            let tag = match mode {
                PortMode::Access(id) => (inside == Some(*id)).then_some(None),
                PortMode::Trunk(ids) => inside.is_some_and(|id| ids.contains(&id)).then_some(inside),
                PortMode::Open => Some(inside),
            };
            let end = CableEnd {
                host: at.host.clone(),
                nic: port.clone(),
            };
            leaving.extend(tag.map(|tag| (end, tag)));
        }
    }
    arrived
}
