//! `netlab up`: from lab.toml to a running lab.

use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;

use super::error::CommandError;
use super::output::{one_line, table, without_empty_columns, write_error};
use super::progress::{Progress, span};
use super::target::Target;
use super::{Context, complete, signals};
use crate::lab::ImageName;
use crate::ops::{self, ImageChoice, LoadOptions, UpOptions, UpReport};

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "every one is a flag of the command line")]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Emulate every host on this machine, whatever its `connect`; the lab's cables connect them.
    #[arg(long)]
    emulate: bool,
    /// After a failure keep what was done, instead of rolling back.
    #[arg(long)]
    keep: bool,
    /// Change a lab that is up from another file of the same lab's name to what this file describes.
    #[arg(long)]
    replace: bool,
    /// Run with this image in place of the lab's `image`; VMs that name their own keep it. `verify` uses it, too.
    #[arg(long, add = ArgValueCompleter::new(complete::images))]
    image: Option<ImageName>,
    /// Use images that have no checksum, as the server sends them.
    #[arg(long)]
    allow_unverified: bool,
    /// How many seconds a host behind ssh waits to be reached again after one of its NICs was attached to a bridge,
    /// before it detaches that NIC by itself.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=600))]
    confirm_timeout: u16,
    /// Boot every guest, also those that could be started from a saved state.
    #[arg(long)]
    cold: bool,
    /// Print where the time went.
    #[arg(long)]
    timings: bool,
}

pub fn run(context: &mut Context, args: &Args) -> Result<(), CommandError> {
    let image = args.image.clone().map_or(ImageChoice::AsWritten, ImageChoice::Given);
    let emulate = args.emulate;
    let mut loaded = args.target.load(context, &LoadOptions { image, emulate })?;
    if args.cold {
        loaded.boot_all();
    }
    let lab = loaded.topology.lab.clone();
    signals::listen(context.env.cancel.clone(), Some(lab.clone()))?;
    let (events, progress) = Progress::start(context.quiet);
    context.env.events = events;
    let options = UpOptions {
        keep: args.keep,
        replace: args.replace,
        only: None,
        allow_unverified: args.allow_unverified,
        confirm_within: Duration::from_secs(args.confirm_timeout.into()),
    };
    let result = ops::up(&context.env, &loaded, &options);
    let timings = progress.finish();
    if args.timings {
        write_error(&timings.table());
    }
    let report = result.map_err(|error| signals::caused(error, &lab))?;
    context.answer(&text(&report, args.target.lab.as_deref()), &report)
}

fn text(report: &UpReport, file: Option<&str>) -> String {
    let lab = &report.lab;
    let took = span(Duration::from_secs_f64(report.seconds));
    let mut text = match report.steps {
        0 => format!("lab {lab} is up as described: nothing to do\n"),
        steps => format!("lab {lab} is up: {} in {took}\n", ops::count(steps, "step")),
    };
    if !report.vms.is_empty() {
        let mut rows = vec![["VM", "HOST", "ADDRESS", "FLOATING"].map(str::to_owned).to_vec()];
        rows.extend(report.vms.iter().map(|vm| {
            let floating = vm.floating.clone().unwrap_or_default();
            vec![
                vm.name.to_string(),
                vm.host.to_string(),
                vm.addresses.join(" "),
                floating,
            ]
        }));
        text.push_str(&table(&without_empty_columns(rows)));
    }
    let argument = match file {
        None => String::new(),
        // Its text is kept under the lab's name.
        Some("-") => format!(" {lab}"),
        Some(file) => format!(" {}", one_line(file)),
    };
    text.extend(["next: netlab verify", &argument, "\n"]);
    text
}
