//! The records of checkpoints: `checkpoints/NAME.json` in the lab's folder, readable by its owner only.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::pause::Guest;
use super::super::{Env, OpsError};
use super::CheckpointFault;
use crate::atomic_file;
use crate::folders::Folders;
use crate::lab::{CheckpointName, HostName, LabName};
use crate::state::{Condition, Disk, DiskName, Domain, DomainName, Volume};

/// A checkpoint, for a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// Its name.
    pub name: CheckpointName,
    /// When it was made, in UTC, e.g. `2026-11-26 13:05`.
    pub made: String,
    /// How many VMs it has.
    pub vms: usize,
    /// Whether everything was saved; else the run that made it was interrupted.
    pub complete: bool,
}

/// What is recorded of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// When it was begun, in seconds since 1970-01-01 00:00 UTC.
    pub made: u64,
    /// Everything was saved.
    pub complete: bool,
    /// The guests.
    pub guests: BTreeMap<DomainName, KeptGuest>,
}

/// What is recorded of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptGuest {
    pub host: HostName,
    /// It was paused before.
    pub paused: bool,
    pub domain: Domain,
    pub volume: Option<Volume>,
    pub disks: BTreeMap<DiskName, Disk>,
}

impl KeptGuest {
    pub fn of(guest: &Guest<'_>) -> Self {
        let disks = guest.state.disks.iter().filter(|(disk, _)| disk.domain() == guest.name);
        Self {
            host: guest.host.clone(),
            paused: guest.condition == Condition::Paused,
            domain: guest.domain.clone(),
            volume: guest.state.volumes.get(guest.name).cloned(),
            disks: disks.map(|(name, disk)| (name.clone(), disk.clone())).collect(),
        }
    }

    /// Returns the files of its disks, in the lab's pool.
    pub fn files(&self, name: &DomainName) -> Vec<String> {
        let own = self.volume.iter().map(|_| name.disk_file());
        own.chain(self.disks.keys().map(DiskName::file)).collect()
    }
}

/// The records of one lab's checkpoints.
pub(super) struct Records<'a> {
    env: &'a Env,
    lab: &'a LabName,
}

impl<'a> Records<'a> {
    pub fn of(env: &'a Env, lab: &'a LabName) -> Self {
        Self { env, lab }
    }

    fn folder(&self) -> PathBuf {
        self.env.folders.lab(self.lab).join("checkpoints")
    }

    fn path(&self, name: &CheckpointName) -> PathBuf {
        self.folder().join(name.as_str()).with_extension("json")
    }

    fn failed(doing: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> OpsError {
        move |source| OpsError::File { doing, path, source }
    }

    /// Returns all of them. One that cannot be read counts as incomplete, with no guests.
    pub fn all(&self) -> Result<BTreeMap<CheckpointName, Kept>, OpsError> {
        let entries = match std::fs::read_dir(self.folder()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(Self::failed("list", self.folder())(error)),
        };
        let mut all = BTreeMap::new();
        for entry in entries.flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some(name) = file.strip_suffix(".json").and_then(|name| name.parse().ok()) else {
                continue;
            };
            let content = std::fs::read(entry.path()).map_err(Self::failed("read", entry.path()))?;
            let kept = serde_json::from_slice(&content).unwrap_or(Kept {
                made: 0,
                complete: false,
                guests: BTreeMap::new(),
            });
            all.insert(name, kept);
        }
        Ok(all)
    }

    /// Returns the complete one of this name, or the newest.
    pub fn one(&self, name: Option<&CheckpointName>) -> Result<(CheckpointName, Kept), OpsError> {
        let lab = self.lab.clone();
        let mut all = self.all()?;
        let Some(checkpoint) = name.cloned() else {
            let complete = all.into_iter().filter(|(_, kept)| kept.complete);
            let newest = complete.max_by_key(|(name, kept)| (kept.made, name.clone()));
            return newest.ok_or_else(|| CheckpointFault::None { lab }.into());
        };
        match all.remove(&checkpoint) {
            Some(kept) if kept.complete => Ok((checkpoint, kept)),
            Some(_) => Err(CheckpointFault::Incomplete { lab, checkpoint }.into()),
            None => Err(CheckpointFault::Missing {
                lab,
                checkpoint,
                known: all.keys().map(ToString::to_string).collect(),
            }
            .into()),
        }
    }

    pub fn write(&self, name: &CheckpointName, kept: &Kept) -> Result<(), OpsError> {
        let path = self.path(name);
        let write = || {
            Folders::make(&self.folder())?;
            atomic_file::replace(&path, 0o600, &serde_json::to_vec_pretty(kept)?).map(drop)
        };
        write().map_err(Self::failed("write", path.clone()))
    }

    pub fn remove(&self, name: &CheckpointName) -> Result<(), OpsError> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Self::failed("remove", path)(error)),
            _ => Ok(()),
        }
    }
}

/// Returns the checkpoints of `lab`, oldest first.
pub fn checkpoints(env: &Env, lab: &LabName) -> Result<Vec<Checkpoint>, OpsError> {
    let all = Records::of(env, lab).all()?.into_iter();
    let mut all: Vec<_> = all.map(|(name, kept)| (kept.made, name, kept)).collect();
    all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let of = |(made, name, kept): (u64, CheckpointName, Kept)| {
        let made = i64::try_from(made).ok();
        let made = made.and_then(|made| chrono::DateTime::from_timestamp(made, 0));
        Checkpoint {
            name,
            made: made.map_or_else(String::new, |made| made.format("%Y-%m-%d %H:%M").to_string()),
            vms: kept.guests.len(),
            complete: kept.complete,
        }
    };
    Ok(all.into_iter().map(of).collect())
}
