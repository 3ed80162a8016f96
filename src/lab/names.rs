//! Checked names: a value of one of these types is safe text as a name of that kind.
//!
//! Names are checked once, here. Nothing that a user writes can become an argument of a shell, a path or XML by accident,
//! because these constructors accept no other alphabet.
//!
//! ```
//! use netlab::lab::LabName;
//!
//! assert_eq!(LabName::new("quickstart")?.as_str(), "quickstart");
//! assert_eq!(LabName::new("a;b").unwrap_err().to_string(), "a lab name holds only letters, digits and '-', not ';'");
//! # Ok::<(), netlab::lab::NameError>(())
//! ```

mod dns;
mod link;

pub use dns::DnsName;
pub use link::{IfName, MacAddr, VlanId};

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Why a text is not a name of the kind. `Display` is the message for the user, without the text itself.
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
    /// A character outside the kind's alphabet, or at a position where it is not allowed.
    #[error("a {kind} {rule}, not {found:?}")]
    Alphabet {
        /// What was being named.
        kind: &'static str,
        /// The rule that was broken.
        rule: &'static str,
        /// The first character that breaks it.
        found: char,
    },
    /// A name that the kernel or its tools use themselves.
    #[error("`{name}` cannot be a {kind}: the kernel or its tools use this name themselves")]
    Reserved {
        /// What was being named.
        kind: &'static str,
        /// The name.
        name: String,
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

/// Letters, digits and inner `-`, starting with a letter: the alphabet of every name that a user gives. `dots`: inner
/// single `.`, too.
fn check_plain(text: &str, kind: &'static str, limit: usize, dots: bool) -> Result<(), NameError> {
    let Some(first) = text.chars().next() else {
        return Err(NameError::Empty { kind });
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || (dots && c == '.');
    if let Some(found) = text.chars().find(|c| !legal(*c)) {
        let rule = if dots {
            "holds only letters, digits, '-' and '.'"
        } else {
            "holds only letters, digits and '-'"
        };
        return Err(NameError::Alphabet { kind, rule, found });
    }
    if text.contains("..") {
        return Err(NameError::Alphabet {
            kind,
            rule: "has no two dots in a row",
            found: '.',
        });
    }
    if !first.is_ascii_alphabetic() {
        return Err(NameError::Alphabet {
            kind,
            rule: "starts with a letter",
            found: first,
        });
    }
    if let Some(found) = text.chars().last().filter(|c| !c.is_ascii_alphanumeric()) {
        return Err(NameError::Alphabet {
            kind,
            rule: "ends with a letter or a digit",
            found,
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
/// One generic instead of five copies: the kinds differ in their text in messages and their limit only.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name<K: Kind> {
    text: SmolStr,
    kind: std::marker::PhantomData<fn() -> K>,
}

/// Compares two texts by their characters, and runs of digits in them by their value.
fn numeric(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (Some(x), Some(y)) = (a.get(same), b.get(same)) else {
        return a.len().cmp(&b.len());
    };
    let digits = |from: &[u8]| from.iter().skip(same).take_while(|byte| byte.is_ascii_digit()).count();
    let in_number = same
        .checked_sub(1)
        .and_then(|at| a.get(at))
        .is_some_and(u8::is_ascii_digit);
    // Where no zero may be a leading one, the longer number is the larger one. Labs have numbered names: this is most cases.
    match (x.is_ascii_digit(), y.is_ascii_digit()) {
        (false, false) => return x.cmp(y),
        _ if *x == b'0' || *y == b'0' => {}
        (true, true) => return digits(a).cmp(&digits(b)).then(x.cmp(y)),
        (one, other) if in_number => return one.cmp(&other),
        _ => return x.cmp(y),
    }
    // What both begin with needs no comparison, up to the run of digits in which they may differ.
    let digits = a
        .iter()
        .take(same)
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (_, mut a) = a.split_at(same - digits);
    let (_, mut b) = b.split_at(same - digits);
    while let (Some((x, after_x)), Some((y, after_y))) = (a.split_first(), b.split_first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            number(&mut a).cmp(&number(&mut b))
        } else {
            (a, b) = (after_x, after_y);
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Takes the digits at the front of `text`; returns what orders them by value: how many are significant, and those.
fn number<'a>(text: &mut &'a [u8]) -> (usize, &'a [u8]) {
    let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let (_, significant) = digits.split_at(zeros);
    (significant.len(), significant)
}

#[cfg(test)]
thread_local! {
    /// How often names were compared in this thread: every search in a lab, in an index or without one, compares names.
    pub(crate) static COMPARED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// What a [`Name`] names.
pub trait Kind {
    /// What messages call it.
    const WORD: &'static str;
    /// Most bytes such a name may have.
    const LIMIT: usize;
    /// Whether it may have dots inside, as in `linux-0.2`.
    const DOTS: bool = false;
}

impl<K: Kind> Name<K> {
    /// Checks `text` and returns it as a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_plain(text, K::WORD, K::LIMIT, K::DOTS)?;
        Ok(Self {
            text: text.into(),
            kind: std::marker::PhantomData,
        })
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

// Written out, not derived: derive would require the same of `K`, which is only a label.
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
        #[cfg(test)]
        COMPARED.set(COMPARED.get() + 1);
        self.text == other.text
    }
}
impl<K: Kind> Eq for Name<K> {}
impl<K: Kind> PartialOrd for Name<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K: Kind> Ord for Name<K> {
    /// Numbers in names sort as numbers: `web-2` before `web-10`.
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        COMPARED.set(COMPARED.get() + 1);
        numeric(&self.text, &other.text).then_with(|| self.text.cmp(&other.text))
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
        name.text.into()
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

/// Label of [`TenantName`].
pub enum TenantKind {}
impl Kind for TenantKind {
    const WORD: &'static str = "tenant name";
    const LIMIT: usize = 32;
}
/// The name of a tenant, the owner of networks. At most 32 bytes.
pub type TenantName = Name<TenantKind>;

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
    const DOTS: bool = true;
}
/// The name of an image, e.g. `linux-0.2`: inner dots, too. At most 48 bytes.
pub type ImageName = Name<ImageKind>;

/// Label of [`CheckpointName`].
pub enum CheckpointKind {}
impl Kind for CheckpointKind {
    const WORD: &'static str = "checkpoint name";
    const LIMIT: usize = 32;
}
/// The name of a checkpoint of a lab: it becomes a folder's name on every host. At most 32 bytes.
pub type CheckpointName = Name<CheckpointKind>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By parts: runs of digits by their value, everything else by its bytes.
    fn by_parts(a: &str, b: &str) -> Ordering {
        let parts = |text: &str| -> Vec<(Option<u128>, String)> {
            let is_digit = |byte: &u8| byte.is_ascii_digit();
            let runs = text.as_bytes().chunk_by(|a, b| is_digit(a) && is_digit(b));
            let runs = runs.map(|run| String::from_utf8_lossy(run).into_owned());
            runs.map(|run| (run.parse().ok(), run)).collect()
        };
        let (a, b) = (parts(a), parts(b));
        for ((x, x_text), (y, y_text)) in a.iter().zip(&b) {
            let order = match (x, y) {
                (Some(x), Some(y)) => x.cmp(y),
                _ => x_text.as_bytes()[0].cmp(&y_text.as_bytes()[0]),
            };
            if order.is_ne() {
                return order;
            }
        }
        a.len().cmp(&b.len())
    }

    proptest! {
        #[test]
        fn names_are_ordered_by_the_values_of_their_numbers(a in "v[01a9-]{0,7}", b in "v[01a9-]{0,7}") {
            let expected = by_parts(&a, &b).then_with(|| a.cmp(&b));
            prop_assert_eq!(numeric(&a, &b).then_with(|| a.cmp(&b)), expected, "{} {}", a, b);
        }
    }
}
