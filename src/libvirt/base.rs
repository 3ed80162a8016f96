//! The image file under a guest's disk. It must not refer to other files, and must not change once a disk was created
//! on top of it. `<domain>.base`, a file beside the disk in the lab's pool, records its size and modification time.

use std::path::{Path, PathBuf};

use virt::connect::Connect;

use super::error::{LibvirtError, Operation, failed, xml_failed};
use super::kvm::qemu_user;
use crate::libvirt::domain_xml::Node;
use crate::state::{DiskName, DomainName, Volume};
use crate::transport::cmd::{Cmd, Shell};

/// Behind the disk file's name without its suffix: the name of its record.
const SUFFIX: &str = ".base";
/// Bytes read of a qcow2 file: the header of version 3 (QEMU, docs/interop/qcow2.txt).
const HEADER: usize = 104;

/// The image file under a guest's disk cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// The path is not absolute, or not UTF-8: QEMU could take it for something else, e.g. `nbd:`.
    #[error("image file {} has no absolute path", .0.display())]
    NotAbsolute(PathBuf),
    /// There is no such file.
    #[error("image file {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The format is neither raw nor qcow2.
    #[error("image file {} has format {format}, which is neither raw nor qcow2", .file.display())]
    UnknownFormat {
        /// The file.
        file: PathBuf,
        /// The format that the volume gives it.
        format: String,
    },
    /// The file has no qcow2 header.
    #[error("image file {} is not a qcow2 file", .0.display())]
    NotQcow2(PathBuf),
    /// The file has a backing file or an external data file.
    #[error("image file {} refers to another file that holds its data", .0.display())]
    RefersToAnotherFile(PathBuf),
    /// The file changed since the disk was created on top of it.
    #[error(
        "image file {} changed after the disk of domain {domain} was created on top of it (size and modification time \
         were {recorded}, now {now})",
        .file.display()
    )]
    Changed {
        /// The file.
        file: PathBuf,
        /// The domain whose disk is on top of it.
        domain: DomainName,
        /// Size in bytes and modification time in seconds since 1970, when the disk was created.
        recorded: String,
        /// The same now.
        now: String,
    },
}

impl BaseError {
    /// Returns what a user can do about it, if anything is known.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotAbsolute(_) => "give the image file's absolute path",
            Self::Missing(_) => "fetch the image again with `netlab image pull`",
            Self::UnknownFormat { .. } => "convert it with `qemu-img convert -O qcow2`",
            Self::NotQcow2(_) => "state the image's real format; `qemu-img info` prints it",
            Self::RefersToAnotherFile(_) => "make one file of both with `qemu-img convert`",
            Self::Changed { .. } => "create new disks with `netlab down` and `netlab up`",
        })
    }
}

/// Returns an error for an image file that is missing or makes QEMU open yet another file.
pub(super) fn check(volume: &Volume, shell: &dyn Shell) -> Result<(), LibvirtError> {
    let file = || volume.base.clone();
    let base = path(&volume.base)?;
    match volume.base_format.as_str() {
        // QEMU never interprets its content.
        "raw" => {
            let exists = shell.run(&Cmd::new(["test", "-f", base]))?.status == 0;
            return if exists {
                Ok(())
            } else {
                Err(BaseError::Missing(file()).into())
            };
        }
        "qcow2" => {}
        format => {
            let format = format.to_owned();
            return Err(BaseError::UnknownFormat { file: file(), format }.into());
        }
    }
    let bytes = HEADER.to_string();
    let header = shell.check(&Cmd::new(["head", "-c", &bytes, "--", base]))?;
    match refers_to_another_file(&header) {
        Some(false) => Ok(()),
        Some(true) => Err(BaseError::RefersToAnotherFile(file()).into()),
        None => Err(BaseError::NotQcow2(file()).into()),
    }
}

