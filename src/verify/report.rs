//! The matrix as text: rows ask, columns are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Cell, Matrix, Verdict};

/// The matrix as rows and columns.
pub(super) struct Square<'a> {
    /// Who asks.
    pub rows: Vec<String>,
    /// Who is asked: guests in the order of the rows, then the rest.
    pub columns: Vec<&'a str>,
    /// What came of it.
    pub cells: BTreeMap<(String, &'a str), &'a Cell>,
}

impl<'a> Square<'a> {
    /// Sorts the cells of `matrix` into rows and columns.
    pub fn of(matrix: &'a Matrix) -> Self {
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        let mut cells = BTreeMap::new();
        let (mut in_rows, mut in_columns) = (BTreeMap::new(), BTreeSet::new());
        for cell in &matrix.cells {
            let (from, to) = (cell.expectation.from.to_string(), cell.expectation.to.as_str());
            in_rows.entry(from.clone()).or_insert_with(|| {
                rows.push(from.clone());
                rows.len()
            });
            if in_columns.insert(to) {
                columns.push(to);
            }
            // Where a guest has two addresses in one network, the worse one is shown; each has its line below.
            let shown = cells.entry((from, to)).or_insert(cell);
            if shown.verdict == Verdict::Pass {
                *shown = cell;
            }
        }
        columns.sort_by_key(|to| in_rows.get(*to).copied().unwrap_or(usize::MAX));
        Self { rows, columns, cells }
    }
}

/// The matrix, its legend, a line per bad cell and the summary.
pub fn text(matrix: &Matrix, colour: bool) -> String {
    let Square { rows, columns, cells } = Square::of(matrix);
    let mut lines = vec![vec![("from \\ to".to_owned(), None)]];
    lines[0].extend(columns.iter().map(|to| ((*to).to_owned(), None)));
    for from in &rows {
        let mut line = vec![(from.clone(), None)];
        line.extend(columns.iter().map(|to| match cells.get(&(from.clone(), *to)) {
            Some(cell) => (word(cell), Some(cell.verdict)),
            None => ("-".to_owned(), None),
        }));
        lines.push(line);
    }
    let mut out = String::new();
    if !rows.is_empty() {
        grid(&mut out, &lines, colour);
        out.push_str("\nok: reached, round trip in ms; apart: not reached, as expected;\n");
        out.push_str("FAIL: the opposite of what is expected; MTU: only small packets pass;\n");
        out.push_str("lossy: replies/pings; ?: nothing can be said; -: not asked\n\n");
    }
    for cell in &matrix.cells {
        if let Some(reason) = &cell.reason {
            let asked = &cell.expectation;
            let label = format!("{} -> {}", asked.from, asked.to);
            let address = asked.address.to_string();
            let at = if asked.to == address {
                String::new()
            } else {
                format!(" ({address})")
            };
            let state = paint(name(cell.verdict), Some(cell.verdict), colour);
            let _ = writeln!(out, "{state} {label}{at}: {}", plain(reason));
            if let Some(cause) = &cell.cause {
                let _ = writeln!(out, "    {}", plain(cause));
            }
        }
    }
    let _ = writeln!(out, "{} of {} as expected", matrix.passed(), matrix.cells.len());
    out
}

/// Text that came from a guest or a host, without control characters.
pub(super) fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// Aligned columns; colour is added after padding, for it has no width.
fn grid(out: &mut String, lines: &[Vec<(String, Option<Verdict>)>], colour: bool) {
    let width = |at: usize| lines.iter().map(|line| line[at].0.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    for line in lines {
        for (at, (cell, verdict)) in line.iter().enumerate() {
            out.push_str(&paint(cell, *verdict, colour));
            if at + 1 < line.len() {
                out.extend(std::iter::repeat_n(' ', widths[at] - cell.chars().count() + 2));
            }
        }
        out.push('\n');
    }
}

/// What stands in a cell.
pub(super) fn word(cell: &Cell) -> String {
    match (cell.verdict, cell.rtt_ms, cell.sent, cell.received) {
        (Verdict::Pass, ..) if !cell.expectation.reach => "apart".to_owned(),
        (Verdict::Pass, Some(rtt), ..) => format!("ok {rtt:.1}"),
        (Verdict::Pass, None, ..) => "ok".to_owned(),
        (Verdict::Fail, ..) if cell.small_only => "MTU".to_owned(),
        (Verdict::Lossy, _, Some(sent), Some(received)) => format!("lossy {received}/{sent}"),
        (verdict, ..) => name(verdict).to_owned(),
    }
}

/// A verdict's word.
fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "ok",
        Verdict::Fail => "FAIL",
        Verdict::Lossy => "lossy",
        Verdict::Unknown => "?",
    }
}

/// Green, red or yellow, where wanted.
fn paint(text: &str, verdict: Option<Verdict>, colour: bool) -> String {
    let code = match verdict {
        Some(Verdict::Pass) => 32,
        Some(Verdict::Fail) => 31,
        Some(Verdict::Lossy | Verdict::Unknown) => 33,
        None => return text.to_owned(),
    };
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::{counted, one};
    use super::*;

    #[test]
    fn a_pass_shows_its_round_trip_and_the_summary_counts_it() {
        let text = text(&one(true, counted(2, 2)), false);
        assert!(text.starts_with("from \\ to  b\na          ok 0.4\n"), "{text}");
        assert!(text.ends_with("1 of 1 as expected\n"), "{text}");
    }

    #[test]
    fn every_bad_cell_has_a_line_with_its_reason() {
        let lossy = text(&one(true, counted(2, 1)), false);
        assert!(
            lossy.contains("lossy 1/2\n") && lossy.contains("lossy a -> b (10.0.0.2): 1 of 2"),
            "{lossy}"
        );
        let unknown = text(&one(false, Some(Err("the guest has stopped"))), false);
        assert!(
            unknown.contains("? a -> b (10.0.0.2): the guest has stopped\n0 of 1 as expected"),
            "{unknown}"
        );
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let matrix = one(true, counted(2, 0));
        let plain = text(&matrix, true).replace("\x1b[31m", "").replace("\x1b[0m", "");
        assert_eq!(plain, text(&matrix, false));
    }

    #[test]
    fn isolation_that_holds_reads_apart() {
        assert!(text(&one(false, counted(2, 0)), false).contains("apart\n"));
    }
}
