//! `netlab image`: what guests are made of.

use serde::Serialize;

use super::error::Failure;
use super::output::table;
use super::progress::Progress;
use super::{Context, sight};
use crate::image;
use crate::lab::ImageName;
use crate::run::chain;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// List the images that a lab can name.
    List,
    /// Make an image now, instead of at its first use.
    Build {
        /// Its name.
        #[arg(default_value = "mini")]
        name: ImageName,
    },
}

#[derive(Serialize)]
struct Row {
    image: String,
    description: String,
    arch: String,
    memory_mib: u64,
}

pub fn run(context: &Context, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List => {
            let images = image::catalog(&context.folders).map_err(|error| sight::failed(chain(&error)))?;
            let rows: Vec<Row> = images
                .into_values()
                .map(|image| Row {
                    image: image.name.to_string(),
                    description: image.description,
                    arch: image.machine.arch,
                    memory_mib: image.machine.memory_mib,
                })
                .collect();
            let mut lines = vec![["IMAGE", "ARCH", "MEMORY", "DESCRIPTION"].map(str::to_owned).to_vec()];
            lines.extend(rows.iter().map(|row| {
                vec![
                    row.image.clone(),
                    row.arch.clone(),
                    format!("{} MiB", row.memory_mib),
                    row.description.clone(),
                ]
            }));
            context.answer(&table(&lines), &rows)
        }
        Verb::Build { name } => {
            let (events, progress) = Progress::start(context.quiet);
            let built = image::ensure(name, &context.folders, &events).map_err(|error| sight::failed(chain(&error)));
            drop(events);
            progress.finish();
            built?;
            let folder = context.folders.image(name);
            context.answer(&format!("{}\n", folder.display()), &folder)
        }
    }
}
