//! Changes that could cut the connection to a host, made so that nobody is locked out: a dead man's switch. Before the
//! change the host receives the rollback and a token; unless netlab reaches the host again over a *new* connection and
//! confirms in time, the host runs the rollback by itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::LabName;
use crate::transport::cmd::{Cmd, CmdError, Script, Shell};
use crate::transport::ssh::{Settings, SshShell};

/// How long the host waits for the confirmation where the user does not configure it.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// How long a host that rolls back may take until it is reached again.
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// Between two attempts to reach it.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// The folder of the tokens. A reboot empties it, just as it undoes the change.
const FOLDER: &str = "/run/netlab/confirm";

const ARM: Script = Script {
    name: "confirm/arm.sh",
    text: include_str!("confirm/arm.sh"),
};
const CONFIRM: Script = Script {
    name: "confirm/confirm.sh",
    text: include_str!("confirm/confirm.sh"),
};
const SETTLE: Script = Script {
    name: "confirm/settle.sh",
    text: include_str!("confirm/settle.sh"),
};

/// Returns the command that cancels the pending rollbacks of earlier runs on `lab`. A run that ended before it could
/// confirm leaves one behind, which would undo what the next run finds or makes; that the next run has connected is what
/// it waited for.
pub fn settle(lab: &LabName) -> Cmd {
    Cmd::script(SETTLE, [FOLDER, lab.as_str()])
}

/// A rollback that the host will run unless the change is confirmed.
#[derive(Debug)]
pub struct PendingRollback<'a> {
    settings: &'a Settings,
    token: String,
    until: Instant,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The host was reached over a new connection: the change stays.
    Kept,
    /// The host was not reached in time; it has rolled back and is reached again.
    RolledBack,
    /// The host was not reached in time and is still unreachable.
    Unreachable,
}

impl<'a> PendingRollback<'a> {
    /// Arms the host: it runs `rollback`, lines for `ip -batch`, after `within` (whole seconds, at least one) unless
    /// [`Self::confirm`] reaches it before.
    pub fn arm(
        shell: &dyn Shell,
        settings: &'a Settings,
        lab: &LabName,
        rollback: String,
        within: Duration,
    ) -> Result<Self, CmdError> {
        // Distinct within a run, too: the host may still check the token of one that is over.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let token = format!("{lab}.{}-{count}", std::process::id());
        let seconds = within.as_secs().max(1);
        shell.check(&arm(FOLDER, &token, seconds, rollback))?;
        Ok(Self {
            settings,
            token,
            until: Instant::now() + within,
        })
    }

    /// Opens new connections until the host answers what has become of the change, at most 20 s longer than it waits.
    pub fn confirm(&self) -> Outcome {
        while Instant::now() < self.until + BACK_WITHIN {
            if let Some(shell) = self.connect()
                && let Some(outcome) = ask(&shell, FOLDER, &self.token)
            {
                return outcome;
            }
            thread::sleep(RETRY_EVERY);
        }
        Outcome::Unreachable
    }

    fn connect(&self) -> Option<SshShell> {
        let settings = Settings {
            connect_within: self.settings.connect_within.min(Duration::from_secs(3)),
            ..self.settings.clone()
        };
        // Without a mark: a confirmation that comes late changes nothing.
        SshShell::open(settings, None).ok()
    }
}

fn arm(folder: &str, token: &str, seconds: u64, rollback: String) -> Cmd {
    let (seconds, more) = (seconds.to_string(), BACK_WITHIN.as_secs().to_string());
    Cmd::script(ARM, [folder, token, &seconds, &more]).fed(rollback)
}

/// Returns what the host has decided; `None` where it has not yet, or the answer was lost.
fn ask(shell: &dyn Shell, folder: &str, token: &str) -> Option<Outcome> {
    let run = |script| shell.run(&Cmd::script(script, [folder, token]));
    match run(CONFIRM).ok()?.stdout.trim_ascii() {
        b"kept" => {
            // Without it, the host removes the token by itself some seconds later.
            let _ = run(SETTLE);
            Some(Outcome::Kept)
        }
        b"rolled-back" => Some(Outcome::RolledBack),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{LocalShell, Output};

    fn start(folder: &str, seconds: u64, rollback: &str) {
        LocalShell
            .check(&arm(folder, "lab.1", seconds, rollback.to_owned()))
            .unwrap();
    }

    fn asked(folder: &str) -> Option<Outcome> {
        ask(&LocalShell, folder, "lab.1")
    }

    /// A connection that loses the first answer, after the command has run.
    struct LosesFirstAnswer(AtomicU64);

    impl Shell for LosesFirstAnswer {
        fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
            let output = LocalShell.run(cmd)?;
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                return Err(CmdError::Io {
                    command: cmd.to_string(),
                    cause: std::io::ErrorKind::BrokenPipe.into(),
                });
            }
            Ok(output)
        }
    }

    #[test]
    fn a_confirmation_in_time_cancels_the_rollback_and_a_late_one_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("confirm");
        let folder = folder.to_str().unwrap();
        start(folder, 60, "");
        assert_eq!(asked(folder), Some(Outcome::Kept));
        assert!(!std::path::Path::new(folder).exists());
        start(folder, 1, "");
        // The rollback runs by itself and removes the token.
        let left = || std::fs::read_dir(folder).map_or(0, Iterator::count);
        for _ in 0..500 {
            if left() == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(left(), 0);
        assert_eq!(asked(folder), Some(Outcome::RolledBack));
    }

    #[test]
    fn a_confirmation_whose_answer_was_lost_is_answered_again_and_not_taken_for_a_rollback() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("confirm");
        let folder = folder.to_str().unwrap();
        start(folder, 60, "");
        let lossy = LosesFirstAnswer(AtomicU64::new(0));
        assert_eq!(ask(&lossy, folder, "lab.1"), None);
        assert!(std::path::Path::new(folder).join("lab.1.ok").exists());
        assert_eq!(ask(&lossy, folder, "lab.1"), Some(Outcome::Kept));
        assert!(!std::path::Path::new(folder).exists());
    }

    #[test]
    fn a_host_that_is_rolling_back_has_not_decided_until_it_is_done() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().to_str().unwrap();
        std::fs::write(temp.path().join("lab.1.undo"), "").unwrap();
        assert_eq!(asked(folder), None);
        std::fs::remove_file(temp.path().join("lab.1.undo")).unwrap();
        assert_eq!(asked(folder), Some(Outcome::RolledBack));
    }

    #[test]
    fn a_pending_rollback_that_was_left_behind_is_cancelled_by_the_next_run_on_the_lab() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("confirm");
        let folder = folder.to_str().unwrap();
        start(folder, 60, "");
        std::fs::write(temp.path().join("confirm/lab.2.ok"), "").unwrap();
        std::fs::write(temp.path().join("confirm/other.7"), "").unwrap();
        let settle = Cmd::script(SETTLE, [folder, "lab"]);
        LocalShell.check(&settle).unwrap();
        let left: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        assert_eq!(left, ["other.7"]);
    }
}
