//! A simulated guest for tests.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Console, ConsoleError, Session, Transcript};
use crate::lab::{ConsoleKind, Dialect, ImageConsole};

/// The behavior of a simulated guest.
pub(super) trait Guest: Send {
    /// Returns what it prints when its console is opened.
    fn begin(&mut self) -> String {
        String::new()
    }
    /// Returns what it prints after a line was typed; `None` closes the console.
    fn line(&mut self, line: &str) -> Option<String>;
}

impl<F: FnMut(&str) -> Option<String> + Send> Guest for F {
    fn line(&mut self, line: &str) -> Option<String> {
        self(line)
    }
}

/// The console of a simulated guest.
pub(super) struct Scripted {
    guest: Box<dyn Guest>,
    garble: Box<dyn FnMut(String) -> String + Send>,
    piece: usize,
    screen: Option<Vec<String>>,
    typed: Vec<u8>,
    printed: VecDeque<u8>,
    closed: bool,
}

impl Scripted {
    pub(super) fn new(mut guest: impl Guest + 'static) -> Self {
        Self {
            printed: guest.begin().into_bytes().into(),
            guest: Box::new(guest),
            garble: Box::new(|text| text),
            piece: usize::MAX,
            screen: None,
            typed: Vec::new(),
            closed: false,
        }
    }

    /// Has a screen with these rows beside the console.
    pub(super) fn with_screen(mut self, rows: &[&str]) -> Self {
        self.screen = Some(rows.iter().map(ToString::to_string).collect());
        self
    }

    /// Changes what the guest prints after each line by `garble`.
    pub(super) fn garbled(mut self, garble: impl FnMut(String) -> String + Send + 'static) -> Self {
        self.garble = Box::new(garble);
        self
    }

    /// Returns at most `piece` bytes per read.
    pub(super) fn in_pieces_of(mut self, piece: usize) -> Self {
        self.piece = piece;
        self
    }
}

impl Console for Scripted {
    fn screen_text(&mut self) -> Option<Vec<String>> {
        self.screen.clone()
    }

    fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ConsoleError> {
        let piece = self.piece.min(self.printed.len());
        if piece == 0 && self.closed {
            return Err(ConsoleError::Closed);
        }
        if piece == 0 {
            std::thread::sleep(wait);
        }
        Ok(self.printed.drain(..piece).collect())
    }

    fn send(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        for &byte in text {
            match byte {
                // The terminal's erase characters.
                0x03 | 0x15 => self.typed.clear(),
                b'\n' => {
                    let line = String::from_utf8(std::mem::take(&mut self.typed)).unwrap();
                    match self.guest.line(&line) {
                        // Scripts of tests are text: 0x01 represents a byte that is not UTF-8.
                        Some(text) => self.printed.extend(
                            (self.garble)(text)
                                .bytes()
                                .map(|byte| if byte == 0x01 { 0xff } else { byte }),
                        ),
                        None => self.closed = true,
                    }
                }
                byte => self.typed.push(byte),
            }
        }
        Ok(())
    }
}

/// Computes output and exit status of a script.
type Run = Box<dyn FnMut(&str) -> (String, i32) + Send>;

/// A shell that parses frames and passes their content to a function.
pub(super) struct Shell {
    run: Run,
    script: Option<(String, String)>,
    status: String,
}

impl Shell {
    /// Returns a shell in which `run` computes output and exit status of a script.
    pub(super) fn running(run: impl FnMut(&str) -> (String, i32) + Send + 'static) -> Self {
        Self {
            run: Box::new(run),
            script: None,
            status: String::new(),
        }
    }

    /// Returns a shell that has `echo` and `exit` with one argument.
    pub(super) fn simple() -> Self {
        Self::running(|script| match script.trim().split_once(' ') {
            Some(("echo", text)) => (format!("{text}\r\n"), 0),
            Some(("(exit", status)) => (String::new(), status.trim_end_matches(')').parse().unwrap()),
            _ => (String::new(), 0),
        })
    }

    fn answer(&mut self, line: &str) -> String {
        if let Some(rest) = line.strip_prefix("{ netlab=; echo ") {
            self.script = Some((rest.strip_suffix("''B").unwrap().to_owned(), String::new()));
            return "> ".into();
        }
        let Some((nonce, mut script)) = self.script.take() else {
            let again = line
                .strip_prefix("echo ")
                .and_then(|rest| rest.split_once("''E$netlab"));
            return again.map_or_else(String::new, |(nonce, _)| self.end(nonce, 'R')) + PROMPT;
        };
        if !line.starts_with("} </dev/null; netlab=$?; echo ") {
            script = script + line + "\n";
            self.script = Some((nonce, script));
            return "> ".into();
        }
        let (text, status) = (self.run)(&script);
        self.status = status.to_string();
        format!("{nonce}B\r\n{text}{}{PROMPT}", self.end(&nonce, 'Z'))
    }

    fn end(&self, nonce: &str, kind: char) -> String {
        format!("{nonce}E{0},{0},{nonce}{kind}\r\n", self.status)
    }
}

/// As busybox's ash prints it.
pub(super) const PROMPT: &str = "~ # \x1b[6n";

impl Guest for Shell {
    fn line(&mut self, line: &str) -> Option<String> {
        // The echo, wrapped as ash wraps it.
        let echo: Vec<String> = line
            .as_bytes()
            .chunks(76)
            .map(|part| String::from_utf8_lossy(part).into())
            .collect();
        Some(echo.join("\r\r\n") + "\r\n" + &self.answer(line))
    }
}

/// The image of simulated guests.
pub(super) fn image() -> ImageConsole {
    ImageConsole {
        kind: ConsoleKind::Serial,
        prompt: "~ # ".into(),
        login: None,
        dialect: Dialect::Ip,
        boot_seconds: 10,
    }
}

/// Opens a session with a simulated guest.
pub(super) fn open(guest: Scripted) -> Session<'static> {
    Session::open(Box::new(guest), &image(), Transcript::unwritten(), &mut |_| ()).unwrap()
}
