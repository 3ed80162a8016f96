//! Runs a plan: hosts in parallel, steps in order, intent on disk first. Takes a [`Plan`] and returns a [`Report`] of
//! what was done, what was not, and why. Takes no decisions, and never prints.

mod failpoint;
pub mod journal;
pub mod lock;
mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::causes::chain;
use crate::event::{Cancel, Event, Events};
pub use journal::{Journal, JournalError, LabFile, ROLLBACK, Record};
pub use lock::{Lock, LockError};
pub use past::{LastRun, Past, Rollback, RunEnd};

use crate::host::{HostError, NamedHosts, StepError, StepFailure, StepLog};
use crate::lab::{HostName, LabName, VmName};
use crate::plan::{Plan, Step};

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Steps that were done.
    pub done: usize,
    /// Steps that were never begun.
    pub left: usize,
    /// Steps that failed.
    pub failed: Vec<(HostName, StepError)>,
    /// The run was stopped by [`Run::cancel`].
    pub cancelled: bool,
}

impl Report {
    /// Returns whether everything was done.
    pub fn is_complete(&self) -> bool {
        self.left == 0 && self.failed.is_empty()
    }

    /// Returns whether only the configuration of guests failed: the hosts are as planned.
    pub fn only_guests_failed(&self) -> bool {
        !self.cancelled
            && !self.failed.is_empty()
            && self
                .failed
                .iter()
                .all(|(_, error)| matches!(error.step, Step::ConfigureGuest(..) | Step::SetUpGuest(..)))
    }
}

/// What a run needs besides its plan.
pub struct Run<'a> {
    /// The lab.
    pub lab: &'a LabName,
    /// Every host that the plan names.
    pub hosts: &'a NamedHosts,
    /// Where intent is written.
    pub journal: Mutex<Journal>,
    /// Where progress is sent.
    pub events: Events,
    /// Requested by a signal: begin nothing new.
    pub cancel: Cancel,
}

impl Run<'_> {
    /// Runs `plan` stage by stage. After an error, stages that only remove objects still run, those that create
    /// something do not.
    pub fn run(&self, plan: &Plan) -> Report {
        let total = plan.steps().count();
        let mut report = Report::default();
        let mut counts = BTreeMap::new();
        for (host, _) in plan.steps() {
            *counts.entry(host.clone()).or_default() += 1;
        }
        self.events.send(Event::Planned(counts));
        let done = AtomicUsize::new(0);
        for (stage, hosts) in &plan.stages {
            let making = hosts.values().flatten().any(|step| !step.is_removal());
            if self.cancel.is_requested() || (making && !report.failed.is_empty()) {
                break;
            }
            self.events.send(Event::Stage(*stage));
            report.failed.extend(self.run_stage(hosts, &done));
        }
        report.done = done.into_inner();
        report.left = total - report.done - report.failed.len();
        report.cancelled = self.cancel.is_requested() && !report.is_complete();
        report
    }

    /// One stage: every host in a thread of its own.
    fn run_stage(&self, hosts: &BTreeMap<HostName, Vec<Step>>, done: &AtomicUsize) -> Vec<(HostName, StepError)> {
        thread::scope(|scope| {
            let running: Vec<_> = hosts
                .iter()
                .map(|(name, steps)| scope.spawn(move || (name, self.run_host(name, steps, done))))
                .collect();
            let mut failed = Vec::new();
            for host in running {
                match host.join() {
                    Ok((name, errors)) => failed.extend(errors.into_iter().map(|error| (name.clone(), error))),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            failed
        })
    }

    fn run_host(&self, name: &HostName, steps: &[Step], done: &AtomicUsize) -> Vec<StepError> {
        let Some(host) = self.hosts.get(name) else {
            let error = |step| StepError::new(step, StepFailure::NotConnected);
            return steps.first().map(error).into_iter().collect();
        };
        let log = HostLog {
            run: self,
            host: name,
            done,
            since: Mutex::default(),
            warned: Mutex::default(),
        };
        host.apply(self.lab, steps, &log).err().unwrap_or_default()
    }
}

/// Journal and events for the steps of one host.
struct HostLog<'a> {
    run: &'a Run<'a>,
    host: &'a HostName,
    done: &'a AtomicUsize,
    /// When the steps in progress began, by the step's text.
    since: Mutex<BTreeMap<String, Instant>>,
    /// What was warned of: two steps of a guest may see the same.
    warned: Mutex<BTreeSet<String>>,
}

