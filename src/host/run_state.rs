//! Changes the state of a host's guests: pauses and resumes all of them at the same time, saves and restores them a few at a
//! time, and sets clocks over consoles.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::folders::Folders;
use crate::guest::{Console, Session, Transcript, set_clock};
use crate::host::guests::Cancellable;
use crate::host::linux::Connection;
use crate::host::steps::{in_parallel, one};
use crate::host::{StepError, StepFailure, StepLog, console};
use crate::lab::ImageConsole;
use crate::linux::flows;
use crate::plan::{RunState, Step};
use crate::state::DomainName;

/// Consoles of guests that were restored and do not run yet: QEMU notices only once a second that one was opened
/// (chardev/char-pty.c).
#[derive(Default)]
pub(super) struct Consoles(Mutex<BTreeMap<DomainName, Box<dyn Console>>>);

impl Consoles {
    fn put(&self, name: &DomainName, console: Box<dyn Console>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.clone(), console);
    }

    fn take(&self, name: &DomainName) -> Option<Box<dyn Console>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

/// The guests of one host.
pub(super) struct Guests<'a> {
    pub connection: &'a Connection,
    pub folders: &'a Folders,
    pub consoles: &'a Consoles,
    pub log: &'a dyn StepLog,
}

impl Guests<'_> {
    /// Applies steps of one stage; returns the errors of all that failed.
    pub(super) fn run(&self, steps: &[Step]) -> Vec<StepError> {
        match steps.first() {
            Some(Step::RunState(_, RunState::Pause | RunState::Resume)) => self.together(steps),
            Some(Step::RunState(_, RunState::SetClock(_))) => {
                at_once(steps, |step| one(step, self.log, || self.apply(step)))
            }
            _ => in_parallel(steps, |step| one(step, self.log, || self.apply(step))),
        }
    }

    /// Applies all steps at the same time: they are in the journal before the first is begun.
    fn together(&self, steps: &[Step]) -> Vec<StepError> {
        if let (Some(first), Err(error)) = (steps.first(), self.log.begin(steps)) {
            return vec![StepError::new(first, StepFailure::Journal(error))];
        }
        at_once(steps, |step| {
            let error = self.apply(step).err().map(|cause| StepError::new(step, cause));
            self.log
                .end(std::slice::from_ref(step), error.as_ref().map_or(Ok(()), Err));
            error
        })
    }

    fn apply(&self, step: &Step) -> Result<(), StepFailure> {
        let Step::RunState(name, change) = step else {
            return Err(StepFailure::NotForThisHost);
        };
        let libvirt = &self.connection.libvirt;
        match change {
            RunState::Pause => libvirt.pause(name)?,
            RunState::Resume => libvirt.resume(name)?,
            RunState::Save(checkpoint, disks) => libvirt.save_in(name, checkpoint, disks)?,
            RunState::CheckSaved(checkpoint) => libvirt.check_saved(name, checkpoint)?,
            RunState::Restore {
                from,
                disks,
                console: kind,
            } => {
                libvirt.restore_from(name, from, disks)?;
                flows::reload(self.connection.shell.as_ref(), name.lab())?;
                if let Some(kind) = *kind {
                    self.consoles
                        .put(name, console::open(libvirt, self.folders, name, kind)?);
                }
            }
            RunState::DeleteSaved(checkpoint) => libvirt.delete_saved(name, checkpoint)?,
            RunState::SetClock(console) => self.set_clock(name, console, step)?,
        }
        Ok(())
    }

    fn set_clock(&self, name: &DomainName, image: &ImageConsole, step: &Step) -> Result<(), StepFailure> {
        let console = match self.consoles.take(name) {
            Some(console) => console,
            None => console::open(&self.connection.libvirt, self.folders, name, image.kind)?,
        };
        let log = self.log;
        let console = Box::new(Cancellable { console, log });
        let transcript = self.folders.transcript(name.lab(), name.vm());
        let transcript = Transcript::append(&transcript).map_err(StepFailure::Transcript)?;
        let mut session = Session::open(console, image, transcript, &mut |line| log.note(step, line))?;
        Ok(set_clock(&mut session, image.login.as_ref())?)
    }
}

/// Applies each step in a thread of its own.
fn at_once(steps: &[Step], apply: impl Fn(&Step) -> Option<StepError> + Sync) -> Vec<StepError> {
    let apply = &apply;
    thread::scope(|scope| {
        let running: Vec<_> = steps.iter().map(|step| scope.spawn(move || apply(step))).collect();
        let ended = running.into_iter();
        ended
            .filter_map(|step| step.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
