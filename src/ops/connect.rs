//! Connects to the hosts of a lab: emulated ones on this machine, this machine itself, and machines behind ssh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::named::file_at;
use super::{Env, LoadOptions, OpsError, load};
use crate::emulated::Emulator;
use crate::host::NamedHosts;
use crate::host::guests::BootSlots;
use crate::host::linux::{LinuxHost, Place, PlannedSurvey};
use crate::lab::{Connect, HostName, LabName};
use crate::run::{Journal, LabFile, on_each};
use crate::state::{MachineKind, localhost};
use crate::topology::Topology;
use crate::transport::Owner;
use crate::transport::ssh::Tunnel;

/// Returns how the hosts of a topology are connected.
pub fn connects(topology: &Topology) -> BTreeMap<HostName, Connect> {
    topology
        .hosts
        .iter()
        .map(|(name, host)| (name.clone(), host.connect.clone()))
        .collect()
}

/// Returns the hosts `connects`, and this machine as the owner of the emulated ones. Connections are opened when they
/// are first used.
pub fn connect(env: &Env, lab: &LabName, connects: &BTreeMap<HostName, Connect>) -> Result<NamedHosts, OpsError> {
    connect_as(env, lab, connects, None)
}

/// Like [`connect`], for a run that changes the hosts; a change that may cut the connection to a host behind ssh has to
/// be confirmed within `within`.
pub(super) fn connect_to_change(
    env: &Env,
    lab: &LabName,
    connects: &BTreeMap<HostName, Connect>,
    within: Duration,
) -> Result<NamedHosts, OpsError> {
    // Here and not where one is created: a `down` that follows one that was killed at its end knows no hosts.
    Tunnel::remove_stale();
    let owner = Owner::new(lab, &localhost());
    connect_as(env, lab, connects, Some(&(owner, within)))
}

fn connect_as(
    env: &Env,
    lab: &LabName,
    connects: &BTreeMap<HostName, Connect>,
    change: Option<&(Owner, Duration)>,
) -> Result<NamedHosts, OpsError> {
    let slots = Arc::new(BootSlots::default());
    let planned = Arc::new(PlannedSurvey::default());
    let mut emulator = Emulator::new(&env.folders, &env.program).map_err(|source| OpsError::File {
        doing: "make absolute the path of",
        path: env.program.clone(),
        source,
    })?;
    if let Some((owner, _)) = change {
        emulator = emulator.owned(owner.clone());
    }
    let mut hosts: NamedHosts = BTreeMap::new();
    hosts.insert(localhost(), Arc::new(emulator));
    for (name, connect) in connects {
        let place = match connect {
            Connect::Emulated => Place::Emulated(lab.clone(), name.clone()),
            Connect::Local => Place::Local,
            Connect::Ssh(target) => Place::Ssh(target.clone()),
        };
        let slots = match connect {
            Connect::Emulated | Connect::Local => slots.clone(),
            // It has processors of its own.
            Connect::Ssh(_) => Arc::default(),
        };
        let host = LinuxHost::new(name.clone(), place, env.folders.clone(), slots);
        let mut host = host.planned_like(planned.clone());
        if let Some((owner, within)) = change {
            host = host.owned(owner).confirmed_within(*within);
        }
        hosts.insert(name.clone(), Arc::new(host));
    }
    Ok(hosts)
}

/// Returns the hosts on which the lab may have something, by its journal and by the marks on this machine, and the file of
/// its last run.
pub(super) fn known(env: &Env, lab: &LabName) -> Result<(BTreeMap<HostName, Connect>, Option<LabFile>), OpsError> {
    let past = Journal::read(&env.folders.lab(lab))?;
    let mut hosts = past.hosts;
    hosts.extend(emulated(env, lab)?);
    Ok((hosts, past.file))
}

/// Returns the emulated hosts of the lab that are on this machine, whatever any file says.
pub(super) fn emulated(env: &Env, lab: &LabName) -> Result<BTreeMap<HostName, Connect>, OpsError> {
    let hosts = connect(env, lab, &BTreeMap::new())?;
    let site = on_each(&hosts, |host| host.observe(lab)).map_err(OpsError::Unreachable)?;
    Ok(site
        .into_values()
        .flat_map(|state| state.machines)
        .filter(|(_, machine)| machine.kind == MachineKind::Host)
        .map(|(name, _)| (name, Connect::Emulated))
        .collect())
}

/// Returns the hosts of the lab file at the path `text`, if there is one and it is valid.
pub(super) fn connects_in(env: &Env, text: &str) -> Option<BTreeMap<HostName, Connect>> {
    let loaded = load(env, &file_at(text)?, &LoadOptions::default()).ok()?;
    Some(connects(&loaded.topology))
}

/// Returns an error where a host of the journal is now connected differently: what is on it would be lost from view.
pub(super) fn same_connects(
    lab: &LabName,
    past: &BTreeMap<HostName, Connect>,
    wanted: &BTreeMap<HostName, Connect>,
) -> Result<(), OpsError> {
    let changed = wanted.iter().filter_map(|(host, now)| {
        let was = past.get(host).filter(|was| *was != now)?;
        Some((host.clone(), was.clone(), now.clone()))
    });
    let changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(OpsError::ChangedConnect {
        lab: lab.clone(),
        changed,
    })
}
