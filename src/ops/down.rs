//! Takes a lab down: plans from what is observed to nothing, runs, and observes once more.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;

use super::belongs::{check as check_belongs, elsewhere, release, with_state};
use super::connect::{connect_to_change, connects_in, emulated};
use super::observe::observe_to_remove;
use super::rollback::record;
use super::{Aftermath, Env, OpsError, converge, stop_on_request};
use crate::event::Event;
use crate::lab::LabName;
use crate::plan::plan;
use crate::run::{Journal, Lock, Record, Run};
use crate::state::Site;
use crate::transport::ssh::confirm::CONFIRM_WITHIN;

/// How a lab is taken down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownOptions {
    /// The path of the lab's file or of its folder, if there is one: names its hosts where the journal was lost.
    pub file: Option<String>,
    /// Also take a lab down that belongs to another state folder, with that folder's journal and files.
    pub force: bool,
    /// How long a host behind ssh waits to be reached again after one of its NICs was detached from its bridge, before
    /// it attaches that NIC again by itself.
    pub confirm_within: Duration,
}

impl Default for DownOptions {
    fn default() -> Self {
        Self {
            file: None,
            force: false,
            confirm_within: CONFIRM_WITHIN,
        }
    }
}

/// A lab that was taken down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DownReport {
    /// The lab.
    pub lab: LabName,
    /// Steps that were done; 0: it was not up.
    pub steps: usize,
}

/// Takes the lab down, restores every host, and removes the lab's folder. Takes the lab's lock. A lab of another state
/// folder is [`OpsError::Elsewhere`], unless the options force it.
///
/// Afterwards the hosts are observed once more: where something is left, the error is [`OpsError::NotConverged`].
pub fn down(env: &Env, lab: &LabName, options: &DownOptions) -> Result<DownReport, OpsError> {
    let _own = Lock::take(&env.folders, lab, "down")?;
    let steps = match elsewhere(env, lab) {
        Some(folder) if options.force => {
            let there = with_state(env, &folder);
            let _lock = Lock::take(&there.folders, lab, "down")?;
            let text = format!(
                "lab {lab} belongs to state folder {}: it is removed from there",
                folder.display()
            );
            env.events.send(Event::Warning(text));
            let steps = remove(&there, lab, options)?;
            forget(&env.folders.lab(lab))?;
            steps
        }
        _ => {
            check_belongs(env, lab)?;
            remove(env, lab, options)?
        }
    };
    stop_on_request(env, lab, steps)?;
    Ok(DownReport {
        lab: lab.clone(),
        steps,
    })
}

/// Does everything behind the lock; returns the number of steps done.
fn remove(env: &Env, lab: &LabName, options: &DownOptions) -> Result<usize, OpsError> {
    let folder = env.folders.lab(lab);
    let past = Journal::read(&folder)?;
    let in_file = options.file.as_ref().and_then(|file| connects_in(env, file));
    let (mut known, file) = (past.hosts, past.file);
    // Emulated hosts are found by their marks, others only by the journal or the lab file.
    match in_file {
        Some(hosts) => hosts.into_iter().for_each(|(host, connect)| {
            known.entry(host).or_insert(connect);
        }),
        None if past.damaged || known.is_empty() => {
            let why = if folder.exists() {
                format!("the journal of lab {lab} is missing or damaged")
            } else {
                format!("nothing is recorded of a lab {lab}")
            };
            env.events.send(Event::Warning(format!(
                "{why}: only emulated hosts are searched\n  help: if it is on other hosts, too, give its file: netlab down \
                 FILE"
            )));
        }
        None => {}
    }
    known.extend(emulated(env, lab)?);
    let hosts = connect_to_change(env, lab, &known, options.confirm_within)?;
    let to_do = plan(&observe_to_remove(&hosts, lab, &env.events)?, &Site::new());
    let mut done = 0;
    if !to_do.is_empty() {
        let run = Run {
            lab,
            hosts: &hosts,
            journal: Mutex::new(Journal::begin(&folder, "down", &known, file)?),
            events: env.events.clone(),
            cancel: env.cancel.clone(),
        };
        (done, _) = converge::run(&run, "down", &to_do, &Site::new(), |_| Ok(Aftermath::RestRemoved))?;
        record(&run.journal, &Record::nothing_left())?;
    }
    // Where it may be elsewhere, it still belongs to somebody.
    if !known.is_empty() {
        release(lab);
    }
    forget(&folder)?;
    Ok(done)
}

/// Removes a lab's folder, if there is one.
fn forget(folder: &Path) -> Result<(), OpsError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(OpsError::File {
            doing: "remove",
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
