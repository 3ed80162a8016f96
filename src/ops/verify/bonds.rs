//! Bonds that some of their cables are missing of: a note as long as one is left, and no drift.

use crate::lab::{CableEnd, HostName, IfName};
use crate::plan::{Plan, Step};
use crate::state::{MachineKind, Site, localhost};
use crate::topology::Topology;

/// Returns what `up` would do, one line a step, but for steps that only enable ports of switches at the other ends of
/// bonds' cables: the lab is as wanted as long as its cells are, which is what bonds are for.
pub(super) fn drift(topology: &Topology, observed: &Site, to_do: &Plan) -> Vec<String> {
    let steps = to_do
        .steps()
        .filter(|(_, step)| !plugs_a_bond(topology, observed, step));
    steps.map(|(host, step)| format!("{host}: {step}")).collect()
}

fn plugs_a_bond(topology: &Topology, observed: &Site, step: &Step) -> bool {
    let Step::ConfigureMachine(name, wanted) = step else {
        return false;
    };
    let found = observed.get(&localhost()).and_then(|state| state.machines.get(name));
    let Some(found) = found.filter(|_| wanted.kind == MachineKind::Switch) else {
        return false;
    };
    let port = |port: &IfName| CableEnd {
        host: name.clone(),
        nic: port.clone(),
    };
    found.is_configured_as(wanted)
        && !found.changed.is_empty()
        && found.changed.iter().all(|nic| leads_to_a_bond(topology, &port(nic)))
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
