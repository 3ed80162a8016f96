//! The result as text for people: causes, then the matrix, then the summary.

use std::fmt::Write as _;

use super::checks::checks_text;
use super::{Shown, cells, explanation, groups, name, printable, summary, table};
use crate::verify::Verdict;

/// Cells of one group that are listed.
const LISTED: usize = 6;

/// How text is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// The terminal's columns; absent: text is not for a terminal, and only the matrix is limited.
    pub columns: Option<usize>,
    /// With ANSI colors (ECMA-48, 8.3.117).
    pub color: bool,
}

/// Returns the causes of what is not as expected, each with its cells, those of the most cells first; then the matrix, its
/// legend and the summary.
pub fn text(shown: &Shown<'_>, style: Style) -> String {
    let Shown { faults, matrix, .. } = *shown;
    let mut out = String::new();
    let line = |out: &mut String, indent: usize, state: (&str, Verdict), text: String| {
        let head = paint(state.0, Some(color_of(state.1)), style.color);
        let text = match style.columns {
            Some(columns) => broken(&text, columns, indent + state.0.chars().count(), indent + 2),
            None => text,
        };
        let _ = writeln!(out, "{:indent$}{head}{text}", "");
    };
    for group in groups(matrix, faults) {
        let head = cells(group.cells.len());
        line(
            &mut out,
            0,
            (&head, Verdict::Fail),
            format!(": {}", printable(group.cause)),
        );
        for cell in group.cells.iter().take(LISTED) {
            let asked = &cell.expectation;
            let address = asked.address.to_string();
            let at = if asked.to == address {
                String::new()
            } else {
                format!(" ({address})")
            };
            let texts = explanation(cell).into_iter().filter(|text| text != group.cause);
            let texts: Vec<String> = texts.map(|text| printable(&text)).collect();
            let texts = if texts.is_empty() {
                String::new()
            } else {
                format!(": {}", texts.join("; "))
            };
            let text = format!(" {} -> {}{at}{texts}", asked.from, asked.to);
            line(&mut out, 4, (name(cell.verdict), cell.verdict), text);
        }
        let more = group.cells.len().saturating_sub(LISTED);
        if more > 0 {
            let _ = writeln!(out, "    and {more} more");
        }
    }
    if !matrix.cells.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        table::matrix(&mut out, matrix, shown.places, style, &|cell| {
            shown.changes.contains(cell)
        });
        out.push('\n');
    }
    if matrix.cells.is_empty() && !shown.checks.is_empty() {
        out.push_str(&checks_text(shown.checks, style.color));
        return out;
    }
    let _ = writeln!(
        out,
        "{}",
        wrapped(&[summary(matrix)], "", style.columns.unwrap_or(usize::MAX)).trim_end()
    );
    if !shown.checks.is_empty() {
        let _ = write!(out, "\n{}", checks_text(shown.checks, style.color));
    }
    out
}

/// Breaks a text between words into lines of at most `width` columns: its first line begins at column `first`, the others
/// are indented. A word that is longer than a line stays whole.
fn broken(text: &str, width: usize, first: usize, indent: usize) -> String {
    let (mut out, mut at) = (String::new(), first);
    for (number, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if number > 0 && at + 1 + length > width && at > indent {
            let _ = write!(out, "\n{:indent$}", "");
            at = indent;
        } else if number > 0 {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += length;
    }
    out
}

/// Returns items on lines of at most `width` columns, broken between items only, where those are no longer than a line.
pub(super) fn wrapped(items: &[String], separator: &str, width: usize) -> String {
    let (mut out, mut at) = (String::new(), 0);
    for (number, item) in items.iter().enumerate() {
        let last = number + 1 == items.len();
        let length = item.chars().count() + if last { 0 } else { separator.trim_end().len() };
        if at > 0 && at + 1 + length > width {
            out.push('\n');
            at = 0;
        } else if at > 0 {
            out.push(' ');
            at += 1;
        }
        let item = broken(item, width, 0, 0);
        out.push_str(&item);
        if !last {
            out.push_str(separator.trim_end());
        }
        at += length;
    }
    out.push('\n');
    out
}

/// A color of ECMA-48, 8.3.117: green, red or yellow.
pub(super) fn color_of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 32,
        Verdict::Fail => 31,
        Verdict::Lossy | Verdict::Unknown => 33,
    }
}

/// Writes a text in a color, if `color` is wanted.
pub(super) fn paint(text: &str, code: Option<u8>, color: bool) -> String {
    match code {
        Some(code) if color => format!("\x1b[{code}m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::matrix::tests::{counted, one};
    use crate::verify::report::tests::lab;
    use crate::verify::{Changes, FaultReport, Matrix, Places};

    fn text(faults: &[FaultReport], matrix: &Matrix, color: bool) -> String {
        in_style(faults, matrix, Style { columns: None, color })
    }

    fn in_style(faults: &[FaultReport], matrix: &Matrix, style: Style) -> String {
        let shown = Shown {
            checks: &[],
            faults,
            matrix,
            places: &Places::default(),
            changes: &Changes::default(),
        };
        super::text(&shown, style)
    }

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
    fn a_sample_says_how_many_cells_there_are_and_how_to_ask_them_all() {
        let mut matrix = one(true, counted(2, 2));
        matrix.sample_of = Some(90_000);
        let text = text(&[], &matrix, false);
        assert!(
            text.ends_with("1 of 1 as expected: a sample of the lab's 90000 cells; `--full` asks all of them\n"),
            "{text}"
        );
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
    fn on_a_terminal_no_line_is_wider_and_words_stay_whole() {
        let (mut matrix, _) = lab(14, &[(1, 0)]);
        let cause = "node2: link eth0 of network service has no carrier: nothing is at its other end; and so on";
        for cell in matrix.cells.iter_mut().filter(|cell| cell.verdict != Verdict::Pass) {
            cell.cause = Some(cause.to_owned());
        }
        let style = Style {
            columns: Some(60),
            color: false,
        };
        let text = in_style(&[], &matrix, style);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(cause.split(' ').all(|word| words.contains(&word)), "{text}");
    }

    #[test]
    fn a_matrix_without_cells_proves_nothing() {
        let matrix = Matrix::default();
        assert_eq!(text(&[], &matrix, false), "nothing was asked, so nothing is proved\n");
        assert!(!matrix.is_as_expected());
    }
}
