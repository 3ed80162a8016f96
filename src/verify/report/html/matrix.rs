//! The matrix as a table of HTML.

use std::fmt::Write as _;

use super::super::grid::{Fold, Grid};
use super::super::{Shown, explanation, label};
use super::escape;
use crate::verify::{Cell, Verdict};

/// Rows of one table; a larger matrix is folded by network.
const ROWS: usize = 120;
/// Columns of a table with whole words in its cells.
const WIDE: usize = 10;

/// Writes the matrix, or groups of it and the exceptions.
pub(super) fn write(out: &mut String, shown: Shown<'_>) {
    out.push_str("<h2>Who reaches whom</h2>\n");
    let grid = Grid::of(shown.matrix, shown.places);
    if grid.rows.len() <= ROWS {
        table(out, &grid, shown);
    } else {
        folded(out, &Fold::of(shown.matrix, shown.places));
        let exceptions = grid.exceptions(shown.places);
        if !exceptions.rows.is_empty() && exceptions.rows.len() <= ROWS {
            out.push_str("<h3>Sources and targets of the cells that are not as expected</h3>\n");
            table(out, &exceptions, shown);
        }
    }
    out.push_str(
        "<p class=\"legend\"><span class=\"pass\">ok</span> reachable, round trip in ms \
         <span class=\"apart\">isolated</span> or <span class=\"apart\">∥</span> unreachable, as expected \
         <span class=\"fail\">FAIL</span> the opposite of what is expected \
         <span class=\"fail\">MTU</span> only small packets pass \
         <span class=\"lossy\">lossy</span> replies/requests <span class=\"unknown\">?</span> unknown</p>\n",
    );
}

fn table(out: &mut String, grid: &Grid, shown: Shown<'_>) {
    let dense = grid.columns.len() > WIDE;
    let class = if dense { "matrix dense" } else { "matrix" };
    let _ = write!(
        out,
        "<div class=\"scroll\"><table class=\"{class}\">\n<thead><tr><th>from \\ to</th>"
    );
    for to in &grid.columns {
        let _ = write!(out, "<th><span>{}</span></th>", escape(to));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for from in &grid.rows {
        let _ = write!(out, "<tr><th>{}</th>", escape(from));
        for to in &grid.columns {
            let Some(cell) = grid.cell(from, to) else {
                out.push_str("<td></td>");
                continue;
            };
            let text = escape(&if dense { brief(cell) } else { label(cell) });
            let mut texts = vec![format!("{from} → {to} ({})", cell.expectation.address)];
            texts.extend(explanation(cell));
            let (class, title) = (class_of(cell), escape(&texts.join(": ")));
            let number = (cell.verdict != Verdict::Pass).then(|| number(shown, cell)).flatten();
            let _ = match number {
                Some(number) => write!(
                    out,
                    "<td class=\"{class}\" title=\"{title}\"><a href=\"#c{number}\">{text}</a></td>"
                ),
                None => write!(out, "<td class=\"{class}\" title=\"{title}\">{text}</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

/// Returns the number of a cell in the matrix.
fn number(shown: Shown<'_>, cell: &Cell) -> Option<usize> {
    shown.matrix.cells.iter().position(|one| std::ptr::eq(one, cell))
}

/// The text of a cell in a table with many columns.
fn brief(cell: &Cell) -> String {
    match (cell.verdict, cell.rtt_ms) {
        (Verdict::Pass, _) if !cell.expectation.reach => "∥".to_owned(),
        (Verdict::Pass, Some(rtt)) if rtt < 9.95 => format!("{rtt:.1}"),
        (Verdict::Pass, Some(rtt)) => format!("{rtt:.0}"),
        (Verdict::Pass, None) => "ok".to_owned(),
        (Verdict::Lossy, _) => label(cell).replace("lossy ", ""),
        _ => label(cell),
    }
}

/// Writes the counts of groups.
fn folded(out: &mut String, fold: &Fold) {
    out.push_str("<div class=\"scroll\"><table class=\"matrix\">\n<thead><tr><th>from \\ to</th>");
    for (group, count) in &fold.columns {
        let _ = write!(out, "<th>{} ({count})</th>", escape(&group.text));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (at, (group, count)) in fold.rows.iter().enumerate() {
        let _ = write!(out, "<tr><th>{} ({count})</th>", escape(&group.text));
        for to in 0..fold.columns.len() {
            let Some(counts) = fold.counts.get(&(at, to)) else {
                out.push_str("<td></td>");
                continue;
            };
            let class = match counts.verdict() {
                Verdict::Pass if counts.reached == 0 => "apart",
                verdict => class(verdict),
            };
            let _ = write!(out, "<td class=\"{class}\">{}</td>", counts.text());
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

/// The class of a cell: isolation has another color than replies.
pub(super) fn class_of(cell: &Cell) -> &'static str {
    match cell.verdict {
        Verdict::Pass if !cell.expectation.reach => "apart",
        verdict => class(verdict),
    }
}

pub(super) fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Lossy => "lossy",
        Verdict::Unknown => "unknown",
    }
}
