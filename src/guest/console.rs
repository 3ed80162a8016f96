//! The interface to a guest's console and the errors of its connection.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A guest's console: bytes in, text out. What implements it (a serial stream, a screen and a keyboard, a script of a
/// test) is of no concern here.
pub trait Console: Send {
    /// Waits at most `wait` for output and returns what appeared; empty when nothing did. Fails when the guest has
    /// stopped or the connection to it broke.
    fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ConsoleError>;

    /// Sends text to the guest. That it was sent does not mean that it was read.
    fn send(&mut self, text: &[u8]) -> Result<(), ConsoleError>;

    /// Sends text that the guest is not expected to echo, e.g. a password.
    fn send_unseen(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        self.send(text)
    }

    /// Whether this is a screen: its text can scroll off before it is read, and typed text is known to have arrived
    /// only when it is shown.
    fn is_screen(&self) -> bool {
        false
    }

    /// Sets the time after which sending fails instead of waiting for the guest; none: the console's own limits.
    fn until(&mut self, _deadline: Option<Instant>) {}

    /// Returns why the guest cannot answer, where that can be seen from outside of it, e.g. that its QEMU is stopped.
    /// Called when the guest has been silent for a while.
    fn obstacle(&mut self) -> Option<String> {
        None
    }

    /// Returns the rows of the screen that the guest has beside this console, where it is in text mode and can be read.
    fn screen_text(&mut self) -> Option<Vec<String>> {
        None
    }

    /// Returns a screenshot as PNG, where there is a screen.
    fn screenshot(&mut self) -> Result<Option<Vec<u8>>, ConsoleError> {
        Ok(None)
    }
}

/// The connection to a guest's console failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    /// The guest closed it: it was stopped or its QEMU died.
    #[error("the guest's console was closed: the guest has stopped")]
    Closed,
    /// The connection below the console broke; the guest keeps running, and its console can be opened again.
    #[error("the connection to libvirt broke; the guest keeps running")]
    Lost,
    /// The guest does not run, although it was started; why.
    #[error("the guest does not run: {0}")]
    Halted(String),
    /// Another program has the console; which one.
    #[error("the guest's console is already open ({0})")]
    Busy(String),
    /// The screen is in graphics mode.
    #[error("the guest shows a picture instead of text")]
    Picture,
    /// The guest does not read what is sent.
    #[error("the guest takes no input")]
    NoInput,
    /// A character that no key gives.
    #[error("{0:?} cannot be typed on a US keyboard")]
    Untypable(char),
    /// Bytes that are not UTF-8.
    #[error("bytes that are not text cannot be typed")]
    NotText,
    /// A typed line never appeared on the screen.
    #[error("the guest's screen does not show what is typed ({attempts} attempts): {line}")]
    NoEcho {
        /// The line.
        line: String,
        /// How often it was typed.
        attempts: u32,
    },
    /// The user asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// An error of what implements the console.
    #[error("the connection to the guest's console failed")]
    Failed(#[source] Cause),
}

impl ConsoleError {
    /// Wraps an error of what implements the console.
    pub fn failed(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed(Cause(Arc::new(cause)))
    }

    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Closed => "find out from libvirt's log of the domain why it stopped, then run `netlab up` again",
            Self::Lost | Self::Failed(_) => "check that the host and its libvirt daemon are running",
            Self::Halted(_) => {
                "remove the cause (free space on the host; `kill -CONT` for a stopped process), then run `netlab up`, \
                 which resumes the guest"
            }
            Self::Busy(_) => "close the other console (Ctrl-] in virsh), then run again",
            Self::Picture => {
                "netlab reads text only: keep the guest's console in text mode (`nomodeset` on its kernel's command \
                 line), or give it a serial console"
            }
            Self::NoInput => "open the guest's console with `netlab console` and check its shell",
            Self::NoEcho { .. } => {
                "the guest's kernel has no working keyboard, or its console shows something else than a shell: see \
                 `netlab screenshot`, and restart the guest with `netlab restart`"
            }
            Self::Untypable(_) | Self::NotText => "use printable ASCII characters only",
            Self::Cancelled => "run again to continue",
        }
    }
}

/// The error of a lower layer, shared so that it can be cloned. Two are equal if they are the same one.
#[derive(Debug, Clone)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cause {}

impl From<std::io::Error> for Cause {
    fn from(error: std::io::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
