//! The evidence of each cell: what was asked, how often, and what was answered. Closed lists, one per source; those with a
//! cell that is not as expected are open.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::{Shown, name};
use super::escape;
use super::matrix::class_of;
use crate::verify::{Cell, Verdict};

pub(super) fn write(out: &mut String, shown: Shown<'_>) {
    let mut by_source: BTreeMap<_, Vec<(usize, &Cell)>> = BTreeMap::new();
    for (number, cell) in shown.matrix.cells.iter().enumerate() {
        let from = &cell.expectation.from;
        let key = (
            shown.places.source(from),
            super::super::grid::natural(&from.to_string()),
        );
        by_source.entry(key).or_default().push((number, cell));
    }
    out.push_str("<h2>Evidence</h2>\n");
    for cells in by_source.values() {
        let Some((_, first)) = cells.first() else { continue };
        let bad = cells.iter().filter(|(_, cell)| cell.verdict != Verdict::Pass).count();
        let (open, bad) = match bad {
            0 => ("", String::new()),
            bad => (" open", format!(", {bad} not as expected")),
        };
        let _ = writeln!(
            out,
            "<details{open}><summary>{}: {} cells{bad}</summary>\n<div class=\"scroll\"><table class=\"plain\">\n\
             <thead><tr><th>to</th><th>address</th><th>expected</th><th>result</th><th>replies</th><th>ms</th>\
             <th>asked</th><th>why</th></tr></thead>\n<tbody>",
            escape(&first.expectation.from.to_string()),
            cells.len()
        );
        for (number, cell) in cells {
            row(out, *number, cell);
        }
        out.push_str("</tbody></table></div></details>\n");
    }
}

fn row(out: &mut String, number: usize, cell: &Cell) {
    let asked = &cell.expectation;
    let expected = if asked.reach { "reply" } else { "no reply" };
    let replies = match (cell.received, cell.sent) {
        (Some(received), Some(sent)) => format!("{received} of {sent}"),
        _ => String::new(),
    };
    let rtt = cell.rtt_ms.map_or_else(String::new, |rtt| format!("{rtt:.2}"));
    let texts = cell.reason.iter().chain(&cell.cause).map(|text| escape(text));
    let why: Vec<String> = texts.collect();
    let result = match cell.verdict {
        Verdict::Pass if !asked.reach => "isolated",
        verdict => name(verdict),
    };
    let _ = writeln!(
        out,
        "<tr id=\"c{number}\" class=\"{}\"><td>{}</td><td>{}</td><td>{expected}</td><td>{result}</td><td>{replies}</td>\
         <td>{rtt}</td><td>{}</td><td class=\"why\">{}</td></tr>",
        class_of(cell),
        escape(&asked.to),
        asked.address,
        cell.asked,
        why.join("; ")
    );
}
