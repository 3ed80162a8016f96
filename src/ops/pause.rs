//! Pauses and resumes guests of a lab, on all hosts at the same time, and runs plans of such steps.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::Serialize;

use super::connect::{connect_to_change, known};
use super::observe::observe_to_change;
use super::{Aftermath, Env, OpsError, belongs, converge, lab_name, observe, passwords, stop_on_request};
use crate::event::Cancel;
use crate::host::NamedHosts;
use crate::lab::{Connect, HostName, LabName, VmName};
use crate::plan::{Plan, RunState, Step};
use crate::run::{Journal, LabFile, Lock, Report, Run};
use crate::state::{Condition, Domain, DomainName, HostState, Site};
use crate::transport::ssh::confirm::CONFIRM_WITHIN;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paused {
    /// Nothing of the guests runs.
    Paused,
    /// They run, with the time of day as their clock.
    Resumed,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PauseReport {
    /// The lab.
    pub lab: LabName,
    /// What was asked for.
    pub wanted: Paused,
    /// The VMs that were changed; the others were so already.
    pub vms: BTreeSet<VmName>,
}

/// Pauses or resumes the VMs `vms` of `lab`, a lab's name or file; all that run, or are paused, where none is named. A VM that
/// is named and is off is [`OpsError::VmNotRunning`], before anything is changed.
pub fn pause(env: &Env, lab: &str, vms: &BTreeSet<VmName>, wanted: Paused) -> Result<PauseReport, OpsError> {
    let verb = match wanted {
        Paused::Paused => "pause",
        Paused::Resumed => "resume",
    };
    let lab = lab_name(lab)?;
    let _lock = Lock::take(&env.folders, &lab, verb)?;
    let site = Changed::begin(env, &lab)?;
    let chosen = chosen(&lab, &site.observed, vms)?;
    let of = |condition: Condition, change: &dyn Fn(&Domain) -> Option<RunState>| -> Vec<(HostName, Step)> {
        let guests = chosen.iter().filter(|guest| guest.condition == condition);
        let steps = guests.filter_map(|guest| Some((guest, change(guest.domain)?)));
        steps
            .map(|(guest, change)| (guest.host.clone(), Step::RunState(guest.name.clone(), change)))
            .collect()
    };
    let stages = match wanted {
        Paused::Paused => vec![of(Condition::Running, &|_| Some(RunState::Pause))],
        Paused::Resumed => vec![
            of(Condition::Paused, &|_| Some(RunState::Resume)),
            of(Condition::Paused, &set_clock),
        ],
    };
    let to_do = Plan::of(stages);
    let changed: BTreeSet<VmName> = to_do.steps().filter_map(|(_, step)| vm_of(step)).collect();
    let report = PauseReport {
        lab: lab.clone(),
        wanted,
        vms: changed,
    };
    if to_do.is_empty() {
        return Ok(report);
    }
    let run = site.run(env, verb)?;
    let done = run.run(&to_do);
    let then = match wanted {
        Paused::Paused => Aftermath::Kept,
        Paused::Resumed => Aftermath::Paused,
    };
    ended(&run, done, then)?;
    site.finish(&run)?;
    stop_on_request(env, &lab, report.vms.len())?;
    Ok(report)
}

/// Returns the step that sets a guest's clock; none where its console is not known.
pub(super) fn set_clock(domain: &Domain) -> Option<RunState> {
    let config = domain.configured.as_ref()?;
    Some(RunState::SetClock(Box::new(config.console.clone())))
}

fn vm_of(step: &Step) -> Option<VmName> {
    match step {
        Step::RunState(name, _) => Some(name.vm().clone()),
        _ => None,
    }
}

/// A guest, as observed.
pub(super) struct Guest<'a> {
    pub host: &'a HostName,
    pub state: &'a HostState,
    pub name: &'a DomainName,
    pub domain: &'a Domain,
    pub condition: Condition,
}

