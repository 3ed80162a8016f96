//! Which state folder a lab that is up belongs to, and which lab file. A lab is found by the marks on its objects, so
//! that every netlab on this machine can find it; only the one with its state folder may change it.
//!
//! Emulated hosts name their state folder in the command line of their init. For other hosts, the file
//! `/run/netlab/labs/LAB` on this machine names it while the lab may be up; where that file is lost, nothing else is.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Env, Loaded, OpsError};
use crate::atomic_file;
use crate::emulated;
use crate::folders::Folders;
use crate::lab::{HostName, LabName, name_only};
use crate::run::{Journal, LabFile, Past};

/// The folder of the files that name the state folders of labs.
const CLAIMS: &str = "/run/netlab/labs";

/// Returns the other state folder that the lab belongs to; none where it belongs to this one, or to none.
pub(super) fn elsewhere(env: &Env, lab: &LabName) -> Option<PathBuf> {
    let machines = emulated::running().into_iter().filter(|(of, ..)| of == lab);
    let by_machine = machines.filter_map(|(_, host, state)| {
        let has = |state: &Path| with_state(env, state).folders.machine(lab, &host).exists();
        (!is_ours(env, &state) && !has(&env.folders.state) && has(&state)).then_some(state)
    });
    by_machine.into_iter().next().or_else(|| {
        let claim = std::fs::read(Path::new(CLAIMS).join(lab.as_str())).ok()?;
        let state = PathBuf::from(OsStr::from_bytes(claim.trim_ascii_end()));
        let past = Journal::read(&with_state(env, &state).folders.lab(lab));
        // A folder whose journal cannot be read belongs to somebody as well.
        let is_up = past.map_or(true, |past| past.damaged || !past.hosts.is_empty());
        (!is_ours(env, &state) && is_up).then_some(state)
    })
}

/// Returns an error where the lab belongs to another state folder.
pub(super) fn check(env: &Env, lab: &LabName) -> Result<(), OpsError> {
    match elsewhere(env, lab) {
        None => Ok(()),
        Some(folder) => Err(OpsError::Elsewhere {
            lab: lab.clone(),
            folder,
            own: env.folders.state.clone(),
        }),
    }
}

/// Returns the environment of the netlab that has this state folder.
pub(super) fn with_state(env: &Env, state: &Path) -> Env {
    let folders = Folders {
        state: state.to_owned(),
        ..env.folders.clone()
    };
    Env { folders, ..env.clone() }
}

fn is_ours(env: &Env, state: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    real(state) == real(&env.folders.state)
}

/// Returns the emulated hosts of the lab that run although their files are lost: they can only be recreated.
pub(super) fn lost(env: &Env, lab: &LabName) -> Vec<HostName> {
    let machines = emulated::running().into_iter().filter(|(of, ..)| of == lab);
    let hosts = machines.map(|(_, host, _)| host);
    hosts.filter(|host| !env.folders.machine(lab, host).exists()).collect()
}

/// Records that the lab belongs to this state folder, until [`release`].
pub(super) fn claim(env: &Env, lab: &LabName) {
    let state = std::path::absolute(&env.folders.state).unwrap_or_else(|_| env.folders.state.clone());
    let file = Path::new(CLAIMS).join(lab.as_str());
    let write = || -> io::Result<()> {
        Folders::make(Path::new(CLAIMS))?;
        atomic_file::replace(&file, 0o600, state.as_os_str().as_bytes()).map(drop)
    };
    // Once more where another run has just removed the empty folder. Who may not write there brings up no lab here.
    let _ = write().or_else(|_| write());
}

/// Removes that record, and its folders where they are empty.
pub(super) fn release(lab: &LabName) {
    let claims = Path::new(CLAIMS);
    let _ = std::fs::remove_file(claims.join(lab.as_str()));
    for folder in [Some(claims), claims.parent()].into_iter().flatten() {
        let _ = std::fs::remove_dir(folder);
    }
}

/// Returns the file that the lab came up with where it is not `loaded`'s, neither moved nor copied: it still exists, has
/// other content, and describes a lab of this name.
pub(super) fn other_file(env: &Env, past: &Past, loaded: &Loaded) -> Option<PathBuf> {
    let (was, now) = (past.file.as_ref()?, loaded.recorded(env)?);
    if was.path == now.path || was.digest == now.digest {
        return None;
    }
    let content = std::fs::read(&was.path).ok()?;
    let there = LabFile::read(&was.path).ok()?;
    let renamed = name_only(&String::from_utf8_lossy(&content)).is_some_and(|name| name != loaded.topology.lab);
    (there.digest != now.digest && !renamed).then(|| was.path.clone())
}
