//! `netlab image`: lists, fetches, imports, builds and removes images.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::error::CommandError;
use super::output::table_with_optional;
use super::progress::Progress;
use super::{Context, complete, signals};
use crate::event::Events;
use crate::image::{self, Built, ImageError, Options, Release, Update};
use crate::lab::{ImageEntry, ImageName, ImageSource, masked, write_image};
use crate::ops::{self, Entries, OpsError};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// List the images that a lab can name.
    List {
        /// A lab file, whose own images are listed, too.
        #[arg(long)]
        lab: Option<PathBuf>,
    },
    /// Fetch or build an image now, instead of at its first use.
    Pull {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::images))]
        name: ImageName,
        /// The lab file that describes it, if it is not in the catalog.
        #[arg(long)]
        lab: Option<PathBuf>,
        /// Accept it even if it has no checksum, as the server sends it.
        #[arg(long)]
        allow_unverified: bool,
    },
    /// Import an image from a file of this machine, as its mirrors have it or unpacked.
    Import {
        /// The file.
        file: PathBuf,
        /// The image's name.
        name: ImageName,
        /// The lab file that describes it, if it is not in the catalog.
        #[arg(long)]
        lab: Option<PathBuf>,
        /// Accept it even if it has no checksum.
        #[arg(long)]
        allow_unverified: bool,
        /// Take machine, console and cloud-init of this image, for a name that nothing describes, and print the
        /// description for a lab file.
        #[arg(long, value_name = "IMAGE", conflicts_with = "allow_unverified", add = ArgValueCompleter::new(complete::images))]
        like: Option<ImageName>,
    },
    /// Make the saved state now that guests of an image are started from, instead of at the first `up`.
    #[command(
        after_help = "Examples:\n  netlab image warm mini              for VMs as the image has them, with one NIC\n  netlab image warm mini --lab FILE   for the VMs of a lab: their memory, CPUs, NICs"
    )]
    Warm {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::images))]
        name: ImageName,
        /// A lab file: for each kind of VM that it has of this image. It may describe the image, too.
        #[arg(long)]
        lab: Option<PathBuf>,
    },
    /// Remove an image's files from the cache.
    Rm {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::images))]
        name: ImageName,
        /// The lab file that describes it, if it is not in the catalog.
        #[arg(long)]
        lab: Option<PathBuf>,
    },
    /// Show newer releases of images, where their publishers list them.
    Update {
        /// An image; default: all whose URL has a date.
        name: Option<ImageName>,
        /// The lab file that describes it, if it is not in the catalog.
        #[arg(long)]
        lab: Option<PathBuf>,
    },
    /// Build an image on this machine.
    Build {
        /// Its name.
        #[arg(default_value = "mini", add = ArgValueCompleter::new(complete::images))]
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

pub fn run(context: &mut Context, verb: &Verb) -> Result<(), CommandError> {
    let known = |lab: &Option<PathBuf>| ops::load_images(&context.env, lab.as_deref());
    match verb {
        Verb::List { lab } => list(context, &known(lab)?),
        Verb::Pull {
            name,
            lab,
            allow_unverified,
        } => {
            let entries = known(lab)?;
            let entry = one(name, &entries)?;
            let options = options(*allow_unverified);
            get(context, name, entry, |events| {
                let folders = &context.env.folders;
                if image::built(name, entry, folders).is_some() {
                    // A file that was replaced under its name is noticed here, too.
                    for (_, download) in entry.source.downloads() {
                        image::checksums::resolve(download, folders, options.limits.stall)?;
                    }
                }
                image::obtain(name, entry, folders, &options, events)
            })
        }
        Verb::Import {
            file,
            name,
            lab,
            allow_unverified,
            like,
        } => {
            let entries = known(lab)?;
            let options = options(*allow_unverified);
            let entry = match (entries.get(name), like) {
                (Some(entry), None) => entry,
                (None, None) => return Err(undescribed(file, name)?),
                (None, Some(like)) => return import_like(context, file, name, one(like, &entries)?, &options),
                (Some(_), Some(_)) => {
                    return Err(CommandError::Usage {
                        message: format!("image `{name}` is described already, so `--like` has no effect"),
                        help: "choose another name, or leave `--like` out",
                    });
                }
            };
            get(context, name, entry, |events| {
                image::import(file, name, entry, &context.env.folders, &options, events)
            })
        }
        Verb::Warm { name, lab } => warm(context, name, lab.as_deref()),
        Verb::Rm { name, lab } => {
            let entries = known(lab)?;
            let entry = one(name, &entries)?;
            let was = image::forget(name, entry, &context.env.folders).map_err(OpsError::from)?;
            let said = if was { "removed" } else { "not in the cache" };
            context.answer(&format!("image {name}: {said}\n"), &was)
        }
        Verb::Update { name, lab } => update(context, name.as_ref(), &known(lab)?),
        Verb::Build { name } => {
            let entries = known(&None)?;
            let entry = one(name, &entries)?;
            if !matches!(entry.source, ImageSource::Recipe { .. }) {
                return Err(CommandError::NotBuilt { name: name.to_string() });
            }
            get(context, name, entry, |events| {
                image::obtain(name, entry, &context.env.folders, &Options::default(), events)
            })
        }
    }
}

/// Makes the saved states of an image's guests.
fn warm(context: &mut Context, name: &ImageName, lab: Option<&Path>) -> Result<(), CommandError> {
    signals::listen(context.env.cancel.clone(), None)?;
    let (events, progress) = Progress::start(context.quiet);
    context.env.events = events;
    let result = ops::warm(&context.env, name, lab);
    progress.finish();
    let report = result?;
    let kinds = ops::count(report.kinds, "kind");
    context.answer(&format!("image {name}: {kinds} of VMs can be restored\n"), &report)
}

/// What the publisher of an image lists.
#[derive(Serialize)]
struct Checked {
    image: ImageName,
    state: &'static str,
    release: Option<Release>,
    newest: Option<Release>,
    /// The entry of the newest release for a lab file.
    entry: Option<String>,
    error: Option<String>,
}

/// Asks the publishers of images for newer releases: of one image, or of all that are dated.
fn update(context: &Context, name: Option<&ImageName>, entries: &Entries) -> Result<(), CommandError> {
    let asked: Vec<(&ImageName, &ImageEntry)> = match name {
        Some(name) => vec![(name, one(name, entries)?)],
        None => entries.iter().collect(),
    };
    let stall = Options::default().limits.stall;
    let (mut text, mut rows) = (String::new(), Vec::new());
    for (image, entry) in asked {
        let mut row = Checked {
            image: image.clone(),
            state: "not dated",
            release: None,
            newest: None,
            entry: None,
            error: None,
        };
        match image::newer(entry, stall) {
            Update::NotDated if name.is_none() => continue,
            Update::NotDated => {
                let _ = writeln!(text, "{image}: its URL has no date, so newer releases cannot be found");
            }
            Update::Newest(release) => {
                let _ = writeln!(text, "{image}: {release} is the newest release");
                row.state = "newest";
                row.newest = Some(release.clone());
                row.release = Some(release);
            }
            Update::Newer { was, is, entry } => {
                // The catalog's own name cannot be used again in a lab file.
                let day = is.day().replace('-', "");
                let own = ImageName::new(&format!("{image}-{day}")).unwrap_or_else(|_| image.clone());
                // Its URLs have the credentials of the image's own.
                let whole = write_image(&own, &entry);
                let mut written = masked::urls(&whole);
                if written != whole {
                    written.push_str("# write the credentials of the URL in place of ***\n");
                }
                let _ = writeln!(
                    text,
                    "{image}: {is} is newer than {was}; as an image of a lab file:\n\n{written}"
                );
                if entry.source.downloads().iter().any(|(_, file)| !file.is_pinned()) {
                    let _ = writeln!(text, "# its publisher's list of checksums was not found\n");
                }
                row.state = "newer";
                row.release = Some(was);
                row.newest = Some(is);
                row.entry = Some(written);
            }
            Update::Nothing { list } => {
                let why = "it lists no release whose name is like that of the image";
                let _ = writeln!(text, "{image}: {list}: {why}");
                row.state = "unknown";
                row.error = Some(format!("{list}: {why}"));
            }
            Update::Unlisted { list, error } => {
                let _ = writeln!(text, "{image}: {list} cannot be read: {error}");
                row.state = "unknown";
                row.error = Some(format!("{list}: {error}"));
            }
        }
        rows.push(row);
    }
    context.answer(&text, &rows)
}

fn one<'a>(name: &ImageName, entries: &'a Entries) -> Result<&'a ImageEntry, CommandError> {
    let entry = entries.get(name);
    entry.ok_or_else(|| OpsError::from(image::unknown(name, entries)).into())
}

