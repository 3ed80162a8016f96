//! Text for people: aligned columns, and text on stderr that neither breaks progress bars nor panics on a closed pipe.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::MultiProgress;

use super::terminal::{self, shown};
use crate::lab::{masked, readable};

/// The bars on the terminal, while there are any.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// From now on, text on stderr goes above `bars`; `None`: there are no bars any more.
pub fn set_bars(bars: Option<MultiProgress>) {
    *BARS.lock().unwrap_or_else(PoisonError::into_inner) = bars;
}

/// Returns columns aligned to the left, two spaces between, no blanks at a line's end; on a terminal no wider than that,
/// as far as words allow. Rows may differ in length.
pub fn table(rows: &[Vec<String>]) -> String {
    table_within(rows, terminal::columns())
}

/// Like [`table`], without the last column on a terminal where the table would not fit with it.
pub fn table_with_optional(rows: &[Vec<String>]) -> String {
    with_optional_within(rows, terminal::columns())
}

fn with_optional_within(rows: &[Vec<String>], columns: Option<usize>) -> String {
    let whole = table_within(rows, None);
    let fits = |columns| whole.lines().all(|line| line.chars().count() <= columns);
    if columns.is_none_or(fits) {
        return whole;
    }
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let but_last = |row: &Vec<String>| row.iter().take(count - 1).cloned().collect();
    table_within(&rows.iter().map(but_last).collect::<Vec<_>>(), columns)
}

/// Like [`table`], within these columns: the cells of the widest columns are broken at spaces.
fn table_within(rows: &[Vec<String>], columns: Option<usize>) -> String {
    // What guests, tools and users named is in the cells.
    let escaped = |cell: &String| readable(&masked::urls(cell));
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(escaped).collect()).collect();
    let widths = widths(&rows, columns);
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| broken(cell, *width));
        let cells: Vec<Vec<String>> = cells.collect();
        for at in 0..cells.iter().map(Vec::len).max().unwrap_or(0).max(1) {
            let line = cells.iter().zip(&widths).map(|(lines, width)| {
                let text = lines.get(at).map_or("", String::as_str);
                format!("{text:<width$}")
            });
            out.push_str(line.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
        }
    }
    out
}

/// Returns the width of each column: that of its widest cell, or less where the table would not fit.
fn widths(rows: &[Vec<String>], columns: Option<usize>) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |of: &dyn Fn(&str) -> usize| -> Vec<usize> {
        let cells = |at: usize| rows.iter().filter_map(move |row| row.get(at));
        (0..count)
            .map(|at| cells(at).map(|cell| of(cell)).max().unwrap_or(0))
            .collect()
    };
    let mut widths = widest(&|cell| cell.chars().count());
    let least = widest(&|cell| cell.split(' ').map(|word| word.chars().count()).max().unwrap_or(0));
    let between = 2 * count.saturating_sub(1);
    while columns.is_some_and(|columns| widths.iter().sum::<usize>() + between > columns) {
        let wider = (0..count).filter(|at| widths[*at] > least[*at]);
        let Some(at) = wider.max_by_key(|at| widths[*at]) else {
            break;
        };
        widths[at] -= 1;
    }
    widths
}

/// Returns text in lines of at most `width` characters, broken at spaces; a longer word is a line of its own.
pub fn broken(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split(' ') {
        let more = word.chars().count();
        if length > 0 && length + 1 + more > width {
            lines.push(String::new());
            length = 0;
        }
        if let Some(line) = lines.last_mut() {
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += more;
        }
    }
    lines
}

/// Returns text whose lines are broken at spaces where the terminal `columns` is narrower; what is broken is indented
/// by `indent` more spaces than its line.
pub fn wrapped(text: &str, columns: Option<usize>, indent: usize) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let mut out = Vec::new();
    for line in text.lines() {
        let own = line.chars().take_while(|c| *c == ' ').count();
        let lead = " ".repeat(own + indent);
        let mut pieces = broken(line.trim_start(), columns.saturating_sub(own + indent).max(20)).into_iter();
        out.extend(pieces.next().map(|first| format!("{}{first}", " ".repeat(own))));
        out.extend(pieces.map(|piece| format!("{lead}{piece}")));
    }
    let end = if text.ends_with('\n') { "\n" } else { "" };
    out.join("\n") + end
}

/// Returns a warning as it is printed: its help is on a line of its own, and long lines are broken at words. With
/// `--json`, an object on one line.
pub fn warning(text: &str, help: Option<&str>) -> String {
    if is_json() {
        return one_line_json(&serde_json::json!({ "warning": harmless(text), "help": help.map(harmless) }));
    }
    let help = help
        .map(|help| format!("\n  help: {}", harmless(help)))
        .unwrap_or_default();
    wrapped(
        &format!("warning: {}{help}", harmless(text)),
        terminal::error_columns(),
        2,
    )
}

/// Returns JSON on one line, without what a terminal would act on and without secrets of URLs.
pub fn one_line_json(value: &serde_json::Value) -> String {
    readable_json(&masked::urls(&value.to_string()))
}

static JSON: AtomicBool = AtomicBool::new(false);

