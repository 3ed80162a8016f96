//! What is observed of objects besides their desired shape: their identifiers, and the condition of domains.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::DomainName;
use crate::lab::{BondMode, IfName, MacAddr};

/// The kernel's and libvirt's own identifiers of what was observed. A name can be given to another object between
/// observing and acting; these cannot. Always equal, because *which* object has the desired shape is not a difference.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Identities {
    /// Interface index by name.
    #[serde(default)]
    pub links: BTreeMap<IfName, u32>,
    /// The kernel's name for the time since the host booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The members of bonds, for the lab's status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bonds: BTreeMap<IfName, BondSeen>,
    /// The conditions of domains, for the lab's status.
    #[serde(default)]
    pub domains: BTreeMap<DomainName, DomainSeen>,
}

/// What is observed of a bond and never desired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondSeen {
    /// Its mode, where it is one that netlab knows.
    pub mode: Option<BondMode>,
    /// Its members, and whether each has a carrier.
    pub members: BTreeMap<IfName, bool>,
    /// The member that sends, where only one does.
    pub active: Option<IfName>,
}

/// What is observed of a domain and never desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSeen {
    /// Whether it runs, and if not, why.
    pub condition: Condition,
    /// Why it does not run although it was started, where that is known: it is paused, or its QEMU is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// Where its screen can be seen on the host, e.g. `127.0.0.1:5900`; only while it runs.
    pub screen: Option<String>,
    /// The file on the host in which its console is logged.
    pub console_log: Option<PathBuf>,
    /// What its definition records: the address that each NIC was given, also while it does not run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<MacAddr, Ipv4Addr>,
}

/// Whether a domain runs, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It runs.
    Running,
    /// It exists and does not run: its start was interrupted, or somebody paused it.
    Paused,
    /// It was shut down or stopped, or was never started.
    ShutOff,
    /// Its QEMU died, its guest panicked, or it failed to start.
    Crashed,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::ShutOff => "shut off",
            Self::Crashed => "crashed",
        })
    }
}

impl PartialEq for Identities {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Identities {}
impl Identities {
    /// Nothing was observed.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.domains.is_empty() && self.boot.is_none()
    }
}
