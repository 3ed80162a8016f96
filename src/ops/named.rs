//! Finds the lab that a user means by one argument: a lab file, a folder with a `lab.toml`, or a lab's name.

use std::path::{Path, PathBuf};

use super::load::load_recorded;
use super::{Env, LoadOptions, Loaded, OpsError, load};
use crate::lab::{self, Connect, LabName};
use crate::run::{Journal, LabFile};

/// The name of a lab file in a folder of its own.
pub const LAB_TOML: &str = "lab.toml";

/// Returns the lab that a user means by `text`: a lab's name, a file that names one, or a folder with a `lab.toml`.
pub fn lab_name(text: &str) -> Result<LabName, OpsError> {
    let Some(file) = file_at(text) else {
        return text.parse().map_err(|source| OpsError::NotALab {
            text: text.to_owned(),
            source,
        });
    };
    let content = std::fs::read(&file).map_err(|source| OpsError::File {
        doing: "read",
        path: file.clone(),
        source,
    })?;
    lab::name_only(&String::from_utf8_lossy(&content)).ok_or(OpsError::NoLabName { file })
}

/// Returns the lab file that is at the path `text`, if one is.
pub(super) fn file_at(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let file = if path.is_dir() {
        path.join(LAB_TOML)
    } else {
        path.to_owned()
    };
    file.is_file().then_some(file)
}

/// Loads the lab that a user means by `text`: a lab file, a folder with a `lab.toml`, or the name of a lab that is up,
/// with its hosts emulated where they were when it came up.
pub fn load_named(env: &Env, text: &str, options: &LoadOptions) -> Result<Loaded, OpsError> {
    let path = Path::new(text);
    if let Some(file) = file_at(text) {
        return load(env, &file, options);
    }
    if path.is_dir() && text.contains('/') {
        return load(env, &path.join(LAB_TOML), options);
    }
    if text.contains('/') || path.extension().is_some_and(|end| end == "toml") {
        return load(env, path, options);
    }
    let lab = lab_name(text)?;
    let file = recorded(env, text, &lab)?;
    let options = LoadOptions {
        emulate: options.emulate || is_emulated(env, &lab)?,
        ..options.clone()
    };
    load_recorded(env, &file, &options)
}

/// Returns the file that the lab came up from, which a user has named as `text`.
fn recorded(env: &Env, text: &str, lab: &LabName) -> Result<LabFile, OpsError> {
    let past = Journal::read(&env.folders.lab(lab))?;
    if past.hosts.is_empty() && past.file.is_none() && !past.damaged {
        return Err(OpsError::NoSuchLab { text: text.to_owned() });
    }
    past.file
        .filter(|file| file.path.is_file())
        .ok_or_else(|| OpsError::NoFile { lab: lab.clone() })
}

/// Returns whether the lab is up with all its hosts emulated.
pub fn is_emulated(env: &Env, lab: &LabName) -> Result<bool, OpsError> {
    let hosts = Journal::read(&env.folders.lab(lab))?.hosts;
    Ok(!hosts.is_empty() && hosts.values().all(|connect| *connect == Connect::Emulated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_a_folder_and_a_name_are_distinguished() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(LAB_TOML);
        std::fs::write(&file, "name = \"small\"\n").unwrap();
        let name = |text: &str| lab_name(text).map(|name| name.to_string());
        assert_eq!(name(file.to_str().unwrap()).unwrap(), "small");
        assert_eq!(name(folder.path().to_str().unwrap()).unwrap(), "small");
        assert_eq!(name("other").unwrap(), "other");
        assert!(matches!(name("no/such/file"), Err(OpsError::NotALab { .. })));
    }

    #[test]
    fn a_name_that_no_lab_has_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let folders = crate::folders::Folders {
            state: folder.path().join("s"),
            cache: folder.path().join("c"),
        };
        let env = Env::new(folders, "netlab".into());
        let error = load_named(&env, "nosuch", &LoadOptions::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no file nosuch, and no lab of that name is up"
        );
    }
}
