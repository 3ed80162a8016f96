//! `netlab script`: what `up` does on one host, as a shell script to read and to run.

use clap_complete::engine::ArgValueCompleter;

use super::error::CommandError;
use super::target::Target;
use super::{Context, complete};
use crate::lab::HostName;
use crate::ops::{self, LoadOptions};

#[derive(clap::Args)]
pub struct Args {
    /// The lab's file, a folder with a `lab.toml`, the name of a lab that is up, or `-` for standard input.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// The host.
    #[arg(add = ArgValueCompleter::new(complete::hosts))]
    host: HostName,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let lab = Some(args.lab.clone());
    let loaded = Target { lab }.load(context, &LoadOptions::default())?;
    let text = ops::script(&context.env, &loaded, &args.host)?;
    context.answer_unchanged(&text, &text)
}
