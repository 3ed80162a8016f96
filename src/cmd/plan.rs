//! `netlab plan`: what `up` would do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::error::CommandError;
use super::output::{one_line, print_error, warning, wrapped};
use super::target::Target;
use super::{Context, complete, terminal};
use crate::lab::{self, Connect, HostName, IfName, ImageName, LabName, SwitchKind};
use crate::ops::{self, Effect, ImageChoice, LoadOptions, Loaded, PlannedStep, Reason};
use crate::preflight::Obstacle;
use crate::topology;

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "every one is a flag of the command line")]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Emulate every host on this machine, whatever its `connect`; the lab's cables connect them.
    #[arg(long)]
    emulate: bool,
    /// Print the plain lab file instead: with counts, defaults and `[nova]` written out.
    #[arg(long, conflicts_with_all = ["explain", "offline", "detailed_exitcode"])]
    expand: bool,
    /// Show below each step the line of the lab file that asks for it.
    #[arg(long)]
    explain: bool,
    /// Plan without a query to any host, as for hosts that have nothing of the lab; prints what is taken for granted.
    #[arg(long)]
    offline: bool,
    /// Exit status 2 where there is something to do, and 0 where there is not.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Plan with this image in place of the lab's `image`.
    #[arg(long, add = ArgValueCompleter::new(complete::images))]
    image: Option<ImageName>,
}

/// The version of the JSON that `plan --json` prints; it grows where a field changes its meaning or is removed.
const VERSION: u32 = 1;

/// A plan as JSON; docs/commands.md describes it.
#[derive(Serialize)]
struct Answer<'a> {
    version: u32,
    lab: &'a LabName,
    file: &'a Path,
    /// No host was asked.
    offline: bool,
    /// What was not asked, and is taken for granted.
    assumed: Vec<String>,
    warnings: Vec<String>,
    steps: &'a [PlannedStep],
}

pub fn run(context: &Context, args: &Args) -> Result<ExitCode, CommandError> {
    let options = LoadOptions {
        image: args.image.clone().map_or(ImageChoice::AsWritten, ImageChoice::Given),
        emulate: args.emulate,
    };
    if args.expand {
        let loaded = args.target.load_quietly(context, &options)?;
        let text = lab::write(&topology::expand(loaded.lab, &loaded.topology));
        context.answer_unchanged(&text, &text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = args.target.load(context, &options)?;
    let planned = if args.offline {
        ops::plan_offline(&loaded)?
    } else {
        ops::plan(&context.env, &loaded)?
    };
    for one in &planned.warnings {
        let help = (!one.help.is_empty()).then_some(one.help.as_str());
        print_error(&warning(&format!("{}: {}", one.host, one.what), help));
    }
    let steps = planned.described((args.explain || context.json).then_some(&loaded));
    let assumed = if args.offline { assumed(&loaded) } else { Vec::new() };
    let text = text(&steps, &assumed, args.explain.then_some(loaded.file.as_path()));
    let answer = Answer {
        version: VERSION,
        lab: &loaded.topology.lab,
        file: &loaded.file,
        offline: args.offline,
        assumed,
        warnings: planned.warnings.iter().map(Obstacle::message).collect(),
        steps: &steps,
    };
    context.answer(&wrapped(&text, terminal::columns(), 4), &answer)?;
    Ok(match (args.detailed_exitcode, steps.is_empty()) {
        (true, false) => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    })
}

/// Returns what is not asked without hosts.
pub(super) fn assumed(loaded: &Loaded) -> Vec<String> {
    let hosts: Vec<&str> = loaded.topology.hosts.keys().map(HostName::as_str).collect();
    let hosts = hosts.join(", ");
    let mut assumed = vec![
        format!("{hosts}: nothing of the lab is there, and nothing else conflicts with it"),
        format!("{hosts}: kernel modules, programs, memory and disk space suffice"),
    ];
    let chosen = loaded.topology.hosts.iter().filter(|(_, host)| {
        let mut segments = host.segments.values();
        segments.any(|segment| segment.switch == SwitchKind::Ovs(None))
    });
    let chosen: Vec<&str> = chosen.map(|(name, _)| name.as_str()).collect();
    if !chosen.is_empty() {
        assumed.push(format!(
            "{}: the kernel has Open vSwitch's data path; without it, its own in user space takes a few steps more",
            chosen.join(", ")
        ));
    }
    let real = loaded
        .topology
        .hosts
        .iter()
        .filter(|(_, host)| host.connect != Connect::Emulated);
    for (name, host) in real {
        let nics: Vec<&str> = host.nics.keys().map(IfName::as_str).collect();
        if !nics.is_empty() {
            assumed.push(format!(
                "{name}: has the NICs {}, their addresses and routes unknown",
                nics.join(", ")
            ));
        }
    }
    assumed
}

/// Returns the steps of each host below its name, in the order they run there; with `file`, each with its reason.
pub(super) fn text(steps: &[PlannedStep], assumed: &[String], file: Option<&Path>) -> String {
    let mut out = String::new();
    let (mut hosts, mut by_host) = (Vec::new(), BTreeMap::<&HostName, Vec<&PlannedStep>>::new());
    for step in steps {
        let of_host = by_host.entry(&step.host).or_default();
        if of_host.is_empty() {
            hosts.push(&step.host);
        }
        of_host.push(step);
    }
    for (at, step) in hosts.iter().flat_map(|host| by_host[host].iter().enumerate()) {
        if at == 0 {
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "{}:", step.host);
        }
        let mark = match step.effect {
            Effect::Add => '+',
            Effect::Change => '~',
            Effect::Remove => '−',
        };
        let _ = writeln!(out, "  {mark} {}", one_line(&step.text));
        for difference in &step.differences {
            let _ = writeln!(out, "      {}", one_line(difference));
        }
        match (file, &step.reason) {
            (Some(file), Some(Reason::Line { line, text })) => {
                let _ = writeln!(out, "      {}:{line}: {}", file.display(), one_line(text));
            }
            (Some(_), Some(Reason::Request { link })) => {
                let _ = writeln!(out, "      requested by `netlab link`: {link}");
            }
            (Some(file), None) if step.effect == Effect::Remove => {
                let _ = writeln!(out, "      no line of {} asks for it any more", file.display());
            }
            _ => {}
        }
    }
    if steps.is_empty() {
        out.push_str("nothing to do: the lab is as described\n");
    } else {
        let count = |effect| steps.iter().filter(|step| step.effect == effect).count();
        let (add, change, remove) = (count(Effect::Add), count(Effect::Change), count(Effect::Remove));
        let _ = writeln!(
            out,
            "{}: {add} add, {change} change, {remove} remove",
            ops::count(steps.len(), "step")
        );
    }
    for one in assumed {
        let _ = writeln!(out, "not asked: {one}");
    }
    out
}
