//! Checkpoints of a lab: memory and disks of all its guests at one moment, on all hosts. A file in the lab's folder says which
//! guests a checkpoint has and how they were defined; what was saved is on the hosts.

mod kept;
mod restore;
mod save;

use std::collections::BTreeMap;

use super::OpsError;
use crate::host::NamedHosts;
use crate::lab::{CheckpointName, HostName, LabName, suggest};

pub use kept::{Checkpoint, checkpoints};
pub use restore::{RestoreReport, restore};
pub use save::{SaveReport, remove_checkpoint, save};

/// A checkpoint cannot be made, used or removed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// There is one of that name.
    #[error("lab {lab} has a checkpoint {checkpoint} already")]
    Exists {
        /// The lab.
        lab: LabName,
        /// The checkpoint.
        checkpoint: CheckpointName,
    },
    /// There is none of that name.
    #[error("lab {lab} has no checkpoint {checkpoint}")]
    Missing {
        /// The lab.
        lab: LabName,
        /// The name asked for.
        checkpoint: CheckpointName,
        /// Those that it has.
        known: Vec<String>,
    },
    /// There is none.
    #[error("lab {lab} has no checkpoint")]
    None {
        /// The lab.
        lab: LabName,
    },
    /// The save that made it was interrupted.
    #[error("checkpoint {checkpoint} of lab {lab} is not complete: `netlab save` was interrupted")]
    Incomplete {
        /// The lab.
        lab: LabName,
        /// The checkpoint.
        checkpoint: CheckpointName,
    },
    /// A guest does not run, so that it has no memory to save.
    #[error("VM {vm} of lab {lab} is {condition}: a checkpoint has all VMs of a lab")]
    NotRunning {
        /// The lab.
        lab: LabName,
        /// The VM.
        vm: String,
        /// Its condition.
        condition: String,
    },
    /// The lab is not the one that was saved.
    #[error("lab {lab} has changed since checkpoint {checkpoint} was made: {}", changes.join("; "))]
    Changed {
        /// The lab.
        lab: LabName,
        /// The checkpoint.
        checkpoint: CheckpointName,
        /// What is different.
        changes: Vec<String>,
    },
}

impl CheckpointFault {
    /// Returns what the user can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Exists { lab, checkpoint } => {
                format!("give another name, or remove that one: `netlab save {lab} --remove {checkpoint}`")
            }
            Self::Missing { checkpoint, known, .. } => suggest(checkpoint.as_str(), known.iter().map(String::as_str)),
            Self::None { lab } => format!("`netlab save {lab}` makes one"),
            Self::Incomplete { lab, checkpoint } => {
                format!("`netlab save {lab} {checkpoint}` makes it again; `netlab save {lab} --list` lists the others")
            }
            Self::NotRunning { .. } => "`netlab up` starts it".to_owned(),
            Self::Changed { checkpoint, lab, .. } => format!(
                "nothing was changed; run `netlab up` with the lab file of that time, or remove the checkpoint: \
                 `netlab save {lab} --remove {checkpoint}`"
            ),
        }
    }
}

/// Returns an error that names every host with too little space for so many MiB of memory and the disks of the lab, or those
/// that the checkpoint `of` has of it.
fn check_space(
    hosts: &NamedHosts,
    lab: &LabName,
    memory_mib: BTreeMap<&HostName, u64>,
    of: Option<&CheckpointName>,
) -> Result<(), OpsError> {
    let mut short = Vec::new();
    for (host, memory_mib) in memory_mib {
        if let Some(connected) = hosts.get(host)
            && let Err(error) = connected.check_checkpoint_space(lab, memory_mib, of)
        {
            short.push((host.clone(), error));
        }
    }
    if short.is_empty() {
        Ok(())
    } else {
        Err(OpsError::NoSpace(short))
    }
}
