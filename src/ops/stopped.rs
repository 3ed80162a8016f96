//! Which emulated hosts of a lab were stopped on request: a file in the lab's folder, which `down` removes with it.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::{Env, OpsError};
use crate::atomic_file;
use crate::lab::{HostName, LabName};

fn file(env: &Env, lab: &LabName) -> PathBuf {
    env.folders.lab(lab).join("stopped.json")
}

/// Returns the hosts; none where the file cannot be read.
pub(super) fn stopped(env: &Env, lab: &LabName) -> BTreeSet<HostName> {
    let content = std::fs::read(file(env, lab)).unwrap_or_default();
    serde_json::from_slice(&content).unwrap_or_default()
}

/// Records the hosts.
pub(super) fn record(env: &Env, lab: &LabName, hosts: &BTreeSet<HostName>) -> Result<(), OpsError> {
    let path = file(env, lab);
    if *hosts == stopped(env, lab) {
        return Ok(());
    }
    let written = if hosts.is_empty() {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    } else {
        serde_json::to_vec(hosts)
            .map_err(io::Error::from)
            .and_then(|content| atomic_file::replace(&path, 0o600, &content).map(drop))
    };
    written.map_err(|source| OpsError::File {
        doing: "record which hosts are stopped in",
        path,
        source,
    })
}
