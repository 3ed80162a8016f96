//! The lines of a file around a problem, as a terminal may show them: control characters and invisible characters that
//! change how text is displayed are escaped, and long lines are cut around the place.

use std::fmt::Write as _;
use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// Longest line that is shown in full, in bytes.
const LONGEST: usize = 200;
/// Bytes that are shown around either end of the place in a longer line.
const AROUND: usize = 40;
/// Most lines of a place that are shown; of a longer one only the first is.
const MOST_LINES: usize = 10;

/// A place in a file, with a line before and a line after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    file: String,
    text: String,
    /// The number of the first line, from 0.
    first: usize,
    /// The place in `text`.
    mark: SourceSpan,
    /// Line and column of the place in the file, from 0; the column in characters.
    at: (usize, usize),
}

impl Excerpt {
    /// Returns the excerpt of `text`, the content of `file`, around `span`.
    pub(super) fn new(file: &str, text: &str, span: &Range<usize>) -> Self {
        // Byte ranges of the lines, without their ends.
        let mut lines: Vec<Range<usize>> = Vec::new();
        let mut offset = 0;
        for line in text.split('\n') {
            let length = line.strip_suffix('\r').unwrap_or(line).len();
            lines.push(offset..offset + length);
            offset += line.len() + 1;
        }
        let line_of = |at: usize| lines.partition_point(|line| line.start <= at).saturating_sub(1);
        let start_line = line_of(span.start);
        let mut end_line = line_of(span.end.saturating_sub(1).max(span.start));
        let mut end = span.end;
        if end_line - start_line >= MOST_LINES {
            end_line = start_line;
            end = lines.get(start_line).map_or(end, |line| line.end);
        }
        let place = span.start..end.max(span.start);
        let first = start_line.saturating_sub(1);
        let shown = lines.get(first..(end_line + 2).min(lines.len())).unwrap_or_default();
        let mut out = String::new();
        let mut mark = 0..0;
        for line in shown {
            if !out.is_empty() || line.start != shown.first().map_or(0, |first| first.start) {
                out.push('\n');
            }
            append(&mut out, text, line, &place, &mut mark);
        }
        let begin = lines.get(start_line).map_or(0, |line| line.start);
        let column = text.get(begin..span.start).map_or(0, |before| before.chars().count());
        Self {
            file: readable(file),
            text: out,
            first,
            mark: (mark.start..mark.end.max(mark.start)).into(),
            at: (start_line, column),
        }
    }

    /// Returns the file, and the line and column of the place in it, from 1; the column in characters.
    pub(super) fn place(&self) -> (&str, usize, usize) {
        (&self.file, self.at.0 + 1, self.at.1 + 1)
    }

    /// Returns the place in the excerpt.
    pub(super) fn mark(&self) -> SourceSpan {
        self.mark
    }
}

/// Appends a line of `text` to `out`; where an end of `place` is in it, `mark` gets its place in `out`.
fn append(out: &mut String, text: &str, line: &Range<usize>, place: &Range<usize>, mark: &mut Range<usize>) {
    let near = |at: usize, end: usize| at + AROUND >= end && at <= end + AROUND;
    let is_short = line.len() <= LONGEST;
    let shown = |at: usize| is_short || at < line.start + AROUND || near(at, place.start) || near(at, place.end);
    let mut cut = false;
    let content = text.get(line.clone()).unwrap_or_default();
    for (at, c) in content.char_indices().map(|(at, c)| (line.start + at, c)) {
        if at == place.start {
            mark.start = out.len();
        }
        if at == place.end {
            mark.end = out.len();
        }
        if shown(at) {
            push_readable(out, c);
        } else if !cut {
            out.push('…');
        }
        cut = !shown(at);
    }
    if line.end == place.start {
        mark.start = out.len();
    }
    // A place that ends with its line may include the line's end.
    if (line.end..=line.end + 2).contains(&place.end) {
        mark.end = out.len();
    }
}

impl SourceCode for Excerpt {
    /// Returns the whole excerpt, or without context the place alone.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = |data: &'a str, span: SourceSpan, line: usize, column: usize| {
            let lines = data.lines().count();
            let contents = MietteSpanContents::new_named(self.file.clone(), data.as_bytes(), span, line, column, lines);
            Box::new(contents.with_language("TOML"))
        };
        if before == 0 && after == 0 {
            let range = span.offset()..span.offset() + span.len();
            let data = self.text.get(range).ok_or(MietteError::OutOfBounds)?;
            let (line, column) = self.at;
            return Ok(contents(data, *span, line, column));
        }
        Ok(contents(&self.text, (0..self.text.len()).into(), self.first, 0))
    }
}

/// Returns text with everything escaped that could change how a terminal shows the rest.
pub(crate) fn readable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_readable(&mut out, c));
    out
}

fn push_readable(out: &mut String, c: char) {
    if c != '\t' && (c.is_control() || is_invisible(c)) {
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{}", c.escape_default());
    } else {
        out.push(c);
    }
}

/// Characters of Unicode that have no width, order text from right to left, or separate lines.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, marked: &str) -> Excerpt {
        let at = text.find(marked).unwrap();
        Excerpt::new("lab.toml", text, &(at..at + marked.len()))
    }

    fn marked(excerpt: &Excerpt) -> &str {
        let mark = excerpt.mark();
        &excerpt.text[mark.offset()..mark.offset() + mark.len()]
    }

    #[test]
    fn the_lines_around_the_place_are_shown() {
        let found = excerpt("a\nb\r\nxx wrong yy\r\nd\ne\n", "wrong");
        assert_eq!(
            (found.text.as_str(), found.first, found.at),
            ("b\nxx wrong yy\nd", 1, (2, 3))
        );
        assert_eq!(marked(&found), "wrong");
    }

    #[test]
    fn escapes_and_direction_marks_are_written_out() {
        let found = excerpt("# \u{1b}[31m\u{202e}\nwrong # \u{7}\n", "wrong");
        assert_eq!(found.text, "# \\u{1b}[31m\\u{202e}\nwrong # \\u{7}\n");
        assert_eq!(marked(&found), "wrong");
    }

    #[test]
    fn a_long_line_is_cut_around_both_ends_of_the_place() {
        let wrong = format!("<{}>", "ä".repeat(5000));
        let text = format!("{} {wrong} {}", "b".repeat(5000), "c".repeat(5000));
        let found = excerpt(&text, &wrong);
        assert!(found.text.len() < 400, "{}", found.text);
        let mark = marked(&found);
        assert!(
            mark.starts_with("<ä") && mark.contains("ä…ä") && mark.ends_with("ä>"),
            "{mark}"
        );
        assert_eq!(found.at, (0, 5001));
    }

    #[test]
    fn any_place_of_any_text_can_be_shown() {
        for text in ["", "\n", "a", "a\n", "ä\r\n\n", "\r", "a\n\n\nb"] {
            for start in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                for end in (start..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                    let found = Excerpt::new("f", text, &(start..end));
                    assert!(
                        found.read_span(&found.mark(), 0, 0).is_ok(),
                        "{text:?} {start} {end} {found:?}"
                    );
                }
            }
        }
        let long = format!("[\n{}]\n", "1,\n".repeat(1000));
        assert!(Excerpt::new("f", &long, &(0..long.len())).text.len() < 20);
    }
}
