//! Bonds: several NICs of a host that carry one network together, so that it lives as long as one of them has a carrier.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::IfName;
use super::schema::choices::{BOND_MODES, HASH_POLICIES, LACP_RATES, name_of};

/// How often the kernel checks the carriers of a bond's NICs where the lab has nothing else, in milliseconds: the value that
/// its documentation recommends (Documentation/networking/bonding.rst). The kernel's own default is never.
pub const MIIMON: u32 = 100;

/// A bond of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabBond {
    /// Its members, at least two.
    pub nics: BTreeSet<IfName>,
    /// Its settings.
    pub bond: Bond,
}

/// The settings of a bond. What does not apply to the mode, or is not said, is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// Which members send.
    pub mode: BondMode,
    /// How often the members' carriers are checked, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miimon: Option<u32>,
    /// How often the partner of LACP is to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacp_rate: Option<LacpRate>,
    /// What decides by which member a frame leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmit_hash_policy: Option<HashPolicy>,
    /// The member that sends whenever it has a carrier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<IfName>,
}

/// Modes of bonds, by the kernel's names (Documentation/networking/bonding.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// One member sends, another one takes over when it has no carrier.
    #[default]
    ActiveBackup,
    /// Link aggregation that both ends agree on by LACP (IEEE 802.1AX).
    #[serde(rename = "802.3ad")]
    Lacp,
    /// A member by a hash of the addresses.
    BalanceXor,
    /// The members in turn.
    BalanceRr,
    /// All members at once.
    Broadcast,
    /// A member by its load; one receives.
    BalanceTlb,
    /// A member by its load; all receive.
    BalanceAlb,
}

/// How often the partner of LACP is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LacpRate {
    /// Every 30 seconds.
    Slow,
    /// Every second.
    Fast,
}

/// What decides by which member a frame leaves, by the kernel's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HashPolicy {
    /// Hardware addresses.
    #[serde(rename = "layer2")]
    Layer2,
    /// Hardware and IP addresses.
    #[serde(rename = "layer2+3")]
    Layer23,
    /// IP addresses and ports.
    #[serde(rename = "layer3+4")]
    Layer34,
    /// As layer2+3, of what a tunnel carries.
    #[serde(rename = "encap2+3")]
    Encap23,
    /// As layer3+4, of what a tunnel carries.
    #[serde(rename = "encap3+4")]
    Encap34,
    /// VLAN and the source's hardware address.
    #[serde(rename = "vlan+srcmac")]
    VlanSrcMac,
}

impl BondMode {
    /// The settings of its members' ports on a switch: one that does not know of the bond, a static link aggregation, or LACP.
    pub fn partner(self) -> Partner {
        match self {
            Self::ActiveBackup | Self::BalanceTlb | Self::BalanceAlb => Partner::Apart,
            Self::BalanceXor | Self::BalanceRr | Self::Broadcast => Partner::Static,
            Self::Lacp => Partner::Lacp,
        }
    }

    /// A hash decides by which member a frame leaves.
    pub fn hashes(self) -> bool {
        matches!(self, Self::BalanceXor | Self::Lacp | Self::BalanceTlb)
    }

    /// One member can be preferred.
    pub fn has_primary(self) -> bool {
        matches!(self, Self::ActiveBackup | Self::BalanceTlb | Self::BalanceAlb)
    }

    /// Open vSwitch has it, too.
    pub fn is_of_ovs(self) -> bool {
        matches!(self, Self::ActiveBackup | Self::Lacp)
    }
}

/// What a bond's mode wants of the switch at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partner {
    /// Ports that are independent of one another.
    Apart,
    /// A link aggregation without a protocol.
    Static,
    /// A link aggregation with LACP.
    Lacp,
}

impl Bond {
    /// Returns the settings with the kernel's defaults, as a bond of the kernel shows them.
    #[must_use]
    pub fn of_kernel(&self) -> Self {
        Self {
            miimon: self.miimon.or(Some(MIIMON)),
            lacp_rate: self.rate(),
            xmit_hash_policy: self
                .xmit_hash_policy
                .or_else(|| self.mode.hashes().then_some(HashPolicy::Layer2)),
            ..self.clone()
        }
    }

    /// Returns the settings that a bond of Open vSwitch has, as it shows them.
    #[must_use]
    pub fn of_ovs(&self) -> Self {
        Self {
            miimon: None,
            lacp_rate: self.rate(),
            xmit_hash_policy: None,
            ..self.clone()
        }
    }

    fn rate(&self) -> Option<LacpRate> {
        let default = || (self.mode == BondMode::Lacp).then_some(LacpRate::Slow);
        self.lacp_rate.or_else(default)
    }
}

impl fmt::Display for BondMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name_of(&BOND_MODES, self))
    }
}

impl fmt::Display for LacpRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name_of(&LACP_RATES, self))
    }
}

impl fmt::Display for HashPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name_of(&HASH_POLICIES, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_that_a_bond_shows() {
        let bond = Bond {
            mode: BondMode::Lacp,
            miimon: None,
            lacp_rate: None,
            xmit_hash_policy: None,
            primary: None,
        };
        let kernel = bond.of_kernel();
        assert_eq!((kernel.miimon, kernel.lacp_rate), (Some(100), Some(LacpRate::Slow)));
        assert_eq!(kernel.xmit_hash_policy, Some(HashPolicy::Layer2));
        assert_eq!(bond.of_ovs().miimon, None);
    }

    #[test]
    fn modes_have_the_kernels_names() {
        for (name, mode) in BOND_MODES {
            assert_eq!(mode.to_string(), name);
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{name}\""));
        }
    }
}
