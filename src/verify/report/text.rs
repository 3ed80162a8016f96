//! The matrix as text: sources are rows, targets are columns.

use std::fmt::Write as _;

use super::{Grid, LEGEND, explanation, label, name, printable, summary};
use crate::verify::{Matrix, Verdict};

/// Returns the matrix, its legend, a line per cell that is not as expected, and the summary; with `color` in ANSI
/// colors (ECMA-48, 8.3.117).
pub fn text(matrix: &Matrix, color: bool) -> String {
    let Grid { rows, columns, cells } = Grid::of(matrix);
    let mut lines = vec![vec![("from \\ to".to_owned(), None)]];
    lines[0].extend(columns.iter().map(|to| ((*to).to_owned(), None)));
    for from in &rows {
        let mut line = vec![(from.clone(), None)];
        line.extend(columns.iter().map(|to| match cells.get(&(from.clone(), *to)) {
            Some(cell) => (label(cell), Some(cell.verdict)),
            None => ("-".to_owned(), None),
        }));
        lines.push(line);
    }
    let mut out = String::new();
    if !rows.is_empty() {
        align(&mut out, &lines, color);
        for pair in LEGEND.chunks(2) {
            let _ = write!(out, "\n{};", pair.join("; "));
        }
        out.push_str(" -: not probed\n\n");
    }
    for cell in &matrix.cells {
        let mut texts = explanation(cell).into_iter();
        if let Some(reason) = texts.next() {
            let asked = &cell.expectation;
            let address = asked.address.to_string();
            let at = if asked.to == address {
                String::new()
            } else {
                format!(" ({address})")
            };
            let state = paint(name(cell.verdict), Some(cell.verdict), color);
            let _ = writeln!(
                out,
                "{state} {} -> {}{at}: {}",
                asked.from,
                asked.to,
                printable(&reason)
            );
            for text in texts {
                let _ = writeln!(out, "    {}", printable(&text));
            }
        }
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
    fn color_changes_nothing_but_the_color() {
        let matrix = one(true, counted(2, 0));
        let plain = text(&matrix, true).replace("\x1b[31m", "").replace("\x1b[0m", "");
        assert_eq!(plain, text(&matrix, false));
    }

    #[test]
    fn a_cell_that_was_asked_again_says_so() {
        let mut matrix = one(true, counted(2, 2));
        matrix.cells[0].asked = 2;
        assert!(text(&matrix, false).ends_with("1 of 1 as expected, 1 of them only when asked again\n"));
        let mut matrix = one(true, counted(2, 1));
        matrix.cells[0].asked = 3;
        assert!(text(&matrix, false).contains("\n    asked 3 times\n"));
    }

    #[test]
    fn expected_isolation_is_labeled_isolated() {
        assert!(text(&one(false, counted(2, 0)), false).contains("isolated\n"));
    }
}
