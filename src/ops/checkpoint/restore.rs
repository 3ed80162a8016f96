//! Restores a checkpoint.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::Serialize;

use super::super::pause::{Changed, ended, guests, set_clock};
use super::super::{Aftermath, Env, OpsError, lab_name, observe, passwords, stop_on_request};
use super::kept::{Kept, KeptGuest, Records};
use super::{CheckpointFault, check_space};
use crate::lab::{CheckpointName, HostName, LabName};
use crate::plan::{Plan, RunState, Step, plan, same_definition};
use crate::run::{Lock, Run};
use crate::state::{DomainName, Site};

/// A checkpoint that was restored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestoreReport {
    /// The lab.
    pub lab: LabName,
    /// The checkpoint.
    pub checkpoint: CheckpointName,
    /// How many VMs it has.
    pub vms: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Brings every guest of `lab`, a lab's name or file, back to the checkpoint `name`, or the newest one: memory and disks as
/// saved, the clock as it is now. What was saved is checked on all hosts first, and the lab must have the same guests;
/// where it is not so, nothing is changed.
pub fn restore(env: &Env, lab: &str, name: Option<&CheckpointName>) -> Result<RestoreReport, OpsError> {
    let began = Instant::now();
    let lab = lab_name(lab)?;
    let _lock = Lock::take(&env.folders, &lab, "restore")?;
    let (checkpoint, mut kept) = Records::of(env, &lab).one(name)?;
    let site = Changed::begin(env, &lab)?;
    let changes = changes(&site.observed, &kept);
    if !changes.is_empty() {
        return Err(CheckpointFault::Changed {
            lab,
            checkpoint,
            changes,
        }
        .into());
    }
    let with_disks = kept.guests.iter().filter(|(name, guest)| !guest.files(name).is_empty());
    let disks = with_disks.map(|(_, guest)| (&guest.host, 0)).collect();
    check_space(&site.hosts, &lab, disks, Some(&checkpoint))?;
    reveal(env, &lab, &site.observed, &mut kept);
    let run = site.run(env, "restore")?;
    let of = |change: &dyn Fn(&DomainName, &KeptGuest) -> Option<RunState>| -> Vec<(HostName, Step)> {
        let guests = kept.guests.iter();
        let steps = guests.filter_map(|(name, guest)| Some((name, guest, change(name, guest)?)));
        steps
            .map(|(name, guest, change)| (guest.host.clone(), Step::RunState(name.clone(), change)))
            .collect()
    };
    let checked = run.run(&Plan::of([of(&|_, _| Some(RunState::CheckSaved(checkpoint.clone())))]));
    if let Err(error) = ended(&run, checked, Aftermath::Unchanged) {
        site.finish(&run)?;
        return Err(error);
    }
    let restore = |name: &DomainName, guest: &KeptGuest| RunState::Restore {
        from: checkpoint.clone(),
        disks: guest.files(name),
        console: guest
            .domain
            .configured
            .as_ref()
            .filter(|_| !guest.paused)
            .map(|config| config.console.kind),
    };
    let running = |guest: &KeptGuest| !guest.paused;
    let done = run.run(&Plan::of([
        of(&|name, guest| Some(restore(name, guest))),
        of(&|_, guest| running(guest).then_some(RunState::Resume)),
        of(&|_, guest| set_clock(&guest.domain).filter(|_| running(guest))),
    ]));
    ended(&run, done, Aftermath::HalfRestored)?;
    put_limits(&run, &site.observed, &lab)?;
    site.finish(&run)?;
    stop_on_request(env, &lab, kept.guests.len())?;
    Ok(RestoreReport {
        lab: lab.clone(),
        checkpoint: checkpoint.clone(),
        vms: kept.guests.len(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Returns how the guests of the lab differ from those that were saved.
fn changes(observed: &Site, kept: &Kept) -> Vec<String> {
    let mut changes = Vec::new();
    let mut found = BTreeSet::new();
    for guest in guests(observed) {
        found.insert(guest.name);
        let vm = guest.name.vm();
        let Some(was) = kept.guests.get(guest.name) else {
            changes.push(format!("VM {vm} is new"));
            continue;
        };
        let now = KeptGuest::of(&guest);
        if was.host != now.host {
            changes.push(format!("VM {vm} was on host {}", was.host));
        } else if !same_definition(&was.domain, &now.domain) || was.volume != now.volume || was.disks != now.disks {
            changes.push(format!("VM {vm} is defined differently"));
        }
    }
    let missing = kept.guests.keys().filter(|name| !found.contains(name));
    changes.extend(missing.map(|name| format!("VM {} no longer exists", name.vm())));
    changes
}

/// Puts the passwords of consoles into `kept`, as far as they are known.
fn reveal(env: &Env, lab: &LabName, observed: &Site, kept: &mut Kept) {
    let mut site = observed.clone();
    for (name, guest) in &kept.guests {
        let domain = site.get_mut(&guest.host).and_then(|state| state.domains.get_mut(name));
        if let Some(domain) = domain {
            domain.configured.clone_from(&guest.domain.configured);
        }
    }
    passwords::reveal(env, lab, &mut site);
    for (name, guest) in &mut kept.guests {
        let domain = site.get_mut(&guest.host).and_then(|state| state.domains.remove(name));
        guest.domain.configured = domain.and_then(|domain| domain.configured);
    }
}

/// Limits the NICs of guests as before: they were made again.
fn put_limits(run: &Run<'_>, before: &Site, lab: &LabName) -> Result<(), OpsError> {
    if before.values().all(|state| state.shaped.is_empty()) {
        return Ok(());
    }
    let now = observe(run.hosts, lab)?;
    let mut limited = now.clone();
    for (host, state) in &mut limited {
        state.shaped = before.get(host).map(|state| state.shaped.clone()).unwrap_or_default();
    }
    let mut to_do = plan(&now, &limited);
    for (_, hosts) in &mut to_do.stages {
        for steps in hosts.values_mut() {
            steps.retain(|step| matches!(step, Step::Shape(..) | Step::Unshape(..)));
        }
    }
    let report = run.run(&to_do);
    ended(run, report, Aftermath::Kept)
}
