//! Runs a command over a screen: typed as over a serial port, its output transferred in pages.

use std::time::{Duration, Instant};

use super::error::{SessionError, SessionFault};
use super::frame::Ended;
use super::pages::{NAME, Next, Pages};
use super::session::{ASK_AGAIN, POLL, Session, first_line};
use super::watch::Watch;

/// A prompt that is shown this long where pages were expected: the shell is not the one that ran the command.
const PROMPT_STAYS: Duration = Duration::from_secs(3);

impl Session<'_> {
    /// Runs `script` and fetches its output page by page.
    pub(super) fn exchange_in_pages(&mut self, script: &str, within: Duration) -> Result<Ended, SessionError> {
        let mut pages = Pages::new();
        let lines = pages.wrap(script).map_err(|fault| self.error(fault))?;
        if !self.has_pager {
            self.define_pager()?;
        }
        let mut watch = Watch::output();
        for line in &lines {
            self.type_line(line)?;
            pages.feed(&self.receive(Duration::ZERO)?);
        }
        // The deadline begins after typing, which takes longer for a longer script.
        let began = Instant::now();
        let (mut patience, mut asked) = (ASK_AGAIN, Instant::now());
        loop {
            match pages.next() {
                Next::Wait => {}
                Next::Acknowledge(keys) => {
                    self.send_unseen(&keys)?;
                    (patience, asked) = (ASK_AGAIN, Instant::now());
                }
                Next::Done(keys, status, text) => {
                    self.send_unseen(&keys)?;
                    return Ok(Ended {
                        status,
                        text: Some(text),
                        asked_again: false,
                    });
                }
            }
            if let Some(fault) = watch.fault() {
                return Err(self.error(fault));
            }
            if watch.quiet() >= PROMPT_STAYS && watch.line().trim_end().ends_with(self.prompt.trim()) {
                self.has_pager = false;
                return Ok(Ended {
                    status: None,
                    text: None,
                    asked_again: true,
                });
            }
            let left = self.left(began, within);
            if left.is_zero() {
                self.interrupt();
                let command = first_line(script);
                return Err(self.error(SessionFault::Deadline { command, within }));
            }
            if watch.quiet() >= patience && asked.elapsed() >= patience {
                pages.ask_again();
                self.send_unseen(Pages::AGAIN)?;
                asked = Instant::now();
                patience *= 2;
            }
            let text = self.receive(left.min(POLL))?;
            watch.feed(&text, |_| ());
            pages.feed(&text);
        }
    }

    /// Defines the pager in the guest's shell, unless an earlier session did.
    fn define_pager(&mut self) -> Result<(), SessionError> {
        self.type_line(&format!("command -v {NAME}"))?;
        let (began, mut answer) = (Instant::now(), String::new());
        let prompt = self.prompt.trim().to_owned();
        while began.elapsed() < PROMPT_STAYS && !answer.trim_end().ends_with(&prompt) {
            answer.push_str(&self.receive(POLL)?);
        }
        if !answer.lines().any(|line| line.trim() == NAME) {
            for line in Pages::pager().lines() {
                self.type_line(line)?;
            }
        }
        self.has_pager = true;
        Ok(())
    }

    fn send_unseen(&mut self, keys: &str) -> Result<(), SessionError> {
        let sent = self.console.send_unseen(keys.as_bytes());
        sent.map_err(|error| self.broken(error))
    }
}
