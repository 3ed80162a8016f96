//! Starts guests from the saved state of one of their kind that has booted. The first guest of a kind boots without NICs, is
//! saved, and is then restored like the others. Files are in netlab's cache on this machine, so guests of hosts behind
//! ssh boot.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::causes::chain;
use crate::folders::Folders;
use crate::guest::{Session, Transcript, prepare};
use crate::host::guests::{Cancellable, Opened, open_started};
use crate::host::linux::Connection;
use crate::host::{StepFailure, StepLog};
use crate::lab::ImageConsole;
use crate::libvirt::{Head, Kind};
use crate::locked::{self, Locked, LockedError};
use crate::plan::Step;
use crate::state::DomainName;

/// Between two attempts at a lock that another process has.
const TRY_EVERY: Duration = Duration::from_millis(50);
/// So many bytes of saved states are kept: some thirty of small guests.
const MOST: u64 = 4 << 30;
/// A saved state that was not used for so long is removed.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Kinds whose saved state this run could not make or use, and why: their guests boot, and it is not tried again.
#[derive(Debug, Default)]
pub struct Unsaved(Mutex<BTreeMap<String, String>>);

impl Unsaved {
    fn why(&self, kind: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(kind).cloned()
    }

    fn insert(&self, kind: String, why: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, why);
    }
}

