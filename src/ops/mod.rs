//! The use cases of netlab as a library: bring a lab up, verify it, take it down, and the rest of what the program
//! does. Takes an [`Env`], a lab and typed options; returns typed reports, or an [`OpsError`] with its `help()`.
//! Never prints, and never reads the command line or the environment.
//!
//! ```no_run
//! use netlab::folders::Folders;
//! use netlab::ops::{self, DownOptions, Env, LoadOptions, UpOptions, VerifyOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let env = Env::new(Folders::from_env(), "/usr/bin/netlab".into());
//! let lab = ops::load(&env, "lab.toml".as_ref(), &LoadOptions::default())?;
//! ops::up(&env, &lab, &UpOptions::default())?;
//! assert!(ops::verify(&env, &lab, &VerifyOptions::default())?.as_expected);
//! ops::down(&env, &lab.topology.lab, &DownOptions::default())?;
//! # Ok(())
//! # }
//! ```

mod belongs;
mod breaks;
mod caller;
mod capture;
mod checkpoint;
mod connect;
mod converge;
mod cp;
mod diagnose;
mod differences;
pub mod doctor;
mod down;
mod error;
mod exec;
mod found;
mod guests;
mod host_keys;
mod link;
mod load;
mod marks;
mod moved;
mod named;
mod observe;
mod passwords;
mod pause;
mod plan;
mod power;
mod reason;
mod rollback;
mod script;
mod ssh;
mod status;
mod steps;
mod stopped;
mod support;
mod up;
mod verify;
mod vm;
mod warm;

use std::path::PathBuf;

use crate::event::{Cancel, Events};
use crate::folders::Folders;
use crate::lab::LabName;

pub use breaks::{BreakError, BreakOptions, Broken, Fault, break_lab, heal, reveal};
pub use caller::Caller;
pub use capture::{CaptureError, CaptureOptions, CaptureReport, Point, Points, capture, points};
pub use checkpoint::{
    Checkpoint, CheckpointFault, RestoreReport, SaveReport, checkpoints, remove_checkpoint, restore, save,
};
pub use connect::{connect, connects};
pub use cp::{Copied, CopyOptions, Place, copy};
pub use diagnose::{DiagnoseOptions, DiagnoseReport, diagnose};
pub use doctor::doctor;
pub use down::{DownOptions, DownReport, down};
pub(crate) use error::count;
pub use error::{Aftermath, Detail, OpsError};
pub use exec::{ExecOptions, ExecReport, Targets, exec, exec_each, login_command, shell_line};
pub use guests::{Deviations, GuestReport, inspect_guests};
pub use host_keys::{HostKeys, learn_host_keys};
pub use link::{LinkChange, LinkReport, LinkState, link};
pub use load::{Entries, ImageChoice, LoadOptions, Loaded, load, load_images, load_text, topology};
pub use marks::marks;
pub use named::{LAB_TOML, is_emulated, lab_name, load_named};
pub use observe::{observe, survey};
pub use pause::{PauseReport, Paused, pause};
pub use plan::{Planned, plan, plan_offline, preflight_and_plan};
pub use power::{Chosen, Power, PowerReport, power};
pub use reason::Reason;
pub use rollback::roll_back;
pub use script::script;
pub use ssh::{SshConfig, SshVm, ssh_config};
pub use status::{
    BondStatus, ForwardStatus, HostStatus, LabElsewhere, LabList, LabState, LabStatus, LabSummary, LinkStatus,
    NetworkStatus, RunOutcome, RunStatus, VmStatus, status, statuses,
};
pub use steps::{Effect, PlannedStep};
pub use support::{SupportReport, support_report};
pub use up::{UpOptions, UpReport, UpVm, up};
pub use verify::{Details, VerifyOptions, VerifyReport, verify};
pub use vm::{UpLab, Vm, find_vm, up_lab};
pub use warm::{WarmReport, warm};

/// What every use case needs from its caller.
#[derive(Debug, Clone)]
pub struct Env {
    /// Where netlab keeps its files.
    pub folders: Folders,
    /// The netlab program, which becomes PID 1 of every emulated host.
    pub program: PathBuf,
    /// Whose SSH keys guests are given; nobody's where it is not set.
    pub caller: Caller,
    /// Where progress is sent.
    pub events: Events,
    /// Requested, e.g. by a signal handler, to stop a run between two steps.
    pub cancel: Cancel,
}

/// Returns [`OpsError::Interrupted`] where a stop was requested: also in or after the last of `done` steps, so that a
/// caller who asked for it never takes the run for one that went on.
fn stop_on_request(env: &Env, lab: &LabName, done: usize) -> Result<(), OpsError> {
    if !env.cancel.is_requested() {
        return Ok(());
    }
    Err(OpsError::Interrupted {
        lab: lab.clone(),
        done,
        left: 0,
    })
}

impl Env {
    /// Creates an environment whose events go nowhere and that nobody cancels.
    pub fn new(folders: Folders, program: PathBuf) -> Self {
        Self {
            folders,
            program,
            caller: Caller::default(),
            events: Events::none(),
            cancel: Cancel::default(),
        }
    }
}
