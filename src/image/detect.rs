//! Recognizes what a file is by its first bytes, to report an image that is not what its entry states. What an entry
//! states is never replaced by what is recognized here: a guest can write any bytes into a raw disk.

mod elf;
mod mismatch;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

pub use mismatch::{Layer, Mismatch};

use crate::lab::{Compression, Format};

/// Bytes of a file that are read: an ISO 9660 file system is recognized behind its first 32 KiB.
const HEAD: u64 = 64 * 1024;
/// Bytes at the end of a file that are read: those of a VHD of fixed size and of a disk image of macOS.
const TAIL: u64 = 512;
/// Size of a sector in bytes; what is smaller is no disk.
const SECTOR: usize = 512;

/// What the first bytes of a file show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// No bytes at all.
    Empty,
    /// Less than a sector.
    Short,
    /// A disk image of QEMU.
    Qcow2,
    /// A disk image that netlab does not run: its name, and qemu-img's.
    Foreign(&'static str, &'static str),
    /// A CD or DVD that no firmware starts as a disk: without a boot sector of a disk.
    Iso,
    /// A compressed file.
    Compressed(Compression),
    /// A file compressed by a program whose files netlab does not unpack: its name, and the command that unpacks it.
    Packed(&'static str, &'static str),
    /// An archive: its name.
    Archive(&'static str),
    /// A cpio archive, as initial RAM file systems are.
    Cpio,
    /// A web page.
    WebPage,
    /// A text: what kind.
    Text(&'static str),
    /// A kernel that a boot loader starts: a Linux kernel for x86 (Documentation/arch/x86/boot.rst), or one for another
    /// architecture (Documentation/arch/arm64/booting.rst, …/riscv/boot-image-header.rst).
    Kernel(Cpu),
    /// An ELF program, as `vmlinux` is.
    Elf(Cpu),
    /// A program for EFI or Windows that is no Linux kernel for x86.
    Program,
    /// Anything else: perhaps a raw disk.
    Unknown,
}

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// i686 and `x86_64`.
    X86,
    /// Another architecture.
    Other,
}

impl Cpu {
    /// Returns that of a machine's `arch`.
    pub fn of(arch: &str) -> Self {
        match arch {
            "i686" | "x86_64" => Self::X86,
            _ => Self::Other,
        }
    }
}

/// Magic bytes with their place in the file. A kernel for x86 is also a program for EFI: the first that is found counts.
const MAGIC: [(usize, &[u8], Content); 36] = [
    (0, b"QFI\xfb\0\0\0\x01", Content::Foreign("QCOW (version 1)", "qcow")),
    (0, b"QFI\xfb", Content::Qcow2),
    (0, b"QED\0", Content::Foreign("QED", "qed")),
    (0, b"KDMV", Content::Foreign("VMDK", "vmdk")),
    (0, b"COWD", Content::Foreign("VMDK", "vmdk")),
    (0, b"# Disk DescriptorFile", Content::Foreign("VMDK", "vmdk")),
    (0x40, b"\x7f\x10\xda\xbe", Content::Foreign("VDI", "vdi")),
    (0, b"vhdxfile", Content::Foreign("VHDX", "vhdx")),
    (0, b"conectix", Content::Foreign("VHD", "vpc")),
    (0, b"WithoutFreeSpace", Content::Foreign("Parallels", "parallels")),
    (0, b"WithouFreSpacExt", Content::Foreign("Parallels", "parallels")),
    (0, b"LUKS\xba\xbe", Content::Foreign("LUKS (encrypted)", "luks")),
    (0, b"\x1f\x8b\x08", Content::Compressed(Compression::Gzip)),
    (0, b"\xfd7zXZ\0", Content::Compressed(Compression::Xz)),
    (0, b"\x28\xb5\x2f\xfd", Content::Compressed(Compression::Zstd)),
    (0, b"\x04\x22\x4d\x18", Content::Packed("lz4", "lz4 -d")),
    (0, b"\x02\x21\x4c\x18", Content::Packed("lz4", "lz4 -d")),
    (0, b"LZIP", Content::Packed("lzip", "lzip -d")),
    (0, b"\x89LZO\0\r\n", Content::Packed("lzop", "lzop -d")),
    (0, b"\x1f\x9d", Content::Packed("compress", "uncompress")),
    // What `xz --format=lzma` writes: properties, a dictionary of whole MiB, an unknown size.
    (0, b"\x5d\0\0", Content::Packed("lzma", "unlzma")),
    (0, b"PK\x03\x04", Content::Archive("zip")),
    (257, b"ustar", Content::Archive("tar")),
    (0, b"7z\xbc\xaf\x27\x1c", Content::Archive("7-Zip")),
    (0, b"Rar!\x1a\x07", Content::Archive("RAR")),
    (0, b"!<arch>\n", Content::Archive("Debian")),
    (0, b"\xed\xab\xee\xdb", Content::Archive("RPM")),
    (0, b"070701", Content::Cpio),
    (0, b"070702", Content::Cpio),
    (0, b"070707", Content::Cpio),
    (0, b"\xc7\x71", Content::Cpio),
    (0x202, b"HdrS", Content::Kernel(Cpu::X86)),
    (0x38, b"ARMd", Content::Kernel(Cpu::Other)),
    (0x38, b"RSC\x05", Content::Kernel(Cpu::Other)),
    (0x24, b"\x18\x28\x6f\x01", Content::Kernel(Cpu::Other)),
    (0, b"\x27\x05\x19\x56", Content::Kernel(Cpu::Other)),
];
/// The magic of bzip2: `BZh`, a digit for the size of its blocks, and the digits of pi with which a block begins.
const BZIP2: (&[u8], &[u8]) = (b"BZh", b"1AY&SY");
/// The identifier of an ISO 9660 volume descriptor, and its place.
const ISO: (usize, &[u8]) = (0x8001, b"CD001");
/// The signature of a boot sector, and its place. A CD that has one starts as a disk, too.
const BOOT_SECTOR: (usize, &[u8]) = (510, b"\x55\xaa");
/// The magic of an ELF file, and the values of `e_machine` for i386 and `x86_64`, which is at byte 18.
const ELF: (&[u8], [u8; 2]) = (b"\x7fELF", [3, 62]);

