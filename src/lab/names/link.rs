//! Names and numbers of network interfaces: interface names, VLAN ids, MAC addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::NameError;

/// The name of a network interface on a host, e.g. `eth0`, `enp3s0`, `br1`, `bond0.10`.
///
/// The kernel takes nearly any byte and expands `%d` (`dev_valid_name`, `__dev_alloc_name` in net/core/dev.c); this
/// takes letters, digits, `-`, `_` and `.` only, at most 15 bytes (IFNAMSIZ - 1), and none of iproute2's
/// keywords.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(SmolStr);

impl IfName {
    /// Most bytes of an interface name: IFNAMSIZ - 1.
    pub const LIMIT: usize = 15;

    /// Checks `text` and returns it as an interface name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let kind = "NIC or bridge name";
        let Some(first) = text.chars().next() else {
            return Err(NameError::Empty { kind });
        };
        if let Some(found) = text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c)))
        {
            return Err(NameError::Alphabet {
                kind,
                rule: "holds only letters, digits, '-', '_' and '.'",
                found,
            });
        }
        if !first.is_ascii_alphabetic() {
            return Err(NameError::Alphabet {
                kind,
                rule: "starts with a letter",
                found: first,
            });
        }
        if text.len() > Self::LIMIT {
            return Err(NameError::TooLong {
                kind,
                limit: Self::LIMIT,
                length: text.len(),
            });
        }
        if [
            "a", "b", "br", "all", "any", "default", "dev", "lo", "name", "type", "group",
        ]
        .contains(&text)
        {
            return Err(NameError::Reserved {
                kind,
                name: text.to_owned(),
            });
        }
        Ok(Self(text.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl FromStr for IfName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}
impl TryFrom<String> for IfName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}
impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.0.into()
    }
}

/// An 802.1Q VLAN identifier: 1 to 4094 (IEEE 802.1Q-2018, table 9-2: 0 and 4095 are reserved).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct VlanId(u16);

impl VlanId {
    /// Returns the identifier as a number.
    pub fn get(self) -> u16 {
        self.0
    }
}
impl TryFrom<i64> for VlanId {
    type Error = NameError;
    fn try_from(id: i64) -> Result<Self, NameError> {
        match u16::try_from(id) {
            Ok(id @ 1..=4094) => Ok(Self(id)),
            _ => Err(NameError::Range {
                kind: "VLAN id",
                rule: "a number from 1 to 4094",
            }),
        }
    }
}
impl From<VlanId> for i64 {
    fn from(id: VlanId) -> Self {
        id.0.into()
    }
}
impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A unicast Ethernet address, written `52:54:00:12:34:56`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// Returns the address of six octets; multicast (group bit set) and all-zero ones are refused, since no NIC may
    /// have them (IEEE 802-2014, 8.2.2).
    pub fn new(octets: [u8; 6]) -> Result<Self, NameError> {
        if octets[0] & 1 == 1 || octets == [0; 6] {
            return Err(NameError::Range {
                kind: "MAC address",
                rule: "unicast and not all zero",
            });
        }
        Ok(Self(octets))
    }

    /// Returns the six octets, in the order they are sent.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}
impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.map(|octet| format!("{octet:02x}")).join(":"))
    }
}
impl FromStr for MacAddr {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = NameError::Range {
            kind: "MAC address",
            rule: "six pairs of hex digits, like 52:54:00:12:34:56",
        };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts
                .next()
                .filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *octet = part
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .ok_or_else(|| wrong.clone())?;
        }
        if parts.next().is_some() {
            return Err(wrong);
        }
        Self::new(octets)
    }
}
impl TryFrom<String> for MacAddr {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}
impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}
