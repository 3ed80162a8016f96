//! Names in DNS.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NameError;

const KIND: &str = "DNS name";
/// Most bytes of a name and of a label (RFC 1035, 2.3.4; the text has two bytes less than the message).
const LIMIT: usize = 253;
const LABEL_LIMIT: usize = 63;

/// The name of a host in DNS, in lower case and without the final dot: labels of letters, digits and inner `-` (RFC 1123,
/// 2.1), the last of which is no number, so that no name is an address. A name in another alphabet is written as its
/// A-label (RFC 5890, 2.3.2.1), e.g. `xn--bcher-kva.example`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

impl DnsName {
    /// Most bytes of a name.
    pub const LIMIT: usize = LIMIT;

    /// Checks `text` and returns it as a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let plain = text.strip_suffix('.').unwrap_or(text);
        if plain.is_empty() {
            return Err(NameError::Empty { kind: KIND });
        }
        let wrong = |rule, found| NameError::Alphabet {
            kind: KIND,
            rule,
            found,
        };
        let legal = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '.';
        if let Some(found) = plain.chars().find(|c| !legal(c)) {
            let rule = if found.is_ascii() {
                "holds only letters, digits, '-' and '.'"
            } else {
                "is written in ASCII (in another alphabet as `xn--…`)"
            };
            return Err(wrong(rule, found));
        }
        for label in plain.split('.') {
            if label.is_empty() {
                return Err(wrong("has no empty part between dots", '.'));
            }
            if label.len() > LABEL_LIMIT {
                return Err(NameError::TooLong {
                    kind: "part of a DNS name",
                    limit: LABEL_LIMIT,
                    length: label.len(),
                });
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(wrong("has letters or digits at both ends of each part", '-'));
            }
        }
        let last = plain.rsplit('.').next().unwrap_or_default();
        if let Some(digit) = last.chars().next().filter(|_| last.bytes().all(|b| b.is_ascii_digit())) {
            return Err(wrong("does not end with a number", digit));
        }
        if plain.len() > LIMIT {
            return Err(NameError::TooLong {
                kind: KIND,
                limit: LIMIT,
                length: plain.len(),
            });
        }
        Ok(Self(plain.to_ascii_lowercase()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl FromStr for DnsName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}
impl TryFrom<String> for DnsName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}
impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_lower_case_without_a_final_dot() {
        assert_eq!(DnsName::new("VM1.Lab.").unwrap().as_str(), "vm1.lab");
        for good in ["vm1", "example.org", "xn--bcher-kva.example", "1st.example", "a-b.c"] {
            assert_eq!(DnsName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_the_rule_that_it_breaks() {
        let label = "a".repeat(64);
        let long = vec!["a".repeat(60); 5].join(".");
        for (bad, rule) in [
            ("", "empty"),
            (".", "empty"),
            ("a..b", "empty part"),
            ("-a.b", "both ends"),
            ("a-.b", "both ends"),
            ("a_b", "only letters"),
            ("a b", "only letters"),
            ("a;b", "only letters"),
            ("bücher.example", "xn--"),
            ("10.0.0.1", "number"),
            (label.as_str(), "at most 63"),
            (long.as_str(), "at most 253"),
        ] {
            let error = DnsName::new(bad).unwrap_err().to_string();
            assert!(error.contains(rule), "{bad}: {error}");
        }
    }
}
