//! `netlab script`: what `up` does on one host, as a shell script to read and to run.

use std::path::PathBuf;

use super::Context;
use super::error::CommandError;
use crate::lab::HostName;
use crate::ops::{self, LoadOptions};

#[derive(clap::Args)]
pub struct Args {
    /// The lab file.
    file: PathBuf,
    /// The host.
    host: HostName,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let loaded = context.load(&args.file, &LoadOptions::default())?;
    let text = ops::script(&context.env, &loaded, &args.host)?;
    context.answer_unchanged(&text, &text)
}
