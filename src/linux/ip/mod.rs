//! A host's links, addresses and routes by iproute2, and its kernel settings: looks at them ([`observe`],
//! [`survey`]) and carries out the network steps of a plan ([`apply`]), a constant number of commands each. Decides
//! nothing about what is wanted; never touches an object that is not this lab's, except the NIC of an uplink, whose
//! record it keeps on the NIC.
//!
//! Every state in which a killed run can leave a host is an observed state like any other:
//!
//! - A made link has the lab's group from its first moment and its alias as its last. Without the alias, or when it is
//!   not up, it is observed with an empty purpose, which no desired link has, so a plan changes it.
//! - A NIC has the record from before it is touched until all is back. Where the record is but the NIC is not wholly
//!   in the bridge, the uplink is observed with *the NIC itself as its bridge*, which no desired uplink has, so a plan
//!   gives it back (and takes it again). Both directions say and do only what is still missing.
//! - A setting's old value is on disk before the lab's mark, the mark before the change.

mod apply;
mod floating;
mod mark;
mod nic;
mod observe;
mod ports;
mod record;
mod rollback;
mod snapshot;
mod survey;
mod uplink;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub use apply::apply;
pub use floating::announce;
pub use observe::observe;
pub use ports::ports;
pub use rollback::rollback;
pub use survey::survey;

use crate::lab::IfName;
use crate::plan::lines::LineError;
use crate::state::{Identities, Link, Sysctl, Uplink};
use crate::transport::cmd::CmdError;

/// What a lab owns of a host's network: these fields of a [`HostState`](crate::state::HostState).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Bridges and VLAN devices.
    pub links: BTreeMap<IfName, Link>,
    /// Host NICs taken into a bridge; one whose bridge is the NIC itself is only half taken.
    pub uplinks: BTreeMap<IfName, Uplink>,
    /// Floating addresses on NICs that netlab did not make.
    pub floating: BTreeMap<Ipv4Addr, IfName>,
    /// Kernel settings changed.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// Interface indexes of the links.
    pub seen: Identities,
}

/// A network step failed. The steps before it are done; of itself a part may be; those behind it are not begun.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Failed {
    /// Which of the steps given.
    pub at: usize,
    /// Why.
    #[source]
    pub cause: NetworkError,
}

impl Failed {
    /// The way to the host failed: what was asked of it may be done or not.
    pub fn is_transport_failure(&self) -> bool {
        matches!(self.cause, NetworkError::Command(CmdError::Io { .. }))
    }
}

/// Why a network step failed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A command could not be run.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// The kernel or `ip` said no.
    #[error("`ip {line}`: {message}")]
    Kernel {
        /// What was asked.
        line: String,
        /// What was answered.
        message: String,
    },
    /// The object is not this lab's.
    #[error("{name} is not this lab's: it belongs to {owner}")]
    Foreign {
        /// Its name.
        name: String,
        /// Its owner.
        owner: String,
    },
    /// The name belongs to another object than the one that was observed.
    #[error("{name} is another link now (index {now}) than the one that was looked at (index {seen}); left alone")]
    Swapped {
        /// Its name.
        name: IfName,
        /// The index that was observed.
        seen: u32,
        /// The index now.
        now: u32,
    },
    /// The NIC cannot be taken so that all of it could be put back.
    #[error("NIC {nic} cannot be taken: {why}")]
    NotTakeable {
        /// The NIC.
        nic: IfName,
        /// Why.
        why: String,
    },
    /// The step has no lines.
    #[error(transparent)]
    Lines(#[from] LineError),
    /// Something else that stands in the way.
    #[error("{0}")]
    Refused(String),
    /// The change cut the way to the host.
    #[error("this cut the way to the host; {0}")]
    CutOff(&'static str),
}
