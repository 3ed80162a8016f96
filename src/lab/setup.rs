//! What a VM is given besides its NICs: accounts and packages by cloud-init, files and commands over its console.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Content, Password, Template};

/// What a VM is given, as written: by a VM's own keys or, for every VM, by those of the lab. Absent: not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// Public keys of its account, one line each.
    pub ssh_keys: Option<Vec<String>>,
    /// The account that cloud-init makes and netlab logs in with.
    pub user: Option<String>,
    /// The password of that account.
    pub password: Option<Password>,
    /// Further settings of cloud-init, in one of its formats.
    pub user_data: Option<NamedFile>,
    /// Packages that cloud-init installs.
    pub packages: Option<Vec<String>>,
    /// Files that are written.
    pub files: Option<Vec<GuestFile>>,
    /// Commands that root runs, after the files are written.
    pub run: Option<Vec<Template>>,
}

impl Setup {
    /// Returns the keys that are written here and that only cloud-init can use.
    pub fn of_cloud_init(&self) -> Vec<&'static str> {
        let written = [
            ("ssh_keys", self.ssh_keys.is_some()),
            ("user", self.user.is_some()),
            ("password", self.password.is_some()),
            ("user_data", self.user_data.is_some()),
            ("packages", self.packages.is_some()),
        ];
        let written = written.into_iter().filter(|(_, written)| *written);
        written.map(|(key, _)| key).collect()
    }

    /// Returns these, and those of `defaults` for what is not written here.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        let Self {
            ssh_keys,
            user,
            password,
            user_data,
            packages,
            files,
            run,
        } = self.clone();
        Self {
            ssh_keys: ssh_keys.or_else(|| defaults.ssh_keys.clone()),
            user: user.or_else(|| defaults.user.clone()),
            password: password.or_else(|| defaults.password.clone()),
            user_data: user_data.or_else(|| defaults.user_data.clone()),
            packages: packages.or_else(|| defaults.packages.clone()),
            files: files.or_else(|| defaults.files.clone()),
            run: run.or_else(|| defaults.run.clone()),
        }
    }

    /// Returns what guests without cloud-init can be given as well.
    #[must_use]
    pub fn without_cloud_init(&self) -> Self {
        Self {
            files: self.files.clone(),
            run: self.run.clone(),
            ..Self::default()
        }
    }
}

/// A file beside the lab file, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Its path.
    pub path: PathBuf,
    /// Its content.
    pub content: Content,
}

/// A file that is written in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// Its absolute path in the guest.
    pub path: String,
    /// What is in it.
    pub source: FileSource,
    /// Its permissions, e.g. 0o644.
    pub mode: u16,
}

impl GuestFile {
    /// The permissions of a file that has none in the lab file.
    pub const MODE: u16 = 0o644;
}

/// Where the content of a guest's file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// The lab file.
    Text(Template),
    /// Another file, whose bytes are copied unchanged.
    File(NamedFile),
}

/// Something that is done in a guest over its console, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Write a file.
    Write {
        /// Its absolute path.
        path: String,
        /// What is in it.
        content: Content,
        /// Its permissions.
        mode: u16,
    },
    /// Run a shell command as root.
    Run(Content),
}

impl Task {
    /// Returns the file's content or the command.
    pub fn content(&self) -> &Content {
        match self {
            Self::Write { content, .. } | Self::Run(content) => content,
        }
    }
}
