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
    if report.as_described {
        return Ok(());
    }
    let message = failure(&report);
    Err(CommandError::NotAsDescribed { message, help: None })
}

/// Whether every ping was answered.
fn answered(report: &DiagnoseReport) -> bool {
    report.received.is_some_and(|received| received > 0) && report.received == report.sent
}

/// What is not as the lab describes it.
fn failure(report: &DiagnoseReport) -> String {
    let DiagnoseReport { from, to, .. } = report;
    match (&report.apart, report.received) {
        (_, None) => format!("{from} could not be asked"),
        (Some(_), Some(0)) => format!("that {from} does not reach {to} is not proved"),
        (Some(_), _) => format!("{from} reaches {to}, and must not by the lab file"),
        (None, _) if answered(report) => format!("{from} is answered by {to}, but not as the lab describes it"),
        (None, _) => format!("{from} does not reach {to}"),
    }
}

/// The result in a few words.
fn result(report: &DiagnoseReport) -> String {
    let (Some(received), Some(sent)) = (report.received, report.sent) else {
        return "could not be asked".to_owned();
    };
    match (&report.apart, received) {
        (Some(_), 0) if report.as_described => {
            format!("kept apart, as the lab describes: none of {sent} pings was answered")
        }
        (Some(_), 0) => format!("kept apart by the lab, which is not proved: none of {sent} pings was answered"),
        (Some(_), _) => format!("answered, but kept apart by the lab: {received} of {sent} pings were answered"),
        (None, _) if report.works => "works".to_owned(),
        (None, _) if answered(report) && report.cause.is_some() => {
            "answered, but not as the lab describes it".to_owned()
        }
        (None, _) => format!("does not work: {received} of {sent} pings were answered"),
    }
}

fn text(report: &DiagnoseReport, ascii: bool, columns: Option<usize>) -> String {
    let mut out = String::new();
    let target = report.address.to_string();
    let at = if report.to == target {
        String::new()
    } else {
        format!(" ({target})")
    };
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "{} -> {}{at}: {}", report.from, report.to, result(report));
    if let Some(apart) = &report.apart {
        let _ = writeln!(out, "    {apart}");
    }
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

    fn report(apart: bool, as_described: bool, received: Option<u32>, cause: Option<&str>) -> DiagnoseReport {
        DiagnoseReport {
            lab: "quick".parse().unwrap(),
            from: "vm1".to_owned(),
            to: "vm2".to_owned(),
            address: [10, 0, 2, 2].into(),
            works: !apart && as_described,
            as_described,
            apart: apart.then(|| "node1 drops it".to_owned()),
            sent: received.map(|_| 3),
            received,
            reason: None,
            cause: cause.map(str::to_owned),
            hops: Vec::new(),
            vanished: None,
            faults: Vec::new(),
        }
    }

    #[test]
    fn two_that_are_kept_apart_are_shown_with_the_rule_and_are_no_failure() {
        let apart = text(&report(true, true, Some(0), None), false, None);
        assert_eq!(
            apart,
            "vm1 -> vm2 (10.0.2.2): kept apart, as the lab describes: none of 3 pings was answered\n    node1 drops it\n"
        );
    }

    #[test]
    fn the_result_and_the_error_do_not_contradict_each_other() {
        let both = |report: DiagnoseReport| (result(&report), failure(&report));
        let of = |texts: (&str, &str)| (texts.0.to_owned(), texts.1.to_owned());
        assert_eq!(
            both(report(true, false, Some(3), None)),
            of((
                "answered, but kept apart by the lab: 3 of 3 pings were answered",
                "vm1 reaches vm2, and must not by the lab file"
            ))
        );
        assert_eq!(
            both(report(false, false, Some(3), Some("another machine answers"))),
            of((
                "answered, but not as the lab describes it",
                "vm1 is answered by vm2, but not as the lab describes it"
            ))
        );
        assert_eq!(
            both(report(false, false, Some(1), None)),
            of(("does not work: 1 of 3 pings were answered", "vm1 does not reach vm2"))
        );
        let unasked = of(("could not be asked", "vm1 could not be asked"));
        assert_eq!(both(report(true, false, None, None)), unasked);
        assert_eq!(both(report(false, false, None, None)), unasked);
        let unproved = both(report(true, false, Some(0), None)).1;
        assert_eq!(unproved, "that vm1 does not reach vm2 is not proved");
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
