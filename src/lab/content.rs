//! What a guest is given that may be a secret or long: records have its digest.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// What a digest starts with in a record.
const SHA256: &str = "sha256:";

/// The bytes of a file or command, or the digest of some that are not known here.
///
/// What is serialized is the digest, so that a domain's metadata or a journal shows whether the content has changed, and
/// not what it is. Two are equal if their digests are.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub enum Content {
    /// The content itself.
    Bytes(Vec<u8>),
    /// The digest of one that is not known here.
    Digest(String),
}

impl Content {
    /// Returns the content itself, where it is known.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Digest(_) => None,
        }
    }

    /// Returns the content itself, where it is known and text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// Returns what is recorded of it: the first 32 hex digits of its SHA-256.
    pub fn digest(&self) -> String {
        match self {
            Self::Bytes(bytes) => {
                let mut digest = Sha256::new();
                digest.update(b"netlab content ");
                digest.update(bytes);
                let mut text = SHA256.to_owned();
                for byte in digest.finalize().iter().take(16) {
                    // Writing to a `String` cannot fail.
                    let _ = write!(text, "{byte:02x}");
                }
                text
            }
            Self::Digest(digest) => digest.clone(),
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

/// Reads a record.
impl From<String> for Content {
    fn from(digest: String) -> Self {
        Self::Digest(digest)
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.digest())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digest())
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            _ => self.digest() == other.digest(),
        }
    }
}

impl Eq for Content {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_recorded_and_shown_by_its_digest_and_compared_with_its_record() {
        let content = Content::from("a secret");
        let record = serde_json::to_string(&content).unwrap();
        assert!(!record.contains("secret") && !format!("{content:?}").contains("secret"));
        let read: Content = serde_json::from_str(&record).unwrap();
        assert_eq!((read.bytes(), &read), (None, &content));
        assert_eq!(serde_json::to_string(&read).unwrap(), record);
        assert_ne!(read, Content::from("another"));
    }
}
