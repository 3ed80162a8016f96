//! Saves a checkpoint, and removes one.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::super::pause::{Changed, ended, guests, unstoppable};
use super::super::{Aftermath, Env, OpsError, lab_name};
use super::kept::{Kept, KeptGuest, Records};
use super::{CheckpointFault, check_space};
use crate::lab::{CheckpointName, HostName, LabName};
use crate::plan::{Plan, RunState, Step};
use crate::run::Lock;
use crate::state::{Condition, DomainName};

/// A checkpoint that was saved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SaveReport {
    /// The lab.
    pub lab: LabName,
    /// The checkpoint.
    pub checkpoint: CheckpointName,
    /// How many VMs it has.
    pub vms: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Saves memory and disks of all guests of `lab`, a lab's name or file, at one moment, as the checkpoint `name`; without a
/// name the first of `saved-1`, `saved-2` … that is newer than all. Guests that ran run on afterwards, whatever fails. All
/// must run or be paused, and the hosts must have space for their whole memory, before anything is changed.
pub fn save(env: &Env, lab: &str, name: Option<CheckpointName>) -> Result<SaveReport, OpsError> {
    let began = Instant::now();
    let lab = lab_name(lab)?;
    let _lock = Lock::take(&env.folders, &lab, "save")?;
    let records = Records::of(env, &lab);
    let all = records.all()?;
    let checkpoint = match name {
        Some(checkpoint) if all.get(&checkpoint).is_some_and(|kept| kept.complete) => {
            return Err(CheckpointFault::Exists { lab, checkpoint }.into());
        }
        Some(checkpoint) => checkpoint,
        None => next_name(all.keys())?,
    };
    let site = Changed::begin(env, &lab)?;
    let off = |condition| !matches!(condition, Condition::Running | Condition::Paused);
    if let Some(guest) = guests(&site.observed).find(|guest| off(guest.condition)) {
        return Err(CheckpointFault::NotRunning {
            lab: lab.clone(),
            vm: guest.name.vm().to_string(),
            condition: guest.condition.to_string(),
        }
        .into());
    }
    // A save that was interrupted has paused them.
    let interrupted = |name: &DomainName| {
        let mut left = all.values().filter(|kept| !kept.complete);
        left.any(|kept| kept.guests.get(name).is_some_and(|guest| !guest.paused))
    };
    let kept = guests(&site.observed).map(|guest| {
        let kept = KeptGuest::of(&guest);
        let paused = kept.paused && !interrupted(guest.name);
        (guest.name.clone(), KeptGuest { paused, ..kept })
    });
    let kept: BTreeMap<DomainName, KeptGuest> = kept.collect();
    let mut memory: BTreeMap<&HostName, u64> = BTreeMap::new();
    for guest in kept.values() {
        *memory.entry(&guest.host).or_default() += guest.domain.memory_mib;
    }
    check_space(&site.hosts, &lab, memory, None)?;
    #[expect(clippy::disallowed_methods, reason = "it is the time of day that the list shows")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut kept = Kept {
        made: now.as_secs(),
        complete: false,
        guests: kept,
    };
    records.write(&checkpoint, &kept)?;
    let run = site.run(env, "save")?;
    // What saves that were interrupted have left, this one among them.
    for (old, left) in all.iter().filter(|(_, kept)| !kept.complete) {
        let report = run.run(&deletion(&hosts_by_guest(left), old));
        ended(&run, report, Aftermath::Kept)?;
        if *old != checkpoint {
            records.remove(old)?;
        }
    }
    let done = run.run(&saving(&kept, &checkpoint));
    // Guests run on before anything else, also where a signal came.
    let run = unstoppable(run);
    let resumed = run.run(&resuming(&kept));
    if done.cancelled || !done.is_complete() {
        let deleted = run.run(&deletion(&hosts_by_guest(&kept), &checkpoint));
        if deleted.is_complete() {
            records.remove(&checkpoint)?;
        }
        let all_undone = resumed.is_complete() && deleted.is_complete();
        let then = if all_undone {
            Aftermath::Resumed
        } else {
            Aftermath::Paused
        };
        if all_undone {
            site.finish(&run)?;
        }
        return match ended(&run, done, then) {
            Err(error) => Err(error),
            Ok(()) => ended(&run, resumed, Aftermath::Paused).map(|()| report(&lab, &checkpoint, &kept, began)),
        };
    }
    kept.complete = true;
    records.write(&checkpoint, &kept)?;
    ended(&run, resumed, Aftermath::Paused)?;
    site.finish(&run)?;
    Ok(report(&lab, &checkpoint, &kept, began))
}

