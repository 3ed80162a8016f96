//! Checked names: whoever holds one of these holds text that is safe as a name of that kind.
//!
//! Names are checked once, here. Nothing a user writes can become a shell word, a path or XML by accident, because
//! no other alphabet gets past these constructors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name of the kind asked for. `Display` is the line a user reads, without the text itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between the quotes.
    #[error("a {kind} cannot be empty")]
    Empty {
        /// What was being named.
        kind: &'static str,
    },
    /// Longer than the kind allows, in bytes.
    #[error("a {kind} has at most {limit} characters, this has {length}")]
    TooLong {
        /// What was being named.
        kind: &'static str,
        /// Most bytes allowed.
        limit: usize,
        /// Bytes found.
        length: usize,
    },
    /// A character outside the kind's alphabet, or at a place where it may not stand.
    #[error("a {kind} {rule}, not {found:?}")]
    Alphabet {
        /// What was being named.
        kind: &'static str,
        /// The rule that was broken.
        rule: &'static str,
        /// The first character that breaks it.
        found: char,
    },
    /// A word that the kernel or its tools keep for themselves.
    #[error("`{word}` cannot be a {kind}: the kernel or its tools use this word themselves")]
    Reserved {
        /// What was being named.
        kind: &'static str,
        /// The word.
        word: String,
    },
    /// Not a number of the kind, or out of its range.
    #[error("a {kind} is {rule}")]
    Range {
        /// What was being named.
        kind: &'static str,
        /// What it may be.
        rule: &'static str,
    },
}

/// Letters, digits and inner `-`, starting with a letter: the alphabet of every name that a user gives.
fn check_plain(text: &str, kind: &'static str, limit: usize) -> Result<(), NameError> {
    let Some(first) = text.chars().next() else {
        return Err(NameError::Empty { kind });
    };
    if let Some(found) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-')) {
        return Err(NameError::Alphabet {
            kind,
            rule: "holds only letters, digits and '-'",
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
    if text.ends_with('-') {
        return Err(NameError::Alphabet {
            kind,
            rule: "ends with a letter or a digit",
            found: '-',
        });
    }
    if text.len() > limit {
        return Err(NameError::TooLong {
            kind,
            limit,
            length: text.len(),
        });
    }
    Ok(())
}

/// A name of kind `K`: letters, digits and inner `-`, at most `K::LIMIT` bytes.
///
/// One generic instead of five copies: the kinds differ in their word and their limit only.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name<K: Kind> {
    text: String,
    kind: std::marker::PhantomData<fn() -> K>,
}

/// What a [`Name`] names.
pub trait Kind {
    /// The word used in messages.
    const WORD: &'static str;
    /// Most bytes such a name may have.
    const LIMIT: usize;
}

impl<K: Kind> Name<K> {
    /// Checks `text` and makes it a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_plain(text, K::WORD, K::LIMIT)?;
        Ok(Self {
            text: text.to_owned(),
            kind: std::marker::PhantomData,
        })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

// Written out, not derived: derive would ask the same of `K`, which is only a label.
impl<K: Kind> Clone for Name<K> {
    fn clone(&self) -> Self {
        Self {
            text: self.text.clone(),
            kind: std::marker::PhantomData,
        }
    }
}
impl<K: Kind> PartialEq for Name<K> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl<K: Kind> Eq for Name<K> {}
impl<K: Kind> PartialOrd for Name<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K: Kind> Ord for Name<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}
impl<K: Kind> std::hash::Hash for Name<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
impl<K: Kind> fmt::Debug for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
impl<K: Kind> fmt::Display for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
impl<K: Kind> FromStr for Name<K> {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}
impl<K: Kind> TryFrom<String> for Name<K> {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}
impl<K: Kind> From<Name<K>> for String {
    fn from(name: Name<K>) -> Self {
        name.text
    }
}

/// Label of [`LabName`].
pub enum LabKind {}
impl Kind for LabKind {
    const WORD: &'static str = "lab name";
    const LIMIT: usize = 24;
}
/// The name of a lab: it becomes part of every object's name. At most 24 bytes.
pub type LabName = Name<LabKind>;

/// Label of [`HostName`].
pub enum HostKind {}
impl Kind for HostKind {
    const WORD: &'static str = "host name";
    const LIMIT: usize = 24;
}
/// The name that a lab gives to a host. At most 24 bytes.
pub type HostName = Name<HostKind>;

/// Label of [`NetworkName`].
pub enum NetworkKind {}
impl Kind for NetworkKind {
    const WORD: &'static str = "network name";
    const LIMIT: usize = 32;
}
/// The name of a network (one L2 segment). At most 32 bytes.
pub type NetworkName = Name<NetworkKind>;

/// Label of [`VmName`].
pub enum VmKind {}
impl Kind for VmKind {
    const WORD: &'static str = "vm name";
    const LIMIT: usize = 32;
}
/// The name of a virtual machine; also its host name inside the guest. At most 32 bytes.
pub type VmName = Name<VmKind>;

/// Label of [`ImageName`].
pub enum ImageKind {}
impl Kind for ImageKind {
    const WORD: &'static str = "image name";
    const LIMIT: usize = 48;
}
/// The name of an entry in the image catalog. At most 48 bytes.
pub type ImageName = Name<ImageKind>;

/// The name of a network interface on a host, e.g. `eth0`, `enp3s0`, `br1`, `bond0.10`.
///
/// The kernel takes nearly any byte and expands `%d` (`dev_valid_name`, `__dev_alloc_name` in net/core/dev.c); this
/// takes letters, digits, `-`, `_` and `.` only, at most 15 bytes (IFNAMSIZ - 1), and none of the words that
/// iproute2 reads as keywords.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

impl IfName {
    /// Most bytes of an interface name: IFNAMSIZ - 1.
    pub const LIMIT: usize = 15;

    /// Checks `text` and makes it an interface name.
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
                word: text.to_owned(),
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
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
        name.0
    }
}

/// An 802.1Q VLAN identifier: 1 to 4094 (IEEE 802.1Q-2018, table 9-2: 0 and 4095 are reserved).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct VlanId(u16);

impl VlanId {
    /// The identifier as a number.
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
    /// Makes an address of six octets; multicast (group bit set) and all-zero ones are refused, since no NIC may
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

    /// The six octets, in the order they are sent.
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
