//! Observes the hosts of a lab, all at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::OpsError;
use crate::causes::chain;
use crate::event::{Event, Events};
use crate::host::{Host, HostError, NamedHosts};
use crate::lab::{HostName, LabName};
use crate::libvirt::LibvirtError;
use crate::run::on_each;
use crate::state::{HostState, Site, Survey, localhost};

/// Returns what `lab` owns on every host; of emulated hosts, only where they are alive.
pub fn observe(hosts: &NamedHosts, lab: &LabName) -> Result<Site, OpsError> {
    let mut site = observe_all(hosts, lab)?;
    site.retain(|_, state| *state != HostState::default());
    Ok(site)
}

/// Like [`observe`], with the hosts on which the lab owns nothing.
pub(super) fn observe_all(hosts: &NamedHosts, lab: &LabName) -> Result<Site, OpsError> {
    observe_unless(hosts, lab, |_, _| false)
}

/// Like [`observe_all`]; an emulated host whose libvirt daemon does not answer, and for which `counts_as_dead` returns
/// true, counts as dead: what is in it is removed with it.
fn observe_unless(
    hosts: &NamedHosts,
    lab: &LabName,
    counts_as_dead: impl Fn(&HostName, &HostError) -> bool,
) -> Result<Site, OpsError> {
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
    let mut errors = Vec::new();
    for (name, answer) in on_each(&rest, |host| Ok(host.observe(lab))).map_err(OpsError::Unreachable)? {
        let error = match answer {
            Ok(state) => {
                site.insert(name, state);
                continue;
            }
            Err(error) => error,
        };
        let unanswered = matches!(error, HostError::Libvirt(LibvirtError::NoAnswer { .. }));
        match site.values_mut().find_map(|state| state.machines.get_mut(&name)) {
            Some(machine) if unanswered && counts_as_dead(&name, &error) => machine.alive = false,
            _ => errors.push((name, error)),
        }
    }
    if !errors.is_empty() {
        return Err(OpsError::Unreachable(errors));
    }
    Ok(site)
}

/// Like [`observe`], after whatever an earlier run on the lab left in progress on the hosts was ended.
pub(super) fn observe_to_change(hosts: &NamedHosts, lab: &LabName) -> Result<Site, OpsError> {
    on_each(hosts, |host| host.settle(lab)).map_err(OpsError::Unreachable)?;
    observe(hosts, lab)
}

/// Like [`observe_to_change`], in order to remove everything: an emulated host whose libvirt daemon does not answer is
/// then ended with all that is in it, and `events` has a warning.
pub(super) fn observe_to_remove(hosts: &NamedHosts, lab: &LabName, events: &Events) -> Result<Site, OpsError> {
    on_each(hosts, |host| host.settle(lab)).map_err(OpsError::Unreachable)?;
    let mut site = observe_unless(hosts, lab, |name, error| {
        events.send(Event::Warning(format!(
            "{name}: {}\n  help: none needed: this emulated host is ended with everything in it",
            chain(error)
        )));
        true
    })?;
    site.retain(|_, state| *state != HostState::default());
    Ok(site)
}

/// Returns what every host is and has apart from the lab.
pub fn survey(hosts: &NamedHosts, lab: &LabName) -> Result<BTreeMap<HostName, Survey>, OpsError> {
    on_each(hosts, |host| host.survey(lab)).map_err(OpsError::Unreachable)
}

fn pair((name, host): (&HostName, &Arc<dyn Host>)) -> (HostName, Arc<dyn Host>) {
    (name.clone(), host.clone())
}
