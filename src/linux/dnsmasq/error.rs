//! Why a DHCP server cannot be started or stopped.

use std::net::Ipv4Addr;

use crate::transport::CmdError;

/// A DHCP server cannot be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// A command could not be run or failed.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// The host has no dnsmasq.
    #[error("dnsmasq is not installed")]
    Missing,
    /// The process of a server does not exit, not even after SIGKILL.
    #[error("process {pid}, the DHCP server in {folder}, does not exit")]
    Stuck {
        /// Its process id.
        pid: String,
        /// Its folder.
        folder: String,
    },
    /// Another process of the host listens on the bridge.
    #[error("another DHCP server of this host already listens on bridge {bridge}: {process}")]
    Listening {
        /// The bridge.
        bridge: String,
        /// The process, as ss(8) prints it.
        process: String,
    },
    /// Another server on the bridge's segment answers clients.
    #[error("another DHCP server answers on bridge {bridge}, from {address}")]
    Answered {
        /// The bridge.
        bridge: String,
        /// The server's address.
        address: Ipv4Addr,
    },
    /// dnsmasq did not start.
    #[error("dnsmasq did not start: {message}")]
    Rejected {
        /// What it printed, on one line.
        message: String,
    },
}

impl DhcpError {
    /// Reads a reason as servers.sh prints it.
    pub(super) fn read(reason: &str) -> Self {
        let (kind, details) = reason.split_once(' ').unwrap_or((reason, ""));
        let (first, rest) = details.split_once(' ').unwrap_or((details, ""));
        let (first, rest) = (first.to_owned(), rest.trim().to_owned());
        match (kind, rest.parse()) {
            ("missing", _) => Self::Missing,
            ("stuck", _) => Self::Stuck {
                pid: first,
                folder: rest,
            },
            ("listening", _) => Self::Listening {
                bridge: first,
                process: rest,
            },
            ("answered", Ok(address)) => Self::Answered { bridge: first, address },
            _ => Self::Rejected {
                message: details.trim().to_owned(),
            },
        }
    }

    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Command(error) => error.help(),
            Self::Missing => Some("install it there (on Debian: dnsmasq-base)".to_owned()),
            Self::Listening { .. } | Self::Answered { .. } => {
                Some("stop that server, or remove `dhcp` from the network".to_owned())
            }
            Self::Stuck { .. } | Self::Rejected { .. } => None,
        }
    }
}
