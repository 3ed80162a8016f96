//! Why an image is not available.

use std::path::{Path, PathBuf};

use super::checksums::ChecksumsError;
use super::fetch::FetchError;
use crate::lab::Location;

/// An image is not available.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No such entry.
    #[error("there is no image `{name}`; there are: {known}")]
    Unknown {
        /// The requested name.
        name: String,
        /// The existing names, separated by commas.
        known: String,
    },
    /// A catalog entry is invalid.
    #[error("the catalog entry of image `{name}` is invalid: {message}")]
    Entry {
        /// The entry.
        name: String,
        /// The problems.
        message: String,
    },
    /// A file was given for an image that netlab builds.
    #[error("image `{name}` is built by netlab, not read from a file")]
    NotImportable {
        /// The image.
        name: String,
    },
    /// A program that builds an image is missing.
    #[error("`{program}`, which is needed to build an image, is not installed")]
    NoProgram {
        /// The program.
        program: String,
    },
    /// A program failed.
    #[error("`{command}` failed: {output}")]
    Program {
        /// Its command line.
        command: String,
        /// Its standard error.
        output: String,
    },
    /// A program that builds an image found the disk full.
    #[error("no space left in {} while `{command}` ran", folder.display())]
    NoSpace {
        /// The folder of the images.
        folder: PathBuf,
        /// The program's command line.
        command: String,
    },
    /// A package lacks a file.
    #[error("package {package} has no {what}")]
    Missing {
        /// The package.
        package: String,
        /// What it should contain.
        what: String,
    },
    /// Nothing verifies the download.
    #[error("image `{name}` has no checksum: whatever the server sends would be run")]
    Unverified {
        /// The image.
        name: String,
    },
    /// No mirror has it.
    #[error("image `{name}` cannot be fetched:{}", lines(failed))]
    NoMirror {
        /// The image.
        name: String,
        /// Every place that was tried and its error.
        failed: Vec<(Location, FetchError)>,
    },
    /// A guest cannot have this file as a disk or CD.
    #[error("{} cannot be a guest's disk or CD: {error}", path.display())]
    UserFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: FetchError,
    },
    /// The publisher's list of checksums gives no digest.
    #[error(transparent)]
    Checksums(#[from] ChecksumsError),
    /// Labs need it.
    #[error("image `{name}` is in use by lab {labs}")]
    InUse {
        /// The image.
        name: String,
        /// The labs, separated by commas.
        labs: String,
    },
    /// The user stopped while another run was building or fetching it.
    #[error("stopped while waiting for image `{name}`")]
    Stopped {
        /// The image.
        name: String,
    },
    /// A file or folder cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
}

impl ImageError {
    /// Whether the user stopped it.
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Stopped { .. } => true,
            Self::NoMirror { failed, .. } => failed.iter().any(|(_, error)| matches!(error, FetchError::Cancelled)),
            _ => false,
        }
    }

    /// Replaces the error of a program that found the disk of `folder` full: of thousands of lines about files that
    /// could not be written, one cause is left.
    pub(super) fn on_full_disk(self, folder: &Path) -> Self {
        match self {
            // strerror(3) of ENOSPC and EDQUOT.
            Self::Program { command, output }
                if ["No space left on device", "Disk quota exceeded"]
                    .iter()
                    .any(|text| output.contains(text)) =>
            {
                Self::NoSpace {
                    folder: folder.to_owned(),
                    command,
                }
            }
            other => other,
        }
    }

    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "for an image that a lab file describes add `--lab FILE`",
            Self::Entry { .. } => "this is an error of netlab: please report it",
            Self::NotImportable { .. } => "run `netlab image build`",
            Self::NoProgram { .. } => {
                "install it, or build on a Debian machine and copy the folder `images` of its cache (NETLAB_CACHE_DIR)"
            }
            Self::Program { .. } => "check network and apt sources, run `apt-get update`, then try again",
            Self::Missing { .. } => "run `apt-get update`, then try again",
            Self::Unverified { .. } => "pin it with `sha256 = \"...\"`, or accept any content with --allow-unverified",
            Self::NoMirror { failed, .. } => match failed.last() {
                Some((_, error)) => error.help(),
                None => "give the image at least one mirror",
            },
            Self::UserFile { error, .. } => match error {
                FetchError::NoFile(_) | FetchError::NotAFile(_) => "check the path: it is relative to the lab file",
                error => error.help(),
            },
            Self::Checksums(error) => error.help(),
            Self::InUse { .. } => "remove these labs first with `netlab down`",
            Self::Stopped { .. } => "run again to continue",
            Self::NoSpace { .. } | Self::Io { .. } => {
                "the cache needs 1 GB of free space and must be writable; NETLAB_CACHE_DIR moves it elsewhere"
            }
        }
    }
}

fn lines(failed: &[(Location, FetchError)]) -> String {
    let line = |(place, error): &(Location, FetchError)| format!("\n  {place}: {error}");
    failed.iter().map(line).collect()
}

/// Adds the path to an input or output error.
pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_found_the_disk_full_is_reported_with_the_folder_and_not_with_its_output() {
        let failed = |output: &str| ImageError::Program {
            command: "dpkg-deb -x a.deb root".to_owned(),
            output: output.to_owned(),
        };
        let tar = "tar: ./lib/a.ko: Cannot write: No space left on device\n".repeat(3000);
        let error = failed(&tar).on_full_disk(Path::new("/cache/images"));
        assert_eq!(
            error.to_string(),
            "no space left in /cache/images while `dpkg-deb -x a.deb root` ran"
        );
        assert!(error.help().contains("NETLAB_CACHE_DIR"));
        let other = failed("not a Debian archive").on_full_disk(Path::new("/cache/images"));
        assert!(other.to_string().contains("not a Debian archive"));
    }
}
