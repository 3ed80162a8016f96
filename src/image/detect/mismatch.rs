//! What a user reads about a file that is not what an image's entry states.

use super::{Content, Cpu, Wanted};
use crate::lab::{Compression, Format};

/// A file is not what an image's entry states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Mismatch {
    /// What it is.
    pub found: Content,
    /// What it must be.
    pub wanted: Wanted,
    /// Which file it is.
    pub layer: Layer,
}

/// Which file is not what an entry states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The download, which is to be compressed like this.
    Download(Compression),
    /// What is in a download that is compressed like this.
    Unpacked(Compression),
}

impl Mismatch {
    fn sentence(&self) -> String {
        let found = match self.found {
            Content::Empty => return "the file is empty".to_owned(),
            Content::Short => "smaller than a sector of a disk (512 bytes)".to_owned(),
            Content::Qcow2 => "a qcow2 image".to_owned(),
            Content::Foreign(name, _) => format!("a {name} image, which netlab does not run as it is"),
            Content::Iso => "a CD image (ISO 9660) that does not start as a disk".to_owned(),
            Content::Compressed(compression) => format!("compressed by {}", name_of(compression)),
            Content::Packed(name, _) => format!("compressed by {name}, which netlab does not unpack"),
            Content::Archive("OVA") => "an archive of a virtual machine (OVA)".to_owned(),
            Content::Archive(name) => format!("a {name} archive"),
            Content::Cpio => "a cpio archive, as initial RAM file systems are".to_owned(),
            Content::WebPage => "a web page".to_owned(),
            Content::Text(kind) => kind.to_owned(),
            Content::Kernel(Cpu::X86) => "a Linux kernel for x86".to_owned(),
            Content::Kernel(Cpu::Other) => "a kernel for another architecture than x86".to_owned(),
            Content::Elf(Cpu::X86) if matches!(self.wanted, Wanted::Kernel(_)) => {
                return "this is an ELF program without what starts it as a kernel (a PVH note or a multiboot header)"
                    .to_owned();
            }
            Content::Elf(_) => "an ELF program".to_owned(),
            Content::Program => "a program for EFI or Windows".to_owned(),
            Content::Unknown => return format!("this is not {}", self.wanted()),
        };
        let wanted = match (self.wanted, self.found) {
            (Wanted::Kernel(_) | Wanted::Initrd, _) | (_, Content::Text(_) | Content::Cpio | Content::Elf(_)) => {
                format!(", not {}", self.wanted())
            }
            _ => String::new(),
        };
        match self.layer {
            Layer::Unpacked(by @ (Compression::Bzip2 | Compression::Gzip | Compression::Xz | Compression::Zstd)) => {
                format!("what is compressed by {} in it is {found}{wanted}", name_of(by))
            }
            _ => format!("this is {found}{wanted}"),
        }
    }

