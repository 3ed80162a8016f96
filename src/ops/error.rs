//! Why a use case did not do what was requested: one enum, whose variants carry the errors of the stages below, each
//! with its own `help()`.

mod help;

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::breaks::BreakError;
use super::capture::CaptureError;
use super::checkpoint::CheckpointFault;
use crate::guest::SessionError;
use crate::host::{HostError, StepError};
use crate::image::ImageError;
use crate::import::ImportError;
use crate::lab::{Connect, HostName, ImageName, LabName, LoadError, NameError, VmName};
use crate::plan::Plan;
use crate::preflight::Obstacle;
use crate::run::{JournalError, LockError};
use crate::script::ScriptError;
use crate::transport::DialError;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// The lab file cannot be read, or is invalid: a miette diagnostic with every problem and its place.
    #[error("the lab file is invalid")]
    LabInvalid(#[source] Box<LoadError>),
    /// A configuration to import is invalid.
    #[error("{}", file.display())]
    ImportInvalid {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: ImportError,
    },
    /// An image was chosen for a lab whose VMs all name their own.
    #[error("--image {image} has no effect: every vm of lab {lab} names its own image")]
    ImageWithoutEffect {
        /// The image.
        image: ImageName,
        /// The lab.
        lab: LabName,
    },
    /// The lab has no such host.
    #[error("lab {lab} has no host {host}; its hosts: {}", list(known))]
    NoSuchHost {
        /// The lab.
        lab: LabName,
        /// The host.
        host: HostName,
        /// The hosts it has.
        known: Vec<HostName>,
    },
    /// A file has no lab name that can be read.
    #[error("{} has no `name` that can be read", file.display())]
    NoLabName {
        /// The file.
        file: PathBuf,
    },
    /// A text is neither a file nor a lab's name.
    #[error("{text} is neither a file nor the name of a lab")]
    NotALab {
        /// The text.
        text: String,
        /// Why it is no name.
        #[source]
        source: NameError,
    },
    /// An image cannot be provided.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Another run holds the lab, or its lock cannot be taken.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file operation of netlab's own failed.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Hosts cannot be observed.
    #[error("cannot read {}", hosts_of(.0.iter().map(|(host, _)| host)))]
    Unreachable(Vec<(HostName, HostError)>),
    /// Hosts have too little space for what is to be copied to them; nothing was changed.
    #[error("not enough space on {}", hosts_of(.0.iter().map(|(host, _)| host)))]
    NoSpace(Vec<(HostName, HostError)>),
    /// Hosts of the lab are now connected differently than when it came up.
    #[error("{}", differences(.changed))]
    ChangedConnect {
        /// The lab.
        lab: LabName,
        /// The hosts: how each was and is connected.
        changed: Vec<(HostName, Connect, Connect)>,
    },
    /// The lab is up and belongs to another state folder.
    #[error("lab {lab} belongs to state folder {}, and this netlab uses {}; nothing was changed", folder.display(), own.display())]
    Elsewhere {
        /// The lab.
        lab: LabName,
        /// The state folder that it belongs to.
        folder: PathBuf,
        /// The one that this netlab uses.
        own: PathBuf,
    },
    /// The lab is up, from another file.
    #[error("lab {lab} is up from {}, and {} is another file; nothing was changed", up.display(), file.display())]
    OtherFile {
        /// The lab.
        lab: LabName,
        /// The file that it came up with.
        up: PathBuf,
        /// The file that was given.
        file: PathBuf,
    },
    /// Preflight found errors; nothing was changed.
    #[error("preflight failed: {}; nothing was changed", count(.0.len(), "error"))]
    PreflightFailed(Vec<Obstacle>),
    /// The run was stopped between steps.
    #[error("stopped between steps: {done} done, {left} not begun")]
    Interrupted {
        /// The lab.
        lab: LabName,
        /// Steps done.
        done: usize,
        /// Steps not done.
        left: usize,
    },
    /// Steps failed.
    #[error("{} failed on {}", count(failed.len(), "step"), hosts_of(failed.iter().map(|(host, _)| host)))]
    StepsFailed {
        /// The lab.
        lab: LabName,
        /// The steps, with their hosts.
        failed: Vec<(HostName, StepError)>,
        /// What was done about it.
        then: Aftermath,
    },
    /// Every step succeeded, and the hosts are still not as planned.
    #[error("{} succeeded, but {} still to do", count(*done, "step"), are(remaining.steps().count()))]
    NotConverged {
        /// The lab.
        lab: LabName,
        /// The command that ran: `up` or `down`.
        command: &'static str,
        /// Steps that ran.
        done: usize,
        /// What is still to do.
        remaining: Plan,
    },
    /// The lab is not up.
    #[error("lab {lab} is not up")]
    NotUp {
        /// The lab.
        lab: LabName,
        /// Its file, where it was given.
        file: Option<PathBuf>,
    },
    /// The lab has no such VM.
    #[error("lab {lab} has no VM {vm:?}")]
    NoSuchVm {
        /// The lab.
        lab: LabName,
        /// The name asked for.
        vm: String,
        /// The VMs it has.
        known: Vec<String>,
    },
    /// A text is neither a file nor the name of a lab that is up.
    #[error("there is no file {text}, and no lab of that name is up")]
    NoSuchLab {
        /// The text.
        text: String,
    },
    /// A VM is to be started whose host was stopped on request.
    #[error("VM {vm} of lab {lab} is on host {host}, which was stopped")]
    HostStopped {
        /// The lab.
        lab: LabName,
        /// The VM.
        vm: VmName,
        /// Its host.
        host: HostName,
    },
    /// The file of a lab is needed, and it is not where the lab came up from.
    #[error("the file that lab {lab} came up from is not known or no longer there")]
    NoFile {
        /// The lab.
        lab: LabName,
    },
    /// The lab has nothing of that name or address that could ping or be pinged.
    #[error("lab {lab} has no VM, host or router {text:?}, and no machine of the lab has that address")]
    NoSuchEnd {
        /// The lab.
        lab: LabName,
        /// The name or address asked for.
        text: String,
        /// The VMs, hosts and routers that it has.
        known: Vec<String>,
    },
    /// The lab has no such link.
    #[error("lab {lab} has no link {text:?}")]
    NoSuchLink {
        /// The lab.
        lab: LabName,
        /// What was asked for.
        text: String,
        /// The links that it has.
        known: Vec<String>,
    },
    /// Guests of an image always boot.
    #[error("guests of image {0} are not started from a saved state")]
    NeverWarm(ImageName),
    /// The saved state of an image could not be made.
    #[error("guests of image {image} boot: {why}")]
    NotWarm {
        /// The image.
        image: ImageName,
        /// Why.
        why: String,
    },
    /// Packets cannot be captured.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A fault cannot be put in, revealed or removed.
    #[error(transparent)]
    Break(#[from] BreakError),
    /// A checkpoint cannot be made, used or removed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointFault),
    /// Without a delay there is nothing to vary.
    #[error("a jitter varies a delay, and the link has none")]
    JitterWithoutDelay,
    /// A VM is not running.
    #[error("VM {vm} is not running{}", .why.as_ref().map_or_else(String::new, |why| format!(": {why}")))]
    VmNotRunning {
        /// The VM.
        vm: String,
        /// Why it does not, where that is known.
        why: Option<String>,
    },
    /// It is unknown how to log in on a VM's console.
    #[error("the console of VM {vm} is unknown: `up` did not configure it")]
    NoConsole {
        /// The VM.
        vm: String,
    },
    /// No host of the lab is connected to a VM's network.
    #[error("VM {vm} cannot be reached: no host of the lab has an address in its networks")]
    NotReached {
        /// The VM.
        vm: String,
    },
    /// A port of a VM cannot be connected to.
    #[error("VM {vm} cannot be reached")]
    Dial {
        /// The VM.
        vm: String,
        /// Why.
        #[source]
        source: DialError,
    },
    /// A file cannot be copied.
    #[error("cannot copy {what}: {why}")]
    Copy {
        /// The file.
        what: String,
        /// Why.
        why: String,
    },
    /// One host failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A guest's console failed.
    #[error(transparent)]
    Guest(#[from] SessionError),
    /// A command has characters that a terminal would act on.
    #[error("a command with control characters cannot be typed into a VM")]
    ControlCharacters,
    /// A script cannot be rendered.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// What was done after steps failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aftermath {
    /// Every host was restored to its state before the run.
    RolledBack,
    /// The rollback failed as well, at least in part.
    RollbackFailed,
    /// Nothing: the caller asked to keep what was done.
    Kept,
    /// Nothing: only guests could not be configured, and the rest of the lab is up.
    GuestsOnly {
        /// The folder of the guests' transcripts.
        transcripts: PathBuf,
    },
    /// Everything else was removed.
    RestRemoved,
    /// What was saved was deleted, and the guests were resumed.
    Resumed,
    /// What could not be resumed is paused.
    Paused,
    /// Nothing was changed yet.
    Unchanged,
    /// Guests are restored, paused or off.
    HalfRestored,
}

/// One of several causes of an [`OpsError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// The host.
    pub host: HostName,
    /// What is wrong there, causes included.
    pub message: String,
    /// What the user can do about it.
    pub help: Option<String>,
}

fn list(hosts: &[HostName]) -> String {
    hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
}

/// `host node1`, or `hosts node1, node2`.
fn hosts_of<'a>(hosts: impl Iterator<Item = &'a HostName>) -> String {
    let hosts: std::collections::BTreeSet<&str> = hosts.map(HostName::as_str).collect();
    let noun = if hosts.len() == 1 { "host" } else { "hosts" };
    format!("{noun} {}", hosts.into_iter().collect::<Vec<_>>().join(", "))
}

