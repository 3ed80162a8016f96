//! Hosts: the contract ([`Host`], [`StepLog`], [`HostError`], [`StepError`]) and its two kinds, a Linux host with libvirt
//! ([`linux::LinuxHost`]) and the owner of emulated machines ([`Emulator`](crate::emulated::Emulator)). Takes steps and
//! applies them, observes a host and gives its [`HostState`]. Decides nothing about what is wanted; never prints.

mod console;
mod copies;
mod emulator;
mod error;
pub mod forward;
pub mod guests;
pub mod linux;
mod network;
mod run_state;
mod steps;
mod warm;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::guest::vga::Screen;
use crate::guest::{ProbeOptions, Reply, Target, probe_by};
use crate::lab::{Asked, CheckpointName, ConsoleKind, HostName, LabName, VmName};
use crate::plan::Step;
use crate::state::view::View;
use crate::state::{DomainName, HostState};

pub use crate::state::survey::Survey;
pub use crate::transport::Dialer;
pub use crate::transport::cmd::{Cmd, CmdError, Output, Shell};
pub use error::{HostError, Request, StepError, StepFailure};

/// A host that can be observed and changed.
pub trait Host: Send + Sync {
    /// Returns what `lab` owns on the host. Foreign objects are not included.
    fn observe(&self, lab: &LabName) -> Result<HostState, HostError>;

    /// Returns what the host is and has, apart from the lab: for preflight, and for what the desired state must keep.
    fn survey(&self, lab: &LabName) -> Result<Survey, HostError>;

    /// Ends what an interrupted run on the lab may have left in progress on the host. Called before the host is observed
    /// in order to change it.
    fn settle(&self, _lab: &LabName) -> Result<(), HostError> {
        Ok(())
    }

    /// Returns an error where the host has too little space for files of this machine that are to be copied to it. A host
    /// that uses them in place needs none.
    fn check_space(&self, _files: &BTreeSet<PathBuf>) -> Result<(), HostError> {
        Ok(())
    }

    /// Returns an error where the host has too little space for a checkpoint of guests with so many MiB of memory; with
    /// `restore`, to restore the disks of that one.
    fn check_checkpoint_space(
        &self,
        _lab: &LabName,
        _memory_mib: u64,
        _restore: Option<&CheckpointName>,
    ) -> Result<(), HostError> {
        Ok(())
    }

    /// Returns what the host's kernel shows of its links and of the packets that passed; of the machine netlab runs on,
    /// what the lab's switches and routers show. Empty where it cannot be read.
    fn views(&self, _lab: &LabName) -> Result<BTreeMap<HostName, View>, HostError> {
        Ok(BTreeMap::new())
    }

    /// Applies steps in order, each recorded in `log` before and after. Creation stops at the first error; removal goes
    /// on and returns all errors. Guests of one call are started and configured in parallel.
    fn apply(&self, lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>>;

    /// Runs a command on the host that changes nothing.
    fn ask(&self, cmd: &Cmd) -> Result<Output, HostError> {
        Err(HostError::Unsupported(Request::Run(cmd.to_string())))
    }

    /// Runs a command in a switch or router that is emulated on this host.
    fn ask_router(&self, _lab: &LabName, _router: &HostName, cmd: &Cmd) -> Result<Output, HostError> {
        Err(HostError::Unsupported(Request::Run(cmd.to_string())))
    }

    /// Returns what makes TCP connections from this host.
    fn dialer(&self) -> Result<Dialer, HostError> {
        Err(HostError::Unsupported(Request::Connect))
    }

    /// Returns the command that opens a login shell in a switch or router that is emulated on this host.
    fn login_device(&self, _lab: &LabName, _device: &HostName) -> Result<Vec<String>, HostError> {
        Err(HostError::Unsupported(Request::Connect))
    }

    /// Opens the console of a running domain. No output of the guest is lost from then on.
    fn open_console(
        &self,
        domain: &DomainName,
        _kind: ConsoleKind,
    ) -> Result<Box<dyn crate::guest::Console>, HostError> {
        Err(HostError::Unsupported(Request::OpenConsole(domain.clone())))
    }

    /// Opens the screen and the keyboard of a running domain, exclusively.
    fn open_screen(&self, domain: &DomainName) -> Result<Box<dyn Screen>, HostError> {
        Err(HostError::Unsupported(Request::OpenScreen(domain.clone())))
    }

    /// Takes a screenshot of a running domain, as PNG.
    fn screenshot(&self, domain: &DomainName) -> Result<Vec<u8>, HostError> {
        Err(HostError::Unsupported(Request::OpenScreen(domain.clone())))
    }

    /// Pings all of `targets` at once from `from`, which is this host itself or a router emulated on it. Returns the
    /// result of each.
    fn ping(
        &self,
        _lab: &LabName,
        from: &Asked,
        _targets: &[Target],
        _options: &ProbeOptions,
    ) -> Result<BTreeMap<IpAddr, Reply>, HostError> {
        Err(HostError::Unsupported(Request::Ping(from.clone())))
    }
}

/// Pings all of `targets` by a shell's `ping`.
pub(crate) fn ping_through(
    shell: &dyn Shell,
    targets: &[Target],
    options: &ProbeOptions,
) -> Result<BTreeMap<IpAddr, Reply>, HostError> {
    let answers = probe_by(targets, options, |script, within| {
        let output = shell.check(&Cmd::new(["sh", "-c", script]).within(within))?;
        Ok::<_, CmdError>(String::from_utf8_lossy(&output).into_owned())
    });
    Ok(answers?)
}

/// Records steps while they run: in the journal, which must have them on disk before they are applied, and on the
/// progress display. Called from several threads.
pub trait StepLog: Sync {
    /// Records that these steps are about to be applied, as one batch. An error means they must not be.
    fn begin(&self, steps: &[Step]) -> std::io::Result<()>;
    /// Records that these steps, begun together, have ended.
    fn end(&self, steps: &[Step], result: Result<(), &StepError>);
    /// Reports the progress of a step, e.g. what a booting guest printed last.
    fn note(&self, step: &Step, text: &str);
    /// Reports that a guest was started: restored, or booting; and why it boots although guests of its kind need not.
    fn started(&self, _vm: &VmName, _restored: bool, _why: Option<&str>) {}
    /// Reports what the user should know of a guest although its step goes on.
    fn warn(&self, _vm: &VmName, _text: &str) {}
    /// Returns whether the user asked to stop: nothing new must be begun.
    fn cancelled(&self) -> bool;
}

/// Records nothing and is never cancelled.
impl StepLog for () {
    fn begin(&self, _: &[Step]) -> std::io::Result<()> {
        Ok(())
    }
    fn end(&self, _: &[Step], _: Result<(), &StepError>) {}
    fn note(&self, _: &Step, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// Hosts by name.
pub type NamedHosts = BTreeMap<HostName, std::sync::Arc<dyn Host>>;
