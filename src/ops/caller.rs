//! Who runs netlab: the public SSH keys that guests with cloud-init are given where the lab has no `ssh_keys`, and the proxies
//! that guests are given where a router leads to this machine's network.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::lab::Proxies;
use crate::ssh_key;
use crate::transport::{Cmd, LocalShell, Shell as _};

/// Where the caller's keys are, and the caller's proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// A folder with files `.pub`, e.g. `~/.ssh`.
    pub folder: Option<PathBuf>,
    /// Whether an agent is asked, as the environment says (ssh-agent(1)).
    pub agent: bool,
    /// The proxies of the environment.
    pub proxies: Proxies,
}

impl Caller {
    /// Returns where the keys are of the user of this process or, under sudo(8), of the user who called it.
    pub fn from_env() -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = match var("SUDO_USER") {
            Some(user) if rustix::process::geteuid().is_root() => home_of(&user),
            _ => var("HOME").map(PathBuf::from),
        };
        Self {
            folder: home.map(|home| home.join(".ssh")),
            agent: var("SSH_AUTH_SOCK").is_some(),
            proxies: Proxies::of(|name| var(name)?.into_string().ok()),
        }
    }

    /// Returns the files of private keys beside their public ones, in the order of their names.
    pub fn identities(&self) -> Vec<PathBuf> {
        let public = self.folder.as_deref().map(public_of).unwrap_or_default();
        let private = public.into_iter().map(|file| file.with_extension(""));
        private.filter(|file| file.is_file()).collect()
    }

    /// Returns the keys, each once: those of files in the order of their names, then those of the agent. Files that cannot
    /// be read and an agent that does not answer have none.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self.folder.as_deref().map(of_folder).unwrap_or_default();
        if self.agent {
            // An agent that asks somebody would be waited for without end.
            let cmd = Cmd::new(["timeout", "5", "ssh-add", "-L"]);
            let listed = LocalShell.run(&cmd).ok().filter(|output| output.status == 0);
            let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            keys.extend(ssh_key::of_lines(&listed.unwrap_or_default()));
        }
        let mut seen = BTreeSet::new();
        keys.retain(|key| seen.insert(ssh_key::identity(key)));
        keys
    }
}

/// Returns a user's home folder, from the user database (getent(1)).
fn home_of(user: &OsStr) -> Option<PathBuf> {
    let cmd = Cmd::new(["getent", "passwd", user.to_str()?]);
    let output = LocalShell.run(&cmd).ok()?;
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    let home = line.trim_end().split(':').nth(5)?;
    (!home.is_empty()).then(|| PathBuf::from(home))
}

fn of_folder(folder: &Path) -> Vec<String> {
    let files = public_of(folder);
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    texts.flat_map(|text| ssh_key::of_lines(&text)).collect()
}

/// Returns the files `.pub` of a folder.
fn public_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension() == Some(OsStr::new("pub")) && path.is_file())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_folder_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2gCxVcTzZ5wYtbZKOEm7nQRNmXyWeeVp0wS7IwLXTN";
        for (name, text) in [
            ("a.pub", format!("{key} mine\n")),
            ("b.pub", format!("{key} again\n")),
            ("c.pub", "no key\n".to_owned()),
            ("authorized_keys", format!("{key} another's\n")),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let caller = Caller {
            folder: Some(folder.path().to_owned()),
            ..Caller::default()
        };
        assert_eq!(caller.keys(), [format!("{key} mine")]);
        assert!(caller.identities().is_empty());
        std::fs::write(folder.path().join("b"), "private").unwrap();
        assert_eq!(caller.identities(), [folder.path().join("b")]);
        assert_eq!(Caller::default().keys(), [""; 0]);
    }
}
