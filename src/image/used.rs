//! Records the images that a lab uses, in `images.toml` beside its journal: `image rm` must not remove the base of a
//! guest, and `verify` must know that the last `up` ran with another image than the lab file names.

use std::collections::BTreeSet;
use std::io;

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::folders::Folders;
use crate::lab::{ImageName, LabName};

const FILE: &str = "images.toml";

/// The images that one lab uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The image that replaced the lab's own `image` in the last `up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// Folders of the cache with files that its guests may have open.
    pub folders: BTreeSet<String>,
}

impl Used {
    /// Reads the record of `lab`; without a file it is empty.
    pub fn read(folders: &Folders, lab: &LabName) -> io::Result<Self> {
        match std::fs::read_to_string(folders.lab(lab).join(FILE)) {
            Ok(text) => toml::from_str(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the record of `lab`; it is on disk when this returns.
    pub fn write(&self, folders: &Folders, lab: &LabName) -> io::Result<()> {
        let folder = folders.lab(lab);
        Folders::make(&folder)?;
        let text = toml::to_string(self).map_err(io::Error::other)?;
        atomic_file::replace(&folder.join(FILE), 0o600, text.as_bytes()).map(|_| ())
    }

    /// Returns the labs that use `folder` of the cache.
    pub fn by(folders: &Folders, folder: &str) -> io::Result<Vec<LabName>> {
        let labs = match std::fs::read_dir(folders.state.join("labs")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            labs => labs?,
        };
        let mut found = Vec::new();
        for lab in labs {
            let Ok(lab) = lab?.file_name().to_string_lossy().parse::<LabName>() else {
                continue;
            };
            if Self::read(folders, &lab)?.folders.contains(folder) {
                found.push(lab);
            }
        }
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_names_its_labs() {
        let state = tempfile::tempdir().unwrap();
        let folders = Folders {
            state: state.path().to_owned(),
            cache: state.path().join("cache"),
        };
        let lab = LabName::new("a").unwrap();
        assert_eq!(Used::by(&folders, "mini").unwrap(), []);
        let used = Used {
            image: Some("mini".parse().unwrap()),
            folders: BTreeSet::from(["mini".to_owned()]),
        };
        used.write(&folders, &lab).unwrap();
        assert_eq!(Used::read(&folders, &lab).unwrap(), used);
        assert_eq!(Used::by(&folders, "mini").unwrap(), [lab]);
        assert_eq!(Used::by(&folders, "min").unwrap(), []);
    }
}
