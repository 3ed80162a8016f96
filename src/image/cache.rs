//! The cache: a folder per image, complete or absent. Of several runs one builds or fetches an image and the others
//! wait.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::detect::{self, Wanted};
use super::fetch::{Fetched, Job, Limits, fetch, pin};
use super::{ImageError, Used, at, build, catalog, digest, private};
use crate::event::{Cancel, Event, Events};
use crate::folders::Folders;
use crate::lab::{Compression, Download, FileName, ImageEntry, ImageName, ImageSource, Location, Recipe};
use crate::locked::{self, Locked, LockedError};

/// The file that marks an image as complete.
const BUILT: &str = "built.toml";
/// The files of an image that is built here.
pub(super) const KERNEL: &str = "kernel";
pub(super) const INITRD: &str = "initrd";
/// The file of an image that is fetched.
pub(super) const DISK: &str = "disk";
/// Behind a dot and the name of an image's folder: its lock, and the folder in which it is made.
const LOCK: &str = ".lock";
const INCOMPLETE: &str = ".new";
/// How often a waiting run tries to take the lock.
const TICK: Duration = Duration::from_millis(100);

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

/// Returns the folder of an image. That of a fetched one depends on its digest, so that no base changes under its
/// overlays, and two labs may have different images of the same name.
pub fn folder(name: &ImageName, entry: &ImageEntry, folders: &Folders) -> PathBuf {
    folders.images().join(key(name, entry))
}

fn key(name: &ImageName, entry: &ImageEntry) -> String {
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
        compression,
        format,
        unpacked,
        at_most: _,
    } = file;
    let what = match (digest, unpacked) {
        (None, None) => {
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
        if let Err(mismatch) = detect::check(&path, wanted(file, download)).map_err(at(&path))? {
            return Err(ImageError::NoMirror {
                name: name.to_string(),
                failed: vec![(Location::File(path), mismatch.into())],
            });
        }
    }
    Ok(built)
}

/// Returns a file's name in the cache.
fn file_name(file: FileName) -> &'static str {
    match file {
        FileName::Kernel => KERNEL,
        FileName::Initrd => INITRD,
        FileName::Disk => DISK,
    }
}

/// Returns what a file must be.
fn wanted(file: FileName, download: &Download) -> Wanted {
    match file {
        FileName::Kernel | FileName::Initrd => Wanted::Boot,
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
        (here.compression, here.digest) = (Compression::None, None);
    }
    let work = Work::begin(name, entry, folders, options, events)?;
    let made = work.fetch(name, &[(FileName::Disk, &here)], &folder(name, entry, folders), options);
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
    let folder = images.join(&key);
    let was = folder.exists();
    remove(&folder)?;
    Ok(was)
}

/// Removes what killed runs left in the cache: their locks, and images that they had not completed. Partial downloads
/// stay: the next run continues them.
fn remove_stale(images: &Path) {
    let entries = std::fs::read_dir(images).into_iter().flatten().flatten();
    let keys: BTreeSet<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.strip_prefix('.')?;
            let key = hidden.strip_suffix(LOCK).or_else(|| hidden.strip_suffix(INCOMPLETE))?;
            Some(key.to_owned())
        })
        .collect();
    for key in keys {
        // A run that works on the image holds its lock; dropping the lock removes its file.
        if let Ok(_lock) = Locked::take(&images.join(format!(".{key}{LOCK}")), &locked::verb()) {
            let _ = std::fs::remove_dir_all(images.join(format!(".{key}{INCOMPLETE}")));
        }
    }
}

/// Returns the names of the cache folders of images.
pub fn keys<'a>(images: impl IntoIterator<Item = (&'a ImageName, &'a ImageEntry)>) -> BTreeSet<String> {
    images.into_iter().map(|(name, entry)| key(name, entry)).collect()
}

/// An image that is being built or fetched, under its lock.
struct Work {
    what: String,
    key: String,
    images: PathBuf,
    events: Events,
    _lock: Locked,
}

