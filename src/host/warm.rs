//! Starts guests from the saved state of one of their kind that has booted. The first guest of a kind boots without NICs, is
//! saved, and is then restored like the others. States are in a cache on the guests' host.

mod states;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::causes::chain;
use crate::folders::Folders;
use crate::guest::{Restored, Session, Transcript, await_cloud_init, blank_console, prepare, prepare_seeded};
use crate::host::guests::{Cancellable, Opened, open_started};
use crate::host::linux::Connection;
use crate::host::{StepFailure, StepLog};
use crate::lab::{ImageConsole, Password};
use crate::libvirt::seed::blank;
use crate::libvirt::{Head, Kind};
use crate::locked::{self, Locked, LockedError};
use crate::plan::Step;
use crate::state::DomainName;
use states::States;

/// Between two attempts at a lock that another process has.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// What this run knows of saved states, by their locks.
#[derive(Debug, Default)]
pub struct Tried(Mutex<BTreeMap<String, Try>>);

/// The attempt to make or to use a saved state.
#[derive(Debug, Clone)]
enum Try {
    /// It was made, or found.
    Made,
    /// It could not be made or used, and why: guests of its kind boot, and it is not tried again.
    Failed(String),
}

impl Tried {
    fn get(&self, state: &str) -> Option<Try> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(state)
            .cloned()
    }

    fn insert(&self, state: &str, result: Try) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(state.to_owned(), result);
    }
}

/// What a guest is started with.
pub(super) struct Warm<'a> {
    pub connection: &'a Connection,
    pub folders: &'a Folders,
    pub tried: &'a Tried,
    pub name: &'a DomainName,
    pub console: &'a ImageConsole,
    pub step: &'a Step,
    pub log: &'a dyn StepLog,
}