fn report(lab: &LabName, checkpoint: &CheckpointName, kept: &Kept, began: Instant) -> SaveReport {
    SaveReport {
        lab: lab.clone(),
        checkpoint: checkpoint.clone(),
        vms: kept.guests.len(),
        seconds: began.elapsed().as_secs_f64(),
    }
}

/// Removes the checkpoint `checkpoint` of `lab`, a lab's name or file, complete or not. The lab must be up: with the lab, `down`
/// removes its checkpoints.
pub fn remove_checkpoint(env: &Env, lab: &str, checkpoint: &CheckpointName) -> Result<LabName, OpsError> {
    let lab = lab_name(lab)?;
    let _lock = Lock::take(&env.folders, &lab, "save")?;
    let records = Records::of(env, &lab);
    let mut all = records.all()?;
    let Some(kept) = all.remove(checkpoint) else {
        return Err(CheckpointFault::Missing {
            lab,
            checkpoint: checkpoint.clone(),
            known: all.keys().map(ToString::to_string).collect(),
        }
        .into());
    };
    let site = Changed::begin(env, &lab)?;
    let mut on = hosts_by_guest(&kept);
    // A record that was damaged names no guest.
    if on.is_empty() {
        on = guests(&site.observed)
            .map(|guest| (guest.name.clone(), guest.host.clone()))
            .collect();
    }
    on.retain(|_, host| site.hosts.contains_key(host) && site.observed.contains_key(host));
    let run = site.run(env, "save")?;
    let report = run.run(&deletion(&on, checkpoint));
    ended(&run, report, Aftermath::Kept)?;
    records.remove(checkpoint)?;
    site.finish(&run)?;
    Ok(lab)
}

/// Returns the name of a checkpoint that is newer than all of this form.
fn next_name<'a>(names: impl Iterator<Item = &'a CheckpointName>) -> Result<CheckpointName, OpsError> {
    let numbers = names.filter_map(|name| name.as_str().strip_prefix("saved-")?.parse::<u32>().ok());
    let next = numbers.max().unwrap_or_default().saturating_add(1);
    let text = format!("saved-{next}");
    text.parse().map_err(|source| OpsError::NotALab { text, source })
}

fn hosts_by_guest(kept: &Kept) -> BTreeMap<DomainName, HostName> {
    let guests = kept.guests.iter();
    guests.map(|(name, guest)| (name.clone(), guest.host.clone())).collect()
}

/// The plan that pauses all guests and saves them.
fn saving(kept: &Kept, checkpoint: &CheckpointName) -> Plan {
    let of = |change: &dyn Fn(&DomainName, &KeptGuest) -> RunState| -> Vec<(HostName, Step)> {
        let guests = kept.guests.iter();
        guests
            .map(|(name, guest)| (guest.host.clone(), Step::RunState(name.clone(), change(name, guest))))
            .collect()
    };
    Plan::of([
        of(&|_, _| RunState::Pause),
        of(&|name, guest| RunState::Save(checkpoint.clone(), guest.files(name))),
    ])
}

/// The plan that resumes all guests that were not paused before.
fn resuming(kept: &Kept) -> Plan {
    let guests = kept.guests.iter().filter(|(_, guest)| !guest.paused);
    let steps = guests.map(|(name, guest)| (guest.host.clone(), Step::RunState(name.clone(), RunState::Resume)));
    Plan::of([steps.collect()])
}

/// The plan that deletes what a checkpoint has of these guests.
fn deletion(on: &BTreeMap<DomainName, HostName>, checkpoint: &CheckpointName) -> Plan {
    let delete = || RunState::DeleteSaved(checkpoint.clone());
    let steps = on
        .iter()
        .map(|(name, host)| (host.clone(), Step::RunState(name.clone(), delete())));
    Plan::of([steps.collect()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_without_a_name_is_called_after_the_highest_number() {
        let names: Vec<CheckpointName> = ["saved-2", "before", "saved-10", "saved-x"]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        assert_eq!(next_name(names.iter()).unwrap().as_str(), "saved-11");
        assert_eq!(next_name([].iter()).unwrap().as_str(), "saved-1");
    }
}
