//! `netlab pause` and `resume`: VMs of a lab that is up.

use clap_complete::engine::ArgValueCompleter;

use super::changing::change;
use super::error::CommandError;
use super::{Context, complete};
use crate::lab::VmName;
use crate::ops::{self, Paused};

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, its file, or the folder of that.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// The names of VMs; without one, all VMs of the lab.
    #[arg(add = ArgValueCompleter::new(complete::vms))]
    vms: Vec<VmName>,
}

pub fn run(context: &mut Context, args: &Args, wanted: Paused) -> Result<(), CommandError> {
    let lab = ops::lab_name(&args.lab)?;
    let vms = args.vms.iter().cloned().collect();
    let report = change(context, &lab, |env| ops::pause(env, &args.lab, &vms, wanted))?;
    let names: Vec<_> = report.vms.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    let text = match (report.vms.len(), wanted) {
        (0, Paused::Paused) => format!("lab {lab}: nothing runs that could be paused\n"),
        (0, Paused::Resumed) => format!("lab {lab}: nothing is paused\n"),
        (_, Paused::Paused) => format!("{names}: paused\nnext: netlab resume {lab}\n"),
        (_, Paused::Resumed) => format!("{names}: resumed\n"),
    };
    context.answer(&text, &report)
}
