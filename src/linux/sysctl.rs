//! Kernel settings that several labs may share on one host: takes the value a lab wants, keeps the value that stood
//! there before the first lab, and puts it back after the last one. Never touches a setting that is not a [`Sysctl`].
//!
//! A setting has no place for a mark, so the marks are files beside it, under `/run`, which a reboot empties just as
//! it resets the settings: `<key>` holds the value from before the first lab, `<key>.<lab>` what a lab set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::lab::LabName;
use crate::state::Sysctl;
use crate::transport::cmd::{Cmd, CmdError, Shell};

/// Every setting there is.
const ALL: [Sysctl; 1] = [Sysctl::Ipv4Forward];

/// Sets `$4` as lab `$3` wants it; `$1` folder, `$2` key, `$5` the setting's file. The old value is in place, whole,
/// before the lab's mark, and the mark before the deed: a run killed anywhere in between can be undone. The lock is on
/// the folder itself, which the last lab removes: whoever waited for a folder that has gone makes it anew.
const SET: &str = r#"set -eu
umask 077
while :; do
    mkdir -p "$1" || mkdir -p "$1"
    command exec 9<"$1" || continue
    flock 9
    if [ "$1" -ef /proc/self/fd/9 ]; then break; fi
done
if ! [ -e "$1/$2" ]; then cat "$5" >"$1/.new"; mv "$1/.new" "$1/$2"; fi
printf '%s\n' "$4" >"$1/.new"; mv "$1/.new" "$1/$2.$3"
printf '%s\n' "$4" >"$5"
"#;

/// Gives up lab `$3`'s claim; the last one puts the old value back. The lab's mark goes last, for the same reason.
const RESTORE: &str = r#"set -eu
[ -d "$1" ] || exit 0
command exec 9<"$1" || exit 0
flock 9
[ -e "$1/$2.$3" ] || exit 0
for mark in "$1/$2".*; do
    if [ "$mark" != "$1/$2.$3" ]; then rm "$1/$2.$3"; exit 0; fi
done
if [ -s "$1/$2" ]; then cat "$1/$2" >"$5"; fi
rm -f "$1/$2" "$1/$2.$3" "$1/.new"
rmdir "$1" 2>/dev/null || exit 0
case $1 in */netlab/*) rmdir "${1%/*}" 2>/dev/null || : ;; esac
"#;

/// The folder of a host that holds the marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysctlMarks {
    /// The folder; made when first needed.
    pub folder: PathBuf,
}

impl Default for SysctlMarks {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/run/netlab/sysctl"),
        }
    }
}

impl SysctlMarks {
    /// The settings that `lab` has changed, with the values they have now. One command.
    pub fn observe(&self, shell: &dyn Shell, lab: &LabName) -> Result<BTreeMap<Sysctl, String>, CmdError> {
        let mut cmd = Cmd::new(["grep", "-rHs", ".", &self.folder.to_string_lossy()]);
        cmd.argv.extend(ALL.map(file));
        // Status 2 only says that there is no folder yet; what could be read is printed all the same.
        let output = shell.run(&cmd)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found: BTreeMap<&Path, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, value)| (Path::new(path), value))
            .collect();
        Ok(ALL
            .into_iter()
            .filter(|key| found.contains_key(self.folder.join(format!("{key}.{lab}")).as_path()))
            .filter_map(|key| Some((key, (*found.get(Path::new(&file(key)))?).to_owned())))
            .collect())
    }

    /// Sets `key` to `value` for `lab`. Doing it again changes nothing.
    pub fn set(&self, shell: &dyn Shell, lab: &LabName, key: Sysctl, value: &str) -> Result<(), CmdError> {
        self.run(shell, SET, lab, key, value)
    }

    /// Puts `key` back unless another lab still needs it. Doing it again changes nothing.
    pub fn restore(&self, shell: &dyn Shell, lab: &LabName, key: Sysctl) -> Result<(), CmdError> {
        self.run(shell, RESTORE, lab, key, "")
    }

    /// Runs one of the scripts, which are constant; all that varies is an argument to them.
    fn run(&self, shell: &dyn Shell, script: &str, lab: &LabName, key: Sysctl, value: &str) -> Result<(), CmdError> {
        let folder = self.folder.to_string_lossy();
        let cmd = Cmd::new([
            "sh",
            "-c",
            script,
            "sh",
            &folder,
            key.key(),
            lab.as_str(),
            value,
            &file(key),
        ]);
        let output = shell.run(&cmd)?;
        if output.status == 0 {
            return Ok(());
        }
        Err(CmdError::Failed {
            // The script itself would only be noise.
            command: format!("sysctl {key}"),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

/// The file that is the setting, in the network namespace of whoever opens it (proc_sys(5)).
fn file(key: Sysctl) -> String {
    format!("/proc/sys/{}", key.key().replace('.', "/"))
}
