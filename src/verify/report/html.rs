//! The matrix as one self-contained HTML file: no script, font or picture from elsewhere.

use std::fmt::Write as _;

use super::grid::Grid;
use super::{Places, cells, explanation, groups, label, printable, summary};
use crate::verify::{FaultReport, Matrix, Verdict};

const LEGEND: [&str; 1] = ["ok"];

const STYLE: &str = include_str!("style.css");

/// Returns the report of `lab` as one page; `drift` is what `up` would do, one step per item.
pub fn html(lab: &str, drift: &[String], faults: &[FaultReport], matrix: &Matrix) -> String {
    let Grid {
        rows,
        columns,
        cells: grid,
    } = Grid::of(matrix, &Places::default());
    let (lab, summary) = (escape(lab), summary(matrix));
    let verdict = if matrix.is_as_expected() && drift.is_empty() && faults.is_empty() {
        "as described"
    } else {
        "not as described"
    };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>netlab verify {lab}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Lab {lab} is {verdict}</h1>\n\
         <p>{summary}</p>\n"
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
                match grid.get(&(from.clone(), *to)) {
                    None => out.push_str("<td>–</td>"),
                    Some(cell) => {
                        let (class, label) = (class(cell.verdict), escape(&label(cell)));
                        let title = escape(&explanation(cell).join("; "));
                        let _ = write!(out, "<td class=\"{class}\" title=\"{title}\">{label}</td>");
                    }
                }
            }
            out.push_str("</tr>\n");
        }
        let legend = LEGEND.join(" · ");
        let _ = write!(
            out,
            "</tbody>\n</table></div>\n<p class=\"legend\">{legend} · –: not probed</p>\n"
        );
    }
    let bad = groups(matrix, faults);
    if !bad.is_empty() {
        out.push_str("<h2>Not as expected</h2>\n<dl>\n");
        for group in bad {
            let _ = writeln!(out, "<dt>{}: {}</dt>", cells(group.count), escape(group.cause));
            for cell in group.cells {
                let asked = &cell.expectation;
                let mut texts = vec![format!("{} → {} ({})", asked.from, asked.to, asked.address)];
                texts.extend(explanation(cell).into_iter().filter(|text| text != group.cause));
                let _ = writeln!(out, "<dd>{}</dd>", escape(&texts.join(": ")));
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

/// Escapes text for an element or an attribute.
fn escape(text: &str) -> String {
    printable(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::matrix::tests::{counted, one};

    #[test]
    fn one_file_has_the_matrix_its_failures_and_the_drift_and_loads_no_other() {
        let text = html("lab", &["node1: start vm1".to_owned()], &[], &one(true, counted(2, 0)));
        assert!(
            text.contains("Lab lab is not as described") && text.contains("0 of 1"),
            "{text}"
        );
        assert!(
            text.contains(r#"<td class="fail" title="no reply to 2 pings">FAIL</td>"#),
            "{text}"
        );
        assert!(text.contains("<code>node1: start vm1</code>"), "{text}");
        for load in ["http:", "https:", "<script", "<link", "src="] {
            assert!(!text.contains(load), "{load}");
        }
        assert!(html("lab", &[], &[], &one(true, counted(2, 2))).contains("Lab lab is as described"));
    }

    #[test]
    fn a_guests_output_is_escaped() {
        let text = html("lab", &[], &[], &one(true, Some(Err("\"><script>&\u{1b}"))));
        assert!(text.contains("&quot;&gt;&lt;script&gt;&amp;\\u{1b}"), "{text}");
        assert!(!text.contains("<script"), "{text}");
    }
}
