//! `netlab graph`: the lab as a picture.

use std::path::PathBuf;

use super::error::Failure;
use super::{Context, sight};
use crate::topology::graph;

#[derive(clap::Args)]
pub struct Args {
    /// The lab file.
    #[arg(default_value = "lab.toml")]
    file: PathBuf,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let (topology, _) = sight::load(&context.folders, &args.file, None)?;
    let text = graph(&topology);
    context.answer(&text, &text)
}
