//! Changes that could cut the way to a host, made so that nobody is locked out: before the change the host is given
//! the way back and a token; unless netlab reaches it again over a *new* connection and takes the token away in time,
//! the host goes back by itself.

use std::thread;
use std::time::{Duration, Instant};

use super::cmd::{Cmd, CmdError, Shell};
use super::ssh::{Settings, SshShell};
use crate::lab::LabName;

/// How long the host waits where the user does not say.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// How long a host that goes back may take until it is reached again.
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// Between two attempts to reach it.
const NAP: Duration = Duration::from_millis(500);

/// Where the tokens lie; a reboot empties it, just as it undoes the change.
const FOLDER: &str = "/run/netlab/confirm";

/// `$1` folder, `$2` token, `$3` seconds; standard input is the way back. Whoever moves the token first has decided.
const ARM: &str = r#"set -eu
umask 077; mkdir -p "$1"; cat >"$1/.$2"; mv "$1/.$2" "$1/$2"
setsid sh -c '
    left=$3
    while [ "$left" -gt 0 ]; do
        sleep 1
        [ -e "$1/$2" ] || exit 0
        left=$((left - 1))
    done
    mv "$1/$2" "$1/$2.undo" || exit 0
    ip -force -batch "$1/$2.undo"
    rm -f "$1/$2.undo"
' sh "$1" "$2" "$3" </dev/null >/dev/null 2>&1 &
"#;

/// Takes the token away; fails where the host has begun to go back.
const CONFIRM: &str = r#"mv "$1/$2" "$1/$2.ok" && rm -f "$1/$2.ok" && { rmdir "$1" 2>/dev/null || true; }"#;

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
    /// Has the host watch: `way_back`, lines for `ip -batch`, is run there unless [`Self::confirm`] comes in time.
    pub fn start(
        shell: &dyn Shell,
        settings: &'a Settings,
        lab: &LabName,
        way_back: String,
        within: Duration,
    ) -> Result<Self, CmdError> {
        let token = format!("{lab}.{}", std::process::id());
        let seconds = within.as_secs().max(1).to_string();
        shell.check(&Cmd::new(["sh", "-c", ARM, "sh", FOLDER, &token, &seconds]).fed(way_back))?;
        Ok(Self {
            settings,
            token,
            until: Instant::now() + within,
        })
    }

    /// Reaches the host over new connections until the change is confirmed or the host has gone back.
    pub fn confirm(&self) -> Outcome {
        let command = Cmd::new(["sh", "-c", CONFIRM, "sh", FOLDER, &self.token]);
        while Instant::now() < self.until + BACK_WITHIN {
            let reached = self.connect().and_then(|shell| shell.run(&command).ok());
            match reached {
                Some(output) if output.status == 0 => return Outcome::Kept,
                // The token has gone, so the host has decided.
                Some(_) => return Outcome::WentBack,
                None => thread::sleep(NAP),
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::shell::LocalShell;

    fn arm(folder: &str, seconds: &str, way_back: &str) {
        let cmd = Cmd::new(["sh", "-c", ARM, "sh", folder, "lab.1", seconds]);
        LocalShell.check(&cmd.fed(way_back)).unwrap();
    }

    #[test]
    fn a_token_taken_away_in_time_ends_the_watch_and_later_it_is_too_late() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("confirm");
        let folder = folder.to_str().unwrap();
        let confirm = Cmd::new(["sh", "-c", CONFIRM, "sh", folder, "lab.1"]);
        arm(folder, "60", "");
        LocalShell.check(&confirm).unwrap();
        assert!(!std::path::Path::new(folder).exists());
        assert_ne!(LocalShell.run(&confirm).unwrap().status, 0);
        arm(folder, "1", "");
        // The watch ends by itself, and with it the token.
        let left = || std::fs::read_dir(folder).unwrap().count();
        for _ in 0..500 {
            if left() == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(left(), 0);
        assert_ne!(LocalShell.run(&confirm).unwrap().status, 0);
    }

    #[test]
    fn a_watch_that_was_left_behind_is_ended_by_the_next_run_on_the_lab() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("confirm");
        let folder = folder.to_str().unwrap();
        arm(folder, "60", "");
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