/// From now on, errors and warnings are printed as JSON.
pub fn set_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// Whether errors and warnings are printed as JSON.
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Returns rows, whose first one is the head, without the columns that are empty below it.
pub fn without_empty_columns(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let full = |at: usize| {
        rows.iter()
            .skip(1)
            .any(|row| row.get(at).is_some_and(|cell| !cell.is_empty()))
    };
    let width = rows.iter().map(Vec::len).max().unwrap_or_default();
    let keep: Vec<bool> = (0..width).map(full).collect();
    let kept = |row: Vec<String>| {
        row.into_iter()
            .zip(&keep)
            .filter(|(_, keep)| **keep)
            .map(|(cell, _)| cell)
    };
    rows.into_iter().map(|row| kept(row).collect()).collect()
}

/// Prints text and a line end on stderr, above the progress bars.
pub(crate) fn print_error(text: &str) {
    write_error(&format!("{text}\n"));
}

/// Writes text on stderr, above the progress bars. A closed pipe is ignored.
pub(crate) fn write_error(text: &str) {
    let text = shown(text);
    let write = || _ = std::io::stderr().lock().write_all(text.as_bytes());
    match &*BARS.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// Returns text from a guest or a tool as one line: characters that a terminal would act on are escaped, and secrets of
/// URLs are masked.
pub(crate) fn one_line(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace(['\n', '\t'], " ");
    readable(masked::urls(&text).trim())
}

/// Returns text that may have several lines, e.g. a guest's last screen, with the same characters escaped.
pub(crate) fn harmless(text: &str) -> String {
    let text = masked::urls(text);
    let lines: Vec<String> = text.lines().map(readable).collect();
    lines.join("\n").trim().to_owned()
}

/// Returns JSON in which the characters are escaped that a terminal would act on. They can be in its strings only.
pub(crate) fn readable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for one in json.chars() {
        if one == '\n' || readable(one.encode_utf8(&mut [0; 4])).starts_with(one) {
            out.push(one);
        } else {
            for unit in one.encode_utf16(&mut [0; 2]) {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["a".to_owned(), "b".to_owned()],
            vec!["long".to_owned(), "c".to_owned()],
        ];
        assert_eq!(table(&rows), "a     b\nlong  c\n");
    }

    #[test]
    fn a_column_that_is_empty_below_its_head_is_left_out() {
        let rows = [["A", "B", "C"], ["1", "", "3"], ["4", "", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&without_empty_columns(rows.to_vec())), "A  C\n1  3\n4\n");
    }

    #[test]
    fn a_table_that_is_too_wide_breaks_its_widest_cells_at_words() {
        let rows = [vec!["vm1", "10.0.1.2/24 10.0.2.2/24 10.0.3.2/24"], vec!["vm2", "-"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect());
        let table = table_within(&rows, Some(30));
        assert_eq!(table, "vm1  10.0.1.2/24 10.0.2.2/24\n     10.0.3.2/24\nvm2  -\n");
        // No word is broken.
        assert_eq!(table_within(&rows, Some(3)).lines().next(), Some("vm1  10.0.1.2/24"));
    }

    #[test]
    fn an_optional_column_is_left_out_where_the_table_would_not_fit() {
        let rows = [
            vec!["NAME".to_owned(), "SOURCE".to_owned()],
            vec!["mini".to_owned(), "https://example.org/mini.img".to_owned()],
        ];
        assert_eq!(with_optional_within(&rows, Some(20)), "NAME\nmini\n");
        for enough in [Some(34), None] {
            let table = with_optional_within(&rows, enough);
            assert_eq!(table, "NAME  SOURCE\nmini  https://example.org/mini.img\n");
        }
    }

    #[test]
    fn long_lines_are_broken_at_words_and_indented() {
        let text = wrapped("warning: a b c d e f g h i j k\n  help: one", Some(22), 2);
        assert_eq!(text, "warning: a b c d e f\n  g h i j k\n  help: one");
        assert_eq!(wrapped("a b", None, 2), "a b");
        assert_eq!(wrapped("a b\n", Some(80), 2), "a b\n");
    }

    #[test]
    fn short_and_empty_rows_are_allowed() {
        assert_eq!(table(&[vec![], vec!["a".to_owned(), String::new()]]), "\na\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(one_line("\x1b[2Jlogin:\r\n"), "\\u{1b}[2Jlogin:");
        assert_eq!(
            harmless("a\x1b[2J\r\nb\u{202e}\u{9b}\n"),
            "a\\u{1b}[2J\nb\\u{202e}\\u{9b}"
        );
        assert_eq!(table(&[vec!["\x07a".to_owned(), "b".to_owned()]]), "\\u{7}a  b\n");
        let text = "ä\u{7f}\u{202e}\u{e0041}\n";
        let json = readable_json(&serde_json::to_string(text).unwrap());
        assert_eq!(json, r#""ä\u007f\u202e\udb40\udc41\n""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn secrets_of_urls_are_masked() {
        assert_eq!(one_line("get http://u:pw@h/x"), "get http://u:***@h/x");
        assert_eq!(harmless("a\nhttp://u:pw@h/x"), "a\nhttp://u:***@h/x");
    }
}
