//! Verifies a host's key against the known ones. OpenSSH searches the files (`ssh-keygen -F`), since it knows hashed
//! names, patterns and markers; what it finds is compared here, and only an equal key is accepted.

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::{Settings, SshError};
use crate::transport::quote;

/// A key of the host in one of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    revoked: bool,
    kind: String,
    key: String,
}

/// The known keys of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KnownKeys(Vec<Known>);

impl KnownKeys {
    /// Reads the keys of the host from its known_hosts files.
    pub fn read(settings: &Settings) -> Result<Self, SshError> {
        let mut known = Vec::new();
        for file in settings.known_hosts.iter().filter(|file| file.is_file()) {
            known.extend(find(&settings.key_name(), file)?);
        }
        Ok(Self(known))
    }

    /// Returns the key algorithms to ask the host for first: those of which a key is known (RFC 4253, 6.6; RFC 8332).
    pub fn algorithms(&self) -> Vec<&str> {
        let kinds = self.0.iter().filter(|known| !known.revoked);
        kinds
            .flat_map(|known| match known.kind.as_str() {
                "ssh-rsa" => vec!["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"],
                other => vec![other],
            })
            .collect()
    }

    /// Accepts `key` only if it is a known one that is not revoked.
    pub fn verify(&self, settings: &Settings, key: &[u8]) -> Result<(), SshError> {
        let encoded = STANDARD.encode(key);
        let same = |known: &&Known| known.key == encoded;
        let place = settings.place();
        let fingerprint = fingerprint(key);
        if self.0.iter().filter(same).any(|known| known.revoked) {
            return Err(SshError::RevokedKey { place, fingerprint });
        }
        if self.0.iter().any(|known| same(&known)) {
            return Ok(());
        }
        let kind = kind(key);
        let name = settings.key_name();
        let file = settings.known_hosts.first().map_or_else(
            || "~/.ssh/known_hosts".to_owned(),
            |file| quote(&file.display().to_string()),
        );
        let accept = format!("echo {} >> {file}", quote(&format!("{name} {kind} {encoded}")));
        if self.0.iter().all(|known| known.revoked) {
            return Err(SshError::UnknownKey {
                place,
                kind,
                fingerprint,
                accept,
            });
        }
        Err(SshError::ChangedKey {
            place,
            kind,
            fingerprint,
            accept: format!("ssh-keygen -R {} -f {file} && {accept}", quote(&name)),
        })
    }
}

/// Returns the keys in `file` of the host `name`.
fn find(name: &str, file: &Path) -> Result<Vec<Known>, SshError> {
    let output = Command::new("ssh-keygen")
        .args(["-F", name, "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(|_| SshError::NoOpenSsh { program: "ssh-keygen" })?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(read)
        .collect())
}

/// A line of a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): `[marker] names type key [comment]`.
fn read(line: &str) -> Option<Known> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split_whitespace().peekable();
    let revoked = match fields.next_if(|field| field.starts_with('@')) {
        Some("@revoked") => true,
        // A certificate authority's key is no host's key.
        Some(_) => return None,
        None => false,
    };
    let (_names, kind, key) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Known {
        revoked,
        kind: kind.to_owned(),
        key: key.to_owned(),
    })
}

/// Returns the key's fingerprint as OpenSSH prints it.
fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// Returns the type that a public key names itself: its first string (RFC 4253, 6.6).
fn kind(key: &[u8]) -> String {
    let length = key.get(..4).map(|bytes| {
        bytes
            .iter()
            .fold(0_usize, |length, byte| length << 8 | usize::from(*byte))
    });
    let name = length.and_then(|length| key.get(4..length.checked_add(4)?));
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_marker() {
        assert_eq!(read("# Host h found: line 1"), None);
        assert_eq!(read("@cert-authority *.x ssh-ed25519 AAAA"), None);
        let known = |line| read(line).map(|known| (known.revoked, known.kind, known.key)).unwrap();
        let key = |revoked| (revoked, "ssh-ed25519".to_owned(), "AAAA".to_owned());
        assert_eq!(known("|1|salt|hash ssh-ed25519 AAAA comment"), key(false));
        assert_eq!(known("@revoked h ssh-ed25519 AAAA"), key(true));
    }

    #[test]
    fn the_type_of_a_key_is_read_from_it() {
        assert_eq!(kind(b"\0\0\0\x0bssh-ed25519rest"), "ssh-ed25519");
        assert_eq!(kind(b"\0\0\xff\xffx"), "");
        assert_eq!(kind(b""), "");
    }
}
