//! Guest images: takes an entry of the catalog or of a lab, gives files in the cache that a domain can boot. Never
//! writes to a base that a guest may be using, and never looks into a file to find out what it is.

pub mod build;
pub mod cache;
pub mod catalog;
pub mod cpio;
pub mod decompress;
pub mod digest;
pub mod error;
pub mod fetch;
pub mod follow;
pub mod kernel;
pub mod modules;
pub mod qcow2;
mod transfer;
pub mod used;

pub use cache::{Built, Options, built, ensure, folder, forget, import, keys, obtain, unknown};
pub use catalog::{catalog, entries, resolve};
pub use error::ImageError;
pub use used::Used;

use error::at;
