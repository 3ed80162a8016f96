//! The result as one self-contained HTML page that needs no script: no font, picture or file from elsewhere.

mod cells;
mod matrix;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::checks::{details, title};
use super::{Shown, cells as number_of_cells, explanation, groups, name, printable, summary};
use crate::verify::{CheckResult, is_proved};

const STYLE: &str = include_str!("style.css");
/// Cells that are listed below one cause.
const LISTED: usize = 12;

/// What the page shows besides the result itself.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The lab.
    pub lab: &'a str,
    /// Faults and cells.
    pub shown: Shown<'a>,
    /// What `up` would do, one step each.
    pub drift: &'a [String],
    /// What was waited for and asked again.
    pub notes: &'a [String],
    /// When it began: UTC, as in RFC 3339.
    pub began: &'a str,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Programs and their versions: of netlab, and of each host.
    pub versions: &'a [(String, String)],
    /// The lab as an `svg` element; it is not escaped.
    pub picture: &'a str,
    /// What was typed into each guest's console and what it printed.
    pub transcripts: &'a BTreeMap<String, String>,
}

/// Returns the page.
pub fn html(page: &Page<'_>) -> String {
    let Shown { faults, matrix, .. } = page.shown;
    let good = is_proved(matrix, page.shown.checks) && page.drift.is_empty() && faults.is_empty();
    let (class, verdict) = if good {
        ("good", "as described")
    } else {
        ("bad", "not as described")
    };
    let lab = escape(page.lab);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>netlab verify {lab}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header class=\"{class}\"><h1>Lab {lab} is {verdict}</h1>\n<p>{}</p>\n\
         <p class=\"when\">{} UTC, {:.1} s</p></header>\n",
        escape(&summary(matrix)),
        escape(&page.began.replace('T', " ").replace('Z', "")),
        page.seconds
    );
    // Writing to a `String` cannot fail.
    if !page.notes.is_empty() {
        list(&mut out, page.notes);
    }
    causes(&mut out, page);
    if !page.drift.is_empty() {
        out.push_str("<h2>What <code>netlab up</code> would do</h2>\n");
        list(&mut out, page.drift);
    }
    if !matrix.cells.is_empty() {
        matrix::write(&mut out, page.shown);
    }
    add_checks(&mut out, page.shown.checks);
    if !page.picture.is_empty() {
        let _ = writeln!(
            out,
            "<h2>Topology</h2>\n<div class=\"scroll picture\">\n{}</div>\n<p class=\"legend\">green: as described; \
             orange: some of its cells are not as expected, or it differs; red: it does not run, most of its cells are not \
             as expected, or a NIC has no carrier</p>",
            page.picture
        );
    }
    if !matrix.cells.is_empty() {
        cells::write(&mut out, page.shown);
    }
    if !page.transcripts.is_empty() {
        out.push_str("<h2>Transcripts</h2>\n<p>What was typed into the consoles during this run, and printed.</p>\n");
        for (vm, text) in page.transcripts {
            let lines: Vec<String> = text.lines().map(escape).collect();
            let (vm, text) = (escape(vm), lines.join("\n"));
            let _ = writeln!(out, "<details><summary>{vm}</summary><pre>{text}</pre></details>");
        }
    }
    if !page.versions.is_empty() {
        out.push_str("<h2>Versions</h2>\n<table class=\"plain\">\n");
        for (what, version) in page.versions {
            let _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(what), escape(version));
        }
        out.push_str("</table>\n");
    }
    out.push_str("</body>\n</html>\n");
    out
}

/// Writes a table of the checks, if there are any.
fn add_checks(out: &mut String, checks: &[CheckResult]) {
    if checks.is_empty() {
        return;
    }
    out.push_str("<h2>Checks</h2>\n<table class=\"plain\">\n");
    for check in checks {
        let (from, title) = (escape(&check.from), escape(&title(check)));
        let details: Vec<String> = details(check).iter().map(|text| escape(text)).collect();
        let _ = writeln!(
            out,
            "<tr><th>{from}</th><td>{title}</td><td class=\"{}\">{}</td><td>{}</td></tr>",
            matrix::class(check.verdict),
            name(check.verdict),
            details.join("<br>")
        );
    }
    out.push_str("</table>\n");
}

