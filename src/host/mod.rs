//! The only code that touches a host: takes steps and applies them, looks at a host and gives its [`HostState`].
//! Takes no decision about what is wanted; never prints.

mod console;
mod emulator;
pub mod guests;
mod images;
pub mod linux;
mod network;
pub mod sim;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::guest::vga::Screen;
use crate::guest::{ProbeOptions, probe_by};
use crate::lab::{Asked, ConsoleKind, HostName, LabName};
use crate::plan::Step;
use crate::state::{DomainName, HostState};

pub use crate::state::survey::Survey;
pub use crate::transport::cmd::{Cmd, CmdError, Output, Shell};

/// A host that can be looked at and changed.
pub trait Host: Send + Sync {
    /// What `lab` owns here. Foreign objects do not appear.
    fn observe(&self, lab: &LabName) -> Result<HostState, HostError>;

    /// What the host is and has, apart from the lab: for preflight and for what the desired state must keep.
    fn survey(&self, lab: &LabName) -> Result<Survey, HostError>;

    /// Ends what an earlier run on the lab may have left under way here; before anything is looked at to be changed.
    fn settle(&self, _lab: &LabName) -> Result<(), HostError> {
        Ok(())
    }

    /// How the host's links stand, its own and the lab's: for finding out where packets stop. None where that cannot
    /// be seen.
    fn ports(&self) -> Result<crate::state::survey::Ports, HostError> {
        Ok(crate::state::survey::Ports::new())
    }

    /// Applies steps in order, telling `log` before and after each. Creation stops at the first error; removal goes
    /// on and returns all of them. Guests of one call run side by side.
    fn apply(&self, lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>>;

    /// Runs a command there that changes nothing, for a question that is none of the above.
    fn ask(&self, cmd: &Cmd) -> Result<Output, HostError> {
        Err(HostError::Other {
            doing: cmd.to_string(),
            message: "this host runs no commands".to_owned(),
        })
    }

    /// Opens the console of a running domain. The guest's output from now on is not lost.
    fn open_console(&self, domain: &DomainName, kind: ConsoleKind)
    -> Result<Box<dyn crate::guest::Console>, HostError>;

    /// The screen and the keyboard of a running domain, for a person. Nobody else types there meanwhile.
    fn open_screen(&self, domain: &DomainName) -> Result<Box<dyn Screen>, HostError> {
        Err(no_screens(domain))
    }

    /// A picture of a running domain's screen, as PNG.
    fn screenshot(&self, domain: &DomainName) -> Result<Vec<u8>, HostError> {
        Err(no_screens(domain))
    }

    /// Has `from`, which is this host itself or a router that lives on it, ping all of `targets` at once; what came of
    /// each.
    fn ping(
        &self,
        lab: &LabName,
        from: &Asked,
        targets: &[IpAddr],
    ) -> Result<BTreeMap<IpAddr, crate::guest::Answer>, HostError>;
}

/// Has a shell's `ping` ask all of `targets`.
pub(crate) fn ping_through(
    shell: &dyn Shell,
    targets: &[IpAddr],
) -> Result<BTreeMap<IpAddr, crate::guest::Answer>, HostError> {
    // No address takes longer than the script itself lets it, so nothing has to watch the time.
    let answers = probe_by(targets, &ProbeOptions::default(), |script, _within| {
        let output = shell.check(&Cmd::new(["sh", "-c", script]))?;
        Ok::<_, CmdError>(String::from_utf8_lossy(&output).into_owned())
    });
    Ok(answers?)
}

/// Who is told about steps while they run: the journal (which must have them on disk before they happen) and the
/// progress display. Called from several threads.
pub trait StepLog: Sync {
    /// These steps are about to run, as one batch. An error means they must not.
    fn begin(&self, steps: &[Step]) -> std::io::Result<()>;
    /// These steps, begun together, have ended.
    fn end(&self, steps: &[Step], result: Result<(), &StepError>);
    /// A word about a step under way, e.g. what a booting guest printed last.
    fn note(&self, step: &Step, text: &str);
    /// The user asked to stop: begin nothing new.
    fn cancelled(&self) -> bool;
}

/// Nobody listens, and nobody asks to stop.
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

fn no_screens(domain: &DomainName) -> HostError {
    HostError::Other {
        doing: format!("opening the screen of {domain}"),
        message: "this host's guests have no screens".to_owned(),
    }
}

/// A host could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// libvirt said no; the text is libvirt's.
    #[error("libvirt on this host, {doing}: {message}")]
    Libvirt {
        /// What was being done.
        doing: String,
        /// libvirt's words.
        message: String,
        /// libvirt's error code (virErrorNumber).
        code: u32,
    },
    /// ssh did not get there.
    #[error(transparent)]
    Ssh(#[from] crate::transport::ssh::SshError),
    /// Something else: what was being done and what came of it.
    #[error("{doing}: {message}")]
    Other {
        /// What was being done.
        doing: String,
        /// What came of it.
        message: String,
    },
}

impl HostError {
    /// Returns what a user can do about it, if anything is known.
    pub fn help(&self) -> Option<&'static str> {
        None
    }
}

impl StepError {
    /// Returns what a user can do about it, if anything is known.
    pub fn help(&self) -> Option<&'static str> {
        None
    }
}

/// A step failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct StepError {
    /// The step.
    pub step: Step,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A host with its name, for messages.
pub type NamedHosts = BTreeMap<HostName, std::sync::Arc<dyn Host>>;
