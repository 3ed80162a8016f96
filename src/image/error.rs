//! Why an image cannot be had.

use std::path::{Path, PathBuf};

use super::fetch::FetchError;
use crate::lab::Location;

/// An image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No such entry.
    #[error("there is no image `{name}`; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A catalog entry is wrong.
    #[error("the catalog entry of image `{name}` cannot be read: {message}")]
    Entry {
        /// The entry.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A program is missing.
    #[error(
        "`{program}` is not installed and is needed to build an image: install it, or build on a Debian machine and \
         copy the folder `images` of its cache (NETLAB_CACHE_DIR)"
    )]
    NoProgram {
        /// The program.
        program: String,
    },
    /// A program failed.
    #[error("`{command}` failed: {message}; check network and apt sources, run `apt-get update`, then try again")]
    Program {
        /// Its command line.
        command: String,
        /// What it said.
        message: String,
    },
    /// A package lacks something.
    #[error("the package {package} has no {what}; run `apt-get update` and try again")]
    Missing {
        /// The package.
        package: String,
        /// What it should have.
        what: String,
    },
    /// Nothing tells the right file from a wrong one.
    #[error(
        "image `{name}` has no checksum: whatever the server sends would be run; pin it with `sha256 = \"...\"`, or take \
         it as it comes with --allow-unverified"
    )]
    Unverified {
        /// The image.
        name: String,
    },
    /// No mirror has it.
    #[error("image `{name}` cannot be fetched:{}", lines(failed))]
    NoMirror {
        /// The image.
        name: String,
        /// Every place that was tried and what happened there.
        failed: Vec<(Location, FetchError)>,
    },
    /// A lab needs it.
    #[error("image `{name}` is in use by lab {labs}: take that down first")]
    InUse {
        /// The image.
        name: String,
        /// The labs.
        labs: String,
    },
    /// Ctrl-C while another run was waited for.
    #[error("stopped while waiting for image `{name}`")]
    Stopped {
        /// The image.
        name: String,
    },
    /// A file or folder cannot be used.
    #[error("{}: {source}; it must be writable with 1 GB free, or set NETLAB_CACHE_DIR", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
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
