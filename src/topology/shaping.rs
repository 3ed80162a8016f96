//! Limits of links: what the lab file says of networks, NICs and cables, and what was requested since.

use std::collections::BTreeMap;

use crate::lab::{CableEnd, Lab, NetworkName, Shaping, VmName};

/// Limits by link. A link without an entry has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkShaping {
    /// What a machine sends by a NIC, or a switch by a port.
    pub ends: BTreeMap<CableEnd, Shaping>,
    /// What is sent to a guest by one of its NICs, counted from 0.
    pub guests: BTreeMap<(VmName, usize), Shaping>,
}

/// Returns the limits that the lab file states. A NIC's own replace those of its cable or network as a whole.
pub fn stated(lab: &Lab) -> LinkShaping {
    let mut ends = BTreeMap::new();
    for (cable, shaping) in &lab.cable_shaping {
        ends.extend(cable.ends.iter().map(|end| (end.clone(), *shaping)));
    }
    let hosts = lab.hosts.iter().map(|(name, host)| (name, &host.nics));
    for (host, nics) in hosts.chain(lab.routers.iter().map(|(name, router)| (name, &router.nics))) {
        let shaped = nics.iter().filter_map(|(nic, written)| Some((nic, written.shaping?)));
        for (nic, shaping) in shaped {
            let (host, nic) = (host.clone(), nic.clone());
            ends.insert(CableEnd { host, nic }, shaping);
        }
    }
    let networks = lab.networks.iter();
    let limited: BTreeMap<&NetworkName, Shaping> = networks
        .filter_map(|(name, network)| Some((name, network.shaping?)))
        .collect();
    let mut of_guests = BTreeMap::new();
    for (vm, written) in &lab.vms {
        for (at, nic) in written.nics.iter().enumerate() {
            if let Some(shaping) = nic.shaping.or_else(|| limited.get(&nic.network).copied()) {
                of_guests.insert((vm.clone(), at), shaping);
            }
        }
    }
    LinkShaping {
        ends,
        guests: of_guests,
    }
}
