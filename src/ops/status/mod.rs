//! Reads from the hosts themselves what of a lab is there, and from its journal how its last run ended.

mod here;
mod report;
mod vms;

use std::collections::BTreeSet;
use std::io::ErrorKind;

use super::belongs::{elsewhere, with_state};
use super::found::{Marked, marked};
use super::{Env, OpsError};
use crate::causes::chain;
use crate::lab::LabName;
use here::read;
pub use report::{
    BondStatus, ForwardStatus, HostStatus, LabElsewhere, LabList, LabState, LabStatus, LabSummary, LinkStatus,
    NetworkStatus, RunOutcome, RunStatus, VmStatus,
};

/// Returns the labs of this state folder, and those whose marks are on objects of this machine.
pub fn statuses(env: &Env) -> LabList {
    let Marked {
        emulated,
        local,
        mut unseen,
    } = marked();
    let mut names: BTreeSet<LabName> = emulated.into_iter().chain(local).collect();
    let labs = env.folders.state.join("labs");
    let mut in_folder = BTreeSet::new();
    match std::fs::read_dir(&labs) {
        Ok(entries) => {
            let entries = entries.flatten();
            in_folder.extend(entries.filter_map(|entry| entry.file_name().to_str()?.parse::<LabName>().ok()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => unseen.push(format!("cannot list {}: {error}", labs.display())),
    }
    names.extend(in_folder.iter().cloned());
    let mut others = Vec::new();
    names.retain(|lab| match elsewhere(env, lab) {
        Some(folder) => {
            let lab = lab.clone();
            others.push(LabElsewhere { lab, folder });
            false
        }
        None => true,
    });
    let summaries = names.into_iter().map(|name| match read(env, &name, false) {
        Ok(lab) => LabSummary {
            lab: name,
            state: lab.state,
            hosts: lab.hosts.iter().filter(|host| host.kind == "host").count(),
            vms: lab.vms.len(),
            running: lab.vms.iter().filter(|vm| vm.state.starts_with("running")).count(),
            error: None,
        },
        Err(error) => LabSummary {
            lab: name,
            state: LabState::Unknown,
            hosts: 0,
            vms: 0,
            running: 0,
            error: Some(match error.details().first() {
                Some(cause) => format!("{}: {}", cause.host, cause.message),
                None => chain(&error),
            }),
        },
    });
    LabList {
        // A stranger's namespace may have a name like one of netlab's.
        labs: summaries
            .filter(|lab| lab.state != LabState::Down || in_folder.contains(&lab.lab))
            .collect(),
        elsewhere: others,
        unseen,
    }
}

/// Reads one lab's hosts, its guests and its journal. A lab of another state folder is read from there.
pub fn status(env: &Env, lab: &LabName) -> Result<LabStatus, OpsError> {
    match elsewhere(env, lab) {
        None => read(env, lab, true),
        Some(folder) => Ok(LabStatus {
            folder: Some(folder.clone()),
            ..read(&with_state(env, &folder), lab, true)?
        }),
    }
}