/// Recognizes a file by its first bytes.
pub fn detect(head: &[u8]) -> Content {
    if head.is_empty() {
        return Content::Empty;
    }
    let has = |(at, magic): (usize, &[u8])| head.get(at..at + magic.len()) == Some(magic);
    if has((257, b"ustar")) && is_ova(head) {
        return Content::Archive("OVA");
    }
    if let Some((_, _, content)) = MAGIC.iter().find(|(at, magic, _)| has((*at, magic))) {
        return *content;
    }
    if has((0, BZIP2.0)) && has((4, BZIP2.1)) {
        return Content::Compressed(Compression::Bzip2);
    }
    if has((0, ELF.0)) {
        let is_x86 = head.get(18).is_some_and(|machine| ELF.1.contains(machine));
        return Content::Elf(if is_x86 { Cpu::X86 } else { Cpu::Other });
    }
    if is_old_tar(head) {
        return Content::Archive("tar");
    }
    if has(ISO) {
        return if has(BOOT_SECTOR) {
            Content::Unknown
        } else {
            Content::Iso
        };
    }
    // Whatever its encoding is.
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |with: &[u8]| {
        start
            .get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    if begins(b"<!doctype html") || begins(b"<html") {
        return Content::WebPage;
    }
    if let Some(text) = text_of(head) {
        return text;
    }
    if has((0, b"MZ")) && !has(BOOT_SECTOR) {
        return Content::Program;
    }
    if head.len() < SECTOR {
        return Content::Short;
    }
    Content::Unknown
}

/// Returns whether the first file of a tar archive, whose name is in its first 100 bytes, describes a virtual machine (DMTF
/// DSP0243, section 5.3).
fn is_ova(head: &[u8]) -> bool {
    let name = head[..100].split(|byte| *byte == 0).next().unwrap_or_default();
    name.to_ascii_lowercase().ends_with(b".ovf")
}

/// Returns whether a file begins with the header of a tar archive without a magic, as tar wrote it before POSIX: by the sum
/// of its bytes, in octal digits at byte 148, with blanks in place of the sum.
fn is_old_tar(head: &[u8]) -> bool {
    let Some((header, stated)) = head.get(..SECTOR).zip(head.get(148..156)) else {
        return false;
    };
    let digits: Vec<u8> = stated.iter().copied().filter(|byte| !b" \0".contains(byte)).collect();
    let stated = std::str::from_utf8(&digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 8).ok());
    let blanks = 8 * u64::from(b' ');
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = head[148..156].iter().map(|byte| u64::from(*byte)).sum();
    header[0] != 0 && stated == Some(sum - own + blanks)
}

