//! The matrix as one HTML file that needs no other: no script, no font, no picture from anywhere.

use std::fmt::Write as _;

use super::report::{Square, plain, word};
use super::{Matrix, Verdict};

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --ok: #2e7d3233; --bad: #c6282840; --odd: #f9a82540; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; max-width: 72rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: .3rem .7rem; text-align: center; white-space: nowrap; }
tbody th { text-align: right; } thead th { font-weight: 600; }
.pass { background: var(--ok); } .fail { background: var(--bad); font-weight: 600; }
.lossy, .unknown { background: var(--odd); }
dt { margin-top: .7rem; font-weight: 600; } dd { margin-left: 1.5rem; }
code { font-family: ui-monospace, monospace; }
.legend { color: #888; font-size: .9rem; }
";

/// The report of `lab`; `drift` is what `up` would do, a line a step.
pub fn html(lab: &str, drift: &[String], matrix: &Matrix) -> String {
    let Square { rows, columns, cells } = Square::of(matrix);
    let (lab, passed, all) = (escape(lab), matrix.passed(), matrix.cells.len());
    let verdict = if passed == all && drift.is_empty() {
        "as described"
    } else {
        "not as described"
    };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>netlab verify {lab}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Lab {lab} is {verdict}</h1>\n\
         <p>{passed} of {all} answers as expected.</p>\n"
    );
    // Writing to a `String` cannot fail.
    if !rows.is_empty() {
        out.push_str("<div class=\"scroll\"><table>\n<thead><tr><th>from \\ to</th>");
        for to in &columns {
            let _ = write!(out, "<th>{}</th>", escape(to));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for from in &rows {
            let _ = write!(out, "<tr><th>{}</th>", escape(from));
            for to in &columns {
                match cells.get(&(from.clone(), *to)) {
                    None => out.push_str("<td>–</td>"),
                    Some(cell) => {
                        let words: Vec<&str> = cell.reason.iter().chain(&cell.cause).map(String::as_str).collect();
                        let (class, word) = (class(cell.verdict), escape(&word(cell)));
                        let title = escape(&words.join("; "));
                        let _ = write!(out, "<td class=\"{class}\" title=\"{title}\">{word}</td>");
                    }
                }
            }
            out.push_str("</tr>\n");
        }
        out.push_str(
            "</tbody>\n</table></div>\n<p class=\"legend\">ok: reached, round trip in ms · apart: not reached, as \
             expected · FAIL: the opposite of what is expected · MTU: only small packets pass · lossy: replies/pings \
             · ?: nothing can be said · –: not asked</p>\n",
        );
    }
    let bad: Vec<_> = matrix
        .cells
        .iter()
        .filter(|cell| cell.verdict != Verdict::Pass)
        .collect();
    if !bad.is_empty() {
        out.push_str("<h2>What is not as expected</h2>\n<dl>\n");
        for cell in bad {
            let asked = &cell.expectation;
            let head = format!("{} → {} ({})", asked.from, asked.to, asked.address);
            let _ = writeln!(out, "<dt>{}</dt>", escape(&head));
            for words in cell.reason.iter().chain(&cell.cause) {
                let _ = writeln!(out, "<dd>{}</dd>", escape(words));
            }
        }
        out.push_str("</dl>\n");
    }
    if !drift.is_empty() {
        out.push_str("<h2>What <code>netlab up</code> would do</h2>\n<ul>\n");
        for line in drift {
            let _ = writeln!(out, "<li><code>{}</code></li>", escape(line));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Lossy => "lossy",
        Verdict::Unknown => "unknown",
    }
}

/// Text as HTML shows it, in an attribute, too.
fn escape(text: &str) -> String {
    plain(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::{counted, one};
    use super::*;

    #[test]
    fn the_matrix_its_failures_and_the_drift_are_in_one_file_that_asks_for_no_other() {
        let text = html("lab", &["node1: start vm1".to_owned()], &one(true, counted(2, 0)));
        assert!(
            text.contains("Lab lab is not as described") && text.contains("0 of 1"),
            "{text}"
        );
        assert!(
            text.contains(r#"<td class="fail" title="no reply to 2 pings">FAIL</td>"#),
            "{text}"
        );
        assert!(text.contains("<code>node1: start vm1</code>"), "{text}");
        for asks in ["http:", "https:", "<script", "<link", "src="] {
            assert!(!text.contains(asks), "{asks}");
        }
        assert!(html("lab", &[], &one(true, counted(2, 2))).contains("Lab lab is as described"));
    }

    #[test]
    fn what_a_guest_said_is_text() {
        let text = html("lab", &[], &one(true, Some(Err("\"><script>&\u{1b}"))));
        assert!(text.contains("&quot;&gt;&lt;script&gt;&amp; "), "{text}");
        assert!(!text.contains("<script"), "{text}");
    }
}
