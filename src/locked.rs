//! A lock between processes: a file under flock(2), which the kernel releases when its holder dies. The file names
//! its holder and exists only while it is locked.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A lock file, held until dropped.
#[derive(Debug)]
pub struct Locked {
    path: PathBuf,
    file: File,
}

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockedError {
    /// Another process, or another part of this one, holds it.
    #[error("locked by {holder}")]
    Held {
        /// The command and process ID of the holder.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl LockedError {
    /// What a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Held { .. } => "wait until it has ended, or end it, then run again",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run netlab as the user who owns its state and cache folders: root"
            }
            Self::Io { .. } => "check free space and permissions of the state and cache folders",
        }
    }
}

impl Locked {
    /// Takes the lock at `path`, whose folder exists, without waiting. `verb` is the netlab command that takes it:
    /// the holder that others are shown.
    pub fn take(path: &Path, verb: &str) -> Result<Self, LockedError> {
        let io = |source| LockedError::Io {
            path: path.to_owned(),
            source,
        };
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let mut file = options.open(path).map_err(io)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(held(&mut file)),
                Err(errno) => return Err(io(errno.into())),
            }
            // The holder before removed the file while it still held the lock: this must be the file that the next
            // process will open.
            let own = file.metadata().map_err(io)?;
            match std::fs::metadata(path) {
                Ok(found) if found.ino() == own.ino() && found.dev() == own.dev() => {}
                _ => continue,
            }
            file.set_len(0).map_err(io)?;
            write!(file, "`netlab {verb}`, process {}", std::process::id()).map_err(io)?;
            return Ok(Self {
                path: path.to_owned(),
                file,
            });
        }
    }
}

fn held(file: &mut File) -> LockedError {
    let mut holder = String::new();
    // Empty between the holder's flock and its write.
    if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
        "another netlab".clone_into(&mut holder);
    }
    LockedError::Held { holder }
}

/// Returns the process that holds the lock at `path` for the command `verb`, where one does: as the file names it. One that a
/// killed holder left names a process that does not run. Nothing is locked meanwhile.
pub fn holder(path: &Path, verb: &str) -> Option<u32> {
    let text = std::fs::read_to_string(path).ok()?;
    let process = text.strip_prefix(&format!("`netlab {verb}`, process "))?.parse().ok()?;
    Path::new(&format!("/proc/{process}")).exists().then_some(process)
}

/// Removes the file before it is unlocked: the next process makes another one, so that the lock is free even where a
/// child process has inherited the descriptor.
impl Drop for Locked {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// The first argument of this process that is no option: the verb of a netlab command line.
pub fn verb() -> String {
    let mut arguments = std::env::args().skip(1);
    arguments
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_with_the_holders_name_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Locked::take(&path, "up").unwrap();
        let error = Locked::take(&path, "down").unwrap_err().to_string();
        assert_eq!(error, format!("locked by `netlab up`, process {}", std::process::id()));
        assert_eq!(holder(&path, "up"), Some(std::process::id()));
        assert_eq!(holder(&path, "down"), None);
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "`netlab up`, process 4194305").unwrap();
        assert_eq!(holder(&path, "up"), None, "no process has such a number");
        Locked::take(&path, "down").unwrap();
    }

    #[test]
    fn a_descriptor_that_a_child_inherited_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Locked::take(&path, "up").unwrap();
        let inherited = first.file.try_clone().unwrap();
        drop(first);
        Locked::take(&path, "down").unwrap();
        drop(inherited);
    }

    #[test]
    fn a_file_that_a_killed_holder_left_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "`netlab up`, process 1, and more than the next holder writes").unwrap();
        let _lock = Locked::take(&path, "down").unwrap();
        let holder = std::fs::read_to_string(&path).unwrap();
        assert_eq!(holder, format!("`netlab down`, process {}", std::process::id()));
    }
}
