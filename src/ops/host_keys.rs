//! The host keys of guests' ssh servers, pinned per lab: read over the guest's console, which nobody on the network
//! between can change, before ssh sees them for the first time.

use std::time::{Duration, Instant};

use super::exec::{open, transcript};
use super::{Env, OpsError, Vm};
use crate::atomic_file;
use crate::causes::chain;
use crate::folders::Folders;
use crate::guest::{Session, host_keys};
use crate::lab::LabName;
use crate::plan::{Plan, Step};

/// How long reading the keys may take: less than programs wait for a connection (Ansible's 10 s).
const WITHIN: Duration = Duration::from_secs(9);

/// How a guest's host keys are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeys {
    /// They were known already.
    Known,
    /// They were read over its console.
    Learned,
    /// They could not be read, and ssh accepts what it sees the first time.
    FirstUse(String),
}

/// Makes the host keys of a guest known, unless they are.
pub fn learn_host_keys(env: &Env, vm: &Vm) -> Result<HostKeys, OpsError> {
    let file = env.folders.known_hosts(vm.name.lab(), vm.name.vm());
    if file.exists() {
        return Ok(HostKeys::Known);
    }
    let failed = |source| OpsError::File {
        doing: "write",
        path: file.clone(),
        source,
    };
    if let Some(folder) = file.parent() {
        Folders::make(folder).map_err(failed)?;
    }
    let keys = match read(env, vm) {
        Ok(keys) if keys.is_empty() => return Ok(HostKeys::FirstUse("it shows none in /etc/ssh".to_owned())),
        Ok(keys) => keys,
        Err(error) => return Ok(HostKeys::FirstUse(chain(&error))),
    };
    let (lab, vm) = (vm.name.lab(), vm.name.vm());
    let lines: Vec<String> = keys.iter().map(|key| format!("{vm}.{lab} {key}\n")).collect();
    atomic_file::replace(&file, 0o600, lines.concat().as_bytes()).map_err(failed)?;
    Ok(HostKeys::Learned)
}

fn read(env: &Env, vm: &Vm) -> Result<Vec<String>, OpsError> {
    let limit = (Instant::now(), WITHIN);
    let image = vm.console()?;
    let console = open(env, vm, image, limit)?;
    let mut session = Session::open_within(console, image, transcript(env, vm)?, limit)?;
    Ok(host_keys(&mut session, WITHIN)?)
}

/// Forgets the host keys of the guests that `plan` gives a new disk or configures: the latter can be read again, and
/// those of a guest without a disk are others after each boot.
pub(super) fn forget(env: &Env, lab: &LabName, plan: &Plan) {
    for (_, step) in plan.steps() {
        if let Step::CreateVolume(name, _) | Step::ConfigureGuest(name, _) = step {
            let _ = std::fs::remove_file(env.folders.known_hosts(lab, name.vm()));
        }
    }
}
