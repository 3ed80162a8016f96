//! Runs a command somewhere: on this machine, in the namespaces of an emulated host, or over ssh. Takes a [`Cmd`],
//! returns its [`Output`]. Knows nothing of what commands are for.
//!
//! [`TracedShell`] around any of the shells logs what is sent; [`OwnedShell`] marks it as one run's.

pub mod cmd;
mod local;
mod netns;
mod owner;
pub mod quote;
pub mod ssh;
pub mod traced;

pub use cmd::{Cmd, CmdError, Malformed, Output, Script, Shell};
pub use local::LocalShell;
pub use netns::NamespaceShell;
pub use owner::{OwnedShell, Owner};
pub use quote::quote;
pub use traced::TracedShell;