impl Warm<'_> {
    /// Starts the guest from the saved state of its kind, which is made where there is none; returns its open console. None
    /// where guests of its kind always boot.
    ///
    /// # Errors
    /// Why no saved state can be used. The guest is then off.
    pub(super) fn start(&self) -> Result<Option<Opened>, String> {
        let Some(kind) = self.connection.libvirt.kind(self.name).ok().flatten() else {
            return Ok(None);
        };
        let states = States::of(self.connection, self.folders);
        let id = states.id(&kind).map_err(|error| chain(&error))?;
        let lock = states.lock(&id);
        if let Some(Try::Failed(why)) = self.tried.get(&lock) {
            return Err(why);
        }
        self.restored(&kind, &states, &id).map_err(|error| {
            let why = format!("no saved state can be used: {}", chain(&error));
            self.tried.insert(&lock, Try::Failed(why.clone()));
            why
        })
    }

    fn restored(&self, kind: &Kind, states: &States<'_>, id: &str) -> Result<Option<Opened>, StepFailure> {
        let head = match states.head(id)? {
            Some(head) => Some(head),
            None => self.make_or_wait(kind, states, id)?,
        };
        head.map(|head| self.restore(kind, states, id, &head)).transpose()
    }

    /// Makes the saved state, or waits for the process on this machine that does; returns its head. None where the user asked to
    /// stop, or where another guest of this run has failed to make it.
    fn make_or_wait(&self, kind: &Kind, states: &States<'_>, id: &str) -> Result<Option<Head>, StepFailure> {
        let folder = self.folders.saved();
        Folders::make_open(&folder).map_err(StepFailure::SavedState)?;
        let lock = states.lock(id);
        loop {
            match self.tried.get(&lock) {
                Some(Try::Made) => return states.head(id),
                Some(Try::Failed(_)) => return Ok(None),
                None if self.log.cancelled() => return Ok(None),
                None => {}
            }
            match Locked::take(&folder.join(&lock), &locked::verb()) {
                Ok(_lock) => {
                    // Another process may have made it meanwhile.
                    let made = match states.head(id) {
                        Ok(None) => self.make(kind, states, id).and_then(|()| states.head(id)),
                        found => found,
                    };
                    // Under the lock, so that those that wait for it find out.
                    match &made {
                        Ok(_) => self.tried.insert(&lock, Try::Made),
                        Err(error) => {
                            let why = format!("no saved state could be made: {}", chain(error));
                            self.tried.insert(&lock, Try::Failed(why));
                        }
                    }
                    return made;
                }
                Err(LockedError::Held { .. }) => thread::sleep(TRY_EVERY),
                Err(LockedError::Io { source, .. }) => return Err(StepFailure::SavedState(source)),
            }
        }
    }

    /// Boots the guest without NICs and saves it.
    fn make(&self, kind: &Kind, states: &States<'_>, id: &str) -> Result<(), StepFailure> {
        self.log
            .note(self.step, "boots once, to be saved for all guests of its kind");
        let begun = self.begin(kind, states);
        let made = begun.and_then(|console| self.boot_and_save(kind, &console, states));
        let kept = made.and_then(|()| Ok(states.keep(self.name, id, kind.blank.disk.as_deref())?));
        if kept.is_err() {
            self.start_over();
            states.discard(&self.name.to_string());
        }
        let left = states.leave(&kind.blank);
        kept.and_then(|()| Ok(left?))
    }

    /// Makes the files that the guest boots with; returns its console.
    fn begin(&self, kind: &Kind, states: &States<'_>) -> Result<ImageConsole, StepFailure> {
        let (mut console, mut seed) = (self.console.clone(), Vec::new());
        if kind.blank.seed.is_some() {
            console = blank_console(self.console);
            let password = console.login.as_ref().and_then(|login| login.password.as_ref());
            seed = blank(password.and_then(Password::text).unwrap_or_default());
        }
        states.begin(self.name, kind.disk.as_deref(), &kind.blank, seed)?;
        Ok(console)
    }

    fn boot_and_save(&self, kind: &Kind, image: &ImageConsole, states: &States<'_>) -> Result<(), StepFailure> {
        let libvirt = &self.connection.libvirt;
        libvirt.start_paused_without_nics(self.name)?;
        let opened = open_started(self.connection, self.folders, self.name, self.console.kind)?;
        let console = Box::new(Cancellable {
            console: opened.console,
            log: self.log,
        });
        let transcript = self.folders.transcript(self.name.lab(), self.name.vm());
        let transcript = Transcript::append(&transcript).map_err(StepFailure::Transcript)?;
        let note = |line: &str| self.log.note(self.step, line);
        let mut session = Session::open(console, image, transcript, &mut |line| note(line))?;
        if kind.blank.seed.is_some() {
            await_cloud_init(&mut session, &mut |line| note(line))?;
            libvirt.unplug_blank_nic(self.name)?;
            prepare_seeded(&mut session, image, &kind.nic_models)?;
        } else {
            prepare(&mut session, &kind.nic_models, kind.disk.is_some())?;
        }
        drop(session);
        Ok(libvirt.save(self.name, &states.memory(self.name))?)
    }

    /// Restores the guest with its NICs; where that fails, it is off, with the disk that it had. libvirt reads the head of the
    /// guest and the stream of the saved state from one pipe.
    fn restore(&self, kind: &Kind, states: &States<'_>, id: &str, head: &Head) -> Result<Opened, StepFailure> {
        let libvirt = &self.connection.libvirt;
        let disk = kind.disk.as_deref();
        let own = libvirt.saved_head(self.name, head)?;
        let fed = states.feed(id, self.name, (own, head.length), disk);
        let restored = fed.map_err(StepFailure::from).and_then(|()| {
            let restored = libvirt.restore_paused(self.name, &states.pipe(self.name));
            // It may be damaged: the next guest makes another one.
            Ok(restored.inspect_err(|_| states.discard(id))?)
        });
        let opened = restored.and_then(|()| self.with_nics(kind));
        match opened {
            Ok(opened) => {
                states.done(self.name, disk)?;
                Ok(opened)
            }
            Err(error) => {
                // First, because a process that still has the pipe open then no longer reads it, and nothing uses the disk.
                self.start_over();
                states.end(self.name, disk)?;
                Err(error)
            }
        }
    }

    /// Plugs the NICs of the restored guest in and opens its console.
    fn with_nics(&self, kind: &Kind) -> Result<Opened, StepFailure> {
        self.connection.libvirt.plug_nics(self.name)?;
        let opened = open_started(self.connection, self.folders, self.name, self.console.kind)?;
        Ok(Opened {
            restored: Some(Restored {
                macs: kind.macs.clone(),
                has_disk: kind.disk.is_some(),
                seeded: kind.blank.seed.is_some(),
            }),
            ..opened
        })
    }

    fn start_over(&self) {
        // What cannot be stopped fails to start, with libvirt's own error.
        let _ = self.connection.libvirt.start_over(self.name);
    }
}
