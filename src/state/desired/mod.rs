//! The desired state: what a topology owns on every host once it is up.
//!
//! ```
//! use std::collections::BTreeMap;
//! use netlab::{state::{Site, desired}, topology::Topology};
//!
//! /// Returns what the lab needs where nothing is known of the hosts.
//! fn of_unknown_hosts(topology: &Topology) -> Site {
//!     desired(topology, &BTreeMap::new())
//! }
//! ```

mod domains;
mod machines;
mod network;
mod services;
mod shaping;
#[cfg(test)]
mod tests;

pub use domains::guest_config;

use std::collections::BTreeMap;

use super::forward;
use super::survey::OPENVSWITCH;
use super::{HostState, Site, Survey, localhost};
use crate::lab::{Connect, Datapath, HostName, IfName, SwitchKind};
use crate::topology::Topology;

/// Returns what `topology` owns, in the form in which it is observed once it exists.
///
/// `surveys` have what only the hosts know: what is configured on their NICs and whether KVM works. For an emulated host
/// that does not exist yet, the survey of [`localhost`] is used.
pub fn desired(topology: &Topology, surveys: &BTreeMap<HostName, Survey>) -> Site {
    let localhost = localhost();
    let survey = |host: &HostName| match topology.hosts.get(host)?.connect {
        Connect::Emulated => surveys.get(host).or_else(|| surveys.get(&localhost)),
        Connect::Local | Connect::Ssh(_) => surveys.get(host),
    };

    let machines = machines::machines(topology);
    let on_host = topology.by_host();
    let routes = topology.tenants.by_tenant();
    let mut site = Site::new();
    for (name, host) in &topology.hosts {
        let was = |nic: &IfName| match machines.get(name) {
            // Not surveyed: the machine boots with what the lab gives it, also when it is to be created or recreated.
            Some(machine) => machine.nics.get(nic).map(machines::boot_config),
            None => survey(name).and_then(|survey| survey.nics.get(nic).cloned()),
        };
        // A NIC that does not exist is refused in preflight.
        let of_host = network::OfHost {
            lab: &topology.lab,
            name,
            host,
            survey: survey(name),
        };
        let mut state = of_host.network(|nic| was(nic).unwrap_or_default());
        services::add(&mut state, topology, &routes, host, &on_host[name]);
        site.insert(name.clone(), state);
    }
    domains::add(&mut site, topology, survey);
    shaping::add(&mut site, topology, &machines);
    if !machines.is_empty() {
        let cables = topology.cables.iter();
        let cables = cables.filter(|cable| cable.ends.iter().all(|end| machines.contains_key(&end.host)));
        let state = site.entry(localhost).or_default();
        state.cables = cables.cloned().collect();
        state.machines = machines;
    }
    forward::add(&mut site, topology);
    site.retain(|_, state| *state != HostState::default());
    site
}

/// Returns the data path of a network's bridge on a host; none for a Linux bridge.
pub fn datapath(switch: SwitchKind, survey: Option<&Survey>) -> Option<Datapath> {
    let lacking = survey.is_some_and(|survey| survey.missing_modules.contains(OPENVSWITCH));
    match switch {
        SwitchKind::Bridge => None,
        SwitchKind::Ovs(Some(datapath)) => Some(datapath),
        SwitchKind::Ovs(None) if lacking => Some(Datapath::Netdev),
        SwitchKind::Ovs(None) => Some(Datapath::System),
    }
}