fn options(allow_unverified: bool) -> Options {
    Options {
        allow_unverified,
        ..Options::default()
    }
}

/// The error for a file that is imported under a name that nothing describes: its help is the description.
fn undescribed(file: &Path, name: &ImageName) -> Result<CommandError, CommandError> {
    let entry = image::describe(file, name, None).map_err(OpsError::from)?;
    Ok(CommandError::UndescribedImage {
        name: name.to_string(),
        help: format!(
            "describe it in a lab file and add `--lab FILE`, e.g. as follows, once machine and console are those of \
             the image; or take those of an image of the catalog, e.g. `--like debian-12`\n{}",
            write_image(name, &entry)
        ),
    })
}

/// Imports a file as an image that has machine, console and cloud-init of another one, and prints its description.
fn import_like(
    context: &Context,
    file: &Path,
    name: &ImageName,
    like: &ImageEntry,
    options: &Options,
) -> Result<(), CommandError> {
    let entry = image::describe(file, name, Some(like)).map_err(OpsError::from)?;
    let built = watched(context, |events| {
        image::import(file, name, &entry, &context.env.folders, options, events)
    })?;
    let folder = image::folder(name, &entry, &context.env.folders);
    let text = write_image(name, &entry);
    let image = name.clone();
    context.answer(&text, &Answer { image, folder, built })
}

