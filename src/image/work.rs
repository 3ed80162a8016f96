//! An image while it is built or fetched: under its lock, in a folder that gets its name only when it is complete.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use super::cache::{BUILT, Built, Options, built, file_name, wanted};
use super::fetch::{Fetched, Job, fetch, pin};
use super::key::{folder, key};
use super::{ImageError, at, build, checksums, private};
use crate::event::{Event, Events};
use crate::folders::Folders;
use crate::lab::{Digest, Download, FileName, ImageEntry, ImageName, ImageSource, Recipe};
use crate::locked::{self, Locked, LockedError};

/// Behind a dot and the name of an image's folder: its lock, and the folder in which it is made.
pub(super) const LOCK: &str = ".lock";
const INCOMPLETE: &str = ".new";
/// How often a waiting run tries to take the lock.
const TICK: Duration = Duration::from_millis(100);

/// Removes what killed runs left in the cache: their locks, and images that they had not completed. Partial downloads
/// stay: the next run continues them.
pub(super) fn remove_stale(images: &Path) {
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

/// An image that is being built or fetched, under its lock.
pub(super) struct Work {
    what: String,
    key: String,
    images: PathBuf,
    events: Events,
    _lock: Locked,
}

impl Work {
    pub(super) fn begin(
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
    pub(super) fn end(&self, made: Result<Built, ImageError>) -> Result<Built, ImageError> {
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

    pub(super) fn make(
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
            source => self.fetch((name, entry), &source.downloads(), (&folder, folders), options),
        }
    }

    /// Fetches files, each with its name in the cache, into `folder` of the cache in `folders`.
    pub(super) fn fetch(
        &self,
        (name, entry): (&ImageName, &ImageEntry),
        files: &[(FileName, &Download)],
        (folder, folders): (&Path, &Folders),
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
                let published = self.published(download, folders, options)?;
                let download = &Download {
                    digest: download.digest.clone().or_else(|| published.clone()),
                    ..(*download).clone()
                };
                built.published = built.published.or(published);
                let fetched = self.fetch_one((name, entry), (*file, download), ready, options)?;
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

    /// Returns the digest of a file by its publisher's list.
    fn published(
        &self,
        download: &Download,
        folders: &Folders,
        options: &Options,
    ) -> Result<Option<Digest>, ImageError> {
        if let Some(url) = download.checksums.as_ref().filter(|_| download.digest.is_none()) {
            self.busy("fetching the list of checksums");
            let host = url.strip_prefix("http://").unwrap_or_default();
            let here = ["127.", "localhost", "[::1]"].iter().any(|this| host.starts_with(this));
            if url.starts_with("http://") && !here {
                let text = format!(
                    "the list of checksums of {} is fetched by http: every machine on the path can change it",
                    self.what
                );
                self.events.send(Event::Warning(text));
            }
        }
        checksums::resolve(download, folders, options.limits.stall)
    }

    fn fetch_one(
        &self,
        (name, entry): (&ImageName, &ImageEntry),
        (file, download): (FileName, &Download),
        ready: &Path,
        options: &Options,
    ) -> Result<Fetched, ImageError> {
        let job = Job {
            what: self.what.clone(),
            download,
            wanted: wanted(file, download, entry),
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

/// Removes a folder; one that does not exist counts as removed.
pub(super) fn remove(folder: &Path) -> Result<(), ImageError> {
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
