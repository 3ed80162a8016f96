//! What can go wrong on a guest's console, with what the guest showed when it did.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{ConsoleError, LINE_LIMIT};

/// Something went wrong on a guest's console.
///
/// `Display` is the trouble, what to do about it, the guest's last lines and where the whole transcript is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionError {
    /// What went wrong.
    pub trouble: SessionFault,
    /// The last lines that the guest printed, oldest first.
    pub screen: Vec<String>,
    /// The file that holds everything that was said.
    pub transcript: Option<PathBuf>,
}

/// The kinds of trouble with a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// The way to the guest broke.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// Not a byte came from the guest.
    #[error("the guest printed nothing in {} s", .0.as_secs())]
    Silent(Duration),
    /// The guest printed, but its shell's prompt never came.
    #[error("the guest did not show its prompt `{prompt}` within {} s", .within.as_secs())]
    NoPrompt {
        /// The prompt that was waited for.
        prompt: String,
        /// How long.
        within: Duration,
    },
    /// The guest's kernel died; the line that says so.
    #[error("the guest's kernel panicked: {0}")]
    Panic(String),
    /// The guest's firmware, boot loader or init gave up; the line that says so.
    #[error("the guest cannot boot: {0}")]
    NotBootable(String),
    /// The guest starts again and again; the line that was seen each time.
    #[error("the guest reboots again and again; seen {times} times: {banner}")]
    Reboots {
        /// The line that begins each boot.
        banner: String,
        /// How often it was seen.
        times: u32,
    },
    /// User and password were typed and the guest asked again.
    #[error("the guest refuses the login of `{user}`")]
    LoginRefused {
        /// The user.
        user: String,
    },
    /// The guest wants a password and the image's description has none.
    #[error("the guest asks for a password for `{user}`, and its image has none")]
    PasswordAsked {
        /// The user.
        user: String,
    },
    /// A command did not end in time.
    #[error("`{command}` did not end within {} s in the guest", .within.as_secs())]
    Deadline {
        /// The command's first line.
        command: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// The marks around a command's output did not come whole: whether it ran cannot be said.
    #[error("the guest's answer to `{command}` was garbled")]
    Garbled {
        /// The command's first line.
        command: String,
    },
    /// A line that the guest's terminal might cut without a word. Nothing was sent.
    #[error("a line of {0} bytes for the guest; at most {LINE_LIMIT} can be sent safely")]
    LineTooLong(usize),
    /// The guest's screen is in graphics mode; the screenshot's file, if one could be saved.
    #[error("the guest shows a picture instead of text{}", screenshot(.0.as_ref()))]
    Picture(Option<PathBuf>),
    /// The transcript could not be written.
    #[error("cannot write the transcript: {0}")]
    Transcript(String),
}

fn screenshot(file: Option<&PathBuf>) -> String {
    file.map_or_else(String::new, |file| format!("; a screenshot is in {}", file.display()))
}

impl SessionFault {
    /// What a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Console(ConsoleError::Closed) => {
                "see why it stopped in libvirt's log of the domain, then run `up` again"
            }
            Self::Console(ConsoleError::Busy(_)) => "leave the other console (Ctrl-] in virsh), then run again",
            Self::Picture(_) | Self::Console(ConsoleError::Picture) => {
                "netlab reads text only: keep the guest's console in text mode (`nomodeset` on its kernel's command \
                 line), or give it a serial console"
            }
            Self::Console(ConsoleError::Failed(_) | ConsoleError::Lost) => {
                "check that the host and its libvirt daemon are alive"
            }
            Self::Silent(_) => {
                "check that the image boots, prints to its console (serial: `console=ttyS0`) and has enough memory"
            }
            Self::NoPrompt { .. } => {
                "compare the last lines with the image's `prompt` and `login`; a slow host needs more `boot_seconds`"
            }
            Self::Panic(_) => {
                "the usual causes are too little memory, a wrong `arch`, or a disk bus the image has no driver for"
            }
            Self::NotBootable(_) => "check the image's `boot` and `disk_bus`",
            Self::Reboots { .. } => "the usual causes are too little memory or a wrong `arch`",
            Self::LoginRefused { .. } | Self::PasswordAsked { .. } => {
                "check `user` and `password` of the image's login"
            }
            Self::Deadline { .. } => "look at the guest's console; on a busy host give it more time",
            Self::Garbled { .. } => {
                "something else writes to the guest's console, or its shell was restarted: see the transcript"
            }
            Self::LineTooLong(_) => "split it into several lines",
            Self::Transcript(_) => "check free space and rights of the state folder",
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  help: {}", self.trouble, self.trouble.help())?;
        if !self.screen.is_empty() {
            write!(f, "\n  the guest's last lines:")?;
            for line in &self.screen {
                write!(f, "\n  | {line}")?;
            }
        }
        if let Some(path) = &self.transcript {
            write!(f, "\n  everything: {}", path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.trouble.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_what_happened_what_to_do_and_the_last_screen() {
        let error = SessionError {
            trouble: SessionFault::Silent(Duration::from_secs(60)),
            screen: vec!["Booting".into(), "ok".into()],
            transcript: Some("/t/vm1".into()),
        };
        let text = error.to_string();
        assert!(text.starts_with("the guest printed nothing in 60 s\n  help: check that the image boots"));
        assert!(text.ends_with("\n  the guest's last lines:\n  | Booting\n  | ok\n  everything: /t/vm1"));
    }
}