fn get(
    context: &Context,
    name: &ImageName,
    entry: &ImageEntry,
    get: impl FnOnce(&Events) -> Result<Built, ImageError>,
) -> Result<(), CommandError> {
    let built = watched(context, get)?;
    let folder = image::folder(name, entry, &context.env.folders);
    let mut text = format!("{}\n", folder.display());
    if let Some(sum) = &built.sha256 {
        let _ = writeln!(text, "sha256 = \"{sum}\"");
    }
    let image = name.clone();
    context.answer(&text, &Answer { image, folder, built })
}

/// Fetches or builds an image, with its progress shown.
fn watched(context: &Context, get: impl FnOnce(&Events) -> Result<Built, ImageError>) -> Result<Built, CommandError> {
    let (events, progress) = Progress::start(context.quiet);
    let built = get(&events);
    drop(events);
    progress.finish();
    Ok(built.map_err(OpsError::from)?)
}

fn list(context: &Context, entries: &Entries) -> Result<(), CommandError> {
    let row = |(name, entry): (&ImageName, &ImageEntry)| {
        let built = image::built(name, entry, &context.env.folders);
        Row {
            image: name.to_string(),
            state: if built.is_some() { "here" } else { "-" },
            bytes: built.map(|built| built.sizes.values().sum()),
            arch: entry.machine.arch.clone(),
            memory_mib: entry.machine.memory_mib,
            source: match &entry.source {
                ImageSource::Recipe { .. } => "built here".to_owned(),
                source => {
                    let files = source.downloads();
                    let pinned = files.iter().all(|(_, file)| file.is_pinned());
                    let first = files.iter().flat_map(|(_, file)| &file.mirrors).next();
                    let first = first.map(ToString::to_string).unwrap_or_default();
                    format!("{first}{}", if pinned { "" } else { " (no checksum)" })
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
    context.answer(&table_with_optional(&lines), &rows)
}
