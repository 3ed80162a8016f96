//! Limits of guests' taps, of cables and of hosts' NICs.

use std::collections::BTreeMap;

use crate::lab::{HostName, IfName, Shaping};
use crate::state::shaping::observable;
use crate::state::{Machine, Site, localhost};
use crate::topology::Topology;

/// Adds the limits of `topology` to `site`; `machines` are emulated.
pub(super) fn add(site: &mut Site, topology: &Topology, machines: &BTreeMap<HostName, Machine>) {
    let mut add = |owner: &HostName, machine: &HostName, link: &IfName, shaping: &Shaping| {
        let shaped = &mut site.entry(owner.clone()).or_default().shaped;
        let links = shaped.entry(machine.clone()).or_default();
        links.insert(link.clone(), observable(shaping));
    };
    for (end, shaping) in &topology.shaping.ends {
        if machines.contains_key(&end.host) {
            add(&localhost(), &end.host, &end.nic, shaping);
        } else {
            add(&end.host, &end.host, &end.nic, shaping);
        }
    }
    for ((vm, at), shaping) in &topology.shaping.guests {
        let guest = topology.guests.get(vm);
        if let Some((guest, nic)) = guest.and_then(|guest| Some((guest, guest.nics.get(*at)?))) {
            add(&guest.host, &guest.host, &nic.tap, shaping);
        }
    }
}
