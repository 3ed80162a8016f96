//! The matrix as text, HTML and JUnit XML; its JSON is [`serde::Serialize`]'s. Takes a matrix and the drift, returns
//! a string; writes no file.

mod html;
mod junit;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use super::{Cell, FaultReport, Matrix, Verdict};

pub use html::html;
pub use junit::junit;
pub use text::text;

/// The legend below a matrix.
const LEGEND: [&str; 6] = [
    "ok: reachable, round trip in ms",
    "isolated: unreachable, as expected",
    "FAIL: the opposite of what is expected",
    "MTU: only small packets pass",
    "lossy: replies/requests",
    "?: unknown",
];

/// The matrix as rows and columns.
struct Grid<'a> {
    /// The sources of the pings.
    rows: Vec<String>,
    /// The targets: guests in the order of the rows, then the rest.
    columns: Vec<&'a str>,
    /// The cell of each source and target, where there is one.
    cells: BTreeMap<(String, &'a str), &'a Cell>,
}

impl<'a> Grid<'a> {
    /// Sorts the cells of `matrix` into rows and columns.
    fn of(matrix: &'a Matrix) -> Self {
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
            // Where a guest has two addresses in one network, the worse one is shown; each is listed below.
            let shown = cells.entry((from, to)).or_insert(cell);
            if shown.verdict == Verdict::Pass {
                *shown = cell;
            }
        }
        columns.sort_by_key(|to| in_rows.get(*to).copied().unwrap_or(usize::MAX));
        Self { rows, columns, cells }
    }
}

/// The text of a cell.
fn label(cell: &Cell) -> String {
    match (cell.verdict, cell.rtt_ms, cell.sent, cell.received) {
        (Verdict::Pass, ..) if !cell.expectation.reach => "isolated".to_owned(),
        (Verdict::Pass, Some(rtt), ..) => format!("ok {rtt:.1}"),
        (Verdict::Pass, None, ..) => "ok".to_owned(),
        (Verdict::Fail, ..) if cell.small_only => "MTU".to_owned(),
        (Verdict::Lossy, _, Some(sent), Some(received)) => format!("lossy {received}/{sent}"),
        (verdict, ..) => name(verdict).to_owned(),
    }
}

/// The text of a verdict.
fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "ok",
        Verdict::Fail => "FAIL",
        Verdict::Lossy => "lossy",
        Verdict::Unknown => "?",
    }
}

/// Why a cell is no pass, how often it was probed if more than once, and where its packets stop: a text each.
fn explanation(cell: &Cell) -> Vec<String> {
    let asked = (cell.asked > 1 && cell.verdict != Verdict::Pass).then(|| format!("asked {} times", cell.asked));
    let texts = cell.reason.iter().cloned().chain(asked).chain(cell.cause.clone());
    texts.collect()
}

/// Cells that are not as expected for one reason, in the order of the matrix.
struct Group<'a> {
    /// What they have in common: their cause, or what was answered where no cause is known.
    cause: &'a str,
    /// How many cells it concerns.
    count: usize,
    /// Those of them that have no other cause.
    cells: Vec<&'a Cell>,
}

/// Groups the cells that are not as expected by their cause, the largest group first; a fault that concerns no cell is a
/// group without cells.
fn groups<'a>(matrix: &'a Matrix, faults: &'a [FaultReport]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut add = |cause: &'a str, count: usize, cell: Option<&'a Cell>| {
        let at = *at.entry(cause).or_insert_with(|| {
            groups.push(Group {
                cause,
                count: 0,
                cells: Vec::new(),
            });
            groups.len() - 1
        });
        groups[at].count = groups[at].count.max(count);
        groups[at].cells.extend(cell);
    };
    for fault in faults {
        add(&fault.text, fault.cells, None);
    }
    for cell in matrix.cells.iter().filter(|cell| cell.verdict != Verdict::Pass) {
        let cause = cell.cause.as_deref().or(cell.reason.as_deref());
        add(cause.unwrap_or_default(), 0, Some(cell));
    }
    for group in &mut groups {
        group.count = group.count.max(group.cells.len());
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

/// The number of cells in words.
fn cells(count: usize) -> String {
    match count {
        0 => "fault".to_owned(),
        1 => "1 cell".to_owned(),
        count => format!("{count} cells"),
    }
}

/// The summary: how many cells are as expected, and how many of them took more than one attempt.
fn summary(matrix: &Matrix) -> String {
    let passes = matrix.cells.iter().filter(|cell| cell.verdict == Verdict::Pass);
    let again = passes.filter(|cell| cell.asked > 1).count();
    if matrix.cells.is_empty() {
        return "nothing was asked, so nothing is proved".to_owned();
    }
    let text = format!("{} of {} as expected", matrix.passed(), matrix.cells.len());
    match again {
        0 => text,
        again => format!("{text}, {again} of them only when asked again"),
    }
}

/// Text from a guest or a host on one line, with what a terminal would act on escaped.
fn printable(text: &str) -> String {
    crate::lab::readable(&text.replace(['\n', '\r', '\t'], " "))
}
