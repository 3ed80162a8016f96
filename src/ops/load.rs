//! Loads a lab file with the images it knows, and makes every choice in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Env, OpsError};
use crate::image::{self, Used};
use crate::lab::{self, ImageEntry, ImageName, Lab, LabName, Problem};
use crate::topology::{Topology, allocate};

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
    /// The file.
    pub file: PathBuf,
    /// The lab as written, with its defaults.
    pub lab: Lab,
    /// The lab with every choice made.
    pub topology: Topology,
    /// The images that it can name.
    pub images: Entries,
    /// The image that replaced the lab's own.
    pub image: Option<ImageName>,
}

impl Loaded {
    /// Returns what is valid in the file but makes little sense.
    pub fn warnings(&self) -> &[Problem] {
        &self.lab.warnings
    }
}

/// Loads the lab file `file`.
pub fn load(env: &Env, file: &Path, options: &LoadOptions) -> Result<Loaded, OpsError> {
    let image = match &options.image {
        ImageChoice::AsWritten => None,
        ImageChoice::Given(image) => Some(image.clone()),
        ImageChoice::LastUp => last_image(env, file)?,
    };
    let mut images = image::entries()?;
    let known: BTreeSet<_> = images.keys().cloned().collect();
    let lab = lab::load(file, &known, image.as_ref()).map_err(|error| OpsError::LabInvalid(Box::new(error)))?;
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
    let mut topology = allocate(&lab, &image::resolve(&images, &env.folders));
    if options.emulate {
        topology.emulate();
    }
    Ok(Loaded {
        file: file.to_owned(),
        lab,
        topology,
        images,
        image,
    })
}

/// Returns the images of the catalog, and those of the lab file `file`, if one is given.
pub fn load_images(env: &Env, file: Option<&Path>) -> Result<Entries, OpsError> {
    match file {
        Some(file) => Ok(load(env, file, &LoadOptions::default())?.images),
        None => Ok(image::entries()?),
    }
}

/// Returns the image that the last `up` ran with in place of the file's.
fn last_image(env: &Env, file: &Path) -> Result<Option<ImageName>, OpsError> {
    let text = std::fs::read_to_string(file).ok();
    let Some(lab) = text.and_then(|text| lab::name_only(&text)) else {
        return Ok(None);
    };
    let used = Used::read(&env.folders, &lab).map_err(|source| OpsError::File {
        doing: "read which images are used in",
        path: env.folders.lab(&lab),
        source,
    })?;
    Ok(used.image)
}

/// Returns the lab that a user means by `text`: a lab's name, or a file that names one.
pub fn lab_name(text: &str) -> Result<LabName, OpsError> {
    let file = Path::new(text);
    if file.is_file() {
        let content = std::fs::read_to_string(file).map_err(|source| OpsError::File {
            doing: "read",
            path: file.to_owned(),
            source,
        })?;
        return lab::name_only(&content).ok_or_else(|| OpsError::NoLabName { file: file.to_owned() });
    }
    text.parse().map_err(|source| OpsError::NotALab {
        text: text.to_owned(),
        source,
    })
}
