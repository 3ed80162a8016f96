//! Guest images: takes an entry of the catalog or of a lab, returns files in the cache that a domain can boot. Never
//! writes to a base that a guest may use, and never takes a format from a file's content: that is only compared.

pub mod build;
pub mod cache;
pub mod catalog;
pub mod checksums;
mod client;
pub mod cpio;
pub mod decompress;
mod describe;
pub mod detect;
pub mod digest;
pub mod error;
mod extra;
pub mod fetch;
pub mod follow;
pub mod kernel;
mod key;
pub mod modules;
mod part;
mod private;
pub mod qcow2;
mod space;
mod transfer;
pub mod update;
pub mod used;
mod work;

pub use cache::{Built, Options, built, ensure, forget, import, obtain, unknown};
pub use catalog::{catalog, entries, resolve};
pub use describe::describe;
pub use error::ImageError;
pub use extra::UserFiles;
pub use key::{folder, keys};
pub use update::{Release, Update, newer};
pub use used::Used;

use error::at;
