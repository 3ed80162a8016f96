//! Loads a lab file with the images it knows, and makes every choice in it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::connect::known;
use super::link::Requests;
use super::{Env, LAB_TOML, OpsError, connect, observe};
use crate::image::{self, Used, UserFiles};
use crate::lab::{self, HostName, Image, ImageEntry, ImageName, Lab, LoadError, Problem, VmName};
use crate::run::LabFile;
use crate::state::{Site, Survey, existing};
use crate::topology::{Existing, Topology, reallocate};

/// Images by name: those of the catalog and a lab's own.
pub type Entries = BTreeMap<ImageName, ImageEntry>;

/// How a lab file is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// What replaces the lab's own `image`.
    pub image: ImageChoice,
    /// Emulate every host on this machine, whatever its `connect` is.
    pub emulate: bool,
}

/// The image of the VMs that name none themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ImageChoice {
    /// The lab's own `image`.
    #[default]
    AsWritten,
    /// This one.
    Given(ImageName),
    /// The one that the last `up` ran with.
    LastUp,
}

/// A lab file with every choice made.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The file; `-` for a text that is in no file.
    pub file: PathBuf,
    /// That text.
    pub text: Option<String>,
    /// The absolute path of the folder at which its relative paths start, where that is not the file's own.
    pub folder: Option<PathBuf>,
    /// The lab as written, with its defaults.
    pub lab: Lab,
    /// The lab with every choice made, as on hosts that have nothing of it yet: see [`Loaded::keeping`].
    pub topology: Topology,
    /// The images that it can name.
    pub images: Entries,
    /// The files that its guests have as further disks and CDs.
    pub files: UserFiles,
    /// The image that replaced the lab's own.
    pub image: Option<ImageName>,
    /// Every host is emulated.
    pub emulate: bool,
    /// The caller's SSH keys, where a VM is given them.
    pub keys: Vec<String>,
}

impl Loaded {
    /// Makes every guest boot, also those that could be started from a saved state.
    pub fn boot_all(&mut self) {
        for image in self.topology.images.values_mut() {
            image.warm = false;
        }
        for entry in self.images.values_mut() {
            entry.warm = false;
        }
    }

    /// Returns the topology in which guests keep what they have in `existing`, and links are as was requested.
    pub fn keeping(&self, env: &Env, existing: &Existing) -> Topology {
        let choice = Choice {
            lab: &self.lab,
            images: &self.images,
            files: &self.files,
            emulate: self.emulate,
            keys: &self.keys,
        };
        choice.topology(env, existing)
    }

    /// Returns the entries of everything that must be in the cache before its guests are created.
    pub fn needed(&self) -> impl Iterator<Item = (&ImageName, &ImageEntry)> {
        let used = |(name, _): &(&ImageName, &ImageEntry)| self.topology.images.contains_key(*name);
        self.images.iter().filter(used).chain(self.files.entries())
    }

    /// Returns the VMs that are given the caller's keys, unless they were given another's before.
    pub fn with_callers_keys(&self) -> impl Iterator<Item = &VmName> {
        with_callers_keys(&self.lab, |image| is_cloud(&self.topology.images, image))
    }

    /// Returns the text of the file; empty where it cannot be read any more.
    pub fn source(&self) -> String {
        let read = || Some(String::from_utf8_lossy(&std::fs::read(&self.file).ok()?).into_owned());
        self.text.clone().or_else(read).unwrap_or_default()
    }

    /// Returns the file as a journal records it: a text is kept in the lab's folder while the lab is up. None where the
    /// file cannot be read any more.
    pub(super) fn recorded(&self, env: &Env) -> Option<LabFile> {
        let kept = || env.folders.lab(&self.topology.lab).join(LAB_TOML);
        let file = match &self.text {
            None => LabFile::read(&self.file).ok()?,
            Some(text) => LabFile::of(kept(), text.as_bytes()),
        };
        Some(LabFile {
            folder: self.folder.clone(),
            ..file
        })
    }

    /// Returns what is valid in the file but makes little sense.
    pub fn warnings(&self) -> &[Problem] {
        &self.lab.warnings
    }
}

/// What a topology is chosen by.
struct Choice<'a> {
    lab: &'a Lab,
    images: &'a Entries,
    files: &'a UserFiles,
    emulate: bool,
    /// The caller's SSH keys.
    keys: &'a [String],
}

impl Choice<'_> {
    fn topology(&self, env: &Env, existing: &Existing) -> Topology {
        let mut topology = reallocate(self.lab, &image::resolve(self.images, &env.folders), existing);
        if self.emulate {
            topology.emulate();
        }
        let folders = &env.folders;
        topology.with_files(
            |path| self.files.disk(path, folders),
            |path| self.files.cd(path, folders),
        );
        topology.number_disks(existing);
        // Requests that cannot be read are none; who changes them reads them first.
        let requests = Requests::read(&env.folders, &topology.lab).unwrap_or_default();
        requests.apply(&mut topology.shaping);
        topology.with_proxies(&env.caller.proxies);
        for guest in topology.guests.values_mut() {
            if guest.setup.ssh_keys.is_none() && is_cloud(&topology.images, &guest.image) {
                guest.setup.ssh_keys = Some(self.keys.to_vec());
            }
        }
        topology
    }
}

/// Returns the VMs of `lab` that are given the caller's keys, unless they were given another's before: those without keys
/// whose image has cloud-init.
fn with_callers_keys(lab: &Lab, is_cloud: impl Fn(&ImageName) -> bool) -> impl Iterator<Item = &VmName> {
    let keyless = lab.setup.ssh_keys.is_none();
    let keyless = lab
        .vms
        .iter()
        .filter(move |(_, vm)| keyless && vm.setup.ssh_keys.is_none());
    keyless.filter(move |(_, vm)| is_cloud(&vm.image)).map(|(name, _)| name)
}

