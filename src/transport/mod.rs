//! Runs a command somewhere: on this machine, in the namespaces of an emulated host, or behind ssh. Takes a [`Cmd`],
//! gives its [`Output`]. Knows nothing of what commands are for.

pub mod cmd;
mod local;
mod netns;
pub mod ssh;

pub use cmd::{Cmd, CmdError, Output, Shell};
pub use local::LocalShell;
pub use netns::NamespaceShell;
