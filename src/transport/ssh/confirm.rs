//! Changes that could cut the way to a host, made so that nobody is locked out: before the change the host is given
//! the way back and a token; unless netlab reaches it again over a *new* connection and takes the token away in time,
//! the host goes back by itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::LabName;
use crate::transport::cmd::{Cmd, CmdError, Shell};
use crate::transport::ssh::{Settings, SshShell};

/// How long the host waits where the user does not say.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// How long a host that goes back may take until it is reached again.
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// Between two attempts to reach it.
const NAP: Duration = Duration::from_millis(500);

/// Where the tokens lie; a reboot empties it, just as it undoes the change.
const FOLDER: &str = "/run/netlab/confirm";

/// `$1` folder, `$2` token, `$3` seconds, `$4` seconds more for the answer to be heard; standard input is the way back.
/// Whoever moves the token first has decided.
const ARM: &str = r#"set -eu
umask 077; mkdir -p "$1"; cat >"$1/.$2"; mv "$1/.$2" "$1/$2"
setsid sh -c '
    while_there() {
        while [ "$left" -gt 0 ] && [ -e "$1" ]; do
            sleep 1
            left=$((left - 1))
        done
    }
    left=$3
    while_there "$1/$2"
    if mv "$1/$2" "$1/$2.undo" 2>/dev/null; then
        ip -force -batch "$1/$2.undo"
        rm -f "$1/$2.undo"
    else
        left=$((left + $4))
        while_there "$1/$2.ok"
        rm -f "$1/$2.ok"
    fi
' sh "$1" "$2" "$3" "$4" </dev/null >/dev/null 2>&1 &
"#;

/// Takes the token away and says what the host has decided. The answer may get lost, so it is written down: whoever
/// asks again is told the same.
const CONFIRM: &str = r#"
mv "$1/$2" "$1/$2.ok" 2>/dev/null
if [ -e "$1/$2.ok" ]; then echo kept
elif [ -e "$1/$2" ] || [ -e "$1/$2.undo" ]; then echo undecided
else echo back
fi
"#;

/// The answer was heard.
const HEARD: &str = r#"rm -f "$1/$2.ok"; rmdir "$1" 2>/dev/null || true"#;

/// Ends what earlier runs on a lab left watching: `$1` folder, `$2` lab. A host that is going back is waited for.
const SETTLE: &str = r#"
for token in "$1/$2".*; do
    case $token in
    *.undo) ;;
    *.ok) rm -f "$token" ;;
    *) mv "$token" "$token.ok" 2>/dev/null && rm -f "$token.ok" ;;
    esac
done
left=100
while [ "$left" -gt 0 ] && ls "$1/$2".*.undo >/dev/null 2>&1; do
    sleep 0.1
    left=$((left - 1))
done
rmdir "$1" 2>/dev/null || true
"#;

/// A run that ended before it could confirm leaves its watch behind, which would undo what the next run finds or
/// makes. That the next run is here, over a new connection, is what the watch waited for.
pub fn settle(shell: &dyn Shell, lab: &LabName) -> Result<(), CmdError> {
    shell
        .check(&Cmd::new(["sh", "-c", SETTLE, "sh", FOLDER, lab.as_str()]))
        .map(drop)
}

/// A change that the host will undo unless it is confirmed.
#[derive(Debug)]
pub struct Watch<'a> {
    settings: &'a Settings,
    token: String,
    until: Instant,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The host was reached over a new connection: the change stays.
    Kept,
    /// It was not, and is reached again now that it has gone back.
    WentBack,
    /// It was not, and is still not.
    Lost,
}

