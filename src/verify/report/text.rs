//! The matrix as text: sources are rows, targets are columns.

use std::fmt::Write as _;

use super::{Grid, LEGEND, cells, explanation, groups, label, name, printable, summary};
use crate::verify::{FaultReport, Matrix, Verdict};

/// Cells of one group that are listed.
const LISTED: usize = 6;

/// Returns the causes of what is not as expected, each with its cells, those of the most cells first; then the matrix, its
/// legend and the summary; with `color` in ANSI colors (ECMA-48, 8.3.117).
pub fn text(faults: &[FaultReport], matrix: &Matrix, color: bool) -> String {
    let Grid {
        rows,
        columns,
        cells: grid,
    } = Grid::of(matrix);
    let mut out = String::new();
    for group in groups(matrix, faults) {
        let head = paint(&cells(group.count), Some(Verdict::Fail), color);
        let _ = writeln!(out, "{head}: {}", printable(group.cause));
        for cell in group.cells.iter().take(LISTED) {
            let asked = &cell.expectation;
            let address = asked.address.to_string();
            let at = if asked.to == address {
                String::new()
            } else {
                format!(" ({address})")
            };
            let state = paint(name(cell.verdict), Some(cell.verdict), color);
            let texts = explanation(cell).into_iter().filter(|text| text != group.cause);
            let texts: Vec<String> = texts.map(|text| printable(&text)).collect();
            let texts = if texts.is_empty() {
                String::new()
            } else {
                format!(": {}", texts.join("; "))
            };
            let _ = writeln!(out, "    {state} {} -> {}{at}{texts}", asked.from, asked.to);
        }
        let more = group.cells.len().saturating_sub(LISTED);
        if more > 0 {
            let _ = writeln!(out, "    and {more} more");
        }
    }
    if !rows.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        let mut lines = vec![vec![("from \\ to".to_owned(), None)]];
        lines[0].extend(columns.iter().map(|to| ((*to).to_owned(), None)));
        for from in &rows {
            let mut line = vec![(from.clone(), None)];
            line.extend(columns.iter().map(|to| match grid.get(&(from.clone(), *to)) {
                Some(cell) => (label(cell), Some(cell.verdict)),
                None => ("-".to_owned(), None),
            }));
            lines.push(line);
        }
        align(&mut out, &lines, color);
        for pair in LEGEND.chunks(2) {
            let _ = write!(out, "\n{};", pair.join("; "));
        }
        out.push_str(" -: not probed\n\n");
    }
    let _ = writeln!(out, "{}", summary(matrix));
    out
}

/// Aligned columns; color is added after padding, because escape sequences have no width.
fn align(out: &mut String, lines: &[Vec<(String, Option<Verdict>)>], color: bool) {
    let width = |at: usize| lines.iter().map(|line| line[at].0.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    for line in lines {
        for (at, (cell, verdict)) in line.iter().enumerate() {
            out.push_str(&paint(cell, *verdict, color));
            if at + 1 < line.len() {
                out.extend(std::iter::repeat_n(' ', widths[at] - cell.chars().count() + 2));
            }
        }
        out.push('\n');
    }
}

/// Colors a text green, red or yellow.
fn paint(text: &str, verdict: Option<Verdict>, color: bool) -> String {
    let code = match verdict {
        Some(Verdict::Pass) => 32,
        Some(Verdict::Fail) => 31,
        Some(Verdict::Lossy | Verdict::Unknown) => 33,
        None => return text.to_owned(),
    };
    if color {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::matrix::tests::{counted, one};

    #[test]
    fn a_pass_shows_its_round_trip_and_the_summary_counts_it() {
        let text = text(&[], &one(true, counted(2, 2)), false);
        assert!(text.starts_with("from \\ to  b\na          ok 0.4\n"), "{text}");
        assert!(text.ends_with("1 of 1 as expected\n"), "{text}");
    }

    #[test]
    fn every_bad_cell_has_a_line_with_its_reason() {
        let lossy = text(&[], &one(true, counted(2, 1)), false);
        assert!(
            lossy.contains("lossy 1/2\n")
                && lossy.starts_with("1 cell: 1 of 2 pings were answered\n    lossy a -> b (10.0.0.2)\n"),
            "{lossy}"
        );
        let unknown = text(&[], &one(false, Some(Err("the guest has stopped"))), false);
        assert!(
            unknown.starts_with("1 cell: the guest has stopped\n    ? a -> b (10.0.0.2)\n")
                && unknown.ends_with("0 of 1 as expected\n"),
            "{unknown}"
        );
    }

    #[test]
    fn color_changes_nothing_but_the_color() {
        let matrix = one(true, counted(2, 0));
        let plain = text(&[], &matrix, true).replace("\x1b[31m", "").replace("\x1b[0m", "");
        assert_eq!(plain, text(&[], &matrix, false));
    }

    #[test]
    fn a_cell_that_was_asked_again_says_so() {
        let mut matrix = one(true, counted(2, 2));
        matrix.cells[0].asked = 2;
        assert!(text(&[], &matrix, false).ends_with("1 of 1 as expected, 1 of them only when asked again\n"));
        let mut matrix = one(true, counted(2, 1));
        matrix.cells[0].asked = 3;
        assert!(text(&[], &matrix, false).contains("-> b (10.0.0.2): asked 3 times\n"));
    }

    #[test]
    fn expected_isolation_is_labeled_isolated() {
        assert!(text(&[], &one(false, counted(2, 0)), false).contains("isolated\n"));
    }

    #[test]
    fn equal_causes_are_one_group_and_a_fault_without_cells_is_listed() {
        let mut matrix = one(true, counted(2, 0));
        let mut other = matrix.cells[0].clone();
        other.cause = Some("node2: link eth0 has no carrier".to_owned());
        matrix.cells.extend([other.clone(), other]);
        let fault = FaultReport {
            text: "networks red and blue are joined".to_owned(),
            cells: 0,
        };
        let text = text(&[fault], &matrix, false);
        let heads: Vec<_> = text
            .lines()
            .take_while(|line| !line.is_empty())
            .filter(|line| !line.starts_with(' '))
            .collect();
        let wanted = [
            "2 cells: node2: link eth0 has no carrier",
            "1 cell: no reply to 2 pings",
            "fault: networks red and blue are joined",
        ];
        assert_eq!(heads, wanted, "{text}");
    }

    #[test]
    fn a_matrix_without_cells_proves_nothing() {
        let matrix = Matrix { cells: Vec::new() };
        assert_eq!(text(&[], &matrix, false), "nothing was asked, so nothing is proved\n");
        assert!(!matrix.is_as_expected());
    }
}
