//! Runs a command somewhere: on this machine, in the namespaces of an emulated host, or over ssh. Takes a [`Cmd`],
//! returns its [`Output`]. Knows nothing of what commands are for.
//!
//! [`TracedShell`] around any of the shells logs what is sent.

pub mod cmd;
mod local;
mod netns;
pub mod quote;
pub mod ssh;
pub mod traced;

pub use cmd::{Cmd, CmdError, Malformed, Output, Script, Shell};
pub use local::LocalShell;
pub use netns::NamespaceShell;
pub use quote::quote;
pub use traced::TracedShell;
