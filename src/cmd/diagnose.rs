//! `netlab diagnose`: prints the path between two ends hop by hop.

use std::fmt::Write as _;

use clap_complete::engine::ArgValueCompleter;

use super::error::CommandError;
use super::output::wrapped;
use super::target::Target;
use super::terminal::{columns, unicode};
use super::{Context, complete};
use crate::lab::{ImageName, readable};
use crate::ops::{self, DiagnoseOptions, DiagnoseReport, ImageChoice, LoadOptions};
use crate::verify::Hop;

#[derive(clap::Args)]
pub struct Args {
    /// The lab's file, a folder with a `lab.toml`, the name of a lab that is up, or `-` for standard input.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// Where the packets come from: a VM, host or router, or an address of one.
    #[arg(add = ArgValueCompleter::new(complete::ends))]
    from: String,
    /// Where they go: a VM, `VM/NETWORK`, host or router, a floating address, or any address.
    #[arg(add = ArgValueCompleter::new(complete::ends))]
    to: String,
    /// Emulate every host on this machine, whatever its `connect`; as `up --emulate`.
    #[arg(long)]
    emulate: bool,
    /// The image that `up --image` ran with; by default, the one of the last `up`.
    #[arg(long, add = ArgValueCompleter::new(complete::images))]
    image: Option<ImageName>,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let options = LoadOptions {
        image: args.image.clone().map_or(ImageChoice::LastUp, ImageChoice::Given),
        emulate: args.emulate,
    };
    let lab = Some(args.lab.clone());
    let loaded = Target { lab }.load(context, &options)?;
    let report = ops::diagnose(
        &context.env,
        &loaded,
        &DiagnoseOptions {
            from: args.from.clone(),
            to: args.to.clone(),
        },
    )?;
    context.answer(&text(&report, !unicode(), columns()), &report)?;
    if report.works {
        return Ok(());
    }
    let message = if report.apart {
        format!("{} must not reach {} by the lab file", report.from, report.to)
    } else {
        format!("{} does not reach {}", report.from, report.to)
    };
    Err(CommandError::NotAsDescribed { message, help: None })
}

fn text(report: &DiagnoseReport, ascii: bool, columns: Option<usize>) -> String {
    let mut out = String::new();
    let target = report.address.to_string();
    let at = if report.to == target {
        String::new()
    } else {
        format!(" ({target})")
    };
    let result = match (report.works, report.received, report.sent) {
        (true, ..) => "works".to_owned(),
        (false, Some(received), Some(sent)) if received == sent && report.cause.is_some() => {
            "answered, but not as the lab describes it".to_owned()
        }
        (false, Some(received), Some(sent)) => format!("does not work: {received} of {sent} pings were answered"),
        (false, ..) => "could not be asked".to_owned(),
    };
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "{} -> {}{at}: {result}", report.from, report.to);
    if let Some(reason) = &report.reason {
        let _ = writeln!(out, "    {reason}");
    }
    for fault in &report.faults {
        let _ = writeln!(out, "  {} {fault}", mark(Some(false), ascii));
    }
    if let Some(vanished) = &report.vanished {
        let _ = writeln!(out, "  {} {vanished}", mark(Some(false), ascii));
    }
    for hop in &report.hops {
        let _ = write!(out, "{}", line(hop, ascii));
    }
    // What guests and users named is in it.
    let lines = out.lines().map(|line| wrapped(&readable(line), columns, 4));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn mark(good: Option<bool>, ascii: bool) -> &'static str {
    match (good, ascii) {
        (Some(true), false) => "✓",
        (Some(false), false) => "✗",
        (Some(true), true) => "ok  ",
        (Some(false), true) => "FAIL",
        (None, false) => "?",
        (None, true) => "?   ",
    }
}

fn line(hop: &Hop, ascii: bool) -> String {
    let back = match (hop.back, ascii) {
        (false, _) => "",
        (true, false) => "← ",
        (true, true) => "<- ",
    };
    let place = format!("{back}{}: {}", hop.at, hop.what);
    if let Some(finding) = &hop.finding {
        let mark = mark(finding.certain.then_some(false), ascii);
        let mut text = format!("  {mark} {place}\n        {}\n", finding.text);
        for (what, of) in [("shown by", &finding.shown_by), ("fix", &finding.fix)] {
            if let Some(of) = of {
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "        {what}: {of}");
            }
        }
        return text;
    }
    match &hop.evidence {
        Some(evidence) => format!("  {} {place}: {evidence}\n", mark(Some(true), ascii)),
        None => format!("  {} {place}: not observed\n", mark(None, ascii)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Finding;

    fn hop(what: &str, evidence: Option<&str>, finding: Option<&str>) -> Hop {
        Hop {
            at: "node1".to_owned(),
            what: what.to_owned(),
            evidence: evidence.map(str::to_owned),
            finding: finding.map(|text| Finding {
                diverts: false,
                text: text.to_owned(),
                shown_by: Some("`ip link` on node1".to_owned()),
                fix: None,
                certain: true,
            }),
            link: None,
            back: false,
        }
    }

    #[test]
    fn each_hop_has_a_mark_and_a_finding_has_its_command_also_without_unicode() {
        let lines = |ascii| {
            let of = |hop: &Hop| line(hop, ascii);
            [
                of(&hop("link tap1", Some("up"), None)),
                of(&hop("link tap1", Some("up"), Some("node1: link tap1 is down"))),
                of(&hop("link tap1", None, None)),
            ]
        };
        let wanted = [
            "  ✓ node1: link tap1: up\n",
            "  ✗ node1: link tap1\n        node1: link tap1 is down\n        shown by: `ip link` on node1\n",
            "  ? node1: link tap1: not observed\n",
        ];
        assert_eq!(lines(false), wanted);
        assert!(lines(true).iter().all(|line| line.is_ascii()), "{:?}", lines(true));
    }
}
