//! Images, as guests are made of them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::lab::Password;
use crate::lab::names::ImageName;

/// A catalog entry: what a guest image is and how a guest's console behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name in the catalog.
    pub name: ImageName,
    /// One line for `netlab image list`.
    pub description: String,
    /// How the virtual machine must be built.
    pub machine: ImageMachine,
    /// How the guest starts.
    pub boot: Boot,
    /// How its console behaves.
    pub console: ImageConsole,
    /// Whether the guest takes its settings from a NoCloud seed disk at its first boot.
    pub cloud_init: bool,
    /// Whether its guests are started from a saved state.
    pub warm: bool,
}

/// The virtual hardware that an image needs, by libvirt's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMachine {
    /// Architecture, e.g. `x86_64`, `i686`.
    pub arch: String,
    /// Machine type, e.g. `pc`, `q35`.
    pub machine: String,
    /// Disk bus, e.g. `virtio`, `ide`.
    pub disk_bus: String,
    /// NIC model, e.g. `virtio`, `e1000`.
    pub nic_model: String,
    /// Memory in MiB of a guest that has none of its own.
    pub memory_mib: u64,
    /// What starts the guest.
    #[serde(default)]
    pub firmware: Firmware,
    /// The video card.
    #[serde(default)]
    pub video: Video,
}

/// What starts a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// BIOS, or what the architecture has by default.
    #[default]
    Bios,
    /// UEFI without Secure Boot.
    Efi,
    /// UEFI with Secure Boot and the usual keys enrolled.
    SecureEfi,
}

impl Firmware {
    /// Whether this is the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A guest's video card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Video {
    /// Standard VGA.
    #[default]
    Vga,
    /// Cirrus Logic GD5446.
    Cirrus,
    /// VirtIO with VGA.
    Virtio,
    /// None; the firmware then prints to the serial port.
    None,
}

impl Video {
    /// Whether this is the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a guest of an image starts. Paths are those of the image cache.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// The kernel is loaded directly.
    Kernel {
        /// Kernel image.
        kernel: PathBuf,
        /// Initial RAM file system.
        #[serde(default)]
        initrd: Option<PathBuf>,
        /// Kernel command line.
        cmdline: String,
        /// The disk, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<BaseDisk>,
    },
    /// A disk: every guest gets a qcow2 overlay over this file, which is never written.
    Disk {
        /// The base file.
        base: PathBuf,
        /// `raw` or `qcow2`; always given, never probed.
        format: String,
    },
}

impl Boot {
    /// Returns the base of the guest's disk and its format, where it has one.
    pub fn disk(&self) -> Option<(&PathBuf, &String)> {
        match self {
            Self::Disk { base, format } => Some((base, format)),
            Self::Kernel { disk, .. } => disk.as_ref().map(|disk| (&disk.base, &disk.format)),
        }
    }

    /// Returns every file that it refers to.
    pub fn files(&self) -> Vec<&PathBuf> {
        let (kernel, initrd) = match self {
            Self::Kernel { kernel, initrd, .. } => (Some(kernel), initrd.as_ref()),
            Self::Disk { .. } => (None, None),
        };
        let disk = self.disk().map(|(base, _)| base);
        kernel.into_iter().chain(initrd).chain(disk).collect()
    }
}

/// A base file, which is never written: the guest's disk is a qcow2 overlay over it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BaseDisk {
    /// The file.
    pub base: PathBuf,
    /// `raw` or `qcow2`; always given, never probed.
    pub format: String,
}

/// How a guest's console behaves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageConsole {
    /// The kind of console.
    #[serde(default)]
    pub kind: ConsoleKind,
    /// The text that a waiting shell ends its line with, e.g. `~ # `.
    pub prompt: String,
    /// The login, where the image has one.
    pub login: Option<Login>,
    /// Which commands set addresses.
    pub dialect: Dialect,
    /// Seconds until a guest's prompt before it counts as hung.
    pub boot_seconds: u64,
}

/// What a guest reads commands from and writes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleKind {
    /// A serial port.
    #[default]
    Serial,
    /// A keyboard and a VGA screen in text mode.
    Vga,
}

/// A login dialog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Login {
    /// The text that asks for the user name, e.g. `login: `.
    pub prompt: String,
    /// The user name to type.
    pub user: String,
    /// The password to type when asked.
    pub password: Option<Password>,
    /// The password of root, for an account that becomes root by su(1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_password: Option<Password>,
}

impl Login {
    /// Returns its passwords.
    pub fn passwords(&self) -> impl Iterator<Item = &Password> {
        self.password.iter().chain(&self.root_password)
    }

    /// Returns its passwords, to replace them.
    pub fn passwords_mut(&mut self) -> impl Iterator<Item = &mut Password> {
        self.password.iter_mut().chain(&mut self.root_password)
    }

    /// Returns whether a password is known by its digest only.
    pub fn lacks_passwords(&self) -> bool {
        self.passwords().any(|password| password.text().is_none())
    }
}

/// Which tools a guest has for its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// iproute2 or busybox `ip`.
    Ip,
    /// `ifconfig` and `route`.
    Ifconfig,
}
