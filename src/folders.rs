//! Where netlab keeps its files: one value, created once from the environment and passed on. Nothing else in netlab
//! chooses a path.

use std::path::{Path, PathBuf};

use crate::lab::{HostName, LabName, VmName};

/// The two roots of netlab's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Labs: journals, locks, transcripts, emulated hosts. `NETLAB_STATE_DIR`, else `/var/lib/netlab`.
    pub state: PathBuf,
    /// Images, saved states and QEMU capabilities: can be deleted at any time while no lab is up. `NETLAB_CACHE_DIR`, else
    /// `/var/cache/netlab`.
    pub cache: PathBuf,
}

impl Folders {
    /// Returns the folders that the environment asks for.
    pub fn from_env() -> Self {
        // Set and empty is the same as not set, as for the folders of XDG.
        let set = |key| std::env::var_os(key).filter(|value| !value.is_empty());
        let folder = |key, default: &str| set(key).map_or_else(|| default.into(), PathBuf::from);
        Self {
            state: folder("NETLAB_STATE_DIR", "/var/lib/netlab"),
            cache: folder("NETLAB_CACHE_DIR", "/var/cache/netlab"),
        }
    }

    /// Returns one lab's folder: `journal`, `netlab.log`, `images.toml`, `transcripts/`, `hosts/`.
    pub fn lab(&self, lab: &LabName) -> PathBuf {
        self.state.join("labs").join(lab.as_str())
    }

    /// Returns the log of the commands that were sent to a lab's hosts.
    pub fn log(&self, lab: &LabName) -> PathBuf {
        self.lab(lab).join("netlab.log")
    }

    /// Returns the transcript of a guest's console.
    pub fn transcript(&self, lab: &LabName, vm: &VmName) -> PathBuf {
        self.lab(lab).join("transcripts").join(format!("{vm}.log"))
    }

    /// Returns the file of known host keys of one guest's ssh server.
    pub fn known_hosts(&self, lab: &LabName, vm: &VmName) -> PathBuf {
        self.lab(lab).join("known_hosts").join(vm.as_str())
    }

    /// Returns the configuration with which ssh reaches a lab's guests.
    pub fn ssh_config(&self, lab: &LabName) -> PathBuf {
        self.lab(lab).join("ssh_config")
    }

    /// Returns the folder of one emulated host: `run`, `var` and `etc` (inside it /run, /var and /etc/libvirt) and its
    /// log `init.log`.
    pub fn machine(&self, lab: &LabName, host: &HostName) -> PathBuf {
        self.lab(lab).join("hosts").join(host.as_str())
    }

    /// Returns the folder of one cached image.
    pub fn image(&self, image: &crate::lab::ImageName) -> PathBuf {
        self.images().join(image.as_str())
    }

    /// Returns the folder of all cached images.
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// Returns the folder of QEMU's capabilities, which libvirt probed once on this machine.
    pub fn capabilities(&self) -> PathBuf {
        self.cache.join("capabilities")
    }

    /// The folder of saved states on a host behind ssh: that of a netlab which runs there.
    pub const SAVED_BEHIND_SSH: &str = "/var/cache/netlab/saved";

    /// Returns the folder of the saved states that guests are started from, on this machine.
    pub fn saved(&self) -> PathBuf {
        self.cache.join("saved")
    }

    /// Returns the user's template of domains, which replaces the built-in one.
    pub fn domain_template(&self) -> PathBuf {
        self.state.join("templates").join("domain.xml")
    }

    /// Creates `folder` and its parents, for all users to enter and read: the user that libvirt runs QEMU as must reach
    /// the images.
    pub fn make_open(folder: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)
    }

    /// Creates `folder` and its parents; those that did not exist are accessible to their owner only.
    pub fn make(folder: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }
}
