//! `netlab stop`, `start` and `restart`: single VMs and emulated hosts of a lab that is up.

use clap_complete::engine::ArgValueCompleter;

use super::changing::change;
use super::error::CommandError;
use super::{Context, complete};
use crate::lab::VmName;
use crate::ops::{self, Power};

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, its file, or the folder of that.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// The names of VMs or emulated hosts.
    #[arg(required = true, add = ArgValueCompleter::new(complete::vms))]
    vms: Vec<VmName>,
}

pub fn run(context: &mut Context, args: &Args, power: Power) -> Result<(), CommandError> {
    let lab = ops::lab_name(&args.lab)?;
    let vms = args.vms.iter().cloned().collect();
    let report = change(context, &lab, |env| ops::power(env, &args.lab, &vms, power))?;
    let names: Vec<_> = report.vms.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    let text = match (report.steps, power) {
        (0, Power::Stop) => format!("{names}: not running\n"),
        (0, Power::Start | Power::Restart) => format!("{names}: running already\n"),
        (_, Power::Stop) => format!("{names}: stopped\n"),
        (_, Power::Start) => format!("{names}: started\n"),
        (_, Power::Restart) => format!("{names}: restarted\n"),
    };
    context.answer(&text, &report)
}
