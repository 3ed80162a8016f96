//! Whether QEMU can start an ELF file as a kernel for x86: by the address that a note of it has for PVH (the note
//! `XEN_ELFNOTE_PHYS32_ENTRY` of xen/include/public/elfnote.h; Linux has it with CONFIG_PVH).

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Type of a program header whose segment has notes.
const PT_NOTE: u32 = 4;
/// The note's name and type.
const PVH: (&[u8], u32) = (b"Xen\0", 18);
/// Most program headers, and most bytes of a segment with notes, that are read.
const AT_MOST: (u16, u64) = (64, 64 * 1024);

/// Returns whether an ELF file of little-endian numbers has the note. Numbers that lead out of the file are an error.
pub fn has_pvh_note(file: &File) -> std::io::Result<bool> {
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0)?;
    let is_long = head[4] == 2;
    // Offset of the program headers, size of each, and their number.
    let (table, size, count) = if is_long {
        (long(&head, 32), short(&head, 54), short(&head, 56))
    } else {
        (u64::from(word(&head, 28)), short(&head, 42), short(&head, 44))
    };
    for number in 0..count.min(AT_MOST.0) {
        let mut header = [0; 56];
        let length = if is_long { 56 } else { 32 };
        let at = table.saturating_add(u64::from(number) * u64::from(size));
        file.read_exact_at(&mut header[..length], at)?;
        if word(&header, 0) != PT_NOTE {
            continue;
        }
        let (at, length) = if is_long {
            (long(&header, 8), long(&header, 32))
        } else {
            (u64::from(word(&header, 4)), u64::from(word(&header, 16)))
        };
        let mut notes = vec![0; usize::try_from(length.min(AT_MOST.1)).unwrap_or_default()];
        file.read_exact_at(&mut notes, at)?;
        if has_note(&notes) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a segment has the note: sizes of name and content, type, then both, each padded to four bytes.
fn has_note(mut notes: &[u8]) -> bool {
    while let Some(head) = notes.get(..12) {
        let (name, content) = (word(head, 0) as usize, word(head, 4) as usize);
        if word(head, 8) == PVH.1 && notes.get(12..12 + PVH.0.len()) == Some(PVH.0) {
            return true;
        }
        let length = name
            .checked_next_multiple_of(4)
            .zip(content.checked_next_multiple_of(4))
            .and_then(|(name, content)| name.checked_add(content)?.checked_add(12));
        let Some(rest) = length.and_then(|length| notes.get(length..)) else {
            return false;
        };
        notes = rest;
    }
    false
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|two| two.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|eight| eight.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A 64-bit file with one segment of notes: one of the type 6, and one of `kind`.
    fn elf(kind: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..5].copy_from_slice(b"\x7fELF\x02");
        file[32] = 64;
        (file[54], file[56]) = (56, 1);
        file[64] = 4;
        file[64 + 8] = 120;
        let notes = |kind: u32| {
            let mut note = Vec::new();
            for number in [4, 6, kind] {
                note.extend(number.to_le_bytes());
            }
            note.extend(b"Xen\0linux\0\0\0");
            note
        };
        let notes = [notes(6), notes(kind)].concat();
        file[64 + 32] = u8::try_from(notes.len()).unwrap();
        file.extend(notes);
        file
    }

    fn has(bytes: &[u8]) -> Option<bool> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        has_pvh_note(&file).ok()
    }

    #[test]
    fn the_note_for_pvh_is_found_and_no_number_leads_out_of_the_file() {
        assert_eq!(has(&elf(18)), Some(true));
        assert_eq!(has(&elf(7)), Some(false));
        assert_eq!(has(b"\x7fELF"), None);
        for at in [32, 54, 56, 72, 96] {
            let mut damaged = elf(7);
            damaged[at..at + 2].fill(0xff);
            assert_ne!(has(&damaged), Some(true), "{at}");
        }
    }
}
