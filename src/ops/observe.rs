//! Observes the hosts of a lab, all at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::OpsError;
use crate::host::{Host, NamedHosts};
use crate::lab::{HostName, LabName};
use crate::run::on_each;
use crate::state::{HostState, Site, Survey, localhost};

/// Returns what `lab` owns on every host; of emulated hosts, only where they are alive.
pub fn observe(hosts: &NamedHosts, lab: &LabName) -> Result<Site, OpsError> {
    let this_machine: NamedHosts = hosts
        .iter()
        .filter(|(name, _)| **name == localhost())
        .map(pair)
        .collect();
    let mut site = on_each(&this_machine, |host| host.observe(lab)).map_err(OpsError::Unreachable)?;
    let dead: BTreeSet<HostName> = site
        .values()
        .flat_map(|state| &state.machines)
        .filter(|(_, machine)| !machine.alive)
        .map(|(name, _)| name.clone())
        .collect();
    let rest: NamedHosts = hosts
        .iter()
        .filter(|(name, _)| **name != localhost() && !dead.contains(*name))
        .map(pair)
        .collect();
    site.extend(on_each(&rest, |host| host.observe(lab)).map_err(OpsError::Unreachable)?);
    site.retain(|_, state| *state != HostState::default());
    Ok(site)
}

/// Like [`observe`], after whatever an earlier run on the lab left in progress on the hosts was ended.
pub(super) fn observe_to_change(hosts: &NamedHosts, lab: &LabName) -> Result<Site, OpsError> {
    on_each(hosts, |host| host.settle(lab)).map_err(OpsError::Unreachable)?;
    observe(hosts, lab)
}

/// Returns what every host is and has apart from the lab.
pub fn survey(hosts: &NamedHosts, lab: &LabName) -> Result<BTreeMap<HostName, Survey>, OpsError> {
    on_each(hosts, |host| host.survey(lab)).map_err(OpsError::Unreachable)
}

fn pair((name, host): (&HostName, &Arc<dyn Host>)) -> (HostName, Arc<dyn Host>) {
    (name.clone(), host.clone())
}
