//! `netlab down`: takes a lab down and restores every host.

use std::path::PathBuf;
use std::time::Duration;

use super::error::CommandError;
use super::progress::Progress;
use super::{Context, signals, trace};
use crate::ops::{self, DownOptions};

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, or its file.
    #[arg(default_value = "lab.toml")]
    lab: String,
    /// Also take the lab down if it belongs to another state folder (NETLAB_STATE_DIR), and clean that folder.
    #[arg(long)]
    force: bool,
    /// How many seconds a host behind ssh waits to be reached again after one of its NICs was detached from its
    /// bridge, before it attaches that NIC again by itself.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=600))]
    confirm_timeout: u16,
}

pub fn run(context: &mut Context, args: &Args) -> Result<(), CommandError> {
    let lab = ops::lab_name(&args.lab)?;
    trace::record_in(&context.env.folders, &lab);
    signals::listen(context.env.cancel.clone(), Some(lab.clone()))?;
    let (events, progress) = Progress::start(context.quiet);
    context.env.events = events;
    let options = DownOptions {
        file: Some(PathBuf::from(&args.lab)),
        force: args.force,
        confirm_within: Duration::from_secs(args.confirm_timeout.into()),
    };
    let result = ops::down(&context.env, &lab, &options);
    progress.finish();
    let report = result.map_err(|error| signals::caused(error, &lab))?;
    let text = match report.steps {
        0 => format!("lab {lab} is not up: nothing to do\n"),
        steps => format!("lab {lab} removed: {}\n", ops::count(steps, "step")),
    };
    context.answer(&text, &report)
}
