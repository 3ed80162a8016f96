//! Hosts behind ssh: takes an [`SshTarget`], gives a [`Shell`](crate::transport::Shell) there and a way to its libvirt.
//!
//! What a user has told ssh counts here too: `ssh -G` is asked what `~/.ssh/config` means for a host, `ssh-keygen -F`
//! what is in the known_hosts files. Connection, host key and authentication are our own, over the ssh2 crate:
//!
//! - A host key that is not known, or another one than is known, ends it: [`SshError`] then shows the fingerprint and
//!   what to run. There is no setting that turns this off, and none in `~/.ssh/config` counts for it.
//! - Authentication is by agent and key files; nobody is ever asked for a password.
//! - One session for all commands and one for libvirt, each used by one worker at a time: two connections of a host
//!   with a channel each, and a second channel while a command is fed more than fits on a line.
//! - A peer that says nothing for [`SILENCE`] although it was asked counts as dead.

mod auth;
mod config;
pub mod confirm;
mod known_hosts;
mod session;
mod shell;
mod transport;
mod tunnel;

use std::time::Duration;

pub use config::Settings;
pub use session::Session;
pub use shell::{SshShell, quote};
pub use tunnel::Tunnel;

use crate::lab::SshTarget;

/// A peer that is silent for so long although it was asked to answer is dead.
pub const SILENCE: Duration = Duration::from_secs(8);
/// How often a silent peer is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long making a connection may take where `~/.ssh/config` does not say (`ConnectTimeout`).
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A host behind ssh cannot be reached or used.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A program of OpenSSH's client is missing.
    #[error("`{0}` is not installed here: netlab asks OpenSSH what ~/.ssh says; install openssh-client")]
    NoOpenSsh(&'static str),
    /// `~/.ssh/config` cannot be read.
    #[error("ssh's configuration for {target}: {message}")]
    Config {
        /// For whom it was asked.
        target: SshTarget,
        /// What ssh said.
        message: String,
    },
    /// No connection.
    #[error("no connection to {place}: {message}")]
    Connect {
        /// Host and port.
        place: String,
        /// Why not.
        message: String,
    },
    /// The host's key is in no known_hosts file.
    #[error(
        "{place} is not known: it shows the {kind} key {fingerprint}; if that is the host's own, accept it with\n    \
         {accept}"
    )]
    UnknownKey {
        /// Host and port.
        place: String,
        /// The key's type in OpenSSH's words.
        kind: String,
        /// The fingerprint as `ssh-keygen -l` prints it.
        fingerprint: String,
        /// The command that accepts this very key.
        accept: String,
    },
    /// The host has another key than is known.
    #[error(
        "{place} shows another key than is known: {kind} {fingerprint}. Somebody may be in between, or the host was \
         installed anew. Only if you know that it was, accept its new key with\n    {accept}"
    )]
    ChangedKey {
        /// Host and port.
        place: String,
        /// The key's type in OpenSSH's words.
        kind: String,
        /// The fingerprint as `ssh-keygen -l` prints it.
        fingerprint: String,
        /// The commands that accept this very key in place of the known ones.
        accept: String,
    },
    /// The host's key is marked as revoked.
    #[error("{place} shows the key {fingerprint}, which known_hosts has marked as @revoked")]
    RevokedKey {
        /// Host and port.
        place: String,
        /// The fingerprint as `ssh-keygen -l` prints it.
        fingerprint: String,
    },
    /// No key was accepted.
    #[error("{user}@{place} accepts no key of ours ({tried}); {help}")]
    Auth {
        /// The user there.
        user: String,
        /// Host and port.
        place: String,
        /// What was tried.
        tried: String,
        /// What can be done.
        help: String,
    },
    /// The peer was silent for too long.
    #[error("{place} does not answer any more (silent for {} s)", SILENCE.as_secs())]
    Silent {
        /// Host and port.
        place: String,
    },
    /// libvirt's socket there cannot be reached.
    #[error("libvirt's socket on {place} cannot be reached: {message}")]
    NoLibvirt {
        /// Host and port.
        place: String,
        /// Why not.
        message: String,
    },
    /// Something else went wrong while talking.
    #[error("talking to {place}: {message}")]
    Protocol {
        /// Host and port.
        place: String,
        /// libssh2's words.
        message: String,
    },
}
