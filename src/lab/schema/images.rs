//! The tables of an image.

use super::choices::{
    COMPRESSIONS, CONSOLES, DIALECTS, DISK_BUSES, FIRMWARES, FORMATS, MOST_SECONDS, NIC_MODELS, RECIPES, VIDEOS,
    names_of,
};
use super::kinds::{HEX, LIBVIRT, SIZE, key, required};
use super::{Kind, Table};

const CHECKSUMS: Kind = Kind::Pattern("^https?://[^/]+/", "https://example.org/SHA256SUMS");

/// `[images.X]`, and a file of the catalog.
pub(in crate::lab) const IMAGE: Table = Table {
    name: "an image",
    keys: &[
        key("description", Kind::Text, "One line for `netlab image list`."),
        key(
            "recipe",
            Kind::Choice(|| names_of(&RECIPES)),
            "The image is built on this machine instead of downloaded.",
        ),
        key(
            "kernel",
            Kind::Either(&Kind::Text, &Kind::Table(&BOOT_FILE)),
            "A kernel that is started without a boot loader: a URL or path, or a table with its checksum.",
        ),
        key(
            "initrd",
            Kind::Either(&Kind::Text, &Kind::Table(&BOOT_FILE)),
            "The initial RAM file system of `kernel`, like it.",
        ),
        key(
            "cmdline",
            Kind::Text,
            "Command line of a recipe's kernel or of `kernel`.",
        ),
        key(
            "mirrors",
            Kind::OneOrMore(&Kind::Text),
            "https, http or file URLs, or paths relative to the lab file, in the order in which they are tried.",
        ),
        key("sha256", HEX, "SHA-256 of the download."),
        key("sha512", HEX, "SHA-512 of the download."),
        key("git_blob", HEX, "Git's object id of the download."),
        key(
            "checksums",
            CHECKSUMS,
            "URL of the publisher's list of checksums, e.g. SHA256SUMS, where no digest is written.",
        ),
        key(
            "compression",
            Kind::Choice(|| names_of(&COMPRESSIONS)),
            "Compression of the download; default: none.",
        ),
        key(
            "format",
            Kind::Choice(|| names_of(&FORMATS)),
            "Format of the disk image.",
        ),
        key("unpacked", Kind::Table(&UNPACKED), "The file after decompression."),
        key("machine", Kind::Table(&MACHINE), "The virtual hardware that it needs."),
        required("console", Kind::Table(&CONSOLE), "How its console behaves."),
        key("cloud_init", Kind::Flag, "The guest has cloud-init; default: false."),
        key(
            "warm",
            Kind::Flag,
            "Its guests are started from the saved state of one that has booted, not booted each; with a login only where \
             they have cloud-init; default: true for a recipe, else false.",
        ),
        key(
            "dialect",
            Kind::Choice(|| names_of(&DIALECTS)),
            "The guest's tool for addresses; default: ip.",
        ),
    ],
};

/// `kernel` and `initrd` of an image.
pub(in crate::lab) const BOOT_FILE: Table = Table {
    name: "a kernel or initial RAM file system",
    keys: &[
        required(
            "mirrors",
            Kind::OneOrMore(&Kind::Text),
            "https, http or file URLs, or paths, in the order in which they are tried.",
        ),
        key("sha256", HEX, "SHA-256 of the file."),
        key("sha512", HEX, "SHA-512 of the file."),
        key("git_blob", HEX, "Git's object id of the file."),
        key(
            "checksums",
            CHECKSUMS,
            "URL of the publisher's list of checksums, where no digest is written.",
        ),
    ],
};

/// `unpacked` of an image.
pub(in crate::lab) const UNPACKED: Table = Table {
    name: "`unpacked`",
    keys: &[
        key("sha256", HEX, "SHA-256 of the file."),
        key("sha512", HEX, "SHA-512 of the file."),
        key("git_blob", HEX, "Git's object id of the file."),
        key("at_most", SIZE, "Largest size of the file; default: 64GiB."),
    ],
};

/// `machine` of an image.
pub(in crate::lab) const MACHINE: Table = Table {
    name: "an image's machine",
    keys: &[
        key("arch", LIBVIRT, "Architecture; default: x86_64."),
        key("machine", LIBVIRT, "Machine type; default: pc."),
        key(
            "disk_bus",
            Kind::Choice(|| DISK_BUSES.to_vec()),
            "Disk bus; default: virtio.",
        ),
        key(
            "nic_model",
            Kind::Choice(|| NIC_MODELS.to_vec()),
            "NIC model; default: virtio.",
        ),
        key(
            "memory",
            SIZE,
            "Memory of a VM that has none of its own; default: 256MiB.",
        ),
        key(
            "firmware",
            Kind::Choice(|| names_of(&FIRMWARES)),
            "What starts the guest: BIOS or UEFI, which libvirt selects on the host; default: bios.",
        ),
        key(
            "secure_boot",
            Kind::Flag,
            "UEFI starts signed programs only; needs machine type q35; default: false.",
        ),
        key(
            "video",
            Kind::Choice(|| names_of(&VIDEOS)),
            "Video card; with `none` the messages of the firmware are not seen; default: vga.",
        ),
    ],
};

/// `console` of an image.
pub(in crate::lab) const CONSOLE: Table = Table {
    name: "an image's console",
    keys: &[
        key(
            "kind",
            Kind::Choice(|| names_of(&CONSOLES)),
            "Serial port or VGA text screen; default: serial.",
        ),
        required(
            "prompt",
            Kind::Text,
            "The text that a waiting shell ends its line with, e.g. `# `.",
        ),
        key("login", Kind::Table(&LOGIN), "The login, where the image has one."),
        key(
            "boot_seconds",
            Kind::Integer(1, MOST_SECONDS),
            "Seconds until the prompt at most; default: 300.",
        ),
    ],
};

/// `login` of a console.
pub(in crate::lab) const LOGIN: Table = Table {
    name: "a login",
    keys: &[
        key(
            "prompt",
            Kind::Text,
            "The text that asks for the user; default: `login: `.",
        ),
        required("user", Kind::Text, "The user."),
        key("password", Kind::Text, "The password."),
        key(
            "root_password",
            Kind::Text,
            "The password of root, for a user that becomes root by `su` only.",
        ),
    ],
};
