//! What files are recognized as, and what is said about them.

use super::*;

/// What is said about a file that begins with `head`.
fn said(head: &[u8], wanted: Wanted, compression: Compression) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, head).unwrap();
    check(&path, wanted, compression)
        .unwrap()
        .map_err(|wrong| format!("{wrong}: {}", wrong.help()))
}

/// A disk that begins with `start`.
fn disk(start: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; 1024];
    disk[..start.len()].copy_from_slice(start);
    disk
}

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
        (
            b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- x --><html>".to_vec(),
            Content::WebPage,
        ),
        (
            b"<?xml version=\"1.0\"?><Error/>".to_vec(),
            Content::Text("an XML document"),
        ),
        (b"{\"error\": 404}".to_vec(), Content::Text("a JSON document")),
        (b"Not Found\n".to_vec(), Content::Text("a text")),
        (
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            Content::Text("a pointer of Git LFS"),
        ),
        ([b"a".repeat(511), "ü".into()].concat(), Content::Text("a text")),
        (
            [with(0, b"box.ovf"), vec![0; 150], b"ustar\0".to_vec()].concat(),
            Content::Archive("OVA"),
        ),
        (with(0x202, b"HdrS"), Content::Kernel(Cpu::X86)),
        (with(0x38, b"ARMd"), Content::Kernel(Cpu::Other)),
        (
            with(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"),
            Content::Elf(Cpu::X86),
        ),
        (
            with(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0"),
            Content::Elf(Cpu::Other),
        ),
        (
            with(0, b"QFI\xfb\0\0\0\x01"),
            Content::Foreign("QCOW (version 1)", "qcow"),
        ),
        (with(0, b"\x5d\0\0\x80\0\xff"), Content::Packed("lzma", "unlzma")),
        (with(0, b"\x04\x22\x4d\x18"), Content::Packed("lz4", "lz4 -d")),
        (with(0, b"070701"), Content::Cpio),
        (disk(b"BZhello"), Content::Unknown),
        (with(510, b"\x55\xaa"), Content::Unknown),
        (vec![0; 512], Content::Unknown),
        (vec![7], Content::Short),
        (vec![0; 511], Content::Short),
    ] {
        assert_eq!(detect(&head), wanted, "{:?}", &head[..head.len().min(8)]);
    }
    let mut hybrid = with(0x8001, b"CD001");
    hybrid[510..512].copy_from_slice(b"\x55\xaa");
    assert_eq!(detect(&hybrid), Content::Unknown, "it starts as a disk, too");
}

#[test]
fn a_tar_archive_without_a_magic_is_recognized_by_its_sum() {
    let mut head = vec![0; 1024];
    head[..4].copy_from_slice(b"disk");
    head[100..107].copy_from_slice(b"0000644");
    assert_eq!(detect(&head), Content::Unknown);
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(detect(&head), Content::Archive("tar"));
}

#[test]
fn a_disk_image_with_its_magic_at_the_end_is_recognized() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (magic, wanted) in [
        (&b"conectix"[..], Content::Foreign("VHD", "vpc")),
        (b"koly", Content::Foreign("DMG", "dmg")),
        (b"none", Content::Unknown),
    ] {
        let mut file = vec![0; 100 << 10];
        let at = file.len() - 512;
        file[at..at + magic.len()].copy_from_slice(magic);
        std::fs::write(&path, &file).unwrap();
        assert_eq!(of_file(&path).unwrap(), wanted);
    }
}

#[test]
fn a_kernel_is_one_for_its_machine() {
    let (bzimage, arm) = (with(0x202, b"HdrS"), with(0x38, b"ARMd"));
    let gzip = with(0, b"\x1f\x8b\x08\0");
    let mut multiboot = vec![0; 512];
    multiboot[64..76].copy_from_slice(&[0x02, 0xb0, 0xad, 0x1b, 3, 0, 0, 0, 0xfb, 0x4f, 0x52, 0xe4]);
    let (x86, other) = (Wanted::Kernel(Cpu::X86), Wanted::Kernel(Cpu::Other));
    for (head, wanted, takes) in [
        (&bzimage, x86, true),
        (&bzimage, other, false),
        (&arm, x86, false),
        (&arm, other, true),
        (&gzip, x86, false),
        (&gzip, other, true),
        (&gzip, Wanted::Initrd, true),
        (&bzimage, Wanted::Initrd, false),
        (&multiboot, x86, true),
    ] {
        assert_eq!(said(head, wanted, Compression::None).is_ok(), takes, "{wanted:?}");
    }
    let error = said(&gzip, x86, Compression::None).unwrap_err();
    assert!(
        error.contains("not a kernel for x86") && error.contains("gunzip"),
        "{error}"
    );
    let error = said(&bzimage, Wanted::Initrd, Compression::None).unwrap_err();
    assert!(error.contains("not an initial RAM file system"), "{error}");
}

#[test]
fn a_file_is_what_its_entry_states_or_the_error_says_what_to_write() {
    let help = |head: &[u8], wanted| said(head, wanted, Compression::None);
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
    assert!(
        help(&disk(b"plain"), qcow2)
            .unwrap_err()
            .contains("this is not a qcow2 image")
    );
    assert!(help(&magic, Wanted::Initrd).is_err());
    let twice = said(&with(0, b"\xfd7zXZ\0\0\x04"), qcow2, Compression::Gzip).unwrap_err();
    assert!(
        twice.contains("compressed by gzip in it is compressed by xz") && twice.contains("unpack it once"),
        "{twice}"
    );
    assert_eq!(help(&with(0x8001, b"CD001"), Wanted::Disk(Format::Cd)), Ok(()));
}
