//! Recognizes what a file is by its first bytes, to report an image that is not what its entry states. What an entry
//! states is never replaced by what is recognized here: a guest can write any bytes into a raw disk.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::lab::{Compression, Format};

/// Bytes of a file that are read: an ISO 9660 file system is recognized behind its first 32 KiB.
const HEAD: u64 = 64 * 1024;

/// What the first bytes of a file show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// No bytes at all.
    Empty,
    /// A disk image of QEMU.
    Qcow2,
    /// A disk image that netlab does not run: its name, and qemu-img's.
    Foreign(&'static str, &'static str),
    /// A CD or DVD that no firmware starts as a disk: without a boot sector of a disk.
    Iso,
    /// A compressed file.
    Compressed(Compression),
    /// An archive: its name.
    Archive(&'static str),
    /// A web page.
    WebPage,
    /// A Linux kernel for x86 (Documentation/arch/x86/boot.rst), or for another architecture as an EFI program.
    Kernel,
    /// Anything else: perhaps a raw disk.
    Unknown,
}

/// Magic bytes with their place in the file.
const MAGIC: [(usize, &[u8], Content); 15] = [
    (0, b"QFI\xfb", Content::Qcow2),
    (0, b"KDMV", Content::Foreign("VMDK", "vmdk")),
    (0, b"COWD", Content::Foreign("VMDK", "vmdk")),
    (0, b"# Disk DescriptorFile", Content::Foreign("VMDK", "vmdk")),
    (0x40, b"\x7f\x10\xda\xbe", Content::Foreign("VDI", "vdi")),
    (0, b"vhdxfile", Content::Foreign("VHDX", "vhdx")),
    (0, b"conectix", Content::Foreign("VHD", "vpc")),
    (0, b"\x1f\x8b\x08", Content::Compressed(Compression::Gzip)),
    (0, b"\xfd7zXZ\0", Content::Compressed(Compression::Xz)),
    (0, b"\x28\xb5\x2f\xfd", Content::Compressed(Compression::Zstd)),
    (0, b"PK\x03\x04", Content::Archive("zip")),
    (257, b"ustar", Content::Archive("tar")),
    (0, b"7z\xbc\xaf\x27\x1c", Content::Archive("7-Zip")),
    (0x202, b"HdrS", Content::Kernel),
    (0x38, b"ARMd", Content::Kernel),
];
/// The magic of bzip2: `BZh`, a digit for the size of its blocks, and the digits of pi with which a block begins.
const BZIP2: (&[u8], &[u8]) = (b"BZh", b"1AY&SY");
/// The identifier of an ISO 9660 volume descriptor, and its place.
const ISO: (usize, &[u8]) = (0x8001, b"CD001");
/// The signature of a boot sector, and its place. A CD that has one starts as a disk, too.
const BOOT_SECTOR: (usize, &[u8]) = (510, b"\x55\xaa");

/// Recognizes a file by its first bytes.
pub fn detect(head: &[u8]) -> Content {
    if head.is_empty() {
        return Content::Empty;
    }
    let has = |(at, magic): (usize, &[u8])| head.get(at..at + magic.len()) == Some(magic);
    if let Some((_, _, content)) = MAGIC.iter().find(|(at, magic, _)| has((*at, magic))) {
        return *content;
    }
    if has((0, BZIP2.0)) && has((4, BZIP2.1)) {
        return Content::Compressed(Compression::Bzip2);
    }
    if has(ISO) {
        return if has(BOOT_SECTOR) {
            Content::Unknown
        } else {
            Content::Iso
        };
    }
    let text = head.get(..head.len().min(256)).unwrap_or_default().trim_ascii_start();
    let begins = |with: &[u8]| {
        text.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    if begins(b"<!doctype html") || begins(b"<html") {
        return Content::WebPage;
    }
    Content::Unknown
}

/// Recognizes the file at `path`.
pub fn of_file(path: &Path) -> std::io::Result<Content> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(detect(&head))
}

