//! A session with the shell of a guest.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::error::{SessionError, SessionFault};
use super::frame::{Ended, Frame};
use super::privilege::{FORGET, Privilege};
use super::terminal::Cleaner;
use super::transcript::Transcript;
use super::watch::Watch;
use super::{Console, ConsoleError, boot};
use crate::lab::{ImageConsole, Login};

/// The longest wait for output at a time: short enough to report a panic within a second of its line.
pub(super) const POLL: Duration = Duration::from_millis(100);
/// A guest that is quiet for this long is asked for its end mark again; the wait doubles each time.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Restricts kernel messages on the console to emergencies (proc_sys_kernel(5), printk): by the shell alone where
/// possible, because under TCG each program costs tens of milliseconds.
const QUIET_KERNEL: &str =
    "{ echo 1 >/proc/sys/kernel/printk || dmesg -n 1 || sudo -n dmesg -n 1 || doas -n dmesg -n 1; } 2>/dev/null";
/// Ends the line editing of bash, which takes forty times as long for a typed byte as the terminal does (readline redraws its
/// line), and begins it again for the next user of the console. Other shells have no `SHELLOPTS`.
const EDIT_NOTHING: &str = "case ${SHELLOPTS-} in *emacs*) netlab_o=emacs; set +o emacs;; esac";
const EDIT_AGAIN: &str = "[ -z \"${netlab_o-}\" ] || { set -o emacs; unset netlab_o; }";
/// How often a command that may run twice is run before its answer counts as garbled.
const ATTEMPTS: u32 = 3;
/// After so much silence it is checked from outside whether the guest runs at all, and then again at this interval.
const CHECK_QUIET: Duration = Duration::from_secs(3);
/// A guest that was seen not to run for this long is given up.
const GIVE_UP: Duration = Duration::from_secs(10);
/// How long a session that ends may take to forget a password.
const FORGET_WITHIN: Duration = Duration::from_secs(10);
/// How long a session that ends may wait for the guest to take its last line.
const LAST_LINE: Duration = Duration::from_millis(500);

/// A shell in a guest that is ready for commands.
pub struct Session<'c> {
    pub(super) console: Box<dyn Console + 'c>,
    cleaner: Cleaner,
    transcript: Transcript,
    echo_off: bool,
    pub(super) prompt: String,
    /// The pager that transfers output over a screen is defined in the shell.
    pub(super) has_pager: bool,
    /// How the account that is logged in logs in.
    login: Option<Login>,
    /// How that account becomes root, where that is known: by its name, or without one by its prompt, it is root; or the shell
    /// has root's password in a variable, until the session ends.
    pub(super) privilege: Option<Privilege>,
    /// The caller's own deadline for everything, and the time it gave.
    until: Option<(Instant, Duration)>,
    outside: Outside,
}

/// What was seen of a silent guest from outside.
#[derive(Debug, Default)]
struct Outside {
    printed_at: Option<Instant>,
    checked_at: Option<Instant>,
    /// Since when it does not run.
    halted_since: Option<Instant>,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit status.
    pub status: i32,
    /// What was printed between its start and its end, lines ended by `\n`. Kernel messages may be anywhere in it.
    pub text: String,
}

