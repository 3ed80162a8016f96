//! A password that nothing prints or records: only the guest that asks for it, its seed disk and the lab file have it.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// What a digest starts with in a record.
const SHA256: &str = "sha256:";

/// A password, or the digest of one.
///
/// What is serialized is the digest, so that a domain's metadata or a journal shows whether a password has changed, and
/// not which it is. Two are equal if their digests are.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub enum Password {
    /// The password itself.
    Text(String),
    /// The digest of one that is not known here.
    Digest(String),
}

impl Password {
    /// Returns the password itself, where it is known.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Digest(_) => None,
        }
    }

    /// Returns what is recorded of it: the first 16 hex digits of its SHA-256.
    pub fn digest(&self) -> String {
        match self {
            Self::Text(text) => {
                let digest = Sha256::digest(format!("netlab password {text}"));
                let first = digest.iter().take(8);
                let first = first.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
                format!("{SHA256}{first:016x}")
            }
            Self::Digest(digest) => digest.clone(),
        }
    }
}

impl From<String> for Password {
    /// Reads a record. One of an earlier netlab has the password itself.
    fn from(text: String) -> Self {
        if text.starts_with(SHA256) {
            Self::Digest(text)
        } else {
            Self::Text(text)
        }
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.digest())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            _ => self.digest() == other.digest(),
        }
    }
}

impl Eq for Password {}

impl PartialOrd for Password {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Password {
    fn cmp(&self, other: &Self) -> Ordering {
        self.digest().cmp(&other.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_recorded_and_shown_without_itself_and_compared_with_its_record() {
        let password = Password::Text("hunter2".to_owned());
        let record = serde_json::to_string(&password).unwrap();
        assert!(
            !record.contains("hunter2") && !format!("{password:?}").contains("hunter2"),
            "{record}"
        );
        let read: Password = serde_json::from_str(&record).unwrap();
        assert_eq!((read.text(), &read), (None, &password));
        assert_eq!(serde_json::to_string(&read).unwrap(), record);
        assert_ne!(read, Password::Text("hunter3".to_owned()));
    }

    #[test]
    fn a_record_of_an_earlier_netlab_is_the_password_itself() {
        let read: Password = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(read, Password::Text("hunter2".to_owned()));
    }
}
