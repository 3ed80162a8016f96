//! `netlab down`: takes a lab down and restores every host.

use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;

use super::changing::change;
use super::error::CommandError;
use super::target::in_this_folder;
use super::{Context, complete};
use crate::ops::{self, DownOptions};

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, its file, or the folder of that; without it, `lab.toml` in the current folder.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: Option<String>,
    /// Also take the lab down if it belongs to another state folder (NETLAB_STATE_DIR), and clean that folder.
    #[arg(long)]
    force: bool,
    /// How many seconds a host behind ssh waits to be reached again after one of its NICs was detached from its
    /// bridge, before it attaches that NIC again by itself.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=600))]
    confirm_timeout: u16,
}

pub fn run(context: &mut Context, args: &Args) -> Result<(), CommandError> {
    let named = match &args.lab {
        Some(lab) => lab.clone(),
        None => in_this_folder(context)?.to_owned(),
    };
    let lab = ops::lab_name(&named)?;
    let options = DownOptions {
        file: Some(named),
        force: args.force,
        confirm_within: Duration::from_secs(args.confirm_timeout.into()),
    };
    let report = change(context, &lab, |env| ops::down(env, &lab, &options))?;
    let text = match report.steps {
        0 => format!("lab {lab} is not up: nothing to do\n"),
        steps => format!("lab {lab} removed: {}\n", ops::count(steps, "step")),
    };
    context.answer(&text, &report)
}
