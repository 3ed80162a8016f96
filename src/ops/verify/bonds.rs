//! Bonds that some of their cables are missing of: a note as long as one is left, and no drift.

use std::collections::BTreeSet;

use crate::lab::{CableEnd, HostName, IfName};
use crate::plan::{Plan, Step};
use crate::state::{MachineKind, Site, localhost};
use crate::topology::Topology;

/// Returns the lines of those steps that do nothing but enable ports of switches at the other ends of bonds' cables: what
/// `up` would do about a cable that is pulled.
pub(super) fn without_cable(topology: &Topology, observed: &Site, to_do: &Plan) -> BTreeSet<String> {
    let steps = to_do.steps().filter(|(_, step)| match step {
        Step::ConfigureMachine(name, wanted) if wanted.kind == MachineKind::Switch => {
            let found = observed.get(&localhost()).and_then(|state| state.machines.get(name));
            found.is_some_and(|found| {
                let port = |port: &IfName| CableEnd {
                    host: name.clone(),
                    nic: port.clone(),
                };
                found.is_configured_as(wanted)
                    && !found.changed.is_empty()
                    && found.changed.iter().all(|nic| leads_to_a_bond(topology, &port(nic)))
            })
        }
        _ => false,
    });
    steps.map(|(host, step)| format!("{host}: {step}")).collect()
}

fn leads_to_a_bond(topology: &Topology, end: &CableEnd) -> bool {
    let cable = topology.cables.iter().find(|cable| cable.ends.contains(end));
    let other = cable.and_then(|cable| cable.ends.iter().find(|other| *other != end));
    let is_member = |other: &CableEnd| {
        let host = topology.hosts.get(&other.host);
        let mut bonds = host
            .into_iter()
            .flat_map(|host| host.nics.values())
            .filter_map(|nic| nic.bond.as_ref());
        bonds.any(|bond| bond.nics.contains(&other.nic))
    };
    other.is_some_and(is_member)
}

/// Returns a line for each bond of which some NICs have no carrier.
pub(super) fn degraded(observed: &Site) -> Vec<String> {
    let mut lines = Vec::new();
    for (host, state) in observed {
        for (name, bond) in &state.seen.bonds {
            let without = bond.members.iter().filter(|(_, carrier)| !**carrier);
            let without: Vec<&str> = without.map(|(nic, _)| nic.as_str()).collect();
            if !without.is_empty() {
                lines.push(line(host, name.as_str(), &without, without.len() == bond.members.len()));
            }
        }
    }
    lines
}

fn line(host: &HostName, bond: &str, without: &[&str], all: bool) -> String {
    let state = if all { "down" } else { "degraded" };
    let verb = if without.len() == 1 { "has" } else { "have" };
    format!(
        "{host}: bond {bond} is {state}: {} {verb} no carrier",
        without.join(" and ")
    )
}