    fn wanted(&self) -> &'static str {
        match self.wanted {
            Wanted::Disk(Format::Qcow2) => "a qcow2 image",
            Wanted::Disk(Format::Raw | Format::Data) => "a disk",
            Wanted::Disk(Format::Cd) => "a CD image",
            Wanted::Kernel(Cpu::X86) => "a kernel for x86 (bzImage or ELF)",
            Wanted::Kernel(Cpu::Other) => "a kernel for the machine's architecture",
            Wanted::Initrd => "an initial RAM file system",
        }
    }

    /// Returns what a user can write or do instead.
    pub fn help(&self) -> &'static str {
        let is_kernel = matches!(self.wanted, Wanted::Kernel(_));
        let is_disk = matches!(self.wanted, Wanted::Disk(_));
        let is_packed = matches!(self.layer, Layer::Unpacked(by) if by != Compression::None);
        match self.found {
            Content::Empty => "fetch or create the file again",
            Content::Short => "check the path or URL: a copy or a download of it may have been cut off",
            Content::Qcow2 if is_kernel || !is_disk => {
                "a disk is written as `mirrors = [\"...\"]` with `format = \"qcow2\"`"
            }
            Content::Qcow2 => match (self.layer, self.wanted) {
                (Layer::Download(_), Wanted::Disk(Format::Qcow2)) => "remove `compression`",
                (Layer::Download(_), _) => "remove `compression` and write `format = \"qcow2\"`",
                (Layer::Unpacked(_), Wanted::Disk(Format::Cd)) => "use it as one of `disks`",
                (Layer::Unpacked(_), _) => "write `format = \"qcow2\"`",
            },
            Content::Foreign(_, "luks") => "netlab has no keys: decrypt it with `qemu-img convert` first",
            Content::Foreign(..) if is_packed => {
                "unpack it, then convert what was in it: qemu-img convert -O qcow2 FILE FILE.qcow2"
            }
            Content::Foreign(_, "vmdk") => "convert it: qemu-img convert -f vmdk -O qcow2 FILE FILE.qcow2",
            Content::Foreign(_, "vdi") => "convert it: qemu-img convert -f vdi -O qcow2 FILE FILE.qcow2",
            Content::Foreign(_, "vhdx") => "convert it: qemu-img convert -f vhdx -O qcow2 FILE FILE.qcow2",
            Content::Foreign(_, "vpc") => "convert it: qemu-img convert -f vpc -O qcow2 FILE FILE.qcow2",
            Content::Foreign(..) => "convert it: qemu-img convert -O qcow2 FILE FILE.qcow2",
            Content::Iso => {
                "netlab starts disks, not installation media: use the publisher's cloud image, or install it elsewhere first; a vm has a CD by `cdrom = \"...\"`"
            }
            Content::Compressed(_) if is_kernel => {
                "a kernel for x86 is not compressed as a whole: unpack it, e.g. with `gunzip FILE`; an initial RAM file system is written as `initrd = \"...\"`"
            }
            Content::Compressed(_) if self.wanted == Wanted::Disk(Format::Cd) => {
                "unpack it, e.g. with `gunzip FILE`, and use the result"
            }
            Content::Compressed(_) if is_packed => {
                "it is compressed twice: unpack it once by hand, then write how the result is compressed"
            }
            Content::Compressed(Compression::Gzip) => "write `compression = \"gzip\"`",
            Content::Compressed(Compression::Xz) => "write `compression = \"xz\"`",
            Content::Compressed(Compression::Zstd) => "write `compression = \"zstd\"`",
            Content::Compressed(_) => "write `compression = \"bzip2\"`",
            Content::Packed(_, "lz4 -d") => "unpack it with `lz4 -d FILE` and use the result",
            Content::Packed(_, "unlzma") => "unpack it with `unlzma FILE` and use the result",
            Content::Packed(..) => "unpack it and use the result",
            Content::Archive("Debian" | "RPM") => "unpack the package and use the file that is in it",
            Content::Archive("OVA") => {
                "unpack it with `tar xf FILE`, then convert the disk that is in it: qemu-img convert -O qcow2 DISK.vmdk DISK.qcow2"
            }
            Content::Archive(_) => "unpack it and use the disk image that is in it",
            Content::Cpio => "an initial RAM file system is written as `initrd = \"...\"`, beside `kernel = \"...\"`",
            Content::WebPage => "check the path or URL: it must be that of the file itself",
            Content::Text("a pointer of Git LFS") => "fetch the file itself with `git lfs pull`",
            Content::Text("a description of a virtual machine (OVF)") => {
                "use the disk image that it names, converted: qemu-img convert -O qcow2 FILE FILE.qcow2"
            }
            Content::Text(_) => "read it: it may be a server's error message, or name the file that is meant",
            Content::Kernel(_) if is_kernel => {
                "use a kernel for the machine's architecture, or set `arch` in `machine`"
            }
            Content::Kernel(_) => "a kernel is written as `kernel = \"...\"`, and a disk beside it as `mirrors`",
            Content::Elf(_) if is_disk => {
                "a kernel is written as `kernel = \"...\"`, and a disk beside it as `mirrors`"
            }
            Content::Elf(_) | Content::Program | Content::Unknown if is_kernel => {
                "use the file that the kernel's build makes for the machine: for x86 arch/x86/boot/bzImage, as /boot/vmlinuz-* is"
            }
            Content::Elf(_) | Content::Program => "check the path or URL",
            Content::Unknown if self.wanted == Wanted::Disk(Format::Qcow2) => {
                "check `format` and `compression` of the image's entry: a disk without a format is `format = \"raw\"`; `file FILE` shows what it is"
            }
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
