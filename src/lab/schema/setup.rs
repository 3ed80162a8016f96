//! The keys of what a VM is given besides its NICs: those of a VM, and of the lab for all of its VMs.

use super::kinds::{key, required};
use super::{Key, Kind, Table};

pub(super) const SSH_KEYS: Key = key(
    "ssh_keys",
    Kind::OneOrMore(&Kind::Text),
    "Public SSH keys of the account, or files with them; needs cloud-init. Default: those of the caller.",
);
pub(super) const USER: Key = key(
    "user",
    Kind::Pattern("^[a-z_][a-z0-9_-]{0,31}$", "alice"),
    "Account that cloud-init makes, with sudo; default: that of the image's console.",
);
pub(super) const PASSWORD: Key = key(
    "password",
    Kind::Text,
    "Password of that account; needs cloud-init. Default: that of the image's console.",
);
pub(super) const USER_DATA: Key = key(
    "user_data",
    Kind::Text,
    "File with further settings for cloud-init: a #cloud-config, a script, or another of its formats; may be a gzip file.",
);
pub(super) const PACKAGES: Key = key(
    "packages",
    Kind::OneOrMore(&Kind::Text),
    "Packages that cloud-init installs.",
);
pub(super) const FILES: Key = key(
    "files",
    Kind::List(&Kind::Table(&FILE)),
    "Files that are written in the guest.",
);
pub(super) const RUN: Key = key(
    "run",
    Kind::OneOrMore(&Kind::Text),
    "Shell commands that root runs in the guest, in order, after the files are written.",
);

/// An item of `files`.
pub(in crate::lab) const FILE: Table = Table {
    name: "a file",
    keys: &[
        required("path", Kind::Pattern("^/", "/etc/motd"), "Absolute path in the guest."),
        key(
            "content",
            Kind::Text,
            "Its content; names in double braces are replaced.",
        ),
        key("from", Kind::Text, "A file whose content it gets, unchanged."),
        key(
            "mode",
            Kind::Pattern("^0?[0-7]{3}$", "0644"),
            "Permissions in octal; default: 0644.",
        ),
    ],
};