impl<'a> Watch<'a> {
    /// Has the host watch: `rollback`, lines for `ip -batch`, is run there unless [`Self::confirm`] comes in time.
    pub fn start(
        shell: &dyn Shell,
        settings: &'a Settings,
        lab: &LabName,
        rollback: String,
        within: Duration,
    ) -> Result<Self, CmdError> {
        // A watch of this run that is over looks for its own token once more.
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

    /// Reaches the host over new connections until it says what has become of the change.
    pub fn confirm(&self) -> Outcome {
        while Instant::now() < self.until + BACK_WITHIN {
            if let Some(shell) = self.connect()
                && let Some(outcome) = ask(&shell, FOLDER, &self.token)
            {
                return outcome;
            }
            thread::sleep(NAP);
        }
        Outcome::Lost
    }

    fn connect(&self) -> Option<SshShell> {
        let settings = Settings {
            connect_within: self.settings.connect_within.min(Duration::from_secs(3)),
            ..self.settings.clone()
        };
        SshShell::open(settings).ok()
    }
}

fn arm(folder: &str, token: &str, seconds: u64, rollback: String) -> Cmd {
    let (seconds, more) = (seconds.to_string(), BACK_WITHIN.as_secs().to_string());
    Cmd::new(["sh", "-c", ARM, "sh", folder, token, &seconds, &more]).fed(rollback)
}

/// What the host has decided; none where it has not yet, or the answer was lost.
fn ask(shell: &dyn Shell, folder: &str, token: &str) -> Option<Outcome> {
    let script = |text: &str| Cmd::new(["sh", "-c", text, "sh", folder, token]);
    match shell.run(&script(CONFIRM)).ok()?.stdout.trim_ascii() {
        b"kept" => {
            // Not heard of, the host forgets it by itself.
            let _ = shell.run(&script(HEARD));
            Some(Outcome::Kept)
        }
        b"back" => Some(Outcome::WentBack),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::LocalShell;
    use crate::transport::cmd::Output;

    fn start(folder: &str, seconds: u64, rollback: &str) {
        LocalShell
            .check(&arm(folder, "lab.1", seconds, rollback.to_owned()))
            .unwrap();
    }

    fn asked(folder: &str) -> Option<Outcome> {
        ask(&LocalShell, folder, "lab.1")
    }

    /// A way on which the first answer that matters is lost: the command is run.
    struct Deaf(AtomicU64);

    impl Shell for Deaf {
        fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
            let output = LocalShell.run(cmd)?;
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                return Err(CmdError::Io {
                    command: cmd.to_string(),
                    source: std::io::ErrorKind::BrokenPipe.into(),
                });
            }
            Ok(output)
        }
    }

    #[test]
    fn a_token_taken_away_in_time_ends_the_watch_and_later_it_is_too_late() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("confirm");
        let folder = folder.to_str().unwrap();
        start(folder, 60, "");
        assert_eq!(asked(folder), Some(Outcome::Kept));
        assert!(!std::path::Path::new(folder).exists());
        start(folder, 1, "");
        // The watch ends by itself, and with it the token.
        let left = || std::fs::read_dir(folder).unwrap().count();
        for _ in 0..500 {
            if left() == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(left(), 0);
        assert_eq!(asked(folder), Some(Outcome::WentBack));
    }

    #[test]
    fn a_confirmation_whose_answer_was_lost_is_told_again_and_not_taken_for_the_way_back() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("confirm");
        let folder = folder.to_str().unwrap();
        start(folder, 60, "");
        let deaf = Deaf(AtomicU64::new(0));
        assert_eq!(ask(&deaf, folder, "lab.1"), None);
        assert!(std::path::Path::new(folder).join("lab.1.ok").exists());
        assert_eq!(ask(&deaf, folder, "lab.1"), Some(Outcome::Kept));
        assert!(!std::path::Path::new(folder).exists());
    }

    #[test]
    fn a_host_that_is_on_its_way_back_has_not_decided_before_it_is_there() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().to_str().unwrap();
        std::fs::write(temp.path().join("lab.1.undo"), "").unwrap();
        assert_eq!(asked(folder), None);
        std::fs::remove_file(temp.path().join("lab.1.undo")).unwrap();
        assert_eq!(asked(folder), Some(Outcome::WentBack));
    }

    #[test]
    fn a_watch_that_was_left_behind_is_ended_by_the_next_run_on_the_lab() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("confirm");
        let folder = folder.to_str().unwrap();
        start(folder, 60, "");
        std::fs::write(temp.path().join("confirm/lab.2.ok"), "").unwrap();
        std::fs::write(temp.path().join("confirm/other.7"), "").unwrap();
        let settle = Cmd::new(["sh", "-c", SETTLE, "sh", folder, "lab"]);
        LocalShell.check(&settle).unwrap();
        let left: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        assert_eq!(left, ["other.7"]);
    }
}
