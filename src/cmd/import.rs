//! `netlab import`: nova-network's configuration as a lab file.

use std::path::PathBuf;

use super::Context;
use super::error::CommandError;
use crate::lab::{self, LabName};
use crate::ops::OpsError;

#[derive(clap::Args)]
pub struct Args {
    /// The nova.conf, as an INI or a flag file.
    file: PathBuf,
    /// The lab's name.
    #[arg(long, default_value = "nova")]
    name: LabName,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let text = std::fs::read_to_string(&args.file).map_err(|source| CommandError::File {
        doing: "read",
        path: args.file.clone(),
        source,
    })?;
    let text = lab::import(&args.name, &text).map_err(|source| OpsError::ImportInvalid {
        file: args.file.clone(),
        source,
    })?;
    context.answer(&text, &text)
}
