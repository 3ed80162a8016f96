//! Changes of the state that a guest's machine is in: paused, saved to files, restored from them. A plan between two sites has
//! none of these; `pause`, `save` and `restore` make plans of their own.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Stage;
use crate::lab::{CheckpointName, ConsoleKind, ImageConsole, VmName};

/// What is done to a guest's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Pause it: nothing of it runs until it is resumed. One that is paused stays so.
    Pause,
    /// Resume it.
    Resume,
    /// Save the memory of the paused guest and the files of its disks; it stays paused.
    Save(CheckpointName, Vec<String>),
    /// Compare what was saved with what was recorded of it then.
    CheckSaved(CheckpointName),
    /// Replace memory and disks by what was saved; the guest is then paused.
    Restore {
        /// The checkpoint.
        from: CheckpointName,
        /// The files of its disks.
        disks: Vec<String>,
        /// The console that is opened, by which its clock will be set.
        console: Option<ConsoleKind>,
    },
    /// Delete what was saved.
    DeleteSaved(CheckpointName),
    /// Set the guest's clock to the time of day, over its console.
    SetClock(Box<ImageConsole>),
}

impl RunState {
    /// Returns the stage of the step.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Pause => Stage::Pause,
            Self::Resume => Stage::Resume,
            Self::Save(..) => Stage::Save,
            Self::CheckSaved(_) => Stage::CheckSaved,
            Self::Restore { .. } => Stage::Restore,
            Self::DeleteSaved(_) => Stage::RemoveSaved,
            Self::SetClock(_) => Stage::Clock,
        }
    }

    /// Writes the step's text.
    pub(super) fn describe(&self, f: &mut fmt::Formatter<'_>, vm: &VmName) -> fmt::Result {
        match self {
            Self::Pause => write!(f, "pause {vm}"),
            Self::Resume => write!(f, "resume {vm}"),
            Self::Save(checkpoint, _) => write!(f, "save {vm} in checkpoint {checkpoint}"),
            Self::CheckSaved(checkpoint) => write!(f, "check what checkpoint {checkpoint} has of {vm}"),
            Self::Restore { from, .. } => write!(f, "restore {vm} from checkpoint {from}"),
            Self::DeleteSaved(checkpoint) => write!(f, "delete what checkpoint {checkpoint} has of {vm}"),
            Self::SetClock(_) => write!(f, "set the clock of {vm}"),
        }
    }
}
