//! Why a host cannot be reached over ssh.

use std::io;

use super::SILENCE;
use crate::lab::SshTarget;

/// A host cannot be reached or used over ssh. `place` is host and port as known_hosts writes them.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A program of OpenSSH's client is missing on this machine.
    #[error("`{program}` is not installed on this machine")]
    NoOpenSsh {
        /// The program.
        program: &'static str,
    },
    /// OpenSSH rejects its own configuration.
    #[error("ssh configuration for {target}: {message}")]
    Config {
        /// The target that was asked for.
        target: SshTarget,
        /// What ssh printed.
        message: String,
    },
    /// `ssh -G` did not print a setting that every version prints.
    #[error("ssh configuration for {target}: `ssh -G` printed no {setting}")]
    MissingSetting {
        /// The target that was asked for.
        target: SshTarget,
        /// The setting.
        setting: &'static str,
    },
    /// No connection could be made.
    #[error("no connection to {place}: {cause}")]
    Connect {
        /// Host and port.
        place: String,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The connection was made, but the ssh protocol did not start.
    #[error("no connection to {place}: {}{}", .cause.message(), printed(.proxy.as_ref()))]
    Handshake {
        /// Host and port.
        place: String,
        /// libssh2's error.
        cause: ssh2::Error,
        /// What the proxy command printed to standard error last, if there is one.
        proxy: Option<String>,
    },
    /// The server presented no host key.
    #[error("{place} presented no host key")]
    NoHostKey {
        /// Host and port.
        place: String,
    },
    /// The host's key is in no known_hosts file.
    #[error("host key of {place} is unknown: {kind} {fingerprint}")]
    UnknownKey {
        /// Host and port.
        place: String,
        /// The key's type as OpenSSH names it.
        kind: String,
        /// The fingerprint as `ssh-keygen -l` prints it.
        fingerprint: String,
        /// The command that accepts this very key.
        accept: String,
    },
    /// The host's key is not the known one.
    #[error("host key of {place} has changed: {kind} {fingerprint} is not the known key")]
    ChangedKey {
        /// Host and port.
        place: String,
        /// The key's type as OpenSSH names it.
        kind: String,
        /// The fingerprint as `ssh-keygen -l` prints it.
        fingerprint: String,
        /// The commands that accept this very key in place of the known ones.
        accept: String,
    },
    /// The host's key is marked as revoked.
    #[error("host key of {place} is marked @revoked in known_hosts: {fingerprint}")]
    RevokedKey {
        /// Host and port.
        place: String,
        /// The fingerprint as `ssh-keygen -l` prints it.
        fingerprint: String,
    },
    /// No key was accepted.
    #[error("{place} accepted no key: {}", list(.tried))]
    Auth {
        /// User, host and port.
        place: String,
        /// Each key that was offered, with the reason it failed.
        tried: Vec<String>,
        /// The authentication methods that the server allows (RFC 4252, 5.1).
        methods: String,
        /// The command that installs a key there.
        install: String,
    },
    /// The peer was silent for too long.
    #[error("{place} stopped answering (silent for {} s)", SILENCE.as_secs())]
    Silent {
        /// Host and port.
        place: String,
    },
    /// libvirt's sockets there cannot be connected to.
    #[error("cannot connect to libvirt on {place}: {} cannot be opened: {message}", .sockets.join(" and "))]
    NoLibvirt {
        /// Host and port.
        place: String,
        /// The sockets that were tried.
        sockets: &'static [&'static str],
        /// Why the last of them cannot be opened.
        message: String,
    },
    /// The local end of the tunnel to libvirt cannot be made.
    #[error("cannot create a local socket for libvirt on {place}: {cause}")]
    LocalSocket {
        /// Host and port.
        place: String,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The session failed.
    #[error("ssh session with {place} failed: {}", .cause.message())]
    Session {
        /// Host and port.
        place: String,
        /// libssh2's error.
        cause: ssh2::Error,
    },
    /// Sending or receiving on the session failed.
    #[error("ssh session with {place} failed: {cause}")]
    Stream {
        /// Host and port.
        place: String,
        /// The stream's error.
        cause: io::Error,
    },
    /// The shell that runs netlab's commands there has exited.
    #[error("the shell on {place} exited: {stderr}")]
    ShellExited {
        /// Host and port.
        place: String,
        /// What it printed to standard error, trimmed.
        stderr: String,
    },
}

fn printed(proxy: Option<&String>) -> String {
    proxy.map_or_else(String::new, |text| format!("; the proxy printed: {text}"))
}

fn list(tried: &[String]) -> String {
    if tried.is_empty() {
        "none is available".to_owned()
    } else {
        tried.join("; ")
    }
}

impl SshError {
    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoOpenSsh { .. } => "install openssh-client: netlab reads ~/.ssh/config by `ssh -G`".to_owned(),
            Self::UnknownKey { accept, .. } => {
                format!("if that fingerprint is the host's own, accept its key with\n    {accept}")
            }
            Self::ChangedKey { accept, .. } => format!(
                "somebody may be intercepting the connection, or the host was reinstalled; only if you know that it \
                 was, accept its new key with\n    {accept}"
            ),
            Self::Auth { methods, install, .. } => {
                if allows_keys(methods) {
                    format!(
                        "netlab never asks for a password: install a key there ({install}), or load yours into an \
                         agent (ssh-add)"
                    )
                } else {
                    format!(
                        "the server allows only {methods}, and netlab never asks for a password: allow public keys there"
                    )
                }
            }
            Self::Connect { .. } | Self::Handshake { .. } | Self::Silent { .. } => {
                "check that the host is running, that sshd runs on it, and that the address is right".to_owned()
            }
            Self::NoLibvirt { .. } => "install and start libvirt on the host (`apt-get install libvirt-daemon-system \
                                       qemu-system-x86 && systemctl enable --now libvirtd`); check that this user may \
                                       use it, and that sshd allows it (AllowStreamLocalForwarding)"
                .to_owned(),
            Self::Config { .. }
            | Self::MissingSetting { .. }
            | Self::NoHostKey { .. }
            | Self::RevokedKey { .. }
            | Self::LocalSocket { .. }
            | Self::Session { .. }
            | Self::Stream { .. }
            | Self::ShellExited { .. } => return None,
        })
    }
}

/// Returns whether `methods`, comma-separated, hold authentication by public key.
pub(super) fn allows_keys(methods: &str) -> bool {
    methods.split(',').any(|method| method == "publickey")
}
