//! Where a host is reached over ssh: `ssh://[user@]host[:port]`, checked so that no part of it can be taken for an
//! option, an argument of a shell or another part.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A host behind ssh. What is absent here comes from `~/.ssh/config`, else from ssh's own defaults; the host may be
/// an alias from there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshTarget {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Why a text is no [`SshTarget`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshTargetError {
    /// It does not begin with `ssh://`.
    #[error("write `ssh://[user@]host[:port]`")]
    Form,
    /// Something else follows the port, e.g. a path.
    #[error("nothing may follow host and port, but there is {0:?}")]
    Rest(String),
    /// A part is empty.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// A part holds a character that it cannot.
    #[error("the {part} cannot hold {found:?}")]
    Alphabet {
        /// Which part.
        part: &'static str,
        /// The first such character.
        found: char,
    },
    /// A part begins with `-`, so that a program would take it for an option.
    #[error("the {0} cannot begin with '-'")]
    Option(&'static str),
    /// Not 1 to 65535.
    #[error("the port is a number from 1 to 65535")]
    Port,
    /// A password, which has no place in a file.
    #[error("no password here: use an ssh key or an agent")]
    Password,
}

impl SshTarget {
    /// The user, where one was written.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
    /// The host's name or address, or its alias in `~/.ssh/config`; an IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// The port, where one was written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

/// Names, addresses and users as they occur: letters, digits and a few marks that mean nothing to a shell.
fn check(text: &str, part: &'static str, marks: &str) -> Result<(), SshTargetError> {
    if text.is_empty() {
        return Err(SshTargetError::Empty(part));
    }
    if text.starts_with('-') {
        return Err(SshTargetError::Option(part));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !marks.contains(*c)) {
        Some(found) => Err(SshTargetError::Alphabet { part, found }),
        None => Ok(()),
    }
}

impl FromStr for SshTarget {
    type Err = SshTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("ssh://").ok_or(SshTargetError::Form)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(at) = rest.find('/') {
            return Err(SshTargetError::Rest(rest[at..].to_owned()));
        }
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(SshTargetError::Password),
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        if let Some(user) = user {
            check(user, "user", "._-+@")?;
        }
        let (host, port) = if let Some(bracketed) = place.strip_prefix('[') {
            let (host, rest) = bracketed.split_once(']').ok_or(SshTargetError::Form)?;
            host.parse::<Ipv6Addr>().map_err(|_| SshTargetError::Form)?;
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':').ok_or(SshTargetError::Form)?)),
            }
        } else {
            match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            }
        };
        if !host.contains(':') {
            check(host, "host", "._-")?;
        }
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return Err(SshTargetError::Port),
        };
        Ok(Self {
            user: user.map(ToOwned::to_owned),
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl TryFrom<String> for SshTarget {
    type Error = SshTargetError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SshTarget> for String {
    fn from(target: SshTarget) -> Self {
        target.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_back_unchanged() {
        for text in [
            "ssh://host",
            "ssh://root@172.16.99.109",
            "ssh://a.b-c@h.example.org:2222",
            "ssh://root@[fe80::1]:22",
            "ssh://[2001:db8::7]",
        ] {
            assert_eq!(text.parse::<SshTarget>().unwrap().to_string(), text);
        }
        let full: SshTarget = "ssh://u@h:7".parse().unwrap();
        assert_eq!((full.user(), full.host(), full.port()), (Some("u"), "h", Some(7)));
    }

    #[test]
    fn what_could_be_an_option_or_another_part_is_refused() {
        for text in [
            "host",
            "ssh://",
            "ssh://@h",
            "ssh://-oProxyCommand=x",
            "ssh://-l@h",
            "ssh://u@-h",
            "ssh://a b",
            "ssh://h\n",
            "ssh://h\0",
            "ssh://$(id)",
            "ssh://h;id",
            "ssh://h:0",
            "ssh://h:65536",
            "ssh://h:22:22",
            "ssh://h:",
            "ssh://h/path",
            "ssh://u:secret@h",
            "ssh://[::1",
            "ssh://[x]",
            "ssh://[::1]22",
            "ssh://ü",
            "ssh://%h",
        ] {
            assert!(text.parse::<SshTarget>().is_err(), "{text:?} was taken");
        }
    }
}
