//! What can go wrong between netlab and one host's libvirt, down to libvirt's own message and error number.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use virt::enumutil::Enum;
use virt::error::{Error, ErrorNumber, ErrorNumberEnum};

use super::base::BaseError;
use super::cause::Cause;
use super::checkpoints::CheckpointError;
use crate::guest::ConsoleError;
use crate::lab::{HostName, LabName};
use crate::libvirt::domain_xml::XmlError;
use crate::state::{DiskName, DomainName};
use crate::transport::cmd::CmdError;

/// An operation on libvirt, named in errors and in the log together with the object it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Connecting to this URI.
    Connect(String),
    /// Defining a domain.
    Define(DomainName),
    /// Removing a domain's definition.
    Undefine(DomainName),
    /// Starting a domain.
    Start(DomainName),
    /// Pausing a running domain.
    Pause(DomainName),
    /// Resuming a paused domain.
    Resume(DomainName),
    /// Stopping a domain.
    Stop(DomainName),
    /// Saving a running domain to a file.
    Save(DomainName),
    /// Starting a domain from a saved state.
    Restore(DomainName),
    /// Plugging the NICs of a domain in while it runs.
    PlugNics(DomainName),
    /// Recording the configuration of a guest in its running domain.
    RecordConfiguration(DomainName),
    /// Opening a domain's serial console.
    OpenConsole(DomainName),
    /// Opening a domain's screen and keyboard.
    OpenScreen(DomainName),
    /// Creating a domain's disk.
    CreateDisk(DomainName),
    /// Growing a disk.
    GrowDisk(DomainName),
    /// Deleting a domain's disk.
    DeleteDisk(DomainName),
    /// Creating a domain's further disk.
    CreateFurtherDisk(DiskName),
    /// Growing a further disk.
    GrowFurtherDisk(DiskName),
    /// Deleting a further disk.
    DeleteFurtherDisk(DiskName),
    /// Writing the disk that a domain's cloud-init reads.
    WriteSeed(DomainName),
    /// Creating a lab's storage pool.
    CreatePool(LabName),
    /// Finding a lab's storage pool.
    FindPool(LabName),
    /// Listing a lab's disks.
    ListDisks(LabName),
    /// Listing all domains of the host.
    ListDomains,
    /// Reading libvirt's capabilities.
    ReadCapabilities,
    /// Copying a local file to the host.
    CopyFile(PathBuf),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(uri) => write!(f, "connect to {uri}"),
            Self::Define(name) => write!(f, "define domain {name}"),
            Self::Undefine(name) => write!(f, "undefine domain {name}"),
            Self::Start(name) => write!(f, "start domain {name}"),
            Self::Pause(name) => write!(f, "pause domain {name}"),
            Self::Resume(name) => write!(f, "resume domain {name}"),
            Self::Stop(name) => write!(f, "stop domain {name}"),
            Self::Save(name) => write!(f, "save domain {name}"),
            Self::Restore(name) => write!(f, "restore domain {name} from a saved state"),
            Self::PlugNics(name) => write!(f, "plug in the NICs of domain {name}"),
            Self::RecordConfiguration(name) => write!(f, "record the configuration of domain {name}"),
            Self::OpenConsole(name) => write!(f, "open the console of domain {name}"),
            Self::OpenScreen(name) => write!(f, "open the screen of domain {name}"),
            Self::GrowDisk(name) => write!(f, "grow the disk of domain {name}"),
            Self::CreateDisk(name) => write!(f, "create the disk of domain {name}"),
            Self::DeleteDisk(name) => write!(f, "delete the disk of domain {name}"),
            Self::CreateFurtherDisk(name) => further(f, "create", name),
            Self::GrowFurtherDisk(name) => further(f, "grow", name),
            Self::DeleteFurtherDisk(name) => further(f, "delete", name),
            Self::WriteSeed(name) => write!(f, "write the seed disk of domain {name}"),
            Self::CreatePool(lab) => write!(f, "create the storage pool of lab {lab}"),
            Self::FindPool(lab) => write!(f, "find the storage pool of lab {lab}"),
            Self::ListDisks(lab) => write!(f, "list the disks of lab {lab}"),
            Self::ListDomains => f.write_str("list domains"),
            Self::ReadCapabilities => f.write_str("read libvirt's capabilities"),
            Self::CopyFile(path) => write!(f, "copy {} to the host", path.display()),
        }
    }
}

fn further(f: &mut fmt::Formatter<'_>, verb: &str, name: &DiskName) -> fmt::Result {
    write!(f, "{verb} disk {} of domain {}", name.number(), name.domain())
}

