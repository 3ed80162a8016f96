//! Runs a command somewhere: on this machine, in the namespaces of an emulated host, or over ssh. Takes a [`Cmd`],
//! returns its [`Output`]; or a [`Dialer`] there, and returns a connection. Knows nothing of what either is for.
//!
//! [`TracedShell`] around any of the shells logs what is sent; [`OwnedShell`] marks it as one run's.

pub mod cmd;
mod dial;
mod ended;
mod local;
mod netns;
mod owner;
mod prompt;
pub mod quote;
pub mod ssh;
pub mod traced;

pub use cmd::{Cmd, CmdError, Malformed, Output, Script, Shell};
pub use dial::{DialError, Dialer, relay};
pub use local::LocalShell;
pub use netns::NamespaceShell;
pub use owner::{OwnedShell, Owner};
pub use quote::quote;
pub use traced::TracedShell;
