//! Well-known messages of libvirt and QEMU, and what they mean.

use std::fmt;

/// Why a domain could not be defined or started, recognized by libvirt's or QEMU's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The bridge of one of its NICs does not exist.
    NoBridge,
    /// The host has too little free memory.
    NoMemory,
    /// /dev/kvm cannot be used.
    Kvm,
    /// A file cannot be read by QEMU's user, or is missing.
    Unreadable,
    /// A file does not exist.
    MissingFile,
    /// Another process has the disk open for writing.
    DiskLocked,
    /// QEMU does not have the machine type.
    MachineType,
    /// The disk has another format than its definition says.
    DiskFormat,
}

/// Parts of messages, in the order they are tried: the first match counts.
const MESSAGES: [(&str, Cause); 15] = [
    ("Cannot get interface MTU on", Cause::NoBridge),
    ("Cannot allocate memory", Cause::NoMemory),
    ("/dev/kvm", Cause::Kvm),
    ("KVM kernel module", Cause::Kvm),
    ("failed to initialize kvm", Cause::Kvm),
    ("Permission denied", Cause::Unreadable),
    ("Cannot access storage file", Cause::Unreadable),
    ("No such file or directory", Cause::MissingFile),
    ("could not load kernel", Cause::MissingFile),
    ("could not open kernel", Cause::MissingFile),
    ("\"write\" lock", Cause::DiskLocked),
    ("does not support machine type", Cause::MachineType),
    ("unsupported machine type", Cause::MachineType),
    ("Image is not in", Cause::DiskFormat),
    ("not in qcow2 format", Cause::DiskFormat),
];

impl Cause {
    /// Returns the cause that `message` names; none where it is not a well-known one.
    pub(super) fn of(message: &str) -> Option<Self> {
        let known = MESSAGES.iter().find(|(part, _)| message.contains(part));
        known.map(|(_, cause)| *cause)
    }

    /// Returns what a user can do about it.
    pub fn help(self) -> &'static str {
        match self {
            Self::NoBridge => "run `netlab up` again to create the bridge",
            Self::NoMemory => "stop other guests, or give this lab's VMs less `memory`",
            Self::Kvm => "load the kvm module and give QEMU's user access to /dev/kvm, or remove /dev/kvm",
            Self::Unreadable => "make the file and every folder above it readable for the user that QEMU runs as",
            Self::MissingFile => "fetch the image again with `netlab image pull`",
            Self::DiskLocked => "stop the other process that uses the disk",
            Self::MachineType => "choose a machine type that `qemu-system-x86_64 -machine help` lists on the host",
            Self::DiskFormat => "remove the disk with `netlab down` and create it again with `netlab up`",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBridge => "the bridge of one of its NICs does not exist",
            Self::NoMemory => "the host has too little free memory",
            Self::Kvm => "the host's KVM does not work",
            Self::Unreadable => {
                "a file that it needs is missing, or the user that QEMU runs as may not read it or search a folder \
                 above it"
            }
            Self::MissingFile => "a file that it needs does not exist",
            Self::DiskLocked => "another process is writing to its disk",
            Self::MachineType => "the host's QEMU does not have this machine type",
            Self::DiskFormat => "its disk does not have the format that its definition says",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_cause_and_an_unknown_one_none() {
        for (message, cause) in [
            (
                "Cannot get interface MTU on 'br1': No such device",
                Some(Cause::NoBridge),
            ),
            (
                "internal error: qemu unexpectedly closed the monitor: Failed to get \"write\" lock",
                Some(Cause::DiskLocked),
            ),
            (
                "Cannot access storage file '/x': No such file or directory",
                Some(Cause::Unreadable),
            ),
            ("could not load kernel '/x'", Some(Cause::MissingFile)),
            ("Image is not in qcow2 format", Some(Cause::DiskFormat)),
            ("domain not found", None),
        ] {
            assert_eq!(Cause::of(message), cause, "{message}");
        }
    }
}