/// Writes the causes, those of the most cells first.
fn causes(out: &mut String, page: &Page<'_>) {
    let bad = groups(page.shown.matrix, page.shown.faults);
    if bad.is_empty() {
        return;
    }
    out.push_str("<h2>Not as expected</h2>\n<dl>\n");
    for group in bad {
        let count = number_of_cells(group.cells.len());
        let _ = writeln!(out, "<dt><b>{count}</b> {}</dt>", escape(group.cause));
        for cell in group.cells.iter().take(LISTED) {
            let asked = &cell.expectation;
            let mut texts = vec![format!("{} → {} ({})", asked.from, asked.to, asked.address)];
            texts.extend(explanation(cell).into_iter().filter(|text| text != group.cause));
            let _ = writeln!(out, "<dd>{}</dd>", escape(&texts.join(": ")));
        }
        if group.cells.len() > LISTED {
            let _ = writeln!(out, "<dd>and {} more</dd>", group.cells.len() - LISTED);
        }
    }
    out.push_str("</dl>\n");
}

fn list(out: &mut String, items: &[String]) {
    out.push_str("<ul>\n");
    for item in items {
        let _ = writeln!(out, "<li>{}</li>", escape(item));
    }
    out.push_str("</ul>\n");
}

/// Escapes text for an element or an attribute, and control characters as text.
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
    use crate::verify::report::tests::lab;
    use crate::verify::{Changes, Matrix, Places};

    fn page(matrix: &Matrix, places: &Places, drift: &[String], transcript: &str) -> String {
        html(&Page {
            lab: "lab",
            shown: Shown {
                checks: &[],
                faults: &[],
                matrix,
                places,
                changes: &Changes::default(),
            },
            drift,
            notes: &[],
            began: "2026-01-02T03:04:05Z",
            seconds: 3.21,
            versions: &[("netlab".to_owned(), "0.1".to_owned())],
            picture: "<svg></svg>",
            transcripts: &BTreeMap::from([("a".to_owned(), transcript.to_owned())]),
        })
    }

    #[test]
    fn checks_are_a_table_with_reasons_and_hints() {
        use crate::verify::Verdict;
        use crate::verify::report::checks::tests::check;
        let mut text = String::new();
        add_checks(&mut text, &[check(Verdict::Pass), check(Verdict::Fail)]);
        for part in [
            "<td>the web server (http://web/)</td><td class=\"pass\">ok</td><td></td>",
            "<td class=\"fail\">FAIL</td><td>the connection is refused<br>hint: start it by hand</td>",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn one_file_has_the_matrix_its_failures_and_the_drift_and_loads_no_other() {
        let drift = ["node1: start vm1".to_owned()];
        let text = page(&one(true, counted(2, 0)), &Places::default(), &drift, "mini# ping\n");
        for part in [
            "Lab lab is not as described",
            "0 of 1",
            "2026-01-02 03:04:05 UTC, 3.2 s",
            "<td class=\"fail\" title=\"a → b (10.0.0.2): no reply to 2 pings\"><a href=\"#c0\">FAIL</a></td>",
            "<tr id=\"c0\" class=\"fail\">",
            "<li>node1: start vm1</li>",
            "<svg></svg>",
            "<pre>mini# ping</pre>",
            "<th>netlab</th><td>0.1</td>",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        for load in ["http:", "https:", "<script", "<link", "src="] {
            assert!(!text.contains(load), "{load}");
        }
        let good = page(&one(true, counted(2, 2)), &Places::default(), &[], "");
        assert!(good.contains("Lab lab is as described"), "{good}");
    }

    #[test]
    fn what_a_guest_printed_is_escaped() {
        let evil = "\"><script>&\u{1b}\u{202e}";
        let text = page(&one(true, Some(Err(evil))), &Places::default(), &[], evil);
        let escaped = r"&quot;&gt;&lt;script&gt;&amp;\u{1b}\u{202e}";
        assert!(text.matches(escaped).count() >= 3, "{text}");
        assert!(!text.contains("<script") && !text.contains('\u{1b}') && !text.contains('\u{202e}'));
    }

    #[test]
    fn a_matrix_of_more_guests_than_a_page_shows_is_folded_by_network() {
        let (matrix, places) = lab(130, &[(1, 0)]);
        let text = page(&matrix, &places, &[], "");
        assert!(
            text.contains("1 FAIL, 4159 ok") && text.contains("4225 isolated"),
            "{text}"
        );
        assert!(text.len() < 8_000_000);
    }
}
