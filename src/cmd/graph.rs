//! `netlab graph`: the lab as a picture.

use super::error::CommandError;
use super::{Context, LabFile};
use crate::ops::LoadOptions;
use crate::topology::graph;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: LabFile,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let loaded = context.load(&args.file.file, &LoadOptions::default())?;
    let text = graph(&loaded.topology);
    context.answer(&text, &text)
}