impl HostLog<'_> {
    fn add(&self, record: &Record) -> io::Result<()> {
        let mut journal = self.run.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.add(record).map_err(io::Error::other)
    }
}

impl StepLog for HostLog<'_> {
    fn begin(&self, steps: &[Step]) -> io::Result<()> {
        self.add(&Record::Intent {
            host: self.host.clone(),
            steps: steps.to_vec(),
        })?;
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        for step in steps {
            since.insert(step.to_string(), Instant::now());
            self.run.events.send(Event::Began {
                host: self.host.clone(),
                step: step.clone(),
            });
        }
        Ok(())
    }

    fn end(&self, steps: &[Step], result: Result<(), &StepError>) {
        let error = result.err();
        let record = Record::Ended {
            host: self.host.clone(),
            steps: steps.len(),
            first: steps.first().map(ToString::to_string).unwrap_or_default(),
            error: error.map(|error| chain(error)),
        };
        // What the user has stopped is neither done nor failed: for a reader of the journal it was interrupted. An end that
        // cannot be recorded changes only what such a reader sees: the steps have run.
        if !error.is_some_and(|error| error.cause.is_stopped()) {
            let _ = self.add(&record);
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        for step in steps {
            let took = since
                .remove(&step.to_string())
                .map(|began| began.elapsed())
                .unwrap_or_default();
            let error = error.filter(|error| error.step == *step);
            if error.is_none() {
                self.done.fetch_add(1, Ordering::SeqCst);
            }
            self.run.events.send(Event::Ended {
                host: self.host.clone(),
                step: step.clone(),
                error: error.map(|error| chain(&error.cause)),
                stopped: error.is_some_and(|error| error.cause.is_stopped()),
                took,
            });
        }
    }

    fn note(&self, step: &Step, text: &str) {
        self.run.events.send(Event::Note {
            host: self.host.clone(),
            step: step.clone(),
            text: text.to_owned(),
        });
    }

    fn started(&self, vm: &VmName, restored: bool, why: Option<&str>) {
        self.run.events.send(Event::Started {
            host: self.host.clone(),
            vm: vm.clone(),
            restored,
            why: why.map(str::to_owned),
        });
    }

    fn warn(&self, vm: &VmName, text: &str) {
        let text = format!("{vm} on {}: {text}", self.host);
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(text.clone()) {
            self.run.events.send(Event::Warning(text));
        }
    }

    fn cancelled(&self) -> bool {
        self.run.cancel.is_requested()
    }
}

/// Calls `ask` on all hosts in parallel; returns every answer, or the errors of the hosts that had one.
pub fn on_each<T: Send>(
    hosts: &NamedHosts,
    ask: impl Fn(&dyn crate::host::Host) -> Result<T, HostError> + Sync,
) -> Result<BTreeMap<HostName, T>, Vec<(HostName, HostError)>> {
    let ask = &ask;
    thread::scope(|scope| {
        let asked: Vec<_> = hosts
            .iter()
            .map(|(name, host)| (name, scope.spawn(move || ask(host.as_ref()))))
            .collect();
        let (mut answers, mut errors) = (BTreeMap::new(), Vec::new());
        for (name, answer) in asked {
            match answer.join() {
                Ok(Ok(answer)) => drop(answers.insert(name.clone(), answer)),
                Ok(Err(error)) => errors.push((name.clone(), error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        if errors.is_empty() { Ok(answers) } else { Err(errors) }
    })
}
