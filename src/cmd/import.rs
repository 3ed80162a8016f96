//! `netlab import`: nova-network's configuration as a lab file.

use std::path::PathBuf;

use super::error::Failure;
use super::{Context, sight};
use crate::lab::{self, LabName};

#[derive(clap::Args)]
pub struct Args {
    /// The nova.conf, as an INI or a flag file.
    file: PathBuf,
    /// The lab's name.
    #[arg(long, default_value = "nova")]
    name: LabName,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(|error| sight::failed(format!("{file}: {error}")))?;
    let text = lab::import(&args.name, &text).map_err(|error| Failure::Usage(format!("{file}: {error}")))?;
    context.answer(&text, &text)
}
