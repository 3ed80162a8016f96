//! The cache: a folder per image, complete or absent. Of several runs one builds or fetches an image and the others
//! wait.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::detect::{self, Cpu, Wanted};
use super::fetch::Limits;
use super::key::{folder, key};
use super::work::{LOCK, Work, remove, remove_stale};
use super::{ImageError, Used, at, build, catalog, checksums, digest};
use crate::event::{Cancel, Events};
use crate::folders::Folders;
use crate::lab::{Compression, Digest, Download, FileName, ImageEntry, ImageName, ImageSource, Location};

/// The file that marks an image as complete.
pub(super) const BUILT: &str = "built.toml";
/// The files of an image that is built here.
pub(super) const KERNEL: &str = "kernel";
pub(super) const INITRD: &str = "initrd";
/// The file of an image that is fetched.
pub(super) const DISK: &str = "disk";
/// The origin of an image in the cache: `built.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// The version of the recipe, of an image built here.
    #[serde(default, skip_serializing_if = "is_none")]
    pub recipe: u32,
    /// The mirror of a fetched image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// SHA-256 of a fetched image's download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The digest of the download by its publisher's list of checksums, where it is from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Digest>,
    /// SHA-256 of a fetched image's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Package versions by package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub packages: BTreeMap<String, String>,
    /// Sizes in bytes by file.
    pub sizes: BTreeMap<String, u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_none(number: &u32) -> bool {
    *number == 0
}

/// Options of building or fetching an image.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Accept any content where an entry has no digest.
    pub allow_unverified: bool,
    /// Set when the run must stop.
    pub cancel: Cancel,
    /// The limits of a fetch.
    pub limits: Limits,
}

/// Returns the origin of an image, if the cache has all of it.
pub fn built(name: &ImageName, entry: &ImageEntry, folders: &Folders) -> Option<Built> {
    let folder = folder(name, entry, folders);
    let built: Built = toml::from_str(&std::fs::read_to_string(folder.join(BUILT)).ok()?).ok()?;
    let whole = |(file, size): (&String, &u64)| folder.join(file).metadata().is_ok_and(|data| data.len() == *size);
    let right = match &entry.source {
        ImageSource::Recipe { .. } => built.recipe == build::RECIPE,
        source => {
            let mut files = source.downloads().into_iter();
            files.all(|(name, _)| built.sizes.contains_key(file_name(name)))
        }
    };
    (right && built.sizes.iter().all(whole)).then_some(built)
}

/// Makes sure that an image of the catalog is in the cache.
pub fn ensure(image: &ImageName, folders: &Folders, events: &Events) -> Result<(), ImageError> {
    let entries = catalog::entries()?;
    let entry = entries.get(image).ok_or_else(|| unknown(image, &entries))?;
    obtain(image, entry, folders, &Options::default(), events).map(|_| ())
}

/// Returns the error for a name that is not among `entries`.
pub fn unknown(image: &ImageName, entries: &BTreeMap<ImageName, ImageEntry>) -> ImageError {
    ImageError::Unknown {
        name: image.to_string(),
        known: entries.keys().map(ImageName::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// Makes sure that an image is in the cache, building or fetching it if necessary. Waits for another run that does so.
pub fn obtain(
    name: &ImageName,
    entry: &ImageEntry,
    folders: &Folders,
    options: &Options,
    events: &Events,
) -> Result<Built, ImageError> {
    remove_stale(&folders.images());
    if let Some(built) = built(name, entry, folders) {
        return kept(name, entry, folders, built);
    }
    let work = Work::begin(name, entry, folders, options, events)?;
    let made = work.make(name, entry, folders, options);
    work.end(made)
}

/// Returns an image of the cache, unless it is not what its entry states: an older netlab did not compare that.
fn kept(name: &ImageName, entry: &ImageEntry, folders: &Folders, built: Built) -> Result<Built, ImageError> {
    for (file, download) in entry.source.downloads() {
        let path = folder(name, entry, folders).join(file_name(file));
        if let Err(mismatch) =
            detect::check(&path, wanted(file, download, entry), download.compression).map_err(at(&path))?
        {
            return Err(ImageError::NoMirror {
                name: name.to_string(),
                failed: vec![(Location::File(path), mismatch.into())],
            });
        }
    }
    Ok(built)
}

/// Returns a file's name in the cache.
pub(super) fn file_name(file: FileName) -> &'static str {
    match file {
        FileName::Kernel => KERNEL,
        FileName::Initrd => INITRD,
        FileName::Disk => DISK,
    }
}

/// Returns what a file must be.
pub(super) fn wanted(file: FileName, download: &Download, entry: &ImageEntry) -> Wanted {
    match file {
        FileName::Kernel => Wanted::Kernel(Cpu::of(&entry.machine.arch)),
        FileName::Initrd => Wanted::Initrd,
        FileName::Disk => Wanted::Disk(download.format),
    }
}

/// Copies the file at `path` into the cache as the image that `entry` describes: compressed like that of its mirrors, or
/// unpacked if it has the digest for that.
pub fn import(
    path: &Path,
    name: &ImageName,
    entry: &ImageEntry,
    folders: &Folders,
    options: &Options,
    events: &Events,
) -> Result<Built, ImageError> {
    let ImageSource::Download(download) = &entry.source else {
        return Err(ImageError::NotImportable { name: name.to_string() });
    };
    if let Some(built) = built(name, entry, folders) {
        return Ok(built);
    }
    let mut here = Download {
        mirrors: vec![Location::File(path.to_owned())],
        ..download.clone()
    };
    if let Some(wanted) = &download.unpacked
        && digest::of_file(wanted.kind(), path).map_err(at(path))? == *wanted
    {
        (here.compression, here.digest, here.checksums) = (Compression::None, None, None);
    }
    let work = Work::begin(name, entry, folders, options, events)?;
    let made = work.fetch(
        (name, entry),
        &[(FileName::Disk, &here)],
        (&folder(name, entry, folders), folders),
        options,
    );
    work.end(made)
}

/// Removes an image from the cache; returns false if it was absent. Fails while a lab uses it.
pub fn forget(name: &ImageName, entry: &ImageEntry, folders: &Folders) -> Result<bool, ImageError> {
    let key = key(name, entry);
    let labs = Used::by(folders, &key).map_err(at(&folders.state))?;
    if !labs.is_empty() {
        let labs: Vec<_> = labs.iter().map(ToString::to_string).collect();
        return Err(ImageError::InUse {
            name: name.to_string(),
            labs: labs.join(", "),
        });
    }
    let images = folders.images();
    let left = std::fs::read_dir(&images).into_iter().flatten().flatten();
    let parts = left.filter(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.strip_prefix('.')
            .and_then(|name| name.strip_prefix(&key))
            .is_some_and(|rest| rest.starts_with('.') && rest != LOCK)
    });
    for file in parts.filter(|file| file.path().is_file()) {
        std::fs::remove_file(file.path()).map_err(at(&file.path()))?;
    }
    for (_, download) in entry.source.downloads() {
        checksums::forget(download, folders)?;
    }
    let folder = images.join(&key);
    let was = folder.exists();
    remove(&folder)?;
    Ok(was)
}
