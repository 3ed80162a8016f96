//! The folder of an image in the cache: its name says what the image is.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::digest;
use crate::folders::Folders;
use crate::lab::{Download, ImageEntry, ImageName, ImageSource, Location, Recipe};

/// Returns the folder of an image. That of a fetched one depends on its digest, so that no base changes under its
/// overlays, and two labs may have different images of the same name.
pub fn folder(name: &ImageName, entry: &ImageEntry, folders: &Folders) -> PathBuf {
    folders.images().join(key(name, entry))
}

/// Returns the name of an image's folder.
pub(super) fn key(name: &ImageName, entry: &ImageEntry) -> String {
    match &entry.source {
        ImageSource::Recipe {
            recipe: Recipe::Mini, ..
        } => "mini".to_owned(),
        source => {
            let what: String = source.downloads().into_iter().map(|(_, file)| identity(file)).collect();
            let hex = digest::hex(&Sha256::digest(what));
            format!("{name}@{}", hex.get(..12).unwrap_or_default())
        }
    }
}

/// Returns what distinguishes a file from every other one: its digest, or where it is from and, of a file on this machine,
/// its size and modification time, so that one that was built again is another one.
fn identity(file: &Download) -> String {
    let Download {
        mirrors,
        digest,
        checksums: _, // says what the file should be, not which one it is
        compression,
        format,
        unpacked,
        at_most: _,
    } = file;
    let what = match (digest, unpacked) {
        (None, None) => {
            let mirrors: Vec<Location> = mirrors.iter().map(whole).collect();
            let states = mirrors.iter().filter_map(|mirror| match mirror {
                Location::File(path) => path
                    .metadata()
                    .ok()
                    .map(|found| (found.len(), found.mtime(), found.mtime_nsec())),
                Location::Url(_) => None,
            });
            let states: Vec<_> = states.collect();
            if states.is_empty() {
                format!("{mirrors:?}")
            } else {
                format!("{mirrors:?} {states:?}")
            }
        }
        (digest, unpacked) => format!("{digest:?} {unpacked:?}"),
    };
    format!("{what} {compression:?} {format:?}")
}

/// Returns a location that does not depend on the folder netlab runs in: the same lab file can be given by its name, its path, or
/// the name of its lab.
fn whole(location: &Location) -> Location {
    match location {
        Location::File(path) => Location::File(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        Location::Url(_) => location.clone(),
    }
}

/// Returns the names of the cache folders of images.
pub fn keys<'a>(images: impl IntoIterator<Item = (&'a ImageName, &'a ImageEntry)>) -> BTreeSet<String> {
    images.into_iter().map(|(name, entry)| key(name, entry)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_image_whichever_path_leads_to_it() {
        let file = |path: &str| whole(&Location::File(path.into()));
        let here = std::env::current_dir().unwrap();
        assert_eq!(file("d.img"), Location::File(here.join("d.img")));
        assert_eq!(file("d.img"), file(here.join("./d.img").to_str().unwrap()));
    }
}
