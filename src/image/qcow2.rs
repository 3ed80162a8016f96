//! Checks the header of a qcow2 file before QEMU reads it: a base that names other files would make QEMU open them.
//!
//! Layout: docs/interop/qcow2.txt of QEMU. All numbers are big-endian.

mod clusters;

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Why a file is refused as a qcow2 base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Qcow2Error {
    /// No valid header.
    #[error("it is not a qcow2 image of version 2 or 3")]
    NotQcow2,
    /// A backing file; `json:` and `nbd:` names have the same field.
    #[error("it names a backing file (`{0}`), which is not allowed")]
    Backing(String),
    /// Guest data in another file.
    #[error("it keeps its data in another file, which is not allowed")]
    DataFile,
    /// Encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// Data that its tables name is behind its end.
    #[error("it is not complete: it has data behind its end at {length} bytes")]
    Incomplete {
        /// Size of the file in bytes.
        length: u64,
    },
}

impl Qcow2Error {
    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotQcow2 => "check `format` of the image's entry",
            Self::Backing(_) | Self::DataFile => "flatten it with `qemu-img convert -O qcow2`, then pin the result",
            Self::Encrypted => "decrypt it with `qemu-img convert`, then pin the result",
            Self::Incomplete { .. } => "fetch the file again: a copy or a download of it was cut off",
        }
    }
}

const MAGIC: &[u8] = b"QFI\xfb";
/// Bit of the incompatible features for guest data in an external file.
const EXTERNAL_DATA: u64 = 1 << 2;
/// Header extension that names that file.
const DATA_FILE_NAME: u32 = 0x4441_5441;
/// Bytes of a file that are searched for the header, its extensions and the backing file's name.
const HEAD: u64 = 64 * 1024;

/// Checks the header of the file at `path`, and that the file is complete.
pub fn check_file(path: &Path) -> std::io::Result<Result<(), Qcow2Error>> {
    let mut head = Vec::new();
    let file = File::open(path)?;
    (&file).take(HEAD).read_to_end(&mut head)?;
    match check(&head) {
        Ok(()) => clusters::check(&file, &head),
        wrong => Ok(wrong),
    }
}

fn number<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
    head.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Checks the first bytes of a file.
pub fn check(head: &[u8]) -> Result<(), Qcow2Error> {
    let four = |at| number(head, at).map(u32::from_be_bytes).ok_or(Qcow2Error::NotQcow2);
    let eight = |at| number(head, at).map(u64::from_be_bytes).ok_or(Qcow2Error::NotQcow2);
    let version = four(4)?;
    // 72 bytes: the whole header of version 2.
    if !head.starts_with(MAGIC) || !(2..=3).contains(&version) || head.len() < 72 {
        return Err(Qcow2Error::NotQcow2);
    }
    let (backing, length) = (eight(8)?, four(16)?);
    if backing != 0 || length != 0 {
        let begin = usize::try_from(backing).unwrap_or(usize::MAX);
        let end = begin.saturating_add(length as usize);
        let name = head.get(begin..end).unwrap_or_default();
        let name: String = String::from_utf8_lossy(name)
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect();
        return Err(Qcow2Error::Backing(name));
    }
    if four(32)? != 0 {
        return Err(Qcow2Error::Encrypted);
    }
    let mut at = 72;
    if version == 3 {
        if eight(72)? & EXTERNAL_DATA != 0 {
            return Err(Qcow2Error::DataFile);
        }
        at = four(100)? as usize;
    }
    // Extensions: type, length, content padded to 8 bytes; type 0 is the end.
    while let Ok(kind @ 1..) = four(at) {
        if kind == DATA_FILE_NAME {
            return Err(Qcow2Error::DataFile);
        }
        let Ok(length) = four(at.saturating_add(4)) else {
            break;
        };
        at = at
            .saturating_add(8)
            .saturating_add((length as usize).next_multiple_of(8));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u32) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(MAGIC);
        head[4..8].copy_from_slice(&version.to_be_bytes());
        head[24..32].copy_from_slice(&(1_u64 << 20).to_be_bytes());
        if version == 3 {
            head[100..104].copy_from_slice(&104_u32.to_be_bytes());
        }
        head
    }

    #[test]
    fn a_base_that_names_other_files_is_refused() {
        assert_eq!(check(&header(2)), Ok(()));
        assert_eq!(check(&header(3)), Ok(()));
        assert_eq!(check(b"<!DOCTYPE html>"), Err(Qcow2Error::NotQcow2));
        assert_eq!(check(&header(3)[..71]), Err(Qcow2Error::NotQcow2));
        for name in ["/etc/shadow", "json:{\"driver\":\"nbd\"}"] {
            let mut head = header(2);
            head[8..16].copy_from_slice(&400_u64.to_be_bytes());
            head[16..20].copy_from_slice(&u32::try_from(name.len()).unwrap().to_be_bytes());
            head[400..400 + name.len()].copy_from_slice(name.as_bytes());
            assert_eq!(check(&head), Err(Qcow2Error::Backing(name.to_owned())));
        }
        let mut flagged = header(3);
        flagged[79] = 4;
        assert_eq!(check(&flagged), Err(Qcow2Error::DataFile));
        let mut named = header(3);
        named[104..112].copy_from_slice(&[0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 5]);
        named[120..124].copy_from_slice(&DATA_FILE_NAME.to_be_bytes());
        assert_eq!(check(&named), Err(Qcow2Error::DataFile));
    }

    #[test]
    fn no_length_in_a_header_reads_beyond_it() {
        let mut head = header(3);
        head[100..104].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(check(&head), Ok(()));
        head[8..20].copy_from_slice(&[0xff; 12]);
        assert_eq!(check(&head), Err(Qcow2Error::Backing(String::new())));
    }
}
