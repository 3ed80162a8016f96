//! One run at a time on one lab: an flock(2) that the kernel drops when its holder dies, in a file that says who
//! holds it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use crate::folders::Folders;
use crate::lab::LabName;

/// The lock of a lab, held until dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

/// The lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error("lab {lab} is in use by {holder}")]
    Held {
        /// The lab.
        lab: LabName,
        /// Who holds it, in words.
        holder: String,
    },
    /// The file system said no.
    #[error("cannot lock lab {lab} by {}: {source}", path.display())]
    Io {
        /// The lab.
        lab: LabName,
        /// The lock file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of `lab` for `verb`, or says at once who holds it.
    pub fn take(folders: &Folders, lab: &LabName, verb: &str) -> Result<Self, LockError> {
        let folder = folders.state.join("locks");
        let path = folder.join(lab.as_str());
        let io = |source| LockError::Io {
            lab: lab.clone(),
            path: path.clone(),
            source,
        };
        Folders::make(&folder).map_err(io)?;
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(io)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let holder = if holder.is_empty() {
                        "another netlab".to_owned()
                    } else {
                        holder
                    };
                    return Err(LockError::Held {
                        lab: lab.clone(),
                        holder,
                    });
                }
                Err(errno) => return Err(io(errno.into())),
            }
            // The holder before us removes the file while it still has the lock: make sure that ours is the one
            // that the next comer will find.
            let ours = file.metadata().map_err(io)?;
            match std::fs::metadata(&path) {
                Ok(found) if found.ino() == ours.ino() && found.dev() == ours.dev() => {}
                _ => continue,
            }
            file.set_len(0).map_err(io)?;
            write!(file, "`netlab {verb}`, process {}", std::process::id()).map_err(io)?;
            return Ok(Self { path, _file: file });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_of_two_runs_is_told_who_holds_the_lab() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            state: folder.path().into(),
            cache: folder.path().into(),
        };
        let lab = "demo".parse().unwrap();
        let first = Lock::take(&folders, &lab, "up").unwrap();
        let error = Lock::take(&folders, &lab, "down").unwrap_err().to_string();
        assert_eq!(
            error,
            format!("lab demo is in use by `netlab up`, process {}", std::process::id())
        );
        drop(first);
        assert!(!folder.path().join("locks/demo").exists());
        Lock::take(&folders, &lab, "down").unwrap();
    }
}
