//! Whether a qcow2 file has all of its clusters: a download that was cut off has a right header and an end that is missing.
//!
//! Layout: docs/interop/qcow2.txt of QEMU, "L1/L2 table entries".

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt as _;

use super::{Qcow2Error, number};

/// Bits of an entry that hold the place of a table or of a cluster.
const PLACE: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit of an L2 entry whose cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// Bit of the incompatible features for L2 entries of 16 bytes.
const EXTENDED_L2: u64 = 1 << 4;
/// Largest L1 table that QEMU opens, in bytes.
const L1_MOST: u64 = 32 << 20;

/// Checks that every table and every cluster of `file`, whose header is `head`, begins inside the file. The last one may
/// be shorter than a cluster, as QEMU writes it.
pub fn check(file: &File, head: &[u8]) -> std::io::Result<Result<(), Qcow2Error>> {
    let length = file.metadata()?.len();
    let incomplete = Ok(Err(Qcow2Error::Incomplete { length }));
    let four = |at| number(head, at).map_or(0, u32::from_be_bytes);
    let eight = |at| number(head, at).map_or(0, u64::from_be_bytes);
    let bits = four(20);
    let l1_bytes = u64::from(four(36)) * 8;
    if !(9..=21).contains(&bits) || l1_bytes > L1_MOST {
        return Ok(Err(Qcow2Error::NotQcow2));
    }
    let extended = four(4) == 3 && eight(72) & EXTENDED_L2 != 0;
    let cluster = 1_u64 << bits;
    let Some(l1) = read(file, eight(40), l1_bytes)? else {
        return incomplete;
    };
    // Each table has a cluster of its own: a file that names more of them is not what QEMU writes.
    let most = usize::try_from(length / cluster + 1).unwrap_or(usize::MAX);
    for table in entries(&l1, 8)
        .map(|entry| entry & PLACE)
        .filter(|place| *place != 0)
        .take(most)
    {
        let Some(l2) = read(file, table, cluster)? else {
            return incomplete;
        };
        let stride = if extended { 16 } else { 8 };
        let begins = entries(&l2, stride).map(|entry| match entry & COMPRESSED {
            0 => entry & PLACE,
            // Above the place are the sectors that the cluster takes.
            _ => entry & ((1 << (70 - bits)) - 1),
        });
        if begins.max().is_some_and(|last| last >= length) {
            return incomplete;
        }
    }
    Ok(Ok(()))
}

/// Returns `length` bytes at `place`; none where the file ends before.
fn read(file: &File, place: u64, length: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(Error::other)?];
    match file.read_exact_at(&mut bytes, place) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn entries(table: &[u8], stride: usize) -> impl Iterator<Item = u64> {
    table
        .chunks_exact(stride)
        .map(|entry| number(entry, 0).map_or(0, u64::from_be_bytes))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::check_file;
    use super::*;

    /// A disk of 8 MiB as qemu-img(1) writes it, with data at its beginning and its end.
    fn written(folder: &std::path::Path, options: &[&str]) -> Option<std::path::PathBuf> {
        let (raw, disk) = (folder.join("raw"), folder.join("disk"));
        let noise = |seed: u32| (0..300_000_u32).map(move |n| (n ^ seed).wrapping_mul(2_654_435_761).to_le_bytes()[2]);
        let mut content: Vec<u8> = noise(1).collect();
        content.resize(8 << 20, 0);
        let end = content.len() - 300_000;
        content.splice(end.., noise(7));
        std::fs::write(&raw, content).unwrap();
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2"]).args(options);
        let made = convert.arg(&raw).arg(&disk).status().ok()?;
        assert!(made.success());
        Some(disk)
    }

    #[test]
    fn a_file_that_ends_before_its_last_cluster_is_refused_however_qemu_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        for options in [
            &[][..],
            &["-c"],
            &["-o", "compat=0.10"],
            &["-o", "cluster_size=4096"],
            &["-o", "extended_l2=on"],
        ] {
            let Some(disk) = written(folder.path(), options) else {
                return;
            };
            assert_eq!(check_file(&disk).unwrap(), Ok(()), "{options:?}");
            let whole = std::fs::read(&disk).unwrap();
            for part in [8, 6, 4, 2] {
                let length = whole.len() / 10 * part;
                std::fs::write(&disk, &whole[..length]).unwrap();
                let length = length as u64;
                assert_eq!(
                    check_file(&disk).unwrap(),
                    Err(Qcow2Error::Incomplete { length }),
                    "{options:?}"
                );
            }
        }
    }
}
