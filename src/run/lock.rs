//! One run at a time on one lab.

use std::io;
use std::path::PathBuf;

use crate::folders::Folders;
use crate::lab::LabName;
use crate::locked::{self, Locked, LockedError};

/// The lock of a lab, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Locked,
}

/// Why the lock of a lab could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error("lab {lab} is in use by {holder}")]
    Held {
        /// The lab.
        lab: LabName,
        /// The command and process ID of the holder.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock lab {lab} by {}", path.display())]
    Io {
        /// The lab.
        lab: LabName,
        /// The lock file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl LockError {
    /// What a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Held { .. } => "wait until it has ended, or end it, then run again",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run netlab as the user who owns the state folder (NETLAB_STATE_DIR): root"
            }
            Self::Io { .. } => "check free space and permissions of the state folder (NETLAB_STATE_DIR)",
        }
    }
}

impl Lock {
    /// Takes the lock of `lab` for the command `verb` without waiting; an error names its holder.
    pub fn take(folders: &Folders, lab: &LabName, verb: &str) -> Result<Self, LockError> {
        let folder = folders.state.join("locks");
        let io = |path, source| LockError::Io {
            lab: lab.clone(),
            path,
            source,
        };
        Folders::make(&folder).map_err(|source| io(folder.clone(), source))?;
        match Locked::take(&folder.join(lab.as_str()), verb) {
            Ok(file) => Ok(Self { _file: file }),
            Err(LockedError::Held { holder }) => Err(LockError::Held {
                lab: lab.clone(),
                holder,
            }),
            Err(LockedError::Io { path, source }) => Err(io(path, source)),
        }
    }
}

/// Returns whether the command `verb` runs on `lab`.
pub fn is_held_by(folders: &Folders, lab: &LabName, verb: &str) -> bool {
    locked::holder(&folders.state.join("locks").join(lab.as_str()), verb).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_the_second_run_names_the_first() {
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