/// Returns every guest of the lab.
pub(super) fn guests(observed: &Site) -> impl Iterator<Item = Guest<'_>> {
    observed.iter().flat_map(|(host, state)| {
        state.domains.iter().map(move |(name, domain)| Guest {
            host,
            state,
            name,
            domain,
            condition: state
                .seen
                .domains
                .get(name)
                .map_or(Condition::ShutOff, |seen| seen.condition),
        })
    })
}

/// Returns the guests that are meant by `vms`.
fn chosen<'a>(lab: &LabName, observed: &'a Site, vms: &BTreeSet<VmName>) -> Result<Vec<Guest<'a>>, OpsError> {
    for vm in vms {
        let guest = guests(observed).find(|guest| guest.name.vm() == vm);
        match guest.map(|guest| guest.condition) {
            Some(Condition::Running | Condition::Paused) => {}
            Some(condition) => {
                return Err(OpsError::VmNotRunning {
                    vm: vm.to_string(),
                    why: Some(condition.to_string()),
                });
            }
            None => {
                return Err(OpsError::NoSuchVm {
                    lab: lab.clone(),
                    vm: vm.to_string(),
                    known: guests(observed).map(|guest| guest.name.vm().to_string()).collect(),
                });
            }
        }
    }
    let named = |guest: &Guest<'_>| vms.is_empty() || vms.contains(guest.name.vm());
    Ok(guests(observed).filter(named).collect())
}

/// A lab that is up and whose guests are to be changed.
pub(super) struct Changed<'a> {
    lab: &'a LabName,
    known: std::collections::BTreeMap<HostName, Connect>,
    file: Option<LabFile>,
    pub hosts: NamedHosts,
    pub observed: Site,
}

impl<'a> Changed<'a> {
    /// Observes the lab, whose lock the caller has.
    pub fn begin(env: &Env, lab: &'a LabName) -> Result<Self, OpsError> {
        belongs::check(env, lab)?;
        let (known, file) = known(env, lab)?;
        let hosts = connect_to_change(env, lab, &known, CONFIRM_WITHIN)?;
        let mut observed = observe_to_change(&hosts, lab)?;
        passwords::reveal(env, lab, &mut observed);
        if guests(&observed).next().is_none() {
            let lab = lab.clone();
            return Err(OpsError::NotUp { lab, file: None });
        }
        Ok(Self {
            lab,
            known,
            file,
            hosts,
            observed,
        })
    }

    /// Begins a run that can be stopped by a signal.
    pub fn run<'b>(&'b self, env: &Env, verb: &str) -> Result<Run<'b>, OpsError> {
        let folder = env.folders.lab(self.lab);
        Ok(Run {
            lab: self.lab,
            hosts: &self.hosts,
            journal: Mutex::new(Journal::begin(&folder, verb, &self.known, self.file.clone())?),
            events: env.events.clone(),
            cancel: env.cancel.clone(),
        })
    }

    /// Observes the lab again and records the end of the run.
    pub fn finish(&self, run: &Run<'_>) -> Result<Site, OpsError> {
        let now = observe(&self.hosts, self.lab)?;
        converge::finish(run, self.known.clone(), &now)?;
        Ok(now)
    }
}

/// Returns the same run, which no signal stops: what was begun is undone or ended.
pub(super) fn unstoppable(run: Run<'_>) -> Run<'_> {
    Run {
        cancel: Cancel::default(),
        ..run
    }
}

/// Returns an error where a run was stopped, or a step has failed.
pub(super) fn ended(run: &Run<'_>, report: Report, then: Aftermath) -> Result<(), OpsError> {
    let lab = run.lab.clone();
    if report.cancelled {
        return Err(OpsError::Interrupted {
            lab,
            done: report.done,
            left: report.left + report.failed.len(),
        });
    }
    if report.is_complete() {
        return Ok(());
    }
    Err(OpsError::StepsFailed {
        lab,
        failed: report.failed,
        then,
    })
}
