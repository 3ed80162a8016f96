//! Files of the user's that guests have as further disks or as CDs. A copy of each is in the cache, like an image: what a
//! guest has open is then never a file that others change, and libvirt changes the owner of no file of the user's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::describe::{AT_MOST, common, recognize};
use super::detect::{self, Wanted};
use super::fetch::FetchError;
use super::{ImageError, at, cache, key};
use crate::folders::Folders;
use crate::lab::{
    BaseDisk, Compression, Download, ExtraDisk, Format, ImageEntry, ImageName, ImageSource, Lab, Location,
};

/// The name of copies whose file's name has no letter.
const NAMELESS: &str = "disk";

/// The files of a lab, by path, each with the entry that describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFiles {
    disks: BTreeMap<PathBuf, (ImageName, ImageEntry)>,
    cds: BTreeMap<PathBuf, (ImageName, ImageEntry)>,
}

impl UserFiles {
    /// Returns the files that `lab` names, with the format that their bytes show. A file that is missing, or that no guest
    /// can have as a disk or CD, is an error.
    pub fn of(lab: &Lab) -> Result<Self, ImageError> {
        let mut files = Self::default();
        for vm in lab.vms.values() {
            for disk in &vm.disks {
                if let ExtraDisk::File(path) = disk
                    && !files.disks.contains_key(path)
                {
                    files.disks.insert(path.clone(), entry(path, disk_of)?);
                }
            }
            if let Some(path) = &vm.cdrom
                && !files.cds.contains_key(path)
            {
                files.cds.insert(path.clone(), entry(path, cd_of)?);
            }
        }
        Ok(files)
    }

    /// Returns the copy of the disk at `path`.
    pub fn disk(&self, path: &Path, folders: &Folders) -> Option<BaseDisk> {
        let (name, entry) = self.disks.get(path)?;
        let ImageSource::Download(Download { format, .. }) = &entry.source else {
            return None;
        };
        Some(BaseDisk {
            base: copy(name, entry, folders),
            format: format.word().to_owned(),
        })
    }

    /// Returns the copy of the CD at `path`.
    pub fn cd(&self, path: &Path, folders: &Folders) -> Option<PathBuf> {
        let (name, entry) = self.cds.get(path)?;
        Some(copy(name, entry, folders))
    }

    /// Returns the user's own file whose copy is `copy`, where a guest could have it as a disk in place: it is not compressed.
    pub fn own_disk(&self, copy: &Path, folders: &Folders) -> Option<BaseDisk> {
        let own = self
            .disks
            .keys()
            .find(|path| self.disk(path, folders).is_some_and(|disk| disk.base == copy))?;
        let ImageSource::Download(download) = &self.disks.get(own)?.1.source else {
            return None;
        };
        let BaseDisk { format, .. } = self.disk(own, folders)?;
        let base = std::path::absolute(own).ok()?;
        (download.compression == Compression::None).then_some(BaseDisk { base, format })
    }

    /// Returns the user's own file whose copy is `copy`.
    pub fn own_cd(&self, copy: &Path, folders: &Folders) -> Option<PathBuf> {
        let own = self
            .cds
            .keys()
            .find(|path| self.cd(path, folders).is_some_and(|cd| cd == copy))?;
        std::path::absolute(own).ok()
    }

    /// Returns the entries, to be obtained like images.
    pub fn entries(&self) -> impl Iterator<Item = (&ImageName, &ImageEntry)> {
        self.disks
            .values()
            .chain(self.cds.values())
            .map(|(name, entry)| (name, entry))
    }
}

fn copy(name: &ImageName, entry: &ImageEntry, folders: &Folders) -> PathBuf {
    key::folder(name, entry, folders).join(cache::DISK)
}

/// How a file is compressed and its format, or why it is of no use.
type Recognized = Result<(Compression, Format), FetchError>;

