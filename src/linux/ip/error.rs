//! Why a host's network cannot be read or changed.

use std::net::{IpAddr, Ipv4Addr};

use crate::lab::{IfName, NameError};
use crate::plan::lines::{ALIAS_LIMIT, LineError, program_of};
use crate::transport::CmdError;

/// A host's network cannot be read, or a network step failed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A command could not be run or failed.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// The kernel or `ip` rejected a change.
    #[error("`{}`: {message}", in_full(.command))]
    Kernel {
        /// The rejected command, a line of [`lines`](crate::plan::lines).
        command: String,
        /// What `ip` printed.
        message: String,
    },
    /// What `ip` printed about a link cannot be interpreted.
    #[error("link {link}: {reason}")]
    Unreadable {
        /// The link.
        link: String,
        /// Why not.
        reason: Unreadable,
    },
    /// A link that the step needs does not exist.
    #[error("link {name} does not exist")]
    NoLink {
        /// Its name.
        name: IfName,
    },
    /// A link that is to be created exists.
    #[error("link {name} already exists and belongs to {owner}")]
    Exists {
        /// Its name.
        name: IfName,
        /// Its owner.
        owner: Owner,
    },
    /// A link that is to be changed belongs to another owner.
    #[error("link {name} is not this lab's: it belongs to {owner}")]
    Foreign {
        /// Its name.
        name: IfName,
        /// Its owner.
        owner: Owner,
    },
    /// The name belongs to another link than the one that was observed.
    #[error("link {name} was replaced (index {observed} when observed, now {now}); it was left unchanged")]
    Replaced {
        /// Its name.
        name: IfName,
        /// The interface index that was observed.
        observed: u32,
        /// The interface index now.
        now: u32,
    },
    /// A VLAN device cannot come up on a parent that is down.
    #[error("VLAN device {name} cannot come up: its parent {parent} is down")]
    ParentDown {
        /// The VLAN device.
        name: IfName,
        /// Its parent.
        parent: IfName,
    },
    /// A bridge that still has an uplink attached cannot be deleted: the host may be reached through it.
    #[error("bridge {bridge} cannot be deleted: NIC {nic} is still attached to it")]
    UplinkAttached {
        /// The bridge.
        bridge: IfName,
        /// The NIC.
        nic: String,
    },
    /// Somebody else has set a queueing discipline, which limits would replace.
    #[error("link {link} already has a queueing discipline that is not this lab's: {qdisc}")]
    ForeignQdisc {
        /// The link.
        link: IfName,
        /// The discipline's kind and handle.
        qdisc: String,
    },
    /// The step has no lines.
    #[error(transparent)]
    Lines(#[from] LineError),
    /// The host already has a floating address, and not from this lab.
    #[error("floating address {address} is already configured on link {link}, and not by this lab")]
    AddressInUse {
        /// The address.
        address: Ipv4Addr,
        /// The link that has it.
        link: String,
    },
    /// The NIC cannot be attached to a bridge such that it could be restored.
    #[error("NIC {nic} cannot be attached to a bridge: {reason}")]
    CannotAttach {
        /// The NIC.
        nic: IfName,
        /// Why not.
        reason: AttachError,
    },
    /// The change cut the connection to the host.
    #[error("the change cut the connection to the host, {}", if *.rolled_back {
        "which has rolled it back and is reachable again"
    } else {
        "which should have rolled it back but is still unreachable"
    })]
    CutOff {
        /// Whether the host has rolled the change back and is reachable again.
        rolled_back: bool,
    },
}

/// Returns a line with the name of its program.
fn in_full(line: &str) -> String {
    let (program, arguments) = program_of(line);
    format!("{} {arguments}", program.name())
}

/// Why what `ip` printed about a link cannot be interpreted.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A VLAN device without parent or id.
    #[error("a VLAN device without parent or id")]
    Vlan,
    /// A port of Open vSwitch with netlab's mark that is none of netlab's kinds.
    #[error("a port with netlab's mark that is neither a patch nor a tunnel")]
    Port,
    /// The record in the alias of an attached NIC.
    #[error("the record in its alias is invalid at {token:?}")]
    Record {
        /// The first token that is invalid.
        token: String,
    },
    /// A name that netlab gives no link.
    #[error("{0}")]
    Name(NameError),
}