/// Returns which kind of text a file is whose first sector has nothing else.
fn text_of(head: &[u8]) -> Option<Content> {
    let start = &head[..head.len().min(SECTOR)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The sector ends within a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&start[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if text
        .chars()
        .any(|one| one.is_control() && !"\t\n\r\x0c\x1b".contains(one))
    {
        return None;
    }
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    Some(if text.contains("<html") {
        Content::WebPage
    } else if text.starts_with("version https://git-lfs") {
        Content::Text("a pointer of Git LFS")
    } else if text.contains("<envelope") || text.contains("<ovf:envelope") {
        Content::Text("a description of a virtual machine (OVF)")
    } else if text.starts_with("<?xml") || text.starts_with("<error") {
        Content::Text("an XML document")
    } else if text.starts_with(['{', '[']) {
        Content::Text("a JSON document")
    } else {
        Content::Text("a text")
    })
}

/// Recognizes the file at `path`.
pub fn of_file(path: &Path) -> std::io::Result<Content> {
    Ok(read(path)?.1)
}

/// Returns the first bytes of the file at `path`, and what it is.
fn read(path: &Path) -> std::io::Result<(Vec<u8>, Content)> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    (&file).take(HEAD).read_to_end(&mut head)?;
    let found = match detect(&head) {
        // A fixed VHD and an image of macOS have their magic at the end.
        Content::Unknown => {
            let mut tail = Vec::new();
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            file.take(TAIL).read_to_end(&mut tail)?;
            if tail.starts_with(b"conectix") {
                Content::Foreign("VHD", "vpc")
            } else if tail.starts_with(b"koly") {
                Content::Foreign("DMG", "dmg")
            } else {
                Content::Unknown
            }
        }
        found => found,
    };
    Ok((head, found))
}

/// What a file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A disk image.
    Disk(Format),
    /// A kernel for such a machine.
    Kernel(Cpu),
    /// An initial RAM file system, which may be compressed: the kernel unpacks it.
    Initrd,
}

/// Returns an error where the first bytes of the unpacked file at `path` show that it is not `wanted`. `compression`: how it
/// was compressed.
pub fn check(path: &Path, wanted: Wanted, compression: Compression) -> std::io::Result<Result<(), Mismatch>> {
    let (head, found) = read(path)?;
    let is_x86 = wanted == Wanted::Kernel(Cpu::X86);
    let is_ready = match found {
        // An ELF file that ends within what its headers name has no note.
        Content::Elf(Cpu::X86) if is_x86 => {
            is_multiboot(&head) || elf::has_pvh_note(&File::open(path)?).unwrap_or_default()
        }
        _ => fits(found, wanted) || (is_x86 && is_multiboot(&head)),
    };
    Ok(if is_ready {
        Ok(())
    } else {
        let layer = Layer::Unpacked(compression);
        Err(Mismatch { found, wanted, layer })
    })
}

/// Returns whether a file that shows `found` can be what is wanted.
pub fn fits(found: Content, wanted: Wanted) -> bool {
    match wanted {
        // Its header is checked by the module `qcow2`.
        Wanted::Disk(Format::Qcow2) => found == Content::Qcow2,
        Wanted::Disk(Format::Raw) => found == Content::Unknown,
        // No firmware reads it: a guest may use a text or an archive as what a disk has.
        Wanted::Disk(Format::Data) => !matches!(
            found,
            Content::Empty | Content::Qcow2 | Content::Foreign(..) | Content::Compressed(_) | Content::WebPage
        ),
        // What is also a disk, by its boot sector, is not recognized as a CD.
        Wanted::Disk(Format::Cd) => matches!(found, Content::Unknown | Content::Iso),
        // QEMU's loader for x86 takes a bzImage and an ELF file; those of other machines take more.
        Wanted::Kernel(Cpu::X86) => matches!(found, Content::Kernel(Cpu::X86) | Content::Elf(Cpu::X86)),
        Wanted::Kernel(Cpu::Other) => matches!(
            found,
            Content::Kernel(Cpu::Other)
                | Content::Elf(Cpu::Other)
                | Content::Program
                | Content::Unknown
                | Content::Compressed(Compression::Gzip)
        ),
        Wanted::Initrd => matches!(
            found,
            Content::Unknown | Content::Short | Content::Cpio | Content::Compressed(_) | Content::Packed(..)
        ),
    }
}

/// Returns whether a file has the header of a multiboot kernel: a magic in its first 8 KiB, flags, and a number that makes
/// the sum of the three zero (Multiboot Specification 0.6.96).
fn is_multiboot(head: &[u8]) -> bool {
    const MAGIC: u32 = 0x1bad_b002;
    let words: Vec<u32> = head
        .chunks_exact(4)
        .take(2048)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()))
        .collect();
    words
        .windows(3)
        .any(|word| word[0] == MAGIC && word.iter().fold(0_u32, |sum, one| sum.wrapping_add(*one)) == 0)
}

/// Returns an error where the first bytes of the download at `path` show that it is not compressed as stated.
pub fn check_compression(path: &Path, wanted: Wanted, stated: Compression) -> std::io::Result<Result<(), Mismatch>> {
    let found = of_file(path)?;
    let wrong = stated != Compression::None && found != Content::Compressed(stated);
    // The first bytes of what is compressed as stated and damaged are right.
    Ok(if wrong {
        let layer = Layer::Download(stated);
        Err(Mismatch { found, wanted, layer })
    } else {
        Ok(())
    })
}

#[cfg(test)]
mod tests;
