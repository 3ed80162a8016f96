//! Guest images: takes a catalog name, gives files in the cache that a domain can boot. Never writes to a base that a
//! guest may be using.

pub mod build;
pub mod catalog;
pub mod cpio;
pub mod modules;

use std::path::{Path, PathBuf};

pub use build::{Built, Listed, ensure, list};
pub use catalog::catalog;

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

/// Adds the path to an input or output error.
fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Io { path, source }
}
