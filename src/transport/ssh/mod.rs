//! Hosts behind ssh: takes an [`SshTarget`](crate::lab::SshTarget), returns a [`Shell`](crate::transport::Shell) there
//! and a tunnel to its libvirt.
//!
//! The user's ssh configuration applies: `ssh -G` evaluates `~/.ssh/config` for a host, `ssh-keygen -F` searches the
//! known_hosts files. Connection, host key and authentication are netlab's own, over the ssh2 crate:
//!
//! - A host key that is unknown or has changed is an error: [`SshError`] then has the fingerprint and the command that
//!   accepts the key. No setting turns this off, and none in `~/.ssh/config` affects it.
//! - Authentication is by agent and key files; the user is never asked for a password.
//! - One session for all commands and one for libvirt, each used by one worker at a time: two connections of a host
//!   with a channel each, and a second channel while a command is fed more than fits on a line.
//! - A peer that sends nothing for [`SILENCE`] although it was probed counts as dead.

mod auth;
mod config;
pub mod confirm;
mod direct;
mod error;
mod exchange;
mod known_hosts;
mod line;
mod session;
mod shell;
mod transport;
mod tunnel;
mod tunnel_folder;

use std::time::Duration;

pub use config::Settings;
pub use direct::connect_from;
pub use error::SshError;
pub use session::Session;
pub use shell::SshShell;
pub use tunnel::Tunnel;

/// How long a peer that was probed may be silent before it counts as dead.
pub const SILENCE: Duration = Duration::from_secs(8);
/// How often a silent peer is probed.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long connecting may take where `~/.ssh/config` sets no `ConnectTimeout`.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