/// Lets the group that libvirt runs QEMU as enter the folder of a private image; the image itself libvirt gives to QEMU's
/// user when a guest starts. Does nothing where QEMU runs as root, or may enter already.
pub(super) fn admit(conn: &Connect, volume: &Volume, shell: &dyn Shell) -> Result<(), LibvirtError> {
    let operation = Operation::ReadCapabilities;
    let Some(folder) = volume.base.parent().and_then(Path::to_str) else {
        return Ok(());
    };
    let mode = shell.run(&Cmd::new(["stat", "-c", "%a", "--", folder]))?;
    if mode.stdout.trim_ascii_end() != b"700" {
        return Ok(());
    }
    let xml = conn.capabilities().map_err(failed(&operation))?;
    let capabilities = Node::parse(&xml).map_err(xml_failed(&operation))?;
    let Some((user, group)) = qemu_user(&capabilities) else {
        return Ok(());
    };
    if matches!(user.trim_start_matches('+'), "0" | "root") {
        return Ok(());
    }
    shell.check(&Cmd::new(["chgrp", "--", group.trim_start_matches('+'), folder]))?;
    shell.check(&Cmd::new(["chmod", "0710", "--", folder]))?;
    Ok(())
}

/// Returns whether a qcow2 file has a backing file or an external data file; none where it is not a qcow2 file.
fn refers_to_another_file(header: &[u8]) -> Option<bool> {
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

/// Records size and modification time of the image file under `disk`, the name of a disk's file without its suffix.
pub(super) fn record(folder: &str, disk: &str, base: &Path, shell: &dyn Shell) -> Result<(), LibvirtError> {
    let now = stat(base, shell)?;
    shell.check(&Cmd::new(["tee", "--", &file(folder, disk)]).fed(now))?;
    Ok(())
}

/// Deletes the record.
pub(super) fn forget(folder: &str, disk: &str, shell: &dyn Shell) -> Result<(), LibvirtError> {
    shell.check(&Cmd::new(["rm", "-f", "--", &file(folder, disk)]))?;
    Ok(())
}

/// Returns an error if the image file under `disk`, which is one of `name`'s, differs from the record.
pub(super) fn compare(
    folder: &str,
    (disk, name): (&str, &DomainName),
    base: &Path,
    shell: &dyn Shell,
) -> Result<(), LibvirtError> {
    let recorded = shell.check(&Cmd::new(["cat", "--", &file(folder, disk)]))?;
    let now = stat(base, shell)?;
    if recorded == now.as_bytes() {
        return Ok(());
    }
    Err(BaseError::Changed {
        file: base.to_owned(),
        domain: name.clone(),
        recorded: String::from_utf8_lossy(&recorded).trim().to_owned(),
        now: now.trim().to_owned(),
    }
    .into())
}

fn file(folder: &str, disk: &str) -> String {
    format!("{folder}/{disk}{SUFFIX}")
}

/// Returns the domain whose disk's record has this file name, and the name of the disk's file.
pub(super) fn of_record(file: &str) -> Option<(DomainName, String)> {
    let disk = file.strip_suffix(SUFFIX)?.to_owned();
    match DomainName::try_from(disk.clone()) {
        Ok(name) => {
            let file = name.disk_file();
            Some((name, file))
        }
        Err(_) => DiskName::try_from(disk)
            .ok()
            .map(|disk| (disk.domain().clone(), disk.file())),
    }
}

/// Returns size in bytes and modification time in seconds since 1970.
fn stat(base: &Path, shell: &dyn Shell) -> Result<String, LibvirtError> {
    let stat = shell.check(&Cmd::new(["stat", "-L", "-c", "%s %.9Y", "--", path(base)?]))?;
    Ok(String::from_utf8_lossy(&stat).into_owned())
}

/// Returns the path as text if neither QEMU nor a program could take it for anything else.
fn path(base: &Path) -> Result<&str, BaseError> {
    base.to_str()
        .filter(|path| path.starts_with('/'))
        .ok_or_else(|| BaseError::NotAbsolute(base.to_owned()))
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
    fn a_qcow2_file_that_refers_to_another_one_is_recognized() {
        assert_eq!(refers_to_another_file(&header(3, 0, 0)), Some(false));
        assert_eq!(refers_to_another_file(&header(3, 0, 0b011)), Some(false));
        assert_eq!(refers_to_another_file(&header(2, 112, 0)), Some(true));
        assert_eq!(refers_to_another_file(&header(3, 0, 0b100)), Some(true));
        // Version 2 ends before the features; these bytes mean something else.
        assert_eq!(refers_to_another_file(&header(2, 0, 0b100)), Some(false));
        assert_eq!(refers_to_another_file(b"QFI"), None);
        assert_eq!(refers_to_another_file(&[0; HEADER]), None);
    }
}