/// Loads the lab file `file`.
pub fn load(env: &Env, file: &Path, options: &LoadOptions) -> Result<Loaded, OpsError> {
    load_in(env, file, file.parent().unwrap_or(Path::new("")), options)
}

fn load_in(env: &Env, file: &Path, folder: &Path, options: &LoadOptions) -> Result<Loaded, OpsError> {
    let text = || Some(String::from_utf8_lossy(&std::fs::read(file).ok()?).into_owned());
    let image = chosen(env, options, text)?;
    let read = |known: &_| lab::load_in(file, folder, known, image.as_ref());
    loaded(env, file, options, image.clone(), read)
}

/// Loads the file that a lab came up with.
pub(super) fn load_recorded(env: &Env, file: &LabFile, options: &LoadOptions) -> Result<Loaded, OpsError> {
    let Some(folder) = &file.folder else {
        return load(env, &file.path, options);
    };
    let loaded = load_in(env, &file.path, folder, options)?;
    Ok(Loaded {
        folder: Some(folder.clone()),
        ..loaded
    })
}

/// Loads a lab from `text`, which is in no file; its relative paths start at the current folder.
pub fn load_text(env: &Env, text: String, options: &LoadOptions) -> Result<Loaded, OpsError> {
    let image = chosen(env, options, || Some(text.clone()))?;
    let read = |known: &_| lab::load_text(&text, known, image.as_ref());
    let loaded = loaded(env, Path::new("-"), options, image.clone(), read)?;
    Ok(Loaded {
        text: Some(text),
        folder: std::env::current_dir().ok(),
        ..loaded
    })
}

/// Returns the image that replaces the lab's own.
fn chosen(
    env: &Env,
    options: &LoadOptions,
    text: impl FnOnce() -> Option<String>,
) -> Result<Option<ImageName>, OpsError> {
    match &options.image {
        ImageChoice::AsWritten => Ok(None),
        ImageChoice::Given(image) => Ok(Some(image.clone())),
        ImageChoice::LastUp => text().map_or(Ok(None), |text| last_image(env, &text)),
    }
}

fn loaded(
    env: &Env,
    file: &Path,
    options: &LoadOptions,
    image: Option<ImageName>,
    read: impl FnOnce(&BTreeSet<ImageName>) -> Result<Lab, LoadError>,
) -> Result<Loaded, OpsError> {
    let mut images = image::entries()?;
    let known: BTreeSet<_> = images.keys().cloned().collect();
    let lab = read(&known).map_err(|error| OpsError::LabInvalid(Box::new(error)))?;
    images.extend(lab.images.clone());
    if let Some(image) = &image
        && !lab.vms.is_empty()
        && lab.vms.values().all(|vm| vm.image != *image)
    {
        return Err(OpsError::ImageWithoutEffect {
            image: image.clone(),
            lab: lab.name,
        });
    }
    let files = UserFiles::of(&lab)?;
    let has_cloud_init = |image: &ImageName| images.get(image).is_some_and(|entry| entry.cloud_init);
    let keys = if with_callers_keys(&lab, has_cloud_init).next().is_some() {
        env.caller.keys()
    } else {
        Vec::new()
    };
    let choice = Choice {
        lab: &lab,
        images: &images,
        files: &files,
        emulate: options.emulate,
        keys: &keys,
    };
    Ok(Loaded {
        file: file.to_owned(),
        text: None,
        folder: None,
        topology: choice.topology(env, &Existing::default()),
        files,
        lab,
        images,
        image,
        emulate: options.emulate,
        keys,
    })
}

fn is_cloud(images: &BTreeMap<ImageName, Image>, name: &ImageName) -> bool {
    images.get(name).is_some_and(|image| image.cloud_init)
}

/// Returns the topology of a lab with what its hosts have already, where something of it is up: what `up` would work
/// with, for use cases that need the hosts for nothing else.
pub fn topology<'a>(
    env: &Env,
    loaded: &'a Loaded,
    surveys: &BTreeMap<HostName, Survey>,
) -> Result<Cow<'a, Topology>, OpsError> {
    let lab = &loaded.topology.lab;
    let (known, _) = known(env, lab)?;
    if known.is_empty() && surveys.is_empty() {
        return Ok(Cow::Borrowed(&loaded.topology));
    }
    let observed = if known.is_empty() {
        Site::new()
    } else {
        observe(&connect(env, lab, &known)?, lab)?
    };
    Ok(Cow::Owned(loaded.keeping(env, &existing(&observed, surveys))))
}

/// Returns the images of the catalog, and those of the lab file `file`, if one is given.
pub fn load_images(env: &Env, file: Option<&Path>) -> Result<Entries, OpsError> {
    match file {
        Some(file) => Ok(load(env, file, &LoadOptions::default())?.images),
        None => Ok(image::entries()?),
    }
}

/// Returns the image that the last `up` ran with in place of the one that a lab's text names.
fn last_image(env: &Env, text: &str) -> Result<Option<ImageName>, OpsError> {
    let Some(lab) = lab::name_only(text) else {
        return Ok(None);
    };
    let used = Used::read(&env.folders, &lab).map_err(|source| OpsError::File {
        doing: "read which images are used in",
        path: env.folders.lab(&lab),
        source,
    })?;
    Ok(used.image)
}
