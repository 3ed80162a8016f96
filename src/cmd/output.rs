//! Text for people: aligned columns, and text on stderr that neither breaks progress bars nor panics on a closed pipe.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use indicatif::MultiProgress;

use super::terminal::shown;
use crate::lab::{masked, readable};

/// The bars on the terminal, while there are any.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// From now on, text on stderr goes above `bars`; `None`: there are no bars any more.
pub fn set_bars(bars: Option<MultiProgress>) {
    *BARS.lock().unwrap_or_else(PoisonError::into_inner) = bars;
}

/// Returns columns aligned to the left, two spaces between, no blanks at a line's end. Rows may differ in length.
pub fn table(rows: &[Vec<String>]) -> String {
    // What guests, tools and users named is in the cells.
    let escaped = |cell: &String| readable(&masked::urls(cell));
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(escaped).collect()).collect();
    let rows = &rows;
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
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

/// Whether the terminal may show nothing but ASCII, by its name and by the locale (locale(7): the first of the variables that
/// is set counts).
pub fn ascii_only() -> bool {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(value);
    let utf8 = locale.is_some_and(|locale| {
        let locale = locale.to_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    !utf8 || value("TERM").as_deref() == Some("dumb")
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
