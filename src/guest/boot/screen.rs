//! What the screen shows of a guest that is silent on its serial port: firmware without a disk to start, a panic, or a
//! login that is only there.

use std::time::{Duration, Instant};

use crate::guest::Console;
use crate::guest::error::SessionFault;
use crate::guest::watch;

/// How long the serial port is silent before the screen is read, and the time between two readings.
const EVERY: Duration = Duration::from_secs(1);
/// How long a login is on the screen alone before the guest is given up: on a busy machine the login of the serial port
/// comes seconds later.
const LOGIN_ALONE: Duration = Duration::from_secs(60);
/// What a login program asks (login(1), agetty(8)).
const LOGIN: &str = "login:";
/// Rows that an error shows.
const SHOWN: usize = 5;

/// Observes the screen beside a serial console.
#[derive(Debug, Default)]
pub(super) struct ScreenWatch {
    read_at: Option<Instant>,
    login_since: Option<Instant>,
    rows: Vec<String>,
}

impl ScreenWatch {
    /// Reads the screen, if the serial port has been silent for a while; returns why the guest will not get ready.
    pub(super) fn check(&mut self, console: &mut dyn Console, quiet: Duration) -> Option<SessionFault> {
        if quiet < EVERY || self.read_at.is_some_and(|at| at.elapsed() < EVERY) {
            return None;
        }
        self.read_at = Some(Instant::now());
        let rows = console.screen_text()?;
        self.rows = rows.into_iter().filter(|row| !row.trim().is_empty()).collect();
        if let Some(fault) = self.rows.iter().find_map(|row| watch::fault_in(row)) {
            return Some(fault);
        }
        let login = self.rows.last().filter(|row| row.trim_end().ends_with(LOGIN))?;
        let since = *self.login_since.get_or_insert_with(Instant::now);
        let alone = since.elapsed().min(quiet) >= LOGIN_ALONE;
        alone.then(|| SessionFault::NoGetty(login.trim().to_owned()))
    }

    /// Returns the screen's last rows, oldest first.
    pub(super) fn last_rows(&self) -> Vec<String> {
        self.rows[self.rows.len().saturating_sub(SHOWN)..].to_vec()
    }

    /// Returns the fault of a guest that printed nothing in time: its login may be on the screen.
    pub(super) fn silent(&self, within: Duration) -> SessionFault {
        match self.rows.last() {
            Some(login) if self.login_since.is_some() => SessionFault::NoGetty(login.trim().to_owned()),
            _ => SessionFault::Silent(within),
        }
    }
}
