//! Ports of the machine that netlab runs on that lead to guests.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use super::{Site, localhost, reached_from};
use crate::lab::{Connect, HostName, VmName};
use crate::topology::Topology;

/// What a port of 127.0.0.1 leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForward {
    /// The VM.
    pub vm: VmName,
    /// The host that makes the connections.
    pub via: HostName,
    /// How that host is connected.
    pub connect: Connect,
    /// The VM's address and port.
    pub to: SocketAddrV4,
}

/// Returns the VMs with a forwarded port that no host of `site` is connected to.
pub fn unreached(topology: &Topology, site: &Site) -> Vec<VmName> {
    let found = site
        .get(&localhost())
        .into_iter()
        .flat_map(|state| state.forwards.values());
    let reached: BTreeSet<&VmName> = found.map(|forward| &forward.vm).collect();
    let guests = topology.guests.iter();
    let forwarded = guests.filter(|(_, guest)| !guest.forward.is_empty());
    let unreached = forwarded.map(|(vm, _)| vm).filter(|vm| !reached.contains(vm));
    unreached.cloned().collect()
}

/// Adds the forwarded ports to a desired state that has everything else. A VM that no host is connected to gets none;
/// preflight refuses it.
pub(super) fn add(site: &mut Site, topology: &Topology) {
    let mut forwards = std::collections::BTreeMap::new();
    for (vm, guest) in topology.guests.iter().filter(|(_, guest)| !guest.forward.is_empty()) {
        let addresses: Vec<_> = guest.nics.iter().map(|nic| nic.address.addr()).collect();
        let Some((via, address)) = reached_from(site, &guest.host, &addresses) else {
            continue;
        };
        let Some(host) = topology.hosts.get(&via) else { continue };
        for port in &guest.forward {
            let forward = PortForward {
                vm: vm.clone(),
                via: via.clone(),
                connect: host.connect.clone(),
                to: SocketAddrV4::new(address, port.guest),
            };
            forwards.insert(port.host, forward);
        }
    }
    if !forwards.is_empty() {
        site.entry(localhost()).or_default().forwards = forwards;
    }
}