/// A file is not what an image's entry states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentence(.found))]
pub struct Mismatch {
    /// What it is.
    pub found: Content,
}

fn sentence(found: &Content) -> String {
    match found {
        Content::Empty => "the file is empty".to_owned(),
        Content::Qcow2 => "this is a qcow2 image".to_owned(),
        Content::Foreign(name, _) => format!("this is a {name} image, which netlab does not run as it is"),
        Content::Iso => "this is a CD image (ISO 9660) that does not start as a disk".to_owned(),
        Content::Compressed(compression) => format!("this is compressed by {}", name_of(*compression)),
        Content::Archive(name) => format!("this is a {name} archive"),
        Content::WebPage => "this is a web page".to_owned(),
        Content::Kernel => "this is a Linux kernel".to_owned(),
        Content::Unknown => "this is not a file of the format that the entry states".to_owned(),
    }
}

impl Mismatch {
    /// Returns what a user can write or do instead.
    pub fn help(&self) -> &'static str {
        match self.found {
            Content::Empty => "fetch or create the file again",
            Content::Qcow2 => "write `format = \"qcow2\"`",
            Content::Foreign(_, "vmdk") => "convert it: qemu-img convert -f vmdk -O qcow2 FILE FILE.qcow2",
            Content::Foreign(_, "vdi") => "convert it: qemu-img convert -f vdi -O qcow2 FILE FILE.qcow2",
            Content::Foreign(_, "vhdx") => "convert it: qemu-img convert -f vhdx -O qcow2 FILE FILE.qcow2",
            Content::Foreign(..) => "convert it: qemu-img convert -f vpc -O qcow2 FILE FILE.qcow2",
            Content::Iso => {
                "netlab starts disks, not installation media: use the publisher's cloud image, or install it elsewhere first; a vm has a CD by `cdrom = \"...\"`"
            }
            Content::Compressed(Compression::Gzip) => "write `compression = \"gzip\"`",
            Content::Compressed(Compression::Xz) => "write `compression = \"xz\"`",
            Content::Compressed(Compression::Zstd) => "write `compression = \"zstd\"`",
            Content::Compressed(_) => "write `compression = \"bzip2\"`",
            Content::Archive(_) => "unpack it and use the disk image that is in it",
            Content::WebPage => "check the URL of the mirror: it must be that of the file itself",
            Content::Kernel => "write `kernel = \"...\"` instead of `mirrors`",
            Content::Unknown => "check `format` and `compression` of the image's entry; `file FILE` shows what it is",
        }
    }
}

fn name_of(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "nothing",
        Compression::Bzip2 => "bzip2",
        Compression::Gzip => "gzip",
        Compression::Xz => "xz",
        Compression::Zstd => "zstd",
    }
}

/// What a file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A disk image.
    Disk(Format),
    /// A kernel or an initial RAM file system, which may be compressed: the kernel unpacks it.
    Boot,
}

/// Returns an error where the first bytes of the unpacked file at `path` show that it is not `wanted`.
pub fn check(path: &Path, wanted: Wanted) -> std::io::Result<Result<(), Mismatch>> {
    let found = of_file(path)?;
    Ok(if fits(found, wanted) {
        Ok(())
    } else {
        Err(Mismatch { found })
    })
}

/// Returns whether a file that shows `found` can be what is wanted.
pub fn fits(found: Content, wanted: Wanted) -> bool {
    match (wanted, found) {
        // Its header is checked by the module `qcow2`.
        (Wanted::Disk(Format::Qcow2), found) => found == Content::Qcow2,
        (Wanted::Disk(Format::Raw), found) => found == Content::Unknown,
        (Wanted::Boot, found) => matches!(found, Content::Unknown | Content::Kernel | Content::Compressed(_)),
        // What is also a disk, by its boot sector, is not recognized as a CD.
        (Wanted::Disk(Format::Cd), found) => matches!(found, Content::Unknown | Content::Iso),
    }
}