/// `1 step is`, or `2 steps are`.
fn are(steps: usize) -> String {
    count(steps, "step") + if steps == 1 { " is" } else { " are" }
}

/// `1 step`, or `2 steps`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn differences(changed: &[(HostName, Connect, Connect)]) -> String {
    let sentences = changed.iter().map(|(host, was, now)| {
        format!("host {host} was connected by `{was}` when the lab came up and is `{now}` in its file")
    });
    sentences.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Severity;

    #[test]
    fn a_failed_preflight_counts_its_errors_and_gives_each_its_help() {
        let obstacle = Obstacle {
            severity: Severity::Error,
            host: "node1".parse().unwrap(),
            what: "program `nft` is missing".to_owned(),
            help: "apt-get install nftables".to_owned(),
        };
        let error = OpsError::PreflightFailed(vec![obstacle.clone(), obstacle]);
        assert_eq!(error.to_string(), "preflight failed: 2 errors; nothing was changed");
        assert_eq!(error.details()[0].help.as_deref(), Some("apt-get install nftables"));
    }

    #[test]
    fn hosts_are_named_once_each() {
        let names: Vec<HostName> = ["b", "a", "b"].iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(hosts_of(names.iter()), "hosts a, b");
        assert_eq!(hosts_of(names[1..2].iter()), "host a");
    }
}
