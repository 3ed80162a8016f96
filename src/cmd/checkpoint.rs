//! `netlab save` and `restore`: checkpoints of a lab that is up.

use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::changing::change;
use super::error::CommandError;
use super::output::{table, without_empty_columns};
use super::progress::span;
use super::{Context, complete};
use crate::lab::{CheckpointName, LabName};
use crate::ops::{self, Checkpoint};

#[derive(clap::Args)]
pub struct SaveArgs {
    /// The lab's name, its file, or the folder of that.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// The name of the checkpoint; without one: saved-1, saved-2 and so on.
    name: Option<CheckpointName>,
    /// List the checkpoints of the lab instead, the oldest first.
    #[arg(long, conflicts_with_all = ["name", "remove"])]
    list: bool,
    /// Remove a checkpoint of the lab instead.
    #[arg(long, value_name = "NAME", conflicts_with = "name", add = ArgValueCompleter::new(complete::checkpoints))]
    remove: Option<CheckpointName>,
}

#[derive(clap::Args)]
pub struct RestoreArgs {
    /// The lab's name, its file, or the folder of that.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// The name of the checkpoint; without one, the newest.
    #[arg(add = ArgValueCompleter::new(complete::checkpoints))]
    name: Option<CheckpointName>,
}

#[derive(Serialize)]
struct Removed {
    lab: LabName,
    removed: CheckpointName,
}

pub fn save(context: &mut Context, args: &SaveArgs) -> Result<(), CommandError> {
    let lab = ops::lab_name(&args.lab)?;
    if args.list {
        let list = ops::checkpoints(&context.env, &lab)?;
        return context.answer(&text(&lab, &list), &list);
    }
    if let Some(removed) = args.remove.clone() {
        let lab = change(context, &lab, |env| ops::remove_checkpoint(env, &args.lab, &removed))?;
        let text = format!("checkpoint {removed} of lab {lab} removed\n");
        return context.answer(&text, &Removed { lab, removed });
    }
    let report = change(context, &lab, |env| ops::save(env, &args.lab, args.name.clone()))?;
    let text = format!(
        "lab {lab} is saved as {}: {} in {}\nnext: netlab restore {lab} {}\n",
        report.checkpoint,
        ops::count(report.vms, "VM"),
        span(Duration::from_secs_f64(report.seconds)),
        report.checkpoint,
    );
    context.answer(&text, &report)
}

pub fn restore(context: &mut Context, args: &RestoreArgs) -> Result<(), CommandError> {
    let lab = ops::lab_name(&args.lab)?;
    let report = change(context, &lab, |env| ops::restore(env, &args.lab, args.name.as_ref()))?;
    let text = format!(
        "lab {lab} is as in {}: {} in {}\n",
        report.checkpoint,
        ops::count(report.vms, "VM"),
        span(Duration::from_secs_f64(report.seconds)),
    );
    context.answer(&text, &report)
}

fn text(lab: &LabName, list: &[Checkpoint]) -> String {
    if list.is_empty() {
        return format!("lab {lab} has no checkpoint\n");
    }
    let mut rows = vec![["CHECKPOINT", "MADE", "VMS", ""].map(str::to_owned).to_vec()];
    rows.extend(list.iter().map(|checkpoint| {
        let made = if checkpoint.made.is_empty() {
            String::new()
        } else {
            format!("{} UTC", checkpoint.made)
        };
        let state = if checkpoint.complete { "" } else { "incomplete" };
        vec![
            checkpoint.name.to_string(),
            made,
            checkpoint.vms.to_string(),
            state.to_owned(),
        ]
    }));
    table(&without_empty_columns(rows))
}
