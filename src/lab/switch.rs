//! What a network's bridges are made of.

use serde::{Deserialize, Serialize};

/// What a network's bridges are made of, on every host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SwitchKind {
    /// Linux bridges.
    #[default]
    Bridge,
    /// Bridges of Open vSwitch with this data path; absent: the kernel's where the host has it.
    Ovs(Option<Datapath>),
}

impl SwitchKind {
    /// It is Open vSwitch.
    pub fn is_ovs(self) -> bool {
        matches!(self, Self::Ovs(_))
    }
}

/// What forwards the packets of Open vSwitch, by its own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Datapath {
    /// The kernel's module `openvswitch`.
    System,
    /// The program `ovs-vswitchd` itself.
    Netdev,
}

/// As in lab.toml.
impl std::fmt::Display for Datapath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::System => "system",
            Self::Netdev => "netdev",
        })
    }
}