impl<'c> Session<'c> {
    /// Waits until the guest's shell is ready for commands, logs in where the image requires it and silences echo and
    /// kernel messages. `on_line` is called with every line that the booting guest prints. Takes at most
    /// `image.boot_seconds` until the prompt and, where text was mistaken for a prompt, as long again.
    pub fn open(
        console: Box<dyn Console + 'c>,
        image: &ImageConsole,
        transcript: Transcript,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Self, SessionError> {
        Self::begin(console, image, transcript, None, on_line)
    }

    /// Like [`Self::open`], with a limit that began at `began` for the whole session: whatever it does then fails, with
    /// [`SessionFault::NotReady`] where the shell was still waited for.
    pub fn open_within(
        console: Box<dyn Console + 'c>,
        image: &ImageConsole,
        transcript: Transcript,
        (began, within): (Instant, Duration),
    ) -> Result<Self, SessionError> {
        // A time that the clock cannot hold is no limit.
        let until = began.checked_add(within).map(|until| (until, within));
        Self::begin(console, image, transcript, until, &mut |_| ())
    }

    fn begin(
        mut console: Box<dyn Console + 'c>,
        image: &ImageConsole,
        transcript: Transcript,
        until: Option<(Instant, Duration)>,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Self, SessionError> {
        console.until(until.map(|(until, _)| until));
        let mut session = Self {
            console,
            cleaner: Cleaner::default(),
            transcript,
            echo_off: false,
            prompt: image.prompt.clone(),
            has_pager: false,
            login: image.login.clone(),
            privilege: Self::is_root(image),
            until,
            outside: Outside::default(),
        };
        let ready = session.prepare(image, on_line);
        ready.map_err(|error| match (error.fault, until) {
            (
                SessionFault::Deadline { .. }
                | SessionFault::NoPrompt { .. }
                | SessionFault::Silent(_)
                | SessionFault::Console(ConsoleError::NoInput | ConsoleError::NoEcho { .. }),
                Some((until, within)),
            ) if Instant::now() >= until => SessionError {
                fault: SessionFault::NotReady {
                    within,
                    why: session.console.obstacle(),
                },
                ..error
            },
            (fault, _) => SessionError { fault, ..error },
        })?;
        Ok(session)
    }

    /// Types `line`, after which the guest shows the prompt of another shell, that of `image`, and waits for that one.
    pub fn change_shell(
        &mut self,
        line: &str,
        image: &ImageConsole,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), SessionError> {
        self.type_line(line)?;
        self.prompt.clone_from(&image.prompt);
        self.has_pager = false;
        self.login.clone_from(&image.login);
        self.privilege = Self::is_root(image);
        self.echo_off = false;
        self.prepare(image, on_line)
    }

    /// Returns that the shell is root's, where that is known.
    fn is_root(image: &ImageConsole) -> Option<Privilege> {
        match &image.login {
            Some(login) => login.user == "root",
            None => image.prompt.trim_end().ends_with('#'),
        }
        .then_some(Privilege::Root)
    }

    /// Waits for the shell and silences echo and kernel messages.
    fn prepare(&mut self, image: &ImageConsole, on_line: &mut dyn FnMut(&str)) -> Result<(), SessionError> {
        let session = self;
        boot::wait_for_shell(session, image, on_line)?;
        let within = Duration::from_secs(image.boot_seconds);
        // On a screen the echo proves that a key has arrived.
        if session.console.is_screen() {
            session.run_idempotent(QUIET_KERNEL, within)?;
            return Ok(());
        }
        // Standard input is empty for a script: `stty` gets the terminal of standard output. It also turns off line
        // editing in busybox's ash.
        session.run_idempotent(&format!("stty -echo <&1; {EDIT_NOTHING}; {QUIET_KERNEL}"), within)?;
        session.echo_off = true;
        Ok(())
    }

    /// Returns what is left of `within`, or less where the caller's own deadline is earlier.
    pub(super) fn left(&self, began: Instant, within: Duration) -> Duration {
        let left = within.saturating_sub(began.elapsed());
        match self.until {
            Some((until, _)) => left.min(until.saturating_duration_since(Instant::now())),
            None => left,
        }
    }

    /// Runs shell commands, one or several lines of at most [`super::LINE_LIMIT`] bytes, in the guest's shell
    /// itself, so that `exit` would end it (on a screen, in a subshell of it). Standard input is empty.
    ///
    /// The returned status is always the script's own; where it cannot be known the error is
    /// [`SessionFault::Garbled`], and the script may have run or not.
    pub fn run(&mut self, script: &str, within: Duration) -> Result<CommandOutput, SessionError> {
        let ended = self.exchange(script, within)?;
        match (ended.status, ended.text) {
            (Some(status), Some(text)) => Ok(CommandOutput { status, text }),
            _ => Err(self.garbled(script)),
        }
    }

    /// Like [`Self::run`], for scripts that may run twice: one whose marks were garbled is run again, three times at
    /// most, with the deadline `within` each time.
    pub fn run_idempotent(&mut self, script: &str, within: Duration) -> Result<CommandOutput, SessionError> {
        for _ in 0..ATTEMPTS {
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

    /// Like [`Self::run_idempotent`], as root where the account can become root, since ping(8) and arping(8) may need more than
    /// an ordinary account may; else as the account itself.
    pub(super) fn run_as_root(&mut self, script: &str, within: Duration) -> Result<CommandOutput, SessionError> {
        let privilege = if let Some(privilege) = self.privilege {
            Ok(privilege)
        } else {
            let login = self.login.clone();
            Privilege::of(self, login.as_ref())
        };
        match privilege {
            Ok(privilege) => self.run_idempotent(&privilege.run(script), within),
            Err(SessionError {
                fault: SessionFault::NotRoot { .. },
                ..
            }) => self.run_idempotent(script, within),
            Err(error) => Err(error),
        }
    }

    /// Returns the last lines that the guest printed, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.transcript.last_lines()
    }

    fn exchange(&mut self, script: &str, within: Duration) -> Result<Ended, SessionError> {
        if self.console.is_screen() {
            return self.exchange_in_pages(script, within);
        }
        let frame = Frame::new();
        let lines = frame.wrap(script).map_err(|fault| self.error(fault))?;
        let began = Instant::now();
        let (mut received, mut searched, mut watch) = (String::new(), 0, Watch::command(&frame.begin()));
        for line in &lines {
            self.type_line(line)?;
            // Reading between the lines prevents a deadlock: a guest whose output is stuck reads nothing.
            let text = self.receive(Duration::ZERO)?;
            watch.feed(&text, |_| ());
            received.push_str(&text);
        }
        let (mut patience, mut asked) = (ASK_AGAIN, Instant::now());
        loop {
            if let Some(ended) = frame.find(&received, searched) {
                return Ok(ended);
            }
            if let Some(fault) = watch.fault() {
                return Err(self.error(fault));
            }
            let left = self.left(began, within);
            if left.is_zero() {
                if self.outside.halted_since.is_some()
                    && let Some(why) = self.console.obstacle()
                {
                    return Err(self.error(ConsoleError::Halted(why).into()));
                }
                self.interrupt();
                let command = first_line(script);
                return Err(self.error(SessionFault::Deadline { command, within }));
            }
            if watch.quiet() >= patience && asked.elapsed() >= patience {
                self.type_line(&frame.ask_again())?;
                asked = Instant::now();
                patience *= 2;
            }
            searched = received.len();
            let text = self.receive(left.min(POLL))?;
            watch.feed(&text, |_| ());
            received.push_str(&text);
        }
    }

    /// Presses Ctrl-C after a deadline: the next command must not wait for this one. A guest that does not take it
    /// changes nothing: the deadline is reported.
    pub(super) fn interrupt(&mut self) {
        self.console.until(Some(Instant::now() + LAST_LINE));
        let _ = self.console.send_unseen(b"\x03");
        self.console.until(self.until.map(|(until, _)| until));
    }

    /// Returns an error where the guest has been silent and is seen from outside not to run.
    fn check_outside(&mut self, silent: bool) -> Result<(), SessionError> {
        let now = Instant::now();
        if !silent {
            self.outside = Outside::default();
        }
        let since = *self.outside.printed_at.get_or_insert(now);
        let checked = *self.outside.checked_at.get_or_insert(since);
        if now.duration_since(checked) < CHECK_QUIET {
            return Ok(());
        }
        let obstacle = self.console.obstacle();
        self.outside.checked_at = Some(Instant::now());
        let Some(why) = obstacle else {
            self.outside.halted_since = None;
            return Ok(());
        };
        let halted = *self.outside.halted_since.get_or_insert(now);
        if now.duration_since(halted) < GIVE_UP {
            return Ok(());
        }
        // Should the guest be continued later, it must not go on with this command.
        self.interrupt();
        Err(self.error(ConsoleError::Halted(why).into()))
    }

    /// Waits at most `wait` for output and records it.
    pub(super) fn receive(&mut self, wait: Duration) -> Result<String, SessionError> {
        let bytes = self.console.read(wait).map_err(|error| self.broken(error))?;
        self.check_outside(bytes.is_empty())?;
        let text = self.cleaner.clean(&bytes);
        let kept = self.transcript.printed(&text);
        kept.map_err(|error| self.error(SessionFault::Transcript(error.into())))?;
        Ok(text)
    }

    /// Types a line and Enter.
    pub(super) fn type_line(&mut self, line: &str) -> Result<(), SessionError> {
        self.keep_typed(line)?;
        let sent = self.console.send(format!("{line}\n").as_bytes());
        sent.map_err(|error| self.broken(error))
    }

    /// Types a line that must appear neither on the guest's terminal nor in the transcript.
    pub(super) fn type_secret(&mut self, line: &str) -> Result<(), SessionError> {
        self.keep_typed("(a password)")?;
        let sent = self.console.send_unseen(format!("{line}\n").as_bytes());
        sent.map_err(|error| self.broken(error))
    }

    fn keep_typed(&mut self, shown: &str) -> Result<(), SessionError> {
        let kept = self.transcript.typed(shown);
        kept.map_err(|error| self.error(SessionFault::Transcript(error.into())))
    }

    /// The error for a failed connection; a screenshot is saved beside the transcript.
    pub(super) fn broken(&mut self, error: ConsoleError) -> SessionError {
        if error != ConsoleError::Picture {
            return self.error(error.into());
        }
        let file = self.transcript.path().map(|path| path.with_extension("png"));
        let picture = self.console.screenshot().ok().flatten();
        let saved = file
            .zip(picture)
            .filter(|(file, png)| std::fs::write(file, png).is_ok());
        self.error(SessionFault::Picture(saved.map(|(file, _)| file)))
    }

    /// Adds the guest's last lines to `fault`.
    pub(super) fn error(&self, fault: SessionFault) -> SessionError {
        SessionError {
            fault,
            screen: self.transcript.last_lines(),
            transcript: self.transcript.path().map(Into::into),
        }
    }

    fn garbled(&self, script: &str) -> SessionError {
        let command = first_line(script);
        let said = self
            .transcript
            .last_lines()
            .into_iter()
            .rev()
            .find_map(|line| halts(&line));
        self.error(match said {
            Some(said) => SessionFault::Restarted { command, said },
            None => SessionFault::Garbled { command },
        })
    }
}

/// Returns what a kernel prints last, where `line` has it (kernel/reboot.c of Linux).
fn halts(line: &str) -> Option<String> {
    let said = &line[line.find("reboot: ")?..];
    let last = ["Restarting system", "Power down", "System halted"];
    let ends = last.iter().any(|last| said["reboot: ".len()..].starts_with(last));
    ends.then(|| said.trim_end().to_owned())
}

/// Turns the echo on for the next user of the console, and leaves no password in its shell.
impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.privilege == Some(Privilege::Su) {
            self.until = None;
            self.console.until(None);
            let _ = self.run_idempotent(FORGET, FORGET_WITHIN);
        }
        if self.echo_off {
            self.console.until(Some(Instant::now() + LAST_LINE));
            let _ = self.console.send(format!("{EDIT_AGAIN}; stty echo\n").as_bytes());
        }
    }
}

/// The name of a script in errors, without the parenthesis of the subshell that it runs in.
pub(super) fn first_line(script: &str) -> String {
    let line = script.lines().next().unwrap_or_default();
    let line = line.strip_prefix("( ").unwrap_or(line);
    line.chars().take(80).collect()
}
