//! The errors of a session with a guest, with the guest's last output.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Cause, ConsoleError, LINE_LIMIT};

/// A session with a guest failed.
///
/// `Display` is the fault, the guest's last lines and the path of the transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionError {
    /// What failed.
    pub fault: SessionFault,
    /// The last lines that the guest printed, oldest first.
    pub screen: Vec<String>,
    /// The file with everything that was typed and printed.
    pub transcript: Option<PathBuf>,
}

/// The kinds of failure of a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// The connection to the console failed.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// Not a byte came from the guest.
    #[error("the guest printed nothing in {} s", .0.as_secs())]
    Silent(Duration),
    /// The guest printed, but never its shell's prompt.
    #[error("the guest did not show its prompt `{prompt}` within {} s", .within.as_secs())]
    NoPrompt {
        /// The expected prompt.
        prompt: String,
        /// The deadline.
        within: Duration,
    },
    /// The shell was not ready before the caller's deadline.
    #[error("the guest's shell was not ready within {} s{}", .within.as_secs(), because(.why.as_ref()))]
    NotReady {
        /// The deadline.
        within: Duration,
        /// Why the guest does not run, if it is seen not to.
        why: Option<String>,
    },
    /// The guest's kernel panicked; the line that says so.
    #[error("the guest's kernel panicked: {0}")]
    Panic(String),
    /// The guest's firmware, boot loader or init gave up; the line that says so.
    #[error("the guest is not bootable: {0}")]
    NotBootable(String),
    /// The guest's login is on its screen only; the line that asks for the user.
    #[error("the guest asks for a login on its screen (`{0}`), and its serial port is silent")]
    NoGetty(String),
    /// The guest restarts in a loop.
    #[error("the guest reboots in a loop: {times} times `{banner}`")]
    Reboots {
        /// The line that begins each boot.
        banner: String,
        /// How often it was printed.
        times: u32,
    },
    /// User and password were typed and the guest asked again.
    #[error("the guest refuses the login of `{user}`")]
    LoginRefused {
        /// The user.
        user: String,
    },
    /// The guest asks for a password and the image's description has none.
    #[error("the guest asks for a password for `{user}`, and its image has none")]
    PasswordAsked {
        /// The user.
        user: String,
    },
    /// The account that is logged in is not root and cannot become root.
    #[error("the account {user} of the guest is not root and cannot become root: {} refused", .tried.join(", "))]
    NotRoot {
        /// The account.
        user: String,
        /// What was tried, e.g. `sudo -n`.
        tried: Vec<&'static str>,
    },
    /// A command did not end in time.
    #[error("`{command}` did not end within {} s in the guest", .within.as_secs())]
    Deadline {
        /// The command's first line.
        command: String,
        /// The deadline.
        within: Duration,
    },
    /// The marks around a command's output did not arrive intact: whether it ran is unknown.
    #[error("the guest's answer to `{command}` was garbled")]
    Garbled {
        /// The command's first line.
        command: String,
    },
    /// The guest's kernel said that it restarts or halts, while a command ran.
    #[error("the guest printed `{said}` while it ran `{command}`")]
    Restarted {
        /// The command's first line.
        command: String,
        /// What the kernel printed.
        said: String,
    },
    /// The guest's clock could not be set; what the guest printed.
    #[error("the guest's clock could not be set: {0}")]
    Clock(String),
    /// In a guest that is started from a saved state, cloud-init cannot do again what it does at the first boot; why not.
    #[error("cloud-init cannot configure the guest again: {0}")]
    CloudInit(String),
    /// A line of so many bytes, which the guest's terminal might truncate. Nothing was sent.
    #[error("a line of {0} bytes for the guest; at most {LINE_LIMIT} can be sent safely")]
    LineTooLong(usize),
    /// A file that was written over the console is not what was sent.
    #[error("a file of {bytes} bytes did not arrive in the guest's /tmp")]
    Upload {
        /// Its size.
        bytes: usize,
    },
    /// A file was not written over the console in time.
    #[error("{bytes} bytes did not arrive in the guest within {} s", .within.as_secs())]
    UploadDeadline {
        /// Its size.
        bytes: usize,
        /// The deadline.
        within: Duration,
    },
    /// A file that was read over the console is not the guest's.
    #[error("a file of {bytes} bytes did not arrive from the guest")]
    Download {
        /// Its size.
        bytes: usize,
    },
    /// The guest's screen is in graphics mode; the screenshot's file, if one could be saved.
    #[error("the guest shows a picture instead of text{}", screenshot(.0.as_ref()))]
    Picture(Option<PathBuf>),
    /// The transcript could not be written.
    #[error("cannot write the transcript")]
    Transcript(#[source] Cause),
}

