//! `netlab image`: what guests are made of.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::Failure;
use super::output::table;
use super::progress::Progress;
use super::sight::{Entries, failed};
use super::{Context, sight};
use crate::event::Events;
use crate::image::{self, Built, ImageError, Options};
use crate::lab::{DigestKind, ImageEntry, ImageName, ImageSource};
use crate::run::chain;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// List the images that a lab can name.
    List {
        /// A lab file: its own images, too.
        #[arg(long)]
        lab: Option<PathBuf>,
    },
    /// Fetch or make an image now, instead of at its first use.
    Pull {
        /// Its name.
        name: ImageName,
        /// The lab file that describes it, if it is not in the catalog.
        #[arg(long)]
        lab: Option<PathBuf>,
        /// Take it even if it has no checksum, as the server sends it.
        #[arg(long)]
        allow_unverified: bool,
    },
    /// Take an image from a file of this machine, as its mirrors have it or unpacked.
    Import {
        /// The file.
        file: PathBuf,
        /// The image's name.
        name: ImageName,
        /// The lab file that describes it, if it is not in the catalog.
        #[arg(long)]
        lab: Option<PathBuf>,
        /// Take it even if it has no checksum.
        #[arg(long)]
        allow_unverified: bool,
    },
    /// Remove an image's files from the cache.
    Rm {
        /// Its name.
        name: ImageName,
        /// The lab file that describes it, if it is not in the catalog.
        #[arg(long)]
        lab: Option<PathBuf>,
    },
    /// Make an image that is built on this machine.
    Build {
        /// Its name.
        #[arg(default_value = "mini")]
        name: ImageName,
    },
}

#[derive(Serialize)]
struct Row {
    image: String,
    state: &'static str,
    bytes: Option<u64>,
    arch: String,
    memory_mib: u64,
    source: String,
    description: String,
}

#[derive(Serialize)]
struct Answer {
    image: ImageName,
    folder: PathBuf,
    #[serde(flatten)]
    built: Built,
}

pub fn run(context: &Context, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List { lab } => list(context, &known(lab.as_deref())?),
        Verb::Pull {
            name,
            lab,
            allow_unverified,
        } => {
            let entries = known(lab.as_deref())?;
            let entry = one(name, &entries)?;
            let options = options(*allow_unverified);
            get(context, name, entry, |events| {
                image::obtain(name, entry, &context.folders, &options, events)
            })
        }
        Verb::Import {
            file,
            name,
            lab,
            allow_unverified,
        } => {
            let entries = known(lab.as_deref())?;
            let entry = entries.get(name).ok_or_else(|| undescribed(file, name))?;
            let options = options(*allow_unverified);
            get(context, name, entry, |events| {
                image::import(file, name, entry, &context.folders, &options, events)
            })
        }
        Verb::Rm { name, lab } => {
            let entries = known(lab.as_deref())?;
            let entry = one(name, &entries)?;
            let was = image::forget(name, entry, &context.folders).map_err(|error| image_failure(&error))?;
            let said = if was { "removed" } else { "not in the cache" };
            context.answer(&format!("image {name}: {said}\n"), &was)
        }
        Verb::Build { name } => {
            let entries = known(None)?;
            let entry = one(name, &entries)?;
            if !matches!(entry.source, ImageSource::Recipe { .. }) {
                return Err(Failure::Failed {
                    message: format!("image {name} is fetched, not built"),
                    help: Some(format!("netlab image pull {name}")),
                });
            }
            get(context, name, entry, |events| {
                image::obtain(name, entry, &context.folders, &Options::default(), events)
            })
        }
    }
}

/// The catalog, and the images of a lab.
fn known(lab: Option<&Path>) -> Result<Entries, Failure> {
    match lab {
        Some(file) => Ok(sight::load_lab(file, None)?.1),
        None => image::entries().map_err(|error| image_failure(&error)),
    }
}

fn one<'a>(name: &ImageName, entries: &'a Entries) -> Result<&'a ImageEntry, Failure> {
    entries
        .get(name)
        .ok_or_else(|| image_failure(&image::unknown(name, entries)))
}

fn image_failure(error: &ImageError) -> Failure {
    Failure::Failed {
        message: chain(error),
        help: Some(error.help().to_owned()),
    }
}

fn options(allow_unverified: bool) -> Options {
    Options {
        allow_unverified,
        ..Options::default()
    }
}

/// What to write so that a file can be used under a name that nothing describes.
fn undescribed(file: &Path, name: &ImageName) -> Failure {
    let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let sum = match image::digest::of_file(DigestKind::Sha256, &path) {
        Ok(sum) => sum,
        Err(error) => return failed(format!("{}: {error}", path.display())),
    };
    Failure::Failed {
        message: format!("nothing describes an image `{name}`: netlab must know its machine and its console"),
        help: Some(format!(
            "describe it in a lab file and add `--lab FILE`, e.g.\n[images.{}]\nmirrors = [{:?}]\nsha256 = \"{}\"\n\
             format = \"raw\"  # or qcow2\nconsole = {{ prompt = \"# \" }}",
            if name.as_str().contains('.') {
                format!("\"{name}\"")
            } else {
                name.to_string()
            },
            path.display().to_string(),
            sum.hex()
        )),
    }
}

fn get(
    context: &Context,
    name: &ImageName,
    entry: &ImageEntry,
    get: impl FnOnce(&Events) -> Result<Built, ImageError>,
) -> Result<(), Failure> {
    let (events, progress) = Progress::start(context.quiet);
    let built = get(&events).map_err(|error| image_failure(&error));
    drop(events);
    progress.finish();
    let built = built?;
    let folder = image::folder(name, entry, &context.folders);
    let mut text = format!("{}\n", folder.display());
    if let Some(sum) = &built.sha256 {
        let _ = writeln!(text, "sha256 = \"{sum}\"");
    }
    let image = name.clone();
    context.answer(&text, &Answer { image, folder, built })
}

fn list(context: &Context, entries: &Entries) -> Result<(), Failure> {
    let row = |(name, entry): (&ImageName, &ImageEntry)| {
        let built = image::built(name, entry, &context.folders);
        Row {
            image: name.to_string(),
            state: if built.is_some() { "here" } else { "-" },
            bytes: built.map(|built| built.sizes.values().sum()),
            arch: entry.machine.arch.clone(),
            memory_mib: entry.machine.memory_mib,
            source: match &entry.source {
                ImageSource::Recipe { .. } => "built here".to_owned(),
                ImageSource::Download(download) => {
                    let unpinned = if download.is_pinned() { "" } else { " (no checksum)" };
                    let first = download.mirrors.first().map(ToString::to_string).unwrap_or_default();
                    format!("{first}{unpinned}")
                }
            },
            description: entry.description.clone(),
        }
    };
    let rows: Vec<Row> = entries.iter().map(row).collect();
    let head = ["IMAGE", "STATE", "SIZE", "ARCH", "MEMORY", "DESCRIPTION", "SOURCE"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| {
        let size = row
            .bytes
            .map_or("-".to_owned(), |bytes| format!("{} MiB", bytes.div_ceil(1 << 20)));
        vec![
            row.image.clone(),
            row.state.to_owned(),
            size,
            row.arch.clone(),
            format!("{} MiB", row.memory_mib),
            row.description.clone(),
            row.source.clone(),
        ]
    }));
    context.answer(&table(&lines), &rows)
}
