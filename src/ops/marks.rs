//! What of a lab is as described, for its picture.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Env, OpsError, VmStatus, connect, connects, status};
use crate::graph::{Condition, Marks};
use crate::lab::{Asked, HostName, IfName, VmName};
use crate::state::view::View;
use crate::state::{DomainName, Site};
use crate::topology::Topology;
use crate::verify::{Matrix, Verdict};

/// Reads the lab's hosts and guests and returns what is to be colored in its picture.
pub fn marks(env: &Env, topology: &Topology) -> Result<Marks, OpsError> {
    let status = status(env, &topology.lab)?;
    let condition = |vm: &VmStatus| match vm.state.as_str() {
        "running" => Condition::Good,
        state if state.starts_with("running") => Condition::Differs,
        _ => Condition::Bad,
    };
    let mut marks = Marks::default();
    for vm in topology.guests.keys() {
        let found = status.vms.iter().find(|one| one.name == vm.as_str());
        marks.guests.insert(vm.clone(), found.map_or(Condition::Bad, condition));
    }
    let machines = topology
        .hosts
        .keys()
        .chain(topology.switches.keys())
        .chain(topology.routers.keys());
    let is_up = |name: &str| status.hosts.iter().any(|host| host.name == name && host.state == "up");
    marks.dead = machines.filter(|name| !is_up(name.as_str())).cloned().collect();

    let mut alive = connects(topology);
    alive.retain(|name, _| !marks.dead.contains(name));
    for (name, host) in connect(env, &topology.lab, &alive)? {
        if !topology.hosts.contains_key(&name) {
            continue;
        }
        let views = host.views(&topology.lab)?;
        marks.broken.extend(views.values().flat_map(|view| broken(&name, view)));
    }
    Ok(marks)
}

/// Returns what is to be colored in the picture of a lab that was verified: a guest is red where it does not run, or where
/// most of the cells from it and to it are not as expected; a NIC that has no carrier is red, and so are its cables.
pub(super) fn verified(
    topology: &Topology,
    observed: &Site,
    views: &BTreeMap<HostName, View>,
    matrix: &Matrix,
) -> Marks {
    let guests = topology.guests.iter();
    let owners: BTreeMap<IpAddr, &VmName> = guests
        .flat_map(|(vm, guest)| guest.nics.iter().map(move |nic| (nic.address.addr().into(), vm)))
        .collect();
    // The cells from and to each guest: those that are not as expected, and all.
    let mut counts: BTreeMap<&VmName, (usize, usize)> = BTreeMap::new();
    for cell in matrix.cells.iter().filter(|cell| cell.expectation.reach) {
        let from = match &cell.expectation.from {
            Asked::Vm(vm) => Some(vm),
            Asked::Host(_) | Asked::Router(_) => None,
        };
        for vm in from.into_iter().chain(owners.get(&cell.expectation.address).copied()) {
            let (bad, all) = counts.entry(vm).or_default();
            *bad += usize::from(cell.verdict != Verdict::Pass);
            *all += 1;
        }
    }
    let condition = |vm: &VmName, host: &HostName| {
        let name = DomainName::new(&topology.lab, vm);
        let runs = observed.get(host).and_then(|state| state.domains.get(&name));
        let (bad, all) = counts.get(vm).copied().unwrap_or_default();
        if !runs.is_some_and(|domain| domain.running) || 2 * bad > all {
            Condition::Bad
        } else if bad > 0 {
            Condition::Differs
        } else {
            Condition::Good
        }
    };
    let guests = topology.guests.iter();
    let guests = guests.map(|(vm, guest)| (vm.clone(), condition(vm, &guest.host)));
    let machines = topology.hosts.keys().chain(topology.switches.keys());
    let machines = machines.chain(topology.routers.keys());
    let views_of_hosts = views.iter().filter(|(name, _)| topology.hosts.contains_key(*name));
    Marks {
        guests: guests.collect(),
        dead: machines.filter(|name| !views.contains_key(*name)).cloned().collect(),
        broken: views_of_hosts.flat_map(|(name, view)| broken(name, view)).collect(),
    }
}

/// Returns the links of a host that are down or have no carrier.
fn broken(host: &HostName, view: &View) -> Vec<(HostName, IfName)> {
    let broken = view.ports.iter().filter(|(_, port)| !port.up || !port.carrier);
    let names = broken.filter_map(|(nic, _)| IfName::new(nic).ok());
    names.map(|nic| (host.clone(), nic)).collect()
}
