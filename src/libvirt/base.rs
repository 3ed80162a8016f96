//! The file under a guest's disk: it must not name other files, and must stay as it was when the disk was made over
//! it. A note beside the disk, `<domain>.base` in the lab's pool, keeps its size and time of change.

use std::path::Path;

use super::other;
use crate::host::HostError;
use crate::state::{DomainName, Volume};
use crate::transport::cmd::{Cmd, Shell};

/// As many bytes of a qcow2 file as hold what is looked at: the header of version 3 (QEMU, docs/interop/qcow2.txt).
const HEADER: usize = 104;

/// Refuses a base that makes QEMU open yet another file.
pub(super) fn check(volume: &Volume, shell: &dyn Shell) -> Result<(), HostError> {
    let base = path(&volume.base)?;
    let doing = format!("looking at {base}");
    match volume.base_format.as_str() {
        // Never interpreted, whatever is in it.
        "raw" => {
            return shell
                .check(&Cmd::new(["test", "-f", base]))
                .map(drop)
                .map_err(|_| other(&doing, "there is no such file"));
        }
        "qcow2" => {}
        format => return Err(other(&doing, format!("a disk's base is raw or qcow2, not {format}"))),
    }
    let bytes = HEADER.to_string();
    let header = shell.check(&Cmd::new(["head", "-c", &bytes, "--", base]))?;
    match names_another_file(&header) {
        Some(false) => Ok(()),
        Some(true) => Err(other(
            &doing,
            "it names another file that its data is in; refused: `qemu-img convert` makes one file of both",
        )),
        None => Err(other(&doing, "it is not a qcow2 file")),
    }
}

/// Whether a qcow2 file has a backing file or an external data file; none where it is no such file.
fn names_another_file(header: &[u8]) -> Option<bool> {
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let field = header.get(at..at + bytes)?;
        Some(field.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    if header.get(..4)? != b"QFI\xfb" {
        return None;
    }
    let has_backing_file = number(8, 8)? != 0;
    // Bit 2 of the incompatible features, which version 2 does not have.
    let has_data_file = number(4, 4)? >= 3 && number(72, 8)? & 0b100 != 0;
    Some(has_backing_file || has_data_file)
}

/// Notes what the base is like now.
pub(super) fn note(folder: &str, name: &DomainName, base: &Path, shell: &dyn Shell) -> Result<(), HostError> {
    let now = look(base, shell)?;
    shell.check(&Cmd::new(["tee", "--", &file(folder, name)]).fed(now))?;
    Ok(())
}

/// Deletes the note.
pub(super) fn forget(folder: &str, name: &DomainName, shell: &dyn Shell) -> Result<(), HostError> {
    shell.check(&Cmd::new(["rm", "-f", "--", &file(folder, name)]))?;
    Ok(())
}

/// Refuses a base that is not what the note says.
pub(super) fn compare(folder: &str, name: &DomainName, base: &Path, shell: &dyn Shell) -> Result<(), HostError> {
    let noted = shell.check(&Cmd::new(["cat", "--", &file(folder, name)]))?;
    let now = look(base, shell)?;
    if noted == now.as_bytes() {
        return Ok(());
    }
    let noted = String::from_utf8_lossy(&noted).into_owned();
    Err(other(
        &format!("starting {name}"),
        format!(
            "{} was changed after this guest's disk was made over it (size and time of change were {}, now {}); what \
             the guest would read is neither; `netlab down {}` and `netlab up` make a new disk",
            base.display(),
            noted.trim(),
            now.trim(),
            name.lab()
        ),
    ))
}

fn file(folder: &str, name: &DomainName) -> String {
    format!("{folder}/{name}.base")
}

/// Size in bytes and time of change in seconds since 1970.
fn look(base: &Path, shell: &dyn Shell) -> Result<String, HostError> {
    let found = shell.check(&Cmd::new(["stat", "-L", "-c", "%s %.9Y", "--", path(base)?]))?;
    Ok(String::from_utf8_lossy(&found).into_owned())
}

/// A path that neither QEMU nor a program could take for anything else, as QEMU does `json:` and `nbd:`.
fn path(base: &Path) -> Result<&str, HostError> {
    base.to_str()
        .filter(|path| path.starts_with('/'))
        .ok_or_else(|| other(&format!("looking at {}", base.display()), "it is not an absolute path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, backing_at: u8, features: u8) -> Vec<u8> {
        let mut header = vec![0; HEADER];
        header[..4].copy_from_slice(b"QFI\xfb");
        (header[7], header[15], header[79]) = (version, backing_at, features);
        header
    }

    #[test]
    fn a_qcow2_file_that_names_another_one_is_recognized() {
        assert_eq!(names_another_file(&header(3, 0, 0)), Some(false));
        assert_eq!(names_another_file(&header(3, 0, 0b011)), Some(false));
        assert_eq!(names_another_file(&header(2, 112, 0)), Some(true));
        assert_eq!(names_another_file(&header(3, 0, 0b100)), Some(true));
        // Version 2 ends before the features; what stands there is something else.
        assert_eq!(names_another_file(&header(2, 0, 0b100)), Some(false));
        assert_eq!(names_another_file(b"QFI"), None);
        assert_eq!(names_another_file(&[0; HEADER]), None);
    }
}
