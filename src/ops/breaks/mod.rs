//! Puts a fault into a lab that is up, without naming it, reveals it and removes it. `fault.json` in the lab's folder has the
//! fault, with the commands that remove it, before it is put in.

mod faults;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use faults::Fault;

use super::{Env, ExecOptions, Loaded, OpsError, Targets, exec};
use crate::atomic_file;
use crate::event::Event;
use crate::lab::LabName;
use crate::run::Lock;

/// How long the commands of a fault may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Which fault is put in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BreakOptions {
    /// What decides; the same seed means the same fault of the same lab.
    pub seed: u64,
    /// Only faults of this level, 1 to 3.
    pub level: Option<u8>,
    /// Also on hosts that are not emulated.
    pub real: bool,
}

/// A fault that was put in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The seed that chose it.
    pub seed: u64,
    /// The fault.
    pub fault: Fault,
}

/// Why no fault can be put in, revealed or removed.
#[derive(Debug, thiserror::Error)]
pub enum BreakError {
    /// There is one already.
    #[error("lab {lab} has a fault already")]
    Already {
        /// The lab.
        lab: LabName,
    },
    /// There is none.
    #[error("lab {lab} has no fault that `netlab break` has put in")]
    None {
        /// The lab.
        lab: LabName,
    },
    /// No fault of that level fits the lab.
    #[error("lab {lab} has nothing for a fault of level {level:?} on hosts that are emulated")]
    NoFault {
        /// The lab.
        lab: LabName,
        /// The level.
        level: Option<u8>,
    },
    /// A command failed.
    #[error("cannot {doing} the fault on {on}: {message}")]
    Command {
        /// `put in` or `remove`.
        doing: &'static str,
        /// The VM or host.
        on: String,
        /// What it printed.
        message: String,
    },
}

impl BreakError {
    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Already { lab } => Some(format!("`netlab break {lab} --heal` removes it, `--reveal` names it")),
            Self::None { lab } => Some(format!("`netlab break {lab}` puts one in")),
            Self::NoFault { .. } => {
                Some("leave out `--level`, or add `--real` where hosts are not emulated".to_owned())
            }
            Self::Command { doing: "remove", .. } => Some("`netlab up` restores what the lab file says".to_owned()),
            Self::Command { .. } => None,
        }
    }
}

fn path(env: &Env, lab: &LabName) -> PathBuf {
    env.folders.lab(lab).join("fault.json")
}

fn read(env: &Env, lab: &LabName) -> Result<Option<Broken>, OpsError> {
    let path = path(env, lab);
    match std::fs::read(&path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpsError::File {
            doing: "read",
            path,
            source,
        }),
    }
}

/// Puts a fault into a lab that is up; returns it, for a caller that does not show it.
pub fn break_lab(env: &Env, loaded: &Loaded, options: &BreakOptions) -> Result<Broken, OpsError> {
    let lab = &loaded.topology.lab;
    let _lock = Lock::take(&env.folders, lab, "break")?;
    let up = super::up_lab(env, lab.as_str())?;
    if read(env, lab)?.is_some() {
        return Err(BreakError::Already { lab: lab.clone() }.into());
    }
    // With what the guests have, e.g. the names of their taps.
    let surveys = super::survey(&up.hosts, lab)?;
    let topology = loaded.keeping(env, &crate::state::existing(&up.site, &surveys));
    let mut faults = faults::faults(&topology);
    faults.retain(|fault| options.real || !fault.real);
    let Some(fault) = faults::choose(&faults, options.seed, options.level) else {
        let (lab, level) = (lab.clone(), options.level);
        return Err(BreakError::NoFault { lab, level }.into());
    };
    let broken = Broken {
        seed: options.seed,
        fault: fault.clone(),
    };
    let written = serde_json::to_vec_pretty(&broken)
        .map_err(std::io::Error::from)
        .and_then(|text| atomic_file::replace(&path(env, lab), 0o600, &text));
    written.map_err(|source| OpsError::File {
        doing: "write",
        path: path(env, lab),
        source,
    })?;
    if let Err(error) = run(env, lab, "put in", &fault.on, &fault.put) {
        // What was done of it is removed; where that fails as well, the record stays for `--heal`.
        if run(env, lab, "remove", &fault.on, &fault.heal).is_ok() {
            forget(env, lab)?;
        }
        return Err(error);
    }
    Ok(broken)
}

/// Returns the fault that was put into a lab.
pub fn reveal(env: &Env, lab: &LabName) -> Result<Broken, OpsError> {
    read(env, lab)?.ok_or_else(|| BreakError::None { lab: lab.clone() }.into())
}

/// Removes the fault that was put into a lab; returns it.
pub fn heal(env: &Env, lab: &LabName) -> Result<Broken, OpsError> {
    let _lock = Lock::take(&env.folders, lab, "break")?;
    let broken = reveal(env, lab)?;
    run(env, lab, "remove", &broken.fault.on, &broken.fault.heal)?;
    forget(env, lab)?;
    Ok(broken)
}

/// Removes the fault of a lab that is about to be brought up, if it has one. What cannot be removed, e.g. because its machine
/// is not there any more, is drift as any other.
pub(super) fn heal_before_up(env: &Env, lab: &LabName) -> Result<(), OpsError> {
    let Some(broken) = read(env, lab)? else {
        return Ok(());
    };
    let removed = run(env, lab, "remove", &broken.fault.on, &broken.fault.heal);
    env.events.send(Event::Warning(match removed {
        Ok(()) => "the fault that `netlab break` had put in was removed".to_owned(),
        Err(error) => format!("the fault that `netlab break` had put in is repaired as any other: {error}"),
    }));
    forget(env, lab)
}

fn forget(env: &Env, lab: &LabName) -> Result<(), OpsError> {
    match std::fs::remove_file(path(env, lab)) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(OpsError::File {
            doing: "remove",
            path: path(env, lab),
            source,
        }),
        _ => Ok(()),
    }
}

/// Runs the commands of a fault.
fn run(env: &Env, lab: &LabName, doing: &'static str, on: &str, script: &str) -> Result<(), OpsError> {
    let options = ExecOptions {
        lab: lab.to_string(),
        on: Targets::One(on.to_owned()),
        within: WITHIN,
        command: vec![script.to_owned()],
        stdin: Vec::new(),
    };
    let done = exec(env, &options, on)?;
    if done.status == 0 {
        return Ok(());
    }
    let printed = format!("{}{}", done.errors, done.output);
    Err(BreakError::Command {
        doing,
        on: on.to_owned(),
        message: format!("status {}: {}", done.status, printed.trim()),
    }
    .into())
}
