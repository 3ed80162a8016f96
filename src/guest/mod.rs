//! The console engine: takes a [`Console`] and what to configure, inspect or ask in a guest, returns the result or an error
//! with the guest's last output. Never waits without a deadline and never takes garbled output for a success.

mod boot;
mod cloud_init;
mod configure;
mod console;
mod download;
mod embedded;
mod error;
mod frame;
mod host_keys;
mod inspect;
mod pages;
mod paging;
mod privilege;
mod probe;
mod saved;
#[cfg(test)]
mod scripted;
mod seen;
mod services;
mod session;
mod setup;
mod terminal;
mod transcript;
mod upload;
pub mod vga;
mod watch;

pub use configure::{ConfigureError, configure};
pub use console::{Cause, Console, ConsoleError};
pub use download::{Download, download};
pub use error::{SessionError, SessionFault};
pub use host_keys::host_keys;
pub use inspect::{Deviation, inspect};
pub use probe::{Answer, Answers, NO_ROUTE, ProbeOptions, Reply, Target, ask_by, probe, probe_and_ask, probe_by};
pub use saved::seeded::{
    BLANK_ACCOUNT, await_cloud_init, blank_console, blank_scripts, prepare_seeded, restored_console,
};
pub use saved::{Restored, prepare, set_clock, wake};
pub use seen::{ArpQuestion, Forged, GuestLink, GuestRoute, GuestView};
pub use services::{ServiceAnswer, ServiceQuestion};
pub use session::{CommandOutput, Session};
pub use setup::{SetUpError, set_up};
pub use terminal::last_lines;
pub use transcript::Transcript;
pub use upload::upload;

/// The longest line that is ever typed, in bytes. Busybox's ash takes 1,018 and a Linux terminal 4,095
/// (N_TTY_BUF_SIZE); what exceeds that is dropped silently.
pub const LINE_LIMIT: usize = 900;
