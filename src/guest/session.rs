//! A conversation with the shell of a guest.

use std::time::{Duration, Instant};

use super::error::{SessionError, Trouble};
use super::frame::{Ended, Frame};
use super::terminal::Cleaner;
use super::transcript::Transcript;
use super::watch::Watch;
use super::{Console, boot};
use crate::lab::ImageConsole;

/// How long one look at the console lasts: short enough to report a panic within a second of its line.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// A guest this quiet is asked for its end mark again; after each time it is given twice as long.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How often a command that may run twice is run before its answer counts as garbled.
const TRIES: u32 = 3;
/// For making the shell quiet. The shell has just shown its prompt.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);

/// A shell in a guest that waits for commands.
pub struct Session {
    console: Box<dyn Console>,
    cleaner: Cleaner,
    transcript: Transcript,
    echo_off: bool,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit status.
    pub status: i32,
    /// What was printed from its beginning to its end, lines ended by `\n`. Kernel messages may stand anywhere in it.
    pub text: String,
}

impl Session {
    /// Waits until the guest's shell waits for commands, logs in where the image asks for it and makes the shell
    /// quiet. Takes at most `image.boot_seconds` for the boot. `on_line` gets every line that the guest prints.
    pub fn open(
        console: Box<dyn Console>,
        image: &ImageConsole,
        transcript: Transcript,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Self, SessionError> {
        let mut session = Self {
            console,
            cleaner: Cleaner::default(),
            transcript,
            echo_off: false,
        };
        boot::wait_for_shell(&mut session, image, on_line)?;
        // `stty -echo` also turns off line editing in busybox's ash. `dmesg -n 1`: only emergencies reach the console.
        session.run_idempotent("stty -echo; dmesg -n 1", SETTLE_LIMIT)?;
        session.echo_off = true;
        Ok(session)
    }

    /// Runs shell commands, one or several lines of at most [`super::LINE_LIMIT`] bytes, in the guest's shell
    /// itself: `exit` would end it. What reads standard input finds it empty.
    ///
    /// The status given is always the script's own; where that cannot be known the answer is
    /// [`Trouble::Garbled`], and the script may have run or not.
    pub fn run(&mut self, script: &str, within: Duration) -> Result<CommandOutput, SessionError> {
        let ended = self.exchange(script, within)?;
        match (ended.status, ended.text) {
            (Some(status), Some(text)) => Ok(CommandOutput { status, text }),
            _ => Err(self.garbled(script)),
        }
    }

    /// Like [`Self::run`], for scripts that do no harm when run twice: one whose marks were garbled is run again, a
    /// few times, with `within` for each time.
    pub fn run_idempotent(&mut self, script: &str, within: Duration) -> Result<CommandOutput, SessionError> {
        for _ in 0..TRIES {
            if let Ended {
                status: Some(status),
                text: Some(text),
                asked_again: false,
            } = self.exchange(script, within)?
            {
                return Ok(CommandOutput { status, text });
            }
        }
        Err(self.garbled(script))
    }

    /// The last lines that the guest printed, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.transcript.last_lines()
    }

    fn exchange(&mut self, script: &str, within: Duration) -> Result<Ended, SessionError> {
        let frame = Frame::new();
        let lines = frame.wrap(script).map_err(|trouble| self.error(trouble))?;
        let began = Instant::now();
        let mut heard = String::new();
        for line in &lines {
            self.type_line(line)?;
            // Listening between the lines keeps both directions moving: a guest whose output is stuck reads nothing.
            heard.push_str(&self.listen(Duration::ZERO)?);
        }
        let (mut searched, mut watch) = (0, Watch::new());
        let (mut patience, mut asked) = (ASK_AGAIN, Instant::now());
        loop {
            if let Some(ended) = frame.find(&heard, searched) {
                return Ok(ended);
            }
            if let Some(trouble) = watch.trouble() {
                return Err(self.error(trouble));
            }
            let left = within.saturating_sub(began.elapsed());
            if left.is_zero() {
                // Ctrl-C: the next command should not have to wait for this one.
                self.console.send(b"\x03").map_err(|error| self.error(error.into()))?;
                let command = first_line(script);
                return Err(self.error(Trouble::Deadline { command, within }));
            }
            if watch.quiet() >= patience && asked.elapsed() >= patience {
                self.type_line(&frame.ask_again())?;
                asked = Instant::now();
                patience *= 2;
            }
            searched = heard.len();
            let text = self.listen(left.min(LOOK))?;
            watch.hear(&text, |_| ());
            heard.push_str(&text);
        }
    }

    /// Waits at most `wait` for output.
    pub(super) fn listen(&mut self, wait: Duration) -> Result<String, SessionError> {
        let bytes = self.console.read(wait).map_err(|error| self.error(error.into()))?;
        let text = self.cleaner.clean(&bytes);
        let kept = self.transcript.heard(&text);
        kept.map_err(|error| self.error(Trouble::Transcript(error.to_string())))?;
        Ok(text)
    }

    /// Types a line and Enter.
    pub(super) fn type_line(&mut self, line: &str) -> Result<(), SessionError> {
        self.type_as(line, line)
    }

    /// Types a line that the transcript must not show.
    pub(super) fn type_secret(&mut self, line: &str) -> Result<(), SessionError> {
        self.type_as(line, "(a password)")
    }

    fn type_as(&mut self, line: &str, shown: &str) -> Result<(), SessionError> {
        let kept = self.transcript.typed(shown);
        kept.map_err(|error| self.error(Trouble::Transcript(error.to_string())))?;
        let sent = self.console.send(format!("{line}\n").as_bytes());
        sent.map_err(|error| self.error(error.into()))
    }

    /// `trouble` with the guest's last screen.
    pub(super) fn error(&self, trouble: Trouble) -> SessionError {
        SessionError {
            trouble,
            screen: self.transcript.last_lines(),
            transcript: self.transcript.path().map(Into::into),
        }
    }

    fn garbled(&self, script: &str) -> SessionError {
        let command = first_line(script);
        self.error(Trouble::Garbled { command })
    }
}

/// Whoever opens the console next types blind otherwise.
impl Drop for Session {
    fn drop(&mut self) {
        if self.echo_off {
            let _ = self.console.send(b"stty echo\n");
        }
    }
}

/// What a script is called in an error.
fn first_line(script: &str) -> String {
    let line = script.lines().next().unwrap_or_default();
    line.chars().take(80).collect()
}
