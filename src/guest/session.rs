//! A conversation with the shell of a guest.

use std::time::{Duration, Instant};

use super::error::{SessionError, SessionFault};
use super::frame::{Ended, Frame};
use super::terminal::Cleaner;
use super::transcript::Transcript;
use super::watch::Watch;
use super::{Console, ConsoleError, boot};
use crate::lab::ImageConsole;

/// How long one look at the console lasts: short enough to report a panic within a second of its line.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// A guest this quiet is asked for its end mark again; after each time it is given twice as long.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Only emergencies reach the console (proc_sys_kernel(5), printk): by the shell alone where it can, because each
/// program costs a guest under TCG tens of milliseconds.
const QUIET_KERNEL: &str = "{ echo 1 >/proc/sys/kernel/printk; } 2>/dev/null || dmesg -n 1";
/// How often a command that may run twice is run before its answer counts as garbled.
const TRIES: u32 = 3;

/// A shell in a guest that waits for commands.
pub struct Session<'c> {
    pub(super) console: Box<dyn Console + 'c>,
    cleaner: Cleaner,
    transcript: Transcript,
    echo_off: bool,
    pub(super) prompt: String,
    /// The shell knows the pager that brings output over a screen.
    pub(super) has_pager: bool,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit status.
    pub status: i32,
    /// What was printed from its beginning to its end, lines ended by `\n`. Kernel messages may stand anywhere in it.
    pub text: String,
}

impl<'c> Session<'c> {
    /// Waits until the guest's shell waits for commands, logs in where the image asks for it and makes the shell
    /// quiet. `on_line` gets every line that the booting guest prints. Takes at most `image.boot_seconds` until the
    /// prompt and, where what looked like a prompt was none yet, as long again.
    pub fn open(
        console: Box<dyn Console + 'c>,
        image: &ImageConsole,
        transcript: Transcript,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Self, SessionError> {
        let mut session = Self {
            console,
            cleaner: Cleaner::default(),
            transcript,
            echo_off: false,
            prompt: image.prompt.clone(),
            has_pager: false,
        };
        boot::wait_for_shell(&mut session, image, on_line)?;
        let within = Duration::from_secs(image.boot_seconds);
        // On a screen the echo is how one sees that a key has arrived.
        if session.console.is_screen() {
            session.run_idempotent(QUIET_KERNEL, within)?;
            return Ok(session);
        }
        // Standard input is empty for a script: `stty` is given the terminal that standard output goes to. It also
        // turns off line editing in busybox's ash.
        session.run_idempotent(&format!("stty -echo <&1; {QUIET_KERNEL}"), within)?;
        session.echo_off = true;
        Ok(session)
    }

    /// Runs shell commands, one or several lines of at most [`super::LINE_LIMIT`] bytes, in the guest's shell
    /// itself: `exit` would end it (on a screen in a subshell of it). What reads standard input finds it empty.
    ///
    /// The status given is always the script's own; where that cannot be known the answer is
    /// [`SessionFault::Garbled`], and the script may have run or not.
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
        if self.console.is_screen() {
            return self.exchange_in_pages(script, within);
        }
        let frame = Frame::new();
        let lines = frame.wrap(script).map_err(|trouble| self.error(trouble))?;
        let began = Instant::now();
        let (mut heard, mut searched, mut watch) = (String::new(), 0, Watch::new());
        for line in &lines {
            self.type_line(line)?;
            // Listening between the lines keeps both directions moving: a guest whose output is stuck reads nothing.
            let text = self.listen(Duration::ZERO)?;
            watch.hear(&text, |_| ());
            heard.push_str(&text);
        }
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
                return Err(self.error(SessionFault::Deadline { command, within }));
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
        let bytes = self.console.read(wait).map_err(|error| self.broken(error))?;
        let text = self.cleaner.clean(&bytes);
        let kept = self.transcript.heard(&text);
        kept.map_err(|error| self.error(SessionFault::Transcript(error.to_string())))?;
        Ok(text)
    }

    /// Types a line and Enter.
    pub(super) fn type_line(&mut self, line: &str) -> Result<(), SessionError> {
        self.keep_typed(line)?;
        let sent = self.console.send(format!("{line}\n").as_bytes());
        sent.map_err(|error| self.broken(error))
    }