/// Returns an error where the first bytes of the download at `path` show that it is not compressed as stated.
pub fn check_compression(path: &Path, stated: Compression) -> std::io::Result<Result<(), Mismatch>> {
    let found = of_file(path)?;
    let wrong = stated != Compression::None && found != Content::Compressed(stated);
    // The first bytes of what is compressed as stated and damaged are right.
    Ok(if wrong { Err(Mismatch { found }) } else { Ok(()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(at: usize, magic: &[u8]) -> Vec<u8> {
        let mut head = vec![0; at];
        head.extend(magic);
        head.resize(head.len() + 100, 0);
        head
    }

    /// FAULTS 64.
    #[test]
    fn files_are_recognized_by_their_first_bytes() {
        for (head, wanted) in [
            (Vec::new(), Content::Empty),
            (with(0, b"QFI\xfb\0\0\0\x03"), Content::Qcow2),
            (with(0, b"KDMV\x01\0\0\0"), Content::Foreign("VMDK", "vmdk")),
            (with(0x40, b"\x7f\x10\xda\xbe"), Content::Foreign("VDI", "vdi")),
            (with(0, b"vhdxfile"), Content::Foreign("VHDX", "vhdx")),
            (with(0x8001, b"CD001"), Content::Iso),
            (with(0, b"\x1f\x8b\x08\0"), Content::Compressed(Compression::Gzip)),
            (with(0, b"\xfd7zXZ\0\0\x04"), Content::Compressed(Compression::Xz)),
            (with(0, b"\x28\xb5\x2f\xfd"), Content::Compressed(Compression::Zstd)),
            (with(0, b"BZh91AY&SY"), Content::Compressed(Compression::Bzip2)),
            (with(0, b"PK\x03\x04"), Content::Archive("zip")),
            (with(257, b"ustar\0"), Content::Archive("tar")),
            (with(0, b"\n <!DOCTYPE HTML PUBLIC"), Content::WebPage),
            (with(0x202, b"HdrS"), Content::Kernel),
            (with(0, b"BZhello"), Content::Unknown),
            (with(510, b"\x55\xaa"), Content::Unknown),
            (vec![7], Content::Unknown),
        ] {
            assert_eq!(detect(&head), wanted, "{:?}", &head[..head.len().min(8)]);
        }
        let mut hybrid = with(0x8001, b"CD001");
        hybrid[510..512].copy_from_slice(b"\x55\xaa");
        assert_eq!(detect(&hybrid), Content::Unknown, "it starts as a disk, too");
    }

    #[test]
    fn a_file_is_what_its_entry_states_or_the_error_says_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let help = |head: &[u8], wanted| {
            std::fs::write(&path, head).unwrap();
            check(&path, wanted)
                .unwrap()
                .map_err(|wrong| format!("{wrong}: {}", wrong.help()))
        };
        let (raw, qcow2) = (Wanted::Disk(Format::Raw), Wanted::Disk(Format::Qcow2));
        let magic = with(0, b"QFI\xfb\0\0\0\x03");
        assert_eq!(
            help(&magic, raw),
            Err("this is a qcow2 image: write `format = \"qcow2\"`".to_owned())
        );
        assert_eq!(help(&magic, qcow2), Ok(()));
        assert!(help(b"", raw).unwrap_err().contains("empty"));
        assert!(
            help(&with(0, b"\x1f\x8b\x08\0"), raw)
                .unwrap_err()
                .contains("compression = \"gzip\"")
        );
        assert!(
            help(&with(0, b"KDMV"), qcow2)
                .unwrap_err()
                .contains("qemu-img convert -f vmdk")
        );
        assert!(help(&with(0, b"plain"), qcow2).is_err());
        assert_eq!(help(&with(0, b"\x1f\x8b\x08\0"), Wanted::Boot), Ok(()));
        assert!(help(&magic, Wanted::Boot).is_err());
        assert_eq!(help(&with(0x8001, b"CD001"), Wanted::Disk(Format::Cd)), Ok(()));
    }
}
