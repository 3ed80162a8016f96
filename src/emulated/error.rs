//! What can go wrong with the emulated machines.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::lab::{HostName, IfName};
use crate::linux::ip::NetworkError;
use crate::transport::CmdError;

/// A change of this machine's files or processes that belongs to an emulated machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Reading or checking a file or folder.
    Inspect(PathBuf),
    /// Listing a folder.
    List(PathBuf),
    /// Writing a file.
    Write(PathBuf),
    /// Deleting a file or folder.
    Delete(PathBuf),
    /// Reading the record of a machine's NICs.
    ReadNics(HostName),
    /// Writing the record of a machine's NICs.
    WriteNics(HostName),
    /// Ending the processes of a machine.
    EndProcesses(HostName),
    /// Setting the host name, in the machine.
    SetHostName,
    /// Mounting the private folders, in the machine.
    MountFolders,
    /// Starting a daemon, in the machine.
    StartDaemon(PathBuf),
    /// Resolving the path of libvirt's socket.
    ResolveSocket,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inspect(path) => write!(f, "inspect {}", path.display()),
            Self::List(path) => write!(f, "list {}", path.display()),
            Self::Write(path) => write!(f, "write {}", path.display()),
            Self::Delete(path) => write!(f, "delete {}", path.display()),
            Self::ReadNics(host) => write!(f, "read the record of {host}'s NICs"),
            Self::WriteNics(host) => write!(f, "write the record of {host}'s NICs"),
            Self::EndProcesses(host) => write!(f, "end the processes of emulated machine {host}"),
            Self::SetHostName => f.write_str("set the host name"),
            Self::MountFolders => f.write_str("mount the private folders"),
            Self::StartDaemon(program) => write!(f, "start {}", program.display()),
            Self::ResolveSocket => f.write_str("resolve the path of libvirt's socket"),
        }
    }
}

/// An operation on an emulated machine failed.
#[derive(Debug, thiserror::Error)]
pub enum EmulatedError {
    /// netlab does not run as root.
    #[error("emulated hosts need root")]
    NeedsRoot,
    /// A program is missing on this machine.
    #[error("{0} is not installed")]
    NotInstalled(&'static str),
    /// The state folder's path is so long that no socket in it could be connected to.
    #[error("the path of libvirt's socket has {length} bytes, at most {limit} are possible: {}", .path.display())]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The most bytes that the kernel takes.
        limit: usize,
    },
    /// A file or process could not be changed.
    #[error("cannot {operation}")]
    Io {
        /// What was being done.
        operation: Operation,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// Limits of a link cannot be read or set.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The kernel refused a line of a batch of ip(8) or bridge(8).
    #[error("`{program} {line}`: {message}")]
    Refused {
        /// `ip` or `bridge`.
        program: &'static str,
        /// The line.
        line: String,
        /// The program's message.
        message: String,
    },
    /// A machine's network namespace does not exist.
    #[error("the network namespace of emulated machine {0} does not exist")]
    NoNamespace(HostName),
    /// A network namespace of the machine's name has no mark of netlab's.
    #[error("network namespace {0} exists and was not created by netlab")]
    ForeignNamespace(String),
    /// The network namespace exists already.
    #[error("network namespace {0} exists already")]
    NamespaceExists(String),
    /// A cable's NIC has the name of another link.
    #[error("cannot plug a cable into NIC {nic} of {host}: another link has this name")]
    LinkExists {
        /// The machine.
        host: HostName,
        /// The NIC.
        nic: IfName,
    },
    /// A NIC that is to be configured is a port of a bridge.
    #[error("cannot configure NIC {nic} of {host}: it is attached to bridge {bridge}")]
    NicInBridge {
        /// The machine.
        host: HostName,
        /// The NIC.
        nic: IfName,
        /// The bridge.
        bridge: String,
    },
    /// An emulated host did not start.
    #[error("cannot start emulated host {host}: {cause}{}{}", tail(.log), also(.cleanup.as_deref()))]
    Start {
        /// The host.
        host: HostName,
        /// Why.
        cause: io::Error,
        /// The last lines of its log.
        log: String,
        /// Why what was left of it could not be removed, if it could not.
        cleanup: Option<Box<EmulatedError>>,
    },
}

fn tail(log: &str) -> String {
    if log.is_empty() {
        return String::new();
    }
    format!("; its log ends with:\n{log}")
}

fn also(cleanup: Option<&EmulatedError>) -> String {
    cleanup.map_or_else(String::new, |error| format!("; removing it failed too: {error}"))
}

impl EmulatedError {
    /// Returns what a user can do about it, if anything is known.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::NeedsRoot => "run netlab as root: `sudo netlab …`",
            Self::NotInstalled(_) => "install it: `apt-get install libvirt-daemon-system qemu-system-x86`",
            Self::SocketPath { .. } => "choose a state folder with a shorter path (NETLAB_STATE_DIR)",
            Self::Command(CmdError::NotFound { .. }) => "install the program on this machine",
            Self::NoNamespace(_) => "run `netlab down`, then `netlab up`, to create the machine again",
            Self::ForeignNamespace(_) => "rename the lab or the host, or delete it with `ip netns delete`",
            Self::NamespaceExists(_) => "run netlab again to plan with what exists now",
            Self::LinkExists { .. } => "delete that link, or rename the NIC in the lab file",
            Self::NicInBridge { .. } => "detach it from the bridge first: `netlab down`, then `netlab up`",
            Self::Start { .. } => "the log names the daemon that failed; run that daemon by hand to see more",
            Self::Io { .. } | Self::Command(_) | Self::Network(_) | Self::Refused { .. } => return None,
        })
    }
}

/// Returns a conversion of I/O errors into those of `operation`.
pub(super) fn failed(operation: Operation) -> impl FnOnce(io::Error) -> EmulatedError {
    move |source| EmulatedError::Io { operation, source }
}
