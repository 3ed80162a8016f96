//! What can go wrong on a host: in general ([`HostError`]), and in a step of a plan ([`StepError`]).

use std::fmt;
use std::io;

use crate::emulated::EmulatedError;
use crate::guest::{ConfigureError, ConsoleError, SessionError, SessionFault, SetUpError};
use crate::lab::{Asked, HostName};
use crate::libvirt::LibvirtError;
use crate::libvirt::domain_xml::XmlError;
use crate::linux::dnsmasq::DhcpError;
use crate::linux::ip::NetworkError;
use crate::linux::nftables::NftError;
use crate::plan::Step;
use crate::state::DomainName;
use crate::transport::CmdError;
use crate::transport::ssh::SshError;

/// A host could not be observed, surveyed or used.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// The network could not be read.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// An operation on libvirt failed.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// An operation on an emulated machine failed.
    #[error(transparent)]
    Emulated(#[from] EmulatedError),
    /// The ssh connection failed.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The template of domain definitions cannot be used.
    #[error(transparent)]
    Template(#[from] XmlError),
    /// Another netlab uses the console, or the screen and keyboard, of a guest.
    #[error("the console of domain {domain} is used by {holder}")]
    ConsoleInUse {
        /// The domain.
        domain: DomainName,
        /// The command and process ID of the other netlab.
        holder: String,
    },
    /// The console of a guest cannot be used.
    #[error("cannot use the console of domain {domain}")]
    Console {
        /// The domain.
        domain: DomainName,
        /// Why.
        #[source]
        source: ConsoleError,
    },
    /// An emulated host is needed that does not run.
    #[error("emulated host {0} is not running")]
    NotRunning(HostName),
    /// This kind of host cannot do what was requested.
    #[error("this host cannot {0}")]
    Unsupported(Request),
}

/// A request that not every kind of host supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Running a command.
    Run(String),
    /// Making a TCP connection.
    Connect,
    /// Opening a guest's console.
    OpenConsole(DomainName),
    /// Opening a guest's screen.
    OpenScreen(DomainName),
    /// Sending pings from this place.
    Ping(Asked),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(command) => write!(f, "run `{command}`"),
            Self::Connect => f.write_str("make connections"),
            Self::OpenConsole(domain) => write!(f, "open the console of domain {domain}: it has no guests"),
            Self::OpenScreen(domain) => write!(f, "open the screen of domain {domain}: its guests have no screens"),
            Self::Ping(from) => write!(f, "send pings from {from}"),
        }
    }
}

impl HostError {
    /// Returns what a user can do about it, if anything is known.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Command(error) => return error.help(),
            Self::Network(error) => return error.help(),
            Self::Ssh(error) => return error.help(),
            Self::Libvirt(error) => error.help()?,
            Self::Emulated(error) => error.help()?,
            Self::Template(_) => "correct the template, or delete it to use the built-in one",
            Self::ConsoleInUse { .. } => "wait until the other netlab has ended, or end it, then run again",
            Self::Console { source, .. } => source.help(),
            Self::NotRunning(_) => "run `netlab up` to start it",
            Self::Unsupported(_) => return None,
        };
        Some(help.to_owned())
    }
}

/// A step of a plan failed. Its cause is the error's source.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct StepError {
    /// The step.
    pub step: Step,
    /// Why it failed.
    #[source]
    pub cause: StepFailure,
}

impl StepError {
    /// Creates the error of `step`.
    pub fn new(step: &Step, cause: impl Into<StepFailure>) -> Self {
        Self {
            step: step.clone(),
            cause: cause.into(),
        }
    }

    /// Returns what a user can do about it, if anything is known.
    pub fn help(&self) -> Option<String> {
        self.cause.help()
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepFailure {
    /// The host, its libvirt or its emulated machines.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The host's links, addresses or kernel settings.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The host's packet filter.
    #[error(transparent)]
    Firewall(#[from] NftError),
    /// The host's DHCP service.
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    /// The guest did not boot, log in or answer.
    #[error(transparent)]
    Guest(#[from] SessionError),
    /// The guest could not be configured.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// A file could not be written or a command failed in the guest.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The transcript of the guest's console could not be opened.
    #[error("cannot open the transcript of the guest's console")]
    Transcript(#[source] io::Error),
    /// A guest that was restored does not see NICs that were plugged in.
    #[error("the guest does not see the NICs that were plugged in")]
    NicsNotSeen,
    /// The file of a saved state could not be used.
    #[error("cannot use the saved state of a guest")]
    SavedState(#[source] io::Error),
    /// A port could not be forwarded, or no longer is to be and still is.
    #[error("port {port} of 127.0.0.1")]
    Forward {
        /// The port.
        port: u16,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The step could not be written to the journal, so it was not begun.
    #[error("cannot write the journal")]
    Journal(#[source] io::Error),
    /// The step is of a kind that this host does not apply.
    #[error("this step is not for this host")]
    NotForThisHost,
    /// The plan names a host that is not connected.
    #[error("this host is not connected")]
    NotConnected,
    /// The thread that applied the step panicked.
    #[error("the thread that applied this step panicked")]
    Panicked,
}

impl StepFailure {
    /// Returns what a user can do about it, if anything is known.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Host(error) => return error.help(),
            Self::Network(error) => return error.help(),
            Self::Firewall(error) => return error.help(),
            Self::Dhcp(error) => return error.help(),
            Self::Guest(error) => error.help(),
            Self::Configure(error) => error.help(),
            Self::SetUp(error) => error.help(),
            Self::Journal(_) | Self::Transcript(_) => "check free space and permissions of the state folder",
            Self::SavedState(_) => "check free space and permissions of the cache folder",
            Self::Forward { .. } => "choose another port, or end the process that listens on it",
            Self::Panicked => "this is a bug in netlab; please report it",
            Self::NotForThisHost | Self::NotConnected | Self::NicsNotSeen => return None,
        };
        Some(help.to_owned())
    }

    /// Returns whether the step was given up because a stop was requested.
    pub fn is_stopped(&self) -> bool {
        let (Self::Guest(session)
        | Self::Configure(ConfigureError::Session(session))
        | Self::SetUp(SetUpError::Session(session))) = self
        else {
            return false;
        };
        matches!(session.fault, SessionFault::Console(ConsoleError::Cancelled))
    }

    /// Returns whether applying the step cut the connection to the host, so that no further step must be tried there.
    pub fn is_cut_off(&self) -> bool {
        matches!(self, Self::Network(NetworkError::CutOff { .. }))
    }
}

impl From<CmdError> for StepFailure {
    fn from(error: CmdError) -> Self {
        Self::Host(error.into())
    }
}

impl From<LibvirtError> for StepFailure {
    fn from(error: LibvirtError) -> Self {
        Self::Host(error.into())
    }
}

impl From<EmulatedError> for StepFailure {
    fn from(error: EmulatedError) -> Self {
        Self::Host(error.into())
    }
}
