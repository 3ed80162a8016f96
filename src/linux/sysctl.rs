//! Kernel settings that several labs may share on one host: sets the value a lab wants, keeps the value from before
//! the first lab, and restores it after the last one. Never touches a setting that is not a [`Sysctl`].
//!
//! A setting has no place for a mark, so the marks are files beside it, under `/run`, which a reboot empties just as
//! it resets the settings: `<key>` holds the value from before the first lab, `<key>.<lab>` what a lab set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::lab::LabName;
use crate::state::Sysctl;
use crate::transport::{Cmd, CmdError, Script, Shell};

/// Every setting there is.
const ALL: [Sysctl; 2] = [Sysctl::Ipv4Forward, Sysctl::ArpIgnore];

const SET: Script = Script {
    name: "sysctl/set.sh",
    text: include_str!("sysctl/set.sh"),
};
const RESTORE: Script = Script {
    name: "sysctl/restore.sh",
    text: include_str!("sysctl/restore.sh"),
};

/// The folder of a host that holds the marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysctlMarks {
    /// The folder; created when first needed.
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
    /// Returns the settings that `lab` has changed, with the values they have now. One command.
    pub fn observe(&self, shell: &dyn Shell, lab: &LabName) -> Result<BTreeMap<Sysctl, String>, CmdError> {
        let mut cmd = Cmd::new(["grep", "-rHs", ".", &self.folder.to_string_lossy()]);
        cmd.argv.extend(ALL.map(file));
        // Status 2 only means that there is no folder yet; what could be read is printed regardless.
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

    /// Sets `key` to `value` for `lab`. Idempotent.
    pub fn set(&self, shell: &dyn Shell, lab: &LabName, key: Sysctl, value: &str) -> Result<(), CmdError> {
        self.run(shell, SET, lab, key, value)
    }

    /// Restores `key` unless another lab still needs it. Idempotent.
    pub fn restore(&self, shell: &dyn Shell, lab: &LabName, key: Sysctl) -> Result<(), CmdError> {
        self.run(shell, RESTORE, lab, key, "")
    }

    fn run(&self, shell: &dyn Shell, script: Script, lab: &LabName, key: Sysctl, value: &str) -> Result<(), CmdError> {
        let folder = self.folder.to_string_lossy();
        let arguments = [&*folder, key.key(), lab.as_str(), value, &file(key)];
        shell.check(&Cmd::script(script, arguments)).map(drop)
    }
}

/// Returns the file that is the setting, in the network namespace of the process that opens it (proc_sys(5)).
fn file(key: Sysctl) -> String {
    format!("/proc/sys/{}", key.key().replace('.', "/"))
}