    /// Types a line that neither the guest nor the transcript must show.
    pub(super) fn type_secret(&mut self, line: &str) -> Result<(), SessionError> {
        self.keep_typed("(a password)")?;
        let sent = self.console.send_unseen(format!("{line}\n").as_bytes());
        sent.map_err(|error| self.broken(error))
    }

    fn keep_typed(&mut self, shown: &str) -> Result<(), SessionError> {
        let kept = self.transcript.typed(shown);
        kept.map_err(|error| self.error(SessionFault::Transcript(error.to_string())))
    }

    /// What broke the way to the guest; a picture is saved beside the transcript.
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

    /// `trouble` with the guest's last screen.
    pub(super) fn error(&self, trouble: SessionFault) -> SessionError {
        SessionError {
            trouble,
            screen: self.transcript.last_lines(),
            transcript: self.transcript.path().map(Into::into),
        }
    }

    fn garbled(&self, script: &str) -> SessionError {
        let command = first_line(script);
        self.error(SessionFault::Garbled { command })
    }
}

/// Whoever opens the console next types blind otherwise.
impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.echo_off {
            let _ = self.console.send(b"stty echo\n");
        }
    }
}

/// What a script is called in an error.
pub(super) fn first_line(script: &str) -> String {
    let line = script.lines().next().unwrap_or_default();
    line.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::LINE_LIMIT;
    use crate::guest::scripted::{PROMPT, Scripted, Shell, open};

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(30);
    const CHATTER: &str = "[    4.123456] virtio_net virtio0: link up\r\n";

    fn simple() -> Scripted {
        Scripted::new(Shell::simple())
    }

    /// The first `times` answers to scripts with `command` have `what` replaced, as by a kernel message in its middle.
    fn torn(command: &'static str, times: u32, what: fn(&str) -> String) -> Scripted {
        let (mut seen, mut left) = (false, times);
        simple().garbled(move |text| {
            seen |= text.starts_with(command);
            let hit = seen && text.contains('B') && left > 0 && text.starts_with("} <");
            left -= u32::from(hit);
            if hit { what(&text) } else { text }
        })
    }

    fn tear(text: &str, after: &str) -> String {
        let at = text.rfind(after).unwrap() + after.len();
        format!("{}{CHATTER}{}", &text[..at], &text[at..])
    }

    #[test]
    fn a_command_gives_its_own_output_and_status() {
        for guest in [simple(), simple().in_pieces_of(1), simple().in_pieces_of(7)] {
            let mut session = open(guest);
            let output = session.run("echo hello", PATIENCE).unwrap();
            assert_eq!((output.status, output.text.as_str()), (0, "hello\n"));
            for status in [0, 1, 42, 255] {
                assert_eq!(
                    session.run(&format!("(exit {status})"), PATIENCE).unwrap().status,
                    status
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let output = open(simple()).run("echo a\x01b", PATIENCE).unwrap();
        assert_eq!((output.status, output.text.as_str()), (0, "a\u{fffd}b\n"));
    }

    #[test]
    fn an_end_mark_that_a_kernel_message_tore_is_asked_for_again() {
        let mut session = open(torn("echo a", 1, |text| tear(text, "E0,")));
        let output = session.run("echo a", PATIENCE).unwrap();
        assert_eq!(output.status, 0);
        assert!(output.text.starts_with("a\n"), "{}", output.text);
        assert_eq!(session.run("echo b", PATIENCE).unwrap().text, "b\n");
    }

    #[test]
    fn a_torn_frame_is_run_again_only_where_that_does_no_harm() {
        let tear_begin = |text: &str| text.replacen("B\r\n", &format!("{CHATTER}B\r\n"), 1);
        let error = open(torn("echo a", 1, tear_begin)).run("echo a", PATIENCE).unwrap_err();
        assert_eq!(
            error.trouble,
            SessionFault::Garbled {
                command: "echo a".into()
            }
        );
        for what in [tear_begin, |text: &str| tear(text, "E0,")] {
            let output = open(torn("echo a", 2, what))
                .run_idempotent("echo a", PATIENCE)
                .unwrap();
            assert_eq!((output.status, output.text.as_str()), (0, "a\n"));
            let error = open(torn("echo a", 9, what))
                .run_idempotent("echo a", PATIENCE)
                .unwrap_err();
            assert_eq!(
                error.trouble,
                SessionFault::Garbled {
                    command: "echo a".into()
                }
            );
        }
    }

    #[test]
    fn a_kernel_message_in_the_output_does_not_touch_the_status() {
        let guest = simple().garbled(|text| text.replacen("hel", &format!("hel{CHATTER}"), 1));
        let output = open(guest).run("echo hello", PATIENCE).unwrap();
        assert_eq!(output.status, 0);
        assert!(output.text.ends_with("link up\nlo\n"), "{}", output.text);
    }

    #[test]
    fn what_an_earlier_command_still_prints_is_not_taken_for_an_answer() {
        let mut late = String::new();
        let mut session = open(simple().garbled(move |text| {
            // The answer to `slow` comes only with what is printed next.
            if text.contains("slow\r\n") && text.starts_with("} <") {
                late = text;
                return String::new();
            }
            std::mem::take(&mut late) + &text
        }));
        let error = session.run("echo slow", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error.trouble, SessionFault::Deadline { .. }), "{error}");
        assert_eq!(session.run("echo right", PATIENCE).unwrap().text, "right\n");
    }

    #[test]
    fn a_shell_that_was_restarted_is_not_taken_for_one_that_succeeded() {
        let mut lines = 0;
        let mut shell = Shell::simple();
        let guest = move |line: &str| {
            use crate::guest::scripted::Guest as _;
            if line.starts_with("} <") {
                lines += 1;
            }
            // The frame of the second script begins, and init starts another shell.
            if lines == 2 && line.starts_with("} <") {
                shell = Shell::simple();
                return Some(format!("\r\n{PROMPT}"));
            }
            shell.line(line)
        };
        let error = open(Scripted::new(guest)).run("echo a", PATIENCE).unwrap_err();
        assert!(matches!(error.trouble, SessionFault::Garbled { .. }), "{error}");
    }

    #[test]
    fn a_guest_that_dies_in_the_middle_is_reported_at_once() {
        let mut shell = Shell::simple();
        let guest = move |line: &str| {
            use crate::guest::scripted::Guest as _;
            (line != "die").then(|| shell.line(line)).flatten()
        };
        let error = open(Scripted::new(guest)).run("die", PATIENCE).unwrap_err();
        assert_eq!(error.trouble, SessionFault::Console(ConsoleError::Closed));
        assert!(!error.screen.is_empty());
    }

    #[test]
    fn a_panic_is_one_only_if_the_guest_falls_silent_after_it() {
        let panic = "[    9.1] Kernel panic - not syncing: Attempted to kill init!";
        let quoted = open(simple()).run(&format!("echo {panic}"), PATIENCE).unwrap();
        assert_eq!(quoted.text, format!("{panic}\n"));
        let mut dead = false;
        let mut session = open(simple().garbled(move |text| {
            let dies = !dead && text.starts_with("echo die");
            dead |= dies;
            if dies {
                format!("{panic}\r\n")
            } else if dead {
                String::new()
            } else {
                text
            }
        }));
        let error = session.run("echo die", PATIENCE).unwrap_err();
        assert!(
            matches!(&error.trouble, SessionFault::Panic(line) if line.ends_with(panic)),
            "{error}"
        );
    }

    #[test]
    fn a_guest_that_does_not_answer_is_given_up_at_the_deadline() {
        let mut mute = false;
        let mut session = open(simple().garbled(move |text| {
            mute |= text.contains("sleep");
            if mute { String::new() } else { text }
        }));
        let mute = session.run("echo sleep", SECOND).unwrap_err();
        let SessionFault::Deadline { command, within } = mute.trouble else {
            panic!("{mute}")
        };
        assert_eq!((command.as_str(), within), ("echo sleep", SECOND));
    }

    #[test]
    fn of_a_script_with_a_line_that_is_too_long_nothing_is_sent() {
        let mut session = open(simple());
        let script = format!("echo a\necho {}", "x".repeat(LINE_LIMIT));
        let error = session.run(&script, PATIENCE).unwrap_err();
        assert_eq!(error.trouble, SessionFault::LineTooLong(LINE_LIMIT + 5));
        assert!(!session.last_lines().iter().any(|line| line.contains("echo a")));
    }

    #[test]
    fn whoever_comes_next_finds_the_echo_on() {
        let (sender, typed) = std::sync::mpsc::channel();
        let mut shell = Shell::simple();
        drop(open(Scripted::new(move |line: &str| {
            use crate::guest::scripted::Guest as _;
            sender.send(line.to_owned()).unwrap();
            shell.line(line)
        })));
        assert_eq!(typed.iter().last().unwrap(), "stty echo");
    }
}