/// Returns a file's entry; `read` returns how it is compressed and its format.
fn entry(
    path: &Path,
    read: impl FnOnce(&Path) -> std::io::Result<Recognized>,
) -> Result<(ImageName, ImageEntry), ImageError> {
    let path = std::path::absolute(path).map_err(at(path))?;
    let found = path.metadata();
    let length = found.as_ref().map_or(0, std::fs::Metadata::len);
    let read = match found {
        Ok(found) if !found.is_file() => Err(FetchError::not_a_file(&found)),
        Err(error) => Err(FetchError::NoFile(error)),
        Ok(_) => read(&path).map_err(at(&path))?,
    };
    let (compression, format) = match read {
        Ok(read) => read,
        Err(error) => return Err(ImageError::UserFile { path, error }),
    };
    let name = name_of(&path);
    let download = Download {
        mirrors: vec![Location::File(path)],
        digest: None,
        checksums: None,
        compression,
        format,
        unpacked: None,
        // The user's own file has the size that it has; what it unpacks to is not known.
        at_most: AT_MOST.max(length),
    };
    Ok((name, common(ImageSource::Download(download))))
}

fn disk_of(path: &Path) -> std::io::Result<Recognized> {
    recognize(path, Format::Data)
}

fn cd_of(path: &Path) -> std::io::Result<Recognized> {
    let checked = detect::check(path, Wanted::Disk(Format::Cd), Compression::None)?;
    Ok(checked
        .map(|()| (Compression::None, Format::Cd))
        .map_err(FetchError::from))
}

/// Returns the name of a file's copy: what of its name can be an image's.
fn name_of(path: &Path) -> ImageName {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let legal = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' });
    let legal: String = legal.skip_while(|c| !c.is_ascii_alphabetic()).take(32).collect();
    let legal = legal.trim_end_matches(['-', '.']);
    ImageName::new(legal).unwrap_or_else(|_| nameless())
}

/// Returns [`NAMELESS`] as a name.
fn nameless() -> ImageName {
    #[expect(clippy::expect_used, reason = "a constant that a test checks")]
    ImageName::new(NAMELESS).expect("a legal name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_a_legal_name_whatever_its_file_is_called() {
        for (path, wanted) in [
            ("/srv/data.qcow2", "data.qcow2"),
            ("/srv/my data (1).img", "my-data--1-.img"),
            ("/srv/2026-01.raw", "raw"),
            ("/srv/1.", "disk"),
            ("/srv/üé", "disk"),
            ("/", "disk"),
        ] {
            assert_eq!(name_of(Path::new(path)).as_str(), wanted, "{path}");
        }
        assert!(name_of(Path::new(&format!("/{}", "x".repeat(300)))).as_str().len() <= 48);
    }

    #[test]
    fn the_format_of_a_disk_is_that_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let format = |name: &str, head: &[u8], read: fn(&Path) -> _| {
            let path = folder.path().join(name);
            std::fs::write(&path, head).unwrap();
            entry(&path, read).map(|(_, entry)| match entry.source {
                ImageSource::Download(download) => (download.compression, download.format),
                source => panic!("{source:?}"),
            })
        };
        let raw = vec![0; 1 << 20];
        let mut iso = raw.clone();
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        // Version 3, clusters of 64 KiB, no L1 table, a header of 104 bytes.
        let mut qcow2 = vec![0; 512];
        qcow2[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        (qcow2[23], qcow2[103]) = (16, 104);
        assert_eq!(
            format("a.qcow2", &raw, disk_of).unwrap(),
            (Compression::None, Format::Data)
        );
        assert_eq!(
            format("a.raw", &qcow2, disk_of).unwrap(),
            (Compression::None, Format::Qcow2)
        );
        assert_eq!(format("a.iso", &iso, cd_of).unwrap(), (Compression::None, Format::Cd));
        let error = |name: &str, head: &[u8], read: fn(&Path) -> _| format(name, head, read).unwrap_err().to_string();
        assert_eq!(
            format("a.tar", b"a text as a disk", disk_of).unwrap(),
            (Compression::None, Format::Data)
        );
        assert!(error("b", &qcow2, cd_of).contains("qcow2"));
        assert!(error("b", b"", disk_of).contains("empty"));
        assert!(error("b", b"KDMV", disk_of).contains("VMDK"));
        let missing = entry(&folder.path().join("none"), disk_of).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