fn because(why: Option<&String>) -> String {
    why.map_or_else(String::new, |why| format!(": {why}"))
}

fn screenshot(file: Option<&PathBuf>) -> String {
    file.map_or_else(String::new, |file| format!("; screenshot: {}", file.display()))
}

impl SessionFault {
    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Console(error) => error.help(),
            Self::Picture(_) => ConsoleError::Picture.help(),
            Self::Silent(_) => {
                "check that the image boots, prints to its console (serial: `console=ttyS0`) and has enough memory"
            }
            Self::NoPrompt { .. } => {
                "compare the last lines with the image's `prompt` and `login`; a slow host needs more `boot_seconds`"
            }
            Self::Panic(_) => {
                "the usual causes are too little memory, a wrong `arch`, or a disk bus the image has no driver for"
            }
            Self::NoGetty(_) => {
                "start a login on the serial port of the image (systemd: `systemctl enable serial-getty@ttyS0`), or \
                 give the image `kind = \"vga\"` in `console`"
            }
            Self::NotBootable(_) => {
                "check that the image has a boot loader, and its `format`, `disk_bus` and `firmware`; one without a boot \
                 loader needs a `kernel`"
            }
            Self::Reboots { .. } => "the usual causes are too little memory or a wrong `arch`",
            Self::LoginRefused { .. } | Self::PasswordAsked { .. } => {
                "check `user` and `password` of the image's login"
            }
            Self::NotRoot { .. } => {
                "give the image a login that is root, or that may use sudo without a password or with that of `login`, or state `root_password` for su"
            }
            Self::NotReady { why: Some(why), .. } => ConsoleError::Halted(why.clone()).help(),
            Self::Deadline { .. } | Self::NotReady { why: None, .. } => {
                "check the guest's console; on a busy host allow more time"
            }
            Self::Garbled { .. } => {
                "something else writes to the guest's console, or its shell was restarted: see the transcript"
            }
            Self::Restarted { .. } => "once it has booted, `netlab up` configures it again",
            Self::Clock(_) => "set it with date(1) on the guest's console",
            Self::CloudInit(_) => "write `warm = false` in the image's entry, or use `netlab up --cold`",
            Self::LineTooLong(_) => "split it into several lines",
            Self::Download { .. } => "check that nothing writes the file meanwhile; copy again",
            Self::UploadDeadline { .. } => "a console passes some 30 kB a second, on a busy host less: allow more time",
            Self::Upload { .. } => "check that the guest has room in /tmp, and cat(1) and wc(1)",
            Self::Transcript(_) => "check free space and permissions of the state folder",
        }
    }
}

impl SessionError {
    /// Returns the error with the last rows of the guest's screen, where its console printed nothing.
    #[must_use]
    pub(super) fn showing(self, rows: Vec<String>) -> Self {
        if self.screen.iter().any(|line| !line.trim().is_empty()) {
            return self;
        }
        Self { screen: rows, ..self }
    }

    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        self.fault.help()
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        if !self.screen.is_empty() {
            write!(f, "\n  the guest's last lines:")?;
            for line in &self.screen {
                write!(f, "\n  | {line}")?;
            }
        }
        if let Some(path) = &self.transcript {
            write!(f, "\n  transcript: {}", path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.fault.source()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_shows_the_fault_the_last_lines_and_the_transcript() {
        let error = SessionError {
            fault: SessionFault::Silent(Duration::from_secs(60)),
            screen: vec!["Booting".into(), "ok".into()],
            transcript: Some("/t/vm1".into()),
        };
        assert_eq!(
            error.to_string(),
            "the guest printed nothing in 60 s\n  the guest's last lines:\n  | Booting\n  | ok\n  transcript: /t/vm1"
        );
        assert!(error.help().starts_with("check that the image boots"));
    }

    #[test]
    fn the_cause_of_a_failed_connection_is_its_source_and_not_in_its_text() {
        let cause = std::io::Error::other("QEMU's monitor is busy");
        let fault = SessionFault::Console(ConsoleError::failed(cause));
        assert!(!fault.to_string().contains("monitor"));
        assert_eq!(fault.source().unwrap().to_string(), "QEMU's monitor is busy");
    }
}