impl Work {
    fn begin(
        name: &ImageName,
        entry: &ImageEntry,
        folders: &Folders,
        options: &Options,
        events: &Events,
    ) -> Result<Self, ImageError> {
        let (images, key) = (folders.images(), key(name, entry));
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o755)
            .create(&images)
            .map_err(at(&images))?;
        let path = images.join(format!(".{key}{LOCK}"));
        let what = format!("image {name}");
        let mut reported = false;
        let lock = loop {
            match Locked::take(&path, &locked::verb()) {
                Ok(lock) => break lock,
                Err(LockedError::Io { path, source }) => return Err(at(&path)(source)),
                Err(LockedError::Held { holder }) if !reported => {
                    reported = true;
                    let text = format!("waiting for {holder}");
                    events.send(Event::Busy {
                        what: what.clone(),
                        text,
                    });
                }
                Err(LockedError::Held { .. }) => {}
            }
            if options.cancel.is_requested() {
                return Err(ImageError::Stopped { name: name.to_string() });
            }
            std::thread::sleep(TICK);
        };
        Ok(Self {
            what,
            key,
            images,
            events: events.clone(),
            _lock: lock,
        })
    }

    /// Reports the end of the work: as done only where it is.
    fn end(&self, made: Result<Built, ImageError>) -> Result<Built, ImageError> {
        let what = self.what.clone();
        self.events.send(match made {
            Ok(_) => Event::Done { what },
            Err(_) => Event::Failed { what },
        });
        made
    }

    fn busy(&self, text: &str) {
        self.events.send(Event::Busy {
            what: self.what.clone(),
            text: text.to_owned(),
        });
    }

    fn make(
        &self,
        name: &ImageName,
        entry: &ImageEntry,
        folders: &Folders,
        options: &Options,
    ) -> Result<Built, ImageError> {
        if let Some(built) = built(name, entry, folders) {
            return Ok(built); // by the previous holder of the lock
        }
        let folder = folder(name, entry, folders);
        match &entry.source {
            ImageSource::Recipe {
                recipe: Recipe::Mini, ..
            } => self.replace(&folder, |work, ready| {
                build::assemble(work, ready, &|text| self.busy(text))
            }),
            source => self.fetch(name, &source.downloads(), &folder, options),
        }
    }

    /// Fetches files, each with its name in the cache.
    fn fetch(
        &self,
        name: &ImageName,
        files: &[(FileName, &Download)],
        folder: &Path,
        options: &Options,
    ) -> Result<Built, ImageError> {
        let unverified = |(_, file): &(FileName, &Download)| !file.is_pinned() && !file.is_local();
        if files.iter().any(unverified) && !options.allow_unverified {
            return Err(ImageError::Unverified { name: name.to_string() });
        }
        self.busy("fetching");
        self.replace(folder, |_, ready| {
            let mut built = Built::default();
            for (file, download) in files {
                let fetched = self.fetch_one(name, (*file, download), ready, options)?;
                // The origin that is shown is that of the first file.
                built.source.get_or_insert_with(|| fetched.source.to_string());
                built.sha256.get_or_insert_with(|| fetched.download.clone());
                if *file == FileName::Disk {
                    built.disk = Some(fetched.content.clone());
                }
                built.sizes.insert(file_name(*file).to_owned(), fetched.size);
            }
            Ok(built)
        })
    }

    fn fetch_one(
        &self,
        name: &ImageName,
        (file, download): (FileName, &Download),
        ready: &Path,
        options: &Options,
    ) -> Result<Fetched, ImageError> {
        let job = Job {
            what: self.what.clone(),
            download,
            wanted: wanted(file, download),
            target: ready.join(file_name(file)),
            parts: self.images.join(format!(".{}", self.key)),
            attempts_left: AtomicI64::from(i64::from(options.limits.requests)),
            limits: options.limits.clone(),
            cancel: options.cancel.clone(),
            events: self.events.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let fetched = runtime.map_err(at(ready))?.block_on(fetch(&job));
        let fetched = fetched.map_err(|failed| ImageError::NoMirror {
            name: name.to_string(),
            failed,
        })?;
        if !download.is_pinned() && !download.is_local() {
            let text = format!("image {name} was not verified; pin it: {}", pin(&fetched));
            self.events.send(Event::Warning(text));
        }
        if private::is_private(&fetched.source) {
            build::finish(&job.target, 0o600)?;
            build::finish(ready, 0o700)?;
        } else {
            build::publish(&job.target)?;
        }
        Ok(fetched)
    }

    /// Fills a folder by `make` and renames it to `folder`. Under the lock, so the rest of an interrupted run can be
    /// removed.
    fn replace(
        &self,
        folder: &Path,
        make: impl FnOnce(&Path, &Path) -> Result<Built, ImageError>,
    ) -> Result<Built, ImageError> {
        let temporary = Temporary(self.images.join(format!(".{}{INCOMPLETE}", self.key)));
        remove(&temporary.0)?;
        build::make(&temporary.0)?;
        // What is not complete is for nobody, and what is may be private.
        build::finish(&temporary.0, 0o700)?;
        let ready = temporary.0.join("image");
        build::make(&ready)?;
        let built = make(&temporary.0, &ready).map_err(|error| error.on_full_disk(&self.images))?;
        let text = toml::to_string(&built).map_err(|error| at(&ready)(std::io::Error::other(error)))?;
        build::write(&ready.join(BUILT), text.as_bytes())?;
        remove(folder)?;
        std::fs::rename(&ready, folder).map_err(at(folder))?;
        File::open(&self.images)
            .and_then(|images| images.sync_all())
            .map_err(at(folder))?;
        Ok(built)
    }
}

/// A folder that is removed when dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn remove(folder: &Path) -> Result<(), ImageError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_runs_left_is_removed_and_what_a_run_works_on_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let held = Locked::take(&at(".held.lock"), "up").unwrap();
        std::fs::write(at(".killed@0123.lock"), "`netlab up`, process 1").unwrap();
        for folder in [".held.new", ".killed@0123.new", ".lost.new", "mini"] {
            std::fs::create_dir(at(folder)).unwrap();
            std::fs::write(at(folder).join("file"), "").unwrap();
        }
        std::fs::write(at(".killed@0123.456.part"), "half").unwrap();
        remove_stale(temp.path());
        let left = std::fs::read_dir(temp.path()).unwrap().flatten();
        let left: BTreeSet<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
        let wanted = [".held.lock", ".held.new", ".killed@0123.456.part", "mini"];
        assert_eq!(left, wanted.map(ToOwned::to_owned).into());
        drop(held);
        remove_stale(temp.path());
        assert!(!at(".held.new").exists() && !at(".held.lock").exists());
    }
}