/// Why a NIC cannot be attached to a bridge.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// It does not exist.
    #[error("it does not exist")]
    Absent,
    /// It belongs to another lab.
    #[error("it belongs to {0}")]
    Owned(Owner),
    /// It is not an Ethernet NIC.
    #[error("it is not an Ethernet NIC")]
    NotEthernet,
    /// It already is a port of a bridge or bond.
    #[error("it is a port of {master}")]
    Port {
        /// The bridge or bond.
        master: String,
    },
    /// Part of its configuration could not be restored.
    #[error("netlab could not restore {0}")]
    Unrestorable(Unrestorable),
    /// Its addresses or routes differ from those that were observed.
    #[error("its addresses or routes have changed since they were observed")]
    Changed,
    /// The record of its configuration is too long for an alias.
    #[error("the record of its configuration takes {length} bytes, and an alias holds {ALIAS_LIMIT}")]
    RecordTooLong {
        /// Bytes of the alias that would be needed.
        length: usize,
    },
    /// The record cannot express its configuration.
    #[error("its configuration cannot be recorded: {record}")]
    Unrecordable {
        /// The record as far as it can be written.
        record: String,
    },
}

/// A part of a NIC's configuration that netlab cannot restore.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrestorable {
    /// An address without a prefix length.
    #[error("an address without a prefix length")]
    NoPrefix,
    /// A point-to-point address.
    #[error("the point-to-point address {address} with peer {peer}")]
    PointToPoint {
        /// The address.
        address: IpAddr,
        /// The address of the other end.
        peer: IpAddr,
    },
    /// A route.
    #[error("the route to {to} with {feature}")]
    Route {
        /// Its destination, as `ip` prints it.
        to: String,
        /// The attribute that cannot be restored.
        feature: String,
    },
    /// The alias, because of characters that `ip -batch` cannot be given.
    #[error("its alias")]
    Alias,
}

/// Who a link belongs to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Owner {
    /// A lab.
    #[error("lab {0}")]
    Lab(String),
    /// libvirt, by the link's name.
    #[error("libvirt")]
    Libvirt,
    /// Somebody else; the link is a port of this bridge or bond.
    #[error("someone else, as a port of {0}")]
    PortOf(String),
    /// Somebody else.
    #[error("someone else")]
    Other,
}

impl NetworkError {
    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Command(error) => error.help(),
            Self::ParentDown { parent, .. } => Some(format!("bring {parent} up first: `ip link set dev {parent} up`")),
            Self::CannotAttach { nic, reason } => reason.help(nic),
            Self::CutOff { rolled_back: false } => Some("check the host's console, then run netlab again".to_owned()),
            Self::ForeignQdisc { link, .. } => Some(format!(
                "remove it (`tc qdisc del dev {link} root`), or limit another link"
            )),
            Self::Kernel { .. }
            | Self::Unreadable { .. }
            | Self::NoLink { .. }
            | Self::Exists { .. }
            | Self::Foreign { .. }
            | Self::Replaced { .. }
            | Self::UplinkAttached { .. }
            | Self::Lines(_)
            | Self::AddressInUse { .. }
            | Self::CutOff { rolled_back: true } => None,
        }
    }

    /// Returns whether the connection to the host failed, so that whether the change was made is unknown.
    pub fn is_transport_failure(&self) -> bool {
        matches!(self, Self::Command(error) if error.is_transport_failure())
    }
}

impl AttachError {
    /// Returns what the user can do about it.
    pub fn help(&self, nic: &IfName) -> Option<String> {
        match self {
            Self::Changed => Some("run netlab again".to_owned()),
            Self::RecordTooLong { .. } => Some(format!(
                "remove some of {nic}'s addresses or routes, or shorten its alias"
            )),
            Self::Port { master } => Some(format!(
                "detach it (`ip link set dev {nic} nomaster`) or name another NIC if {master} is not needed"
            )),
            Self::Absent | Self::Owned(_) | Self::NotEthernet | Self::Unrestorable(_) | Self::Unrecordable { .. } => {
                None
            }
        }
    }
}