/// What a guest is started with.
pub(super) struct Warm<'a> {
    pub connection: &'a Connection,
    pub folders: &'a Folders,
    pub unsaved: &'a Unsaved,
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
        let state = self.state(&kind).map_err(|error| error.to_string())?;
        let id = state.to_string_lossy().into_owned();
        if let Some(why) = self.unsaved.why(&id) {
            return Err(why);
        }
        self.restored(&kind, &state).map_err(|error| {
            let why = format!("no saved state can be used: {}", chain(&error));
            self.unsaved.insert(id, why.clone());
            why
        })
    }

    /// Returns the file of a kind's saved state.
    fn state(&self, kind: &Kind) -> io::Result<PathBuf> {
        let mut files = Vec::new();
        for file in &kind.files {
            let file = fs::metadata(file)?;
            files.push((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
        }
        let id = kind.id(&format!("{files:?}"));
        Ok(self.folders.saved().join(id).with_extension("state"))
    }

    fn restored(&self, kind: &Kind, state: &Path) -> Result<Option<Opened>, StepFailure> {
        if !state.exists() && !self.make_or_wait(kind, state)? {
            return Ok(None);
        }
        let opened = self.restore(kind, state)?;
        used(state);
        Ok(Some(opened))
    }

    /// Makes the saved state, or waits for the process that does. Returns false where the user asked to stop, or where
    /// another guest of this run has failed to make it.
    fn make_or_wait(&self, kind: &Kind, state: &Path) -> Result<bool, StepFailure> {
        let folder = self.folders.saved();
        Folders::make_open(&folder).map_err(StepFailure::SavedState)?;
        let lock = folder.join(format!("{}.lock", name_of(state)));
        loop {
            match Locked::take(&lock, &locked::verb()) {
                _ if state.exists() => return Ok(true),
                _ if self.log.cancelled() || self.unsaved.why(&state.to_string_lossy()).is_some() => return Ok(false),
                Ok(_lock) => {
                    let made = self.make(kind, state);
                    if let Err(error) = &made {
                        self.start_over();
                        // Under the lock, so that those that wait for it find out.
                        let why = format!("no saved state could be made: {}", chain(error));
                        self.unsaved.insert(state.to_string_lossy().into_owned(), why);
                    }
                    return made.map(|()| true);
                }
                Err(LockedError::Held { .. }) => thread::sleep(TRY_EVERY),
                Err(LockedError::Io { source, .. }) => return Err(StepFailure::SavedState(source)),
            }
        }
    }

    /// Boots the guest without NICs and saves it.
    fn make(&self, kind: &Kind, state: &Path) -> Result<(), StepFailure> {
        self.log
            .note(self.step, "boots once, to be saved for all guests of its kind");
        remove_unused(&self.folders.saved(), MOST);
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
        let mut session = Session::open(console, self.console, transcript, &mut |line| note(line))?;
        prepare(&mut session, &kind.nic_models)?;
        drop(session);
        let part = state.with_extension("part");
        let kept = libvirt
            .save(self.name, &part)
            .map_err(StepFailure::from)
            .and_then(|()| {
                // It has the guest's whole memory.
                fs::set_permissions(&part, Permissions::from_mode(0o600))
                    .and_then(|()| fs::rename(&part, state))
                    .map_err(StepFailure::SavedState)
            });
        if kept.is_err() {
            let _ = fs::remove_file(&part);
        }
        kept
    }

    /// Restores the guest with its NICs. libvirt reads the head of the guest and the stream of the saved state from one
    /// pipe, so that nothing is copied to a file.
    fn restore(&self, kind: &Kind, state: &Path) -> Result<Opened, StepFailure> {
        let libvirt = &self.connection.libvirt;
        // It may be damaged: the next guest makes another one.
        let discard = || drop(fs::remove_file(state));
        let mut file = File::open(state).map_err(StepFailure::SavedState)?;
        let head = Head::read(&mut file)
            .inspect_err(|_| discard())
            .map_err(StepFailure::SavedState)?;
        let head = libvirt.saved_head(self.name, &head)?;
        let pipe = state.with_extension(self.name.to_string());
        let pipe = Pipe::make(&pipe).map_err(StepFailure::SavedState)?;
        let over = AtomicBool::new(false);
        let restored = thread::scope(|scope| {
            let feeding = scope.spawn(|| pipe.feed(&head, &mut file, &over));
            let restored = libvirt.restore_paused(self.name, &pipe.0);
            over.store(true, Ordering::SeqCst);
            if restored.is_err() {
                // A process that still has the pipe open no longer reads it.
                self.start_over();
            }
            // Where it was not read to its end, libvirt's error says why.
            let _ = feeding.join();
            restored
        });
        restored.inspect_err(|_| discard())?;
        self.with_nics(kind).inspect_err(|_| self.start_over())
    }

    /// Plugs the NICs of the restored guest in and opens its console.
    fn with_nics(&self, kind: &Kind) -> Result<Opened, StepFailure> {
        self.connection.libvirt.plug_nics(self.name)?;
        let opened = open_started(self.connection, self.folders, self.name, self.console.kind)?;
        Ok(Opened {
            restored: Some(kind.macs.clone()),
            ..opened
        })
    }

    fn start_over(&self) {
        // What cannot be stopped fails to start, with libvirt's own error.
        let _ = self.connection.libvirt.start_over(self.name);
    }
}

/// Records that a saved state was used, so that it is not removed as unused.
fn used(state: &Path) {
    #[expect(clippy::disallowed_methods, reason = "a file's time is the time of day")]
    let now = SystemTime::now();
    let _ = File::open(state).and_then(|file| file.set_modified(now));
}

fn name_of(state: &Path) -> String {
    state.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes what nobody has used for long, what was left by a process that was killed, and of the rest what was used the
/// longest ago, as far as it is more than `most` bytes. A file that is read at the moment is read to its end.
fn remove_unused(folder: &Path, most: u64) {
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut states = Vec::new();
    for file in files {
        let path = file.path();
        let is_state = path.extension().is_some_and(|end| end == "state");
        let Ok((size, used)) = file.metadata().and_then(|file| Ok((file.len(), file.modified()?))) else {
            continue;
        };
        let old = |limit| used.elapsed().is_ok_and(|age| age > limit);
        if old(if is_state { UNUSED } else { Duration::from_secs(60 * 60) }) {
            let _ = fs::remove_file(path);
        } else if is_state {
            states.push((used, size, path));
        }
    }
    states.sort_by(|a, b| b.cmp(a));
    let mut kept = 0;
    for (_, size, path) in states {
        kept += size;
        if kept > most {
            let _ = fs::remove_file(path);
        }
    }
}

/// A named pipe, removed when dropped.
struct Pipe(PathBuf);

impl Pipe {
    fn make(path: &Path) -> io::Result<Self> {
        let _ = fs::remove_file(path);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)?;
        Ok(Self(path.to_owned()))
    }

    /// Writes `head` and the rest of `file` to the pipe once it is read, unless all is `over` before.
    fn feed(&self, head: &[u8], file: &mut File, over: &AtomicBool) -> io::Result<()> {
        let mut pipe = loop {
            // Without a reader this fails.
            let options = fs::OpenOptions::new()
                .write(true)
                .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
                .open(&self.0);
            match options {
                Ok(pipe) => break pipe,
                Err(_) if !over.load(Ordering::SeqCst) => thread::sleep(Duration::from_millis(2)),
                Err(error) => return Err(error),
            }
        };
        let flags = rustix::fs::fcntl_getfl(&pipe)?;
        rustix::fs::fcntl_setfl(&pipe, flags - rustix::fs::OFlags::NONBLOCK)?;
        pipe.write_all(head)?;
        io::copy(file, &mut pipe).map(drop)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_states_that_were_used_last_are_kept_up_to_a_size_and_old_ones_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a file's time is the time of day")]
        let now = SystemTime::now();
        let file = |name: &str, size: usize, days: u64| {
            let path = folder.path().join(name);
            fs::write(&path, vec![0; size]).unwrap();
            let used = now - Duration::from_secs(days * 24 * 60 * 60);
            File::open(path).unwrap().set_modified(used).unwrap();
        };
        file("new.state", 40, 0);
        file("week.state", 40, 7);
        file("fortnight.state", 40, 14);
        file("old.state", 1, 31);
        file("killed.part", 1, 1);
        file("made.part", 1, 0);
        remove_unused(folder.path(), 100);
        let left = fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name());
        let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["made.part", "new.state", "week.state"]);
    }
}