/// An operation on libvirt failed.
#[derive(Debug, thiserror::Error)]
pub enum LibvirtError {
    /// A libvirt call returned an error.
    #[error("cannot {operation}: {}", explained(.cause.as_ref(), .message))]
    Call {
        /// What was being done.
        operation: Operation,
        /// libvirt's error number (`virErrorNumber`).
        code: ErrorNumberEnum,
        /// libvirt's message.
        message: String,
        /// What the message means, where it is a well-known one.
        cause: Option<Cause>,
    },
    /// The daemon went away and did not return in time.
    #[error("lost the connection to libvirt at {uri}, which did not return within {} s", .within.as_secs())]
    DaemonGone {
        /// The connection's URI.
        uri: String,
        /// How long it was waited for.
        within: Duration,
        /// Why the last attempt to connect failed.
        #[source]
        source: Box<LibvirtError>,
    },
    /// The daemon accepted a connection and did not answer on it.
    #[error(
        "the libvirt daemon of host {host} {} ({}{uri})",
        unanswered(*.stopped, *.within),
        .daemon.as_ref().map_or_else(String::new, |daemon| format!("{daemon}, "))
    )]
    NoAnswer {
        /// The host.
        host: HostName,
        /// The connection's URI.
        uri: String,
        /// The daemon and its process, where they are known.
        daemon: Option<String>,
        /// It was stopped by a signal.
        stopped: bool,
        /// How long it was waited for.
        within: Duration,
    },
    /// A call did not return: the daemon waits for the QEMU of a domain.
    #[error("cannot {operation}: libvirt did not answer within {} s; the guest's QEMU may hang", .within.as_secs())]
    Late {
        /// What was being done.
        operation: Operation,
        /// How long it was waited for.
        within: Duration,
    },
    /// libvirt's event loop did not start.
    #[error("cannot start libvirt's event loop: {0}")]
    EventLoop(String),
    /// A command on the host failed.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// A document for or from libvirt could not be written or read.
    #[error("cannot {operation}")]
    Xml {
        /// What was being done.
        operation: Operation,
        /// Why.
        #[source]
        source: XmlError,
    },
    /// The template of domain definitions cannot be used.
    #[error(transparent)]
    Template(XmlError),
    /// A guest's configuration could not be written as JSON.
    #[error("cannot {operation}")]
    Json {
        /// What was being done.
        operation: Operation,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A local file could not be read.
    #[error("cannot {operation}")]
    File {
        /// What was being done.
        operation: Operation,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A domain of the lab's name exists and has no mark of netlab's.
    #[error("domain {0} exists and was not created by netlab")]
    ForeignDomain(DomainName),
    /// The domain was replaced since it was observed.
    #[error("domain {domain} was replaced since it was observed (UUID {found}, expected {expected})")]
    ReplacedDomain {
        /// The domain's name.
        domain: DomainName,
        /// The UUID that was observed.
        expected: String,
        /// The UUID now.
        found: String,
    },
    /// A storage pool of the lab's name exists and has another UUID than netlab gives it.
    #[error("storage pool {pool} exists and was not created by netlab (UUID {uuid})")]
    ForeignPool {
        /// The pool's name.
        pool: String,
        /// Its UUID.
        uuid: String,
    },
    /// A guest did not let a NIC go that was unplugged.
    #[error("domain {0} keeps a NIC that was unplugged")]
    NicStays(DomainName),
    /// The lab has no storage pool although one of its domains has a disk.
    #[error("lab {0} has no storage pool on this host")]
    NoPool(LabName),
    /// The seed disk of a guest is to be written, and its password is known by its digest only.
    #[error("the password in the seed disk of domain {0} is not known here")]
    UnknownPassword(DomainName),
    /// The seed disk of a guest is to be written, and the user's settings in it are known by their digest only.
    #[error("the `user_data` in the seed disk of domain {0} is not known here")]
    UnknownUserData(DomainName),
    /// The image file under a disk cannot be used. Boxed: it is much larger than the other variants.
    #[error(transparent)]
    Base(Box<BaseError>),
    /// A guest's console could not be opened.
    #[error("cannot open the console of domain {domain}")]
    Console {
        /// The domain.
        domain: DomainName,
        /// Why.
        #[source]
        source: ConsoleError,
    },
    /// The host has too little space for a copy of a file.
    #[error("cannot copy {} to the host: {needed_mib} MiB needed, {available_mib} MiB free in {folder}", .file.display())]
    NoSpace {
        /// The local file.
        file: PathBuf,
        /// Its size in MiB, rounded up.
        needed_mib: u64,
        /// Free space on the host in MiB.
        available_mib: u64,
        /// The folder on the host.
        folder: &'static str,
    },
    /// What a checkpoint has of a guest cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The host has too little space for the files that are to be copied to it.
    #[error(
        "{files} file{} to be copied to the host need{} {needed_mib} MiB, {available_mib} MiB are free in {folder}",
        if *files == 1 { "" } else { "s" },
        if *files == 1 { "s" } else { "" }
    )]
    NoSpaceForCopies {
        /// How many files.
        files: usize,
        /// Their size in MiB, rounded up.
        needed_mib: u64,
        /// Free space on the host in MiB.
        available_mib: u64,
        /// The folder on the host.
        folder: &'static str,
    },
    /// The copy of a file on the host has another digest than the file.
    #[error("cannot copy {} to the host: the copy's SHA-256 differs", .0.display())]
    CorruptCopy(PathBuf),
    /// The copy of a file was removed from the host while it was being made.
    #[error("cannot copy {} to the host: the copy was removed during the transfer", .0.display())]
    LostCopy(PathBuf),
}

