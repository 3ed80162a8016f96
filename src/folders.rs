//! Where netlab keeps its files. One value, made once from the environment and passed on: nothing else in netlab
//! knows a path of its own.

use std::path::{Path, PathBuf};

use crate::lab::{HostName, LabName, VmName};

/// The two roots of netlab's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Labs: journals, locks, transcripts, emulated hosts. `NETLAB_STATE_DIR`, else `/var/lib/netlab`.
    pub state: PathBuf,
    /// Images and QEMU capabilities: can be deleted at any time while no lab is up. `NETLAB_CACHE_DIR`, else
    /// `/var/cache/netlab`.
    pub cache: PathBuf,
}

impl Folders {
    /// The folders that the environment asks for.
    pub fn from_env() -> Self {
        let folder = |key, default: &str| std::env::var_os(key).map_or_else(|| default.into(), PathBuf::from);
        Self {
            state: folder("NETLAB_STATE_DIR", "/var/lib/netlab"),
            cache: folder("NETLAB_CACHE_DIR", "/var/cache/netlab"),
        }
    }

    /// One lab's folder: `journal`, `lock`, `transcripts/`, `hosts/`.
    pub fn lab(&self, lab: &LabName) -> PathBuf {
        self.state.join("labs").join(lab.as_str())
    }

    /// What was said on a guest's console.
    pub fn transcript(&self, lab: &LabName, vm: &VmName) -> PathBuf {
        self.lab(lab).join("transcripts").join(format!("{vm}.log"))
    }

    /// The private folders of one emulated host: `run`, `var` and `etc` (seen inside as /run, /var and /etc/libvirt),
    /// its log `init.log` and what is known of it.
    pub fn machine(&self, lab: &LabName, host: &HostName) -> PathBuf {
        self.lab(lab).join("hosts").join(host.as_str())
    }

    /// The folder of one cached image.
    pub fn image(&self, image: &crate::lab::ImageName) -> PathBuf {
        self.images().join(image.as_str())
    }

    /// All cached images.
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// QEMU's capabilities as libvirt probed them once on this machine.
    pub fn capabilities(&self) -> PathBuf {
        self.cache.join("capabilities")
    }

    /// The user's template of domains, in the place of the built-in one.
    pub fn domain_template(&self) -> PathBuf {
        self.state.join("templates").join("domain.xml")
    }

    /// Makes `folder` and what is above it, for all to enter and read: what libvirt starts guests from must be in reach
    /// of the user that it runs QEMU as.
    pub fn make_open(folder: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)
    }

    /// Makes `folder` and what is above it, for the owner's eyes only where it did not exist.
    pub fn make(folder: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }
}
