//! What the user wrote: takes the text of lab.toml, returns a [`Lab`] in which every name is checked and every reference
//! resolves, or every problem of the file at once, each with its place. Never accesses a host.
//!
//! ```
//! use std::collections::BTreeSet;
//!
//! let problems = netlab::lab::parse("lab.toml", "nmae = \"one\"", &BTreeSet::new()).unwrap_err();
//! assert_eq!(problems.problems[0].message, "unknown key `nmae` in the lab");
//! ```
//!
//! A new key needs an entry in `schema/tables.rs`, which the reader and [`schema()`] share, its reading in `read/`, its
//! rule in `check/`, its field in [`model`] and its line in `write/`.

mod bond;
mod check;
mod content;
mod excerpt;
mod file;
mod home;
pub mod image;
mod image_file;
mod lease;
pub(crate) mod masked;
pub mod model;
pub mod names;
mod nova;
mod password;
mod place;
pub mod problem;
mod proxies;
mod read;
mod schema;
pub mod services;
mod setup;
pub mod shaping;
pub mod size;
mod ssh_target;
mod switch;
mod syntax;
mod template;
pub(crate) mod tunnel;
mod uplinks;
mod user_data;
mod write;

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::DeTable;

pub use bond::{Bond, BondMode, HashPolicy, LabBond, LacpRate, Partner};
pub use content::Content;
pub(crate) use excerpt::readable;
pub use image::*;
pub use image_file::parse_image;
pub use model::*;
#[cfg(test)]
pub(crate) use names::COMPARED;
pub use names::*;
pub use password::Password;
pub use place::Places;
pub(crate) use problem::suggest;
pub use problem::{LoadError, Problem, Problems};
pub use proxies::Proxies;
pub use schema::{SchemaKey, keys, schema};
pub use services::*;
pub use setup::{FileSource, GuestFile, NamedFile, Setup, Task};
pub use shaping::{Delay, Loss, Rate, Shaping};
pub use ssh_target::{SshTarget, SshTargetError};
pub use switch::{Datapath, SwitchKind};
pub use template::Template;
pub use tunnel::{Tunnel, TunnelKind, Underlay};
pub use uplinks::Uplinks;
pub use user_data::UserData;
pub use write::{write, write_image};

/// Reads and checks the lab file at `path`; `images` are the names in the catalog. `image` replaces the lab's own
/// `image`.
pub fn load(path: &Path, images: &BTreeSet<ImageName>, image: Option<&ImageName>) -> Result<Lab, LoadError> {
    load_in(path, path.parent().unwrap_or(Path::new("")), images, image)
}

/// As [`load`]; relative paths in the file start at `folder`.
pub fn load_in(
    path: &Path,
    folder: &Path,
    images: &BTreeSet<ImageName>,
    image: Option<&ImageName>,
) -> Result<Lab, LoadError> {
    let bytes = std::fs::read(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    let file = path.display().to_string();
    let invalid = |problems| LoadError::Invalid(Box::new(problems));
    let text = utf8(&file, bytes).map_err(invalid)?;
    parse_with(&file, folder, &text, images, image).map_err(invalid)
}

/// Reads and checks the text of a lab that is in no file; its relative paths start at the current folder.
pub fn load_text(text: &str, images: &BTreeSet<ImageName>, image: Option<&ImageName>) -> Result<Lab, LoadError> {
    parse_with("-", Path::new(""), text, images, image).map_err(|problems| LoadError::Invalid(Box::new(problems)))
}

/// Returns the bytes as text, or the place of the first that is none.
#[allow(clippy::result_large_err)] // once per run
fn utf8(file: &str, bytes: Vec<u8>) -> Result<String, Problems> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        // Up to that place, the text with replacement characters is the same.
        let text = String::from_utf8_lossy(error.as_bytes());
        let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
        let message = format!("byte 0x{byte:02x} is not UTF-8 text");
        let problem = Problem::new(span, message, "save the file in the encoding UTF-8");
        Problems::new(file, &text, vec![problem])
    })
}

/// Reads and checks the text of a lab file; `file` is its name in messages, `images` are the names in the catalog.
#[allow(clippy::result_large_err)] // once per run
pub fn parse(file: &str, text: &str, images: &BTreeSet<ImageName>) -> Result<Lab, Problems> {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    parse_with(file, folder, text, images, None)
}

#[allow(clippy::result_large_err)] // once per run
fn parse_with(
    file: &str,
    folder: &Path,
    text: &str,
    catalog: &BTreeSet<ImageName>,
    image: Option<&ImageName>,
) -> Result<Lab, Problems> {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    let mut reader = read::Reader::default();
    reader.conform(root.get_mut(), &schema::tables::LAB, true);
    if !errors.is_empty() {
        // What is missing may be in what could not be read, and what could not be read has no other mistake.
        let syntax = syntax::problems(text, root.get_ref(), &errors);
        let places: BTreeSet<usize> = syntax.iter().map(|problem| problem.span.offset()).collect();
        let of_it = |problem: &Problem| {
            let start = problem.span.offset();
            let mut inside = places.range(start..=start + problem.span.len());
            inside.next().is_some()
        };
        reader.problems.retain(|problem| !of_it(problem));
        reader.problems.extend(syntax);
        return Err(Problems::new(file, text, reader.problems));
    }
    let mut read = reader.lab(root.get_ref(), folder);
    nova::expand(&mut read, &mut reader.problems);
    let own = reader.images(root.get_ref(), catalog, folder);
    if let Some(image) = image {
        read.image = Some(file::At {
            value: image.clone(),
            span: 0..0,
        });
    }
    let known = catalog
        .iter()
        .cloned()
        .chain(image_file::names(root.get_ref()))
        .collect();
    match check::check(&read, &known, folder, reader.problems) {
        Ok(lab) => Ok(Lab { images: own, ..lab }),
        Err(problems) => Err(Problems::new(file, text, problems)),
    }
}

/// Returns the lab's name alone, also from a file with other errors: `down` needs no more.
pub fn name_only(text: &str) -> Option<LabName> {
    let (root, _) = DeTable::parse_recoverable(text);
    match read::get(root.get_ref(), "name")?.get_ref() {
        toml::de::DeValue::String(name) => name.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