impl From<BaseError> for LibvirtError {
    fn from(error: BaseError) -> Self {
        Self::Base(Box::new(error))
    }
}

fn unanswered(stopped: bool, within: Duration) -> String {
    if stopped {
        return "is stopped and does not answer".to_owned();
    }
    format!("accepts connections but did not answer within {} s", within.as_secs())
}

/// What a well-known message means, followed by the message itself.
fn explained(cause: Option<&Cause>, message: &str) -> String {
    match cause {
        Some(cause) => format!("{cause} (libvirt: {message})"),
        None => format!("libvirt: {message}"),
    }
}

impl LibvirtError {
    /// Returns what a user can do about it, if anything is known.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            // Neither a missing daemon nor a missing file: the user may not connect to it.
            Self::Call {
                operation: Operation::Connect(_),
                message,
                ..
            } if message.contains("Permission denied") => RIGHTS,
            Self::Call { code, cause, .. } => return help_for_code(*code).or(cause.map(Cause::help)),
            Self::NoAnswer { stopped: true, .. } => {
                "continue it with `kill -CONT` and its process id, or end it with `kill -9`: a service manager, and an \
                 emulated host, starts it again, and guests keep running"
            }
            Self::NoAnswer { stopped: false, .. } => {
                "restart the daemon on the host: `systemctl restart libvirtd` (or virtqemud); guests keep running"
            }
            Self::Late { .. } => "check the guest's QEMU process on its host; `netlab down` ends it",
            Self::DaemonGone { .. } => "check that libvirt's daemon runs on the host: `systemctl status libvirtd`",
            Self::Command(CmdError::NotFound { .. }) => "install the program on the host",
            Self::EventLoop(_) | Self::Json { .. } | Self::Command(_) | Self::Xml { .. } => return None,
            Self::Template(_) => "correct the template, or delete it to use the built-in one",
            Self::File { .. } => "check that the file exists and can be read",
            Self::ForeignDomain(_) => "rename the VM or the lab, or remove that domain with `virsh undefine`",
            Self::ReplacedDomain { .. } => "run netlab again to plan with the domain that exists now",
            Self::ForeignPool { .. } => "rename the lab, or remove that pool with `virsh pool-undefine`",
            Self::NicStays(_) => "write `warm = false` in the image's entry",
            Self::NoPool(_) => "run `netlab up` again to create the disk and its pool",
            Self::UnknownUserData(_) => "run `netlab up` with the lab's file, which names it",
            Self::UnknownPassword(_) => "run `netlab up` with the lab's file, which has the password",
            Self::Base(error) => return error.help(),
            Self::Checkpoint(error) => error.help(),
            Self::Console { source, .. } => source.help(),
            Self::NoSpace { .. } | Self::NoSpaceForCopies { .. } => "free space on the host, or choose smaller images",
            Self::CorruptCopy(_) | Self::LostCopy(_) => "run netlab again to copy the file once more",
        })
    }
}

/// What gives a user access to libvirt.
const RIGHTS: &str = "run netlab as root, or add the user to group `libvirt` on the host";

fn help_for_code(code: ErrorNumberEnum) -> Option<&'static str> {
    let Enum::Known(number) = code else { return None };
    match number {
        ErrorNumber::NoConnect | ErrorNumber::SystemError => Some(
            "check that libvirt is installed and running on the host: `apt-get install libvirt-daemon-system \
             qemu-system-x86 && systemctl enable --now libvirtd`",
        ),
        ErrorNumber::AuthFailed
        | ErrorNumber::AuthCancelled
        | ErrorNumber::AuthUnavailable
        | ErrorNumber::AccessDenied => Some(RIGHTS),
        _ => None,
    }
}

/// Whether libvirt's error has this number.
pub(super) fn is(error: &Error, number: ErrorNumber) -> bool {
    error.code() == Enum::Known(number)
}

/// Returns a conversion of libvirt's errors into those of `operation`.
pub(super) fn failed(operation: &Operation) -> impl Fn(Error) -> LibvirtError + '_ {
    move |error| LibvirtError::Call {
        operation: operation.clone(),
        code: error.code(),
        message: error.message().to_owned(),
        cause: Cause::of(error.message()),
    }
}

/// Returns a conversion of XML errors into those of `operation`.
pub(super) fn xml_failed(operation: &Operation) -> impl Fn(XmlError) -> LibvirtError + '_ {
    move |source| LibvirtError::Xml {
        operation: operation.clone(),
        source,
    }
}
