//! The console engine: takes a [`Console`] and what a guest is to be told or asked, gives what came of it, or an
//! error with the guest's last screen. Never waits without a deadline and never takes garbled output for a pass.

mod boot;
mod configure;
mod error;
mod frame;
mod pages;
mod paging;
mod probe;
#[cfg(test)]
mod scripted;
mod session;
mod terminal;
mod transcript;
pub mod vga;
mod watch;

use std::time::Duration;

pub use configure::{ConfigureError, configure};
pub use error::{SessionError, SessionFault};
pub use probe::{ProbeOptions, probe, probe_by};
pub use session::{CommandOutput, Session};
pub use terminal::last_lines;
pub use transcript::Transcript;

/// The longest line that is ever typed, in bytes. Busybox's ash takes 1,018 and a Linux terminal 4,095
/// (N_TTY_BUF_SIZE); what is beyond is dropped without a word.
pub const LINE_LIMIT: usize = 900;

/// A guest's console: bytes in, text out. What is behind it (a serial stream, a screen and a keyboard, a test's
/// script) does not matter above this line.
pub trait Console: Send {
    /// Waits at most `wait` for output and gives what appeared; empty when nothing did. An error when the guest or
    /// the way to it has gone.
    fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ConsoleError>;

    /// Sends text to the guest. That it was sent does not mean that it was read.
    fn send(&mut self, text: &[u8]) -> Result<(), ConsoleError>;

    /// Sends text that the guest is not expected to show, e.g. a password.
    fn send_unseen(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        self.send(text)
    }

    /// Whether this is a screen: its text can scroll away unread, and what is typed is only known to have arrived
    /// when it is shown.
    fn is_screen(&self) -> bool {
        false
    }

    /// A picture of the screen as PNG, where there is a screen.
    fn screenshot(&mut self) -> Result<Option<Vec<u8>>, ConsoleError> {
        Ok(None)
    }
}

/// The way to a guest's console broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    /// The guest hung up: it was stopped or its QEMU died.
    #[error("the guest's console was closed: the guest has stopped")]
    Closed,
    /// The way to the guest broke under the console; the guest itself lives on, and its console can be opened again.
    #[error("console: the connection to libvirt broke (was its daemon restarted?); the guest runs on")]
    Lost,
    /// Somebody else has the console.
    #[error("the guest's console is open elsewhere ({0}); close that one first")]
    Busy(String),
    /// The screen shows a picture instead of text.
    #[error("the guest shows a picture instead of text")]
    Picture,
    /// Anything else, in the words of what is below.
    #[error("console: {0}")]
    Failed(String),
}

/// What a guest's pings to one address came to.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The pings were made and counted; `received` 0 is "not reached", between 0 and `sent` is "lossy".
    Counted {
        /// Echo requests sent.
        sent: u32,
        /// Echo replies received.
        received: u32,
        /// Mean round trip in milliseconds, where there was one.
        rtt_ms: Option<f64>,
    },
    /// Nothing can be said, and why. Never counts as a pass, nor as a proof of isolation.
    Unknown(String),
}
