//! `netlab plan`: what `up` would do.

use std::fmt::Write;
use std::path::PathBuf;

use super::error::Failure;
use super::{Context, sight};
use crate::event::{Event, Events};
use crate::lab::{self, HostName, ImageName};
use crate::plan::{Plan, plan};
use crate::preflight::{Severity, preflight};
use crate::run::Journal;
use crate::state::{Site, desired};
use crate::topology::Topology;

#[derive(clap::Args)]
pub struct Args {
    /// The lab file.
    #[arg(default_value = "lab.toml")]
    file: PathBuf,
    /// Emulate every host on this machine, whatever `connect` says; cables are the lab's.
    #[arg(long)]
    emulate: bool,
    /// Print the plain lab file instead: counts, defaults and `[nova]` written out as what they stand for.
    #[arg(long)]
    expand: bool,
    /// As if the lab's `image` were this one.
    #[arg(long)]
    image: Option<ImageName>,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if args.expand {
        let text = lab::write(&sight::load_lab(&args.file, args.image.as_ref())?.0);
        return context.answer(&text, &text);
    }
    let (mut topology, _) = sight::load(&context.folders, &args.file, args.image.as_ref())?;
    if args.emulate {
        topology.emulate();
    }
    let past = Journal::read(&context.folders.lab(&topology.lab)).map_err(|error| sight::failed(error.to_string()))?;
    let wanted_hosts = sight::connects(&topology);
    sight::same_ways(&topology.lab, &past.hosts, &wanted_hosts)?;
    let mut connects = past.hosts;
    connects.extend(wanted_hosts);
    let hosts = sight::reach(&context.folders, &topology.lab, &connects)?;
    let observed = sight::observe(&hosts, &topology.lab)?;
    let (to_do, _) = judge(&topology, &hosts, &observed, &Events::none())?;
    let lines: Vec<(&HostName, String)> = to_do.steps().map(|(host, step)| (host, step.to_string())).collect();
    context.answer(&text(&to_do), &lines)
}

/// What is desired, and the plan that leads there, once nothing stands in the way.
pub fn judge(
    topology: &Topology,
    hosts: &crate::host::NamedHosts,
    observed: &Site,
    events: &Events,
) -> Result<(Plan, Site), Failure> {
    let surveys = sight::survey(hosts, &topology.lab)?;
    let (errors, warnings): (Vec<_>, Vec<_>) = preflight(topology, &surveys, observed)
        .into_iter()
        .partition(|found| found.severity == Severity::Error);
    for warning in warnings {
        events.send(Event::Warning(warning.to_string()));
    }
    if !errors.is_empty() {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(Failure::Failed {
            message: format!("this lab cannot come up; nothing was changed:\n{}", lines.join("\n")),
            help: None,
        });
    }
    let wanted = desired(topology, &surveys);
    Ok((plan(observed, &wanted), wanted))
}

/// A plan for a reader: a line a step, under its host.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    if plan.is_empty() {
        out.push_str("nothing to do: the lab is as described\n");
    }
    for (_, hosts) in &plan.stages {
        for (host, steps) in hosts {
            for step in steps {
                let _ = writeln!(out, "{host}: {step}");
            }
        }
    }
    out
}
