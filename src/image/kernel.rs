//! Unpacks a kernel that would otherwise unpack itself. Distributions compress theirs with xz, and under TCG that takes
//! longer than the rest of the boot: Debian 12's linux-image-amd64 takes 6.8 CPU seconds to its prompt compressed and
//! 3.0 unpacked, the cloud kernel (compressed with the faster lz4) 2.9. QEMU and libvirt start the plain ELF file of a
//! kernel that has a PVH entry point.
//!
//! Where the packed kernel is: the kernel's Documentation/arch/x86/boot.rst, `payload_offset` and `payload_length`.

use std::io::Read;

/// Most bytes of a kernel.
const MOST: u64 = 512 << 20;
/// The type of the ELF note with the PVH entry point: `XEN_ELFNOTE_PHYS32_ENTRY`.
const PVH: u32 = 18;

/// Returns the ELF file inside a bzImage, if it can be unpacked and has a PVH entry point; else the bzImage is used.
pub fn unpacked(image: &[u8]) -> Option<Vec<u8>> {
    let four = |at| number(image, at).map(u32::from_le_bytes);
    // `HdrS`, and a version of the boot protocol with the payload fields.
    if image.get(0x202..0x206)? != b"HdrS" || number(image, 0x206).map(u16::from_le_bytes)? < 0x208 {
        return None;
    }
    let sectors = match image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(*sectors),
    };
    let begin = ((sectors + 1) * 512).checked_add(four(0x248)? as usize)?;
    let payload = image.get(begin..begin.checked_add(four(0x24c)? as usize)?)?;
    let mut elf = Vec::new();
    // The compressed data is followed by its size: the readers must stop at the end of the stream.
    let read = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => liblzma::read::XzDecoder::new(payload).take(MOST).read_to_end(&mut elf),
        [0x1f, 0x8b, ..] => flate2::read::GzDecoder::new(payload).take(MOST).read_to_end(&mut elf),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::Decoder::with_buffer(payload).ok()?.single_frame();
            decoder.take(MOST).read_to_end(&mut elf)
        }
        _ => return None,
    };
    read.ok()?;
    has_pvh_entry(&elf).then_some(elf)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Whether a 64-bit little-endian ELF file has the note of a PVH entry point.
fn has_pvh_entry(elf: &[u8]) -> bool {
    elf.starts_with(b"\x7fELF\x02\x01") && notes(elf).is_some_and(|found| found)
}

fn notes(elf: &[u8]) -> Option<bool> {
    let two = |at| number(elf, at).map(u16::from_le_bytes).map(usize::from);
    let four = |at| number(elf, at).map(u32::from_le_bytes);
    let eight = |at| usize::try_from(u64::from_le_bytes(number(elf, at)?)).ok();
    let (table, size, count) = (eight(32)?, two(54)?, two(56)?);
    for index in 0..count {
        let header = table.checked_add(index * size)?;
        if four(header)? != 4 {
            continue; // not PT_NOTE
        }
        let mut at = eight(header.checked_add(8)?)?;
        let end = at.checked_add(eight(header.checked_add(32)?)?)?;
        while at < end {
            let (name, content, kind) = (four(at)? as usize, four(at + 4)? as usize, four(at + 8)?);
            if kind == PVH && elf.get(at + 12..at + 16)? == b"Xen\0" {
                return Some(true);
            }
            at = at.checked_add(12 + name.next_multiple_of(4) + content.next_multiple_of(4))?;
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A bzImage around an ELF file with one note of `kind`.
    fn image(kind: u32) -> (Vec<u8>, Vec<u8>) {
        let mut elf = vec![0; 256];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        (elf[54], elf[56]) = (56, 1);
        elf[64] = 4;
        (elf[72], elf[96]) = (128, 20);
        (elf[128], elf[132]) = (4, 4);
        elf[136..140].copy_from_slice(&kind.to_le_bytes());
        elf[140..144].copy_from_slice(b"Xen\0");
        let mut packed = liblzma::write::XzEncoder::new(Vec::new(), 1);
        packed.write_all(&elf).unwrap();
        let packed = packed.finish().unwrap();
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(packed.len() + 4).unwrap().to_le_bytes());
        image.extend(packed);
        image.extend(256_u32.to_le_bytes());
        (image, elf)
    }

    #[test]
    fn a_kernel_is_unpacked_only_if_it_has_a_pvh_entry_point() {
        let (packed, elf) = image(PVH);
        assert_eq!(unpacked(&packed), Some(elf));
        assert_eq!(unpacked(&image(6).0), None);
        assert_eq!(unpacked(&packed[..packed.len() - 20]), None);
        assert_eq!(unpacked(b"no kernel"), None);
    }
}
