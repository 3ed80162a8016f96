//! What of a lab is as described, for its picture.

use super::{Env, OpsError, VmStatus, connect, connects, status};
use crate::graph::{Condition, Marks};
use crate::lab::IfName;
use crate::topology::Topology;

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
        let ports = host.views(&topology.lab)?.into_values().flat_map(|view| view.ports);
        let broken = ports.filter(|(_, port)| !port.up || !port.carrier);
        let broken = broken.filter_map(|(nic, _)| IfName::new(&nic).ok());
        marks.broken.extend(broken.map(|nic| (name.clone(), nic)));
    }
    Ok(marks)
}
