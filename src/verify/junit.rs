//! The matrix as JUnit XML, which CI systems show: a test case per cell, and one for what differs from the lab file.

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, Event};

use super::report::plain;
use super::{Cell, Matrix, Verdict};

/// The report of `lab`; `drift` is what `up` would do, a line a step.
pub fn junit(lab: &str, drift: &[String], matrix: &Matrix) -> std::io::Result<String> {
    let count = |wanted: &[Verdict]| {
        let cells = matrix.cells.iter();
        cells.filter(|cell| wanted.contains(&cell.verdict)).count()
    };
    let failures = count(&[Verdict::Fail, Verdict::Lossy]) + usize::from(!drift.is_empty());
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(quick_xml::events::BytesDecl::new(
        "1.0",
        Some("UTF-8"),
        None,
    )))?;
    let suite = element(
        "testsuite",
        &[
            ("name", &format!("netlab verify {lab}")),
            ("tests", &(matrix.cells.len() + 1).to_string()),
            ("failures", &failures.to_string()),
            ("errors", &count(&[Verdict::Unknown]).to_string()),
        ],
    );
    writer.write_event(Event::Start(element("testsuites", &[])))?;
    writer.write_event(Event::Start(suite))?;
    let trouble = (!drift.is_empty()).then(|| ("failure", format!("`up` would do: {}", drift.join("; "))));
    case(&mut writer, lab, "as described", None, trouble)?;
    for cell in &matrix.cells {
        let asked = &cell.expectation;
        let verb = if asked.reach { "reaches" } else { "does not reach" };
        let name = format!("{} {verb} {} ({})", asked.from, asked.to, asked.address);
        case(
            &mut writer,
            &format!("{lab}.{}", asked.from),
            &name,
            cell.rtt_ms,
            trouble_of(cell),
        )?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    writer.write_event(Event::End(BytesEnd::new("testsuites")))?;
    let mut text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    text.push('\n');
    Ok(text)
}

/// The element that says that a cell is no pass, and its message.
fn trouble_of(cell: &Cell) -> Option<(&'static str, String)> {
    let kind = match cell.verdict {
        Verdict::Pass => return None,
        Verdict::Fail | Verdict::Lossy => "failure",
        Verdict::Unknown => "error",
    };
    let words = cell.reason.iter().chain(&cell.cause).map(String::as_str);
    Some((kind, words.collect::<Vec<_>>().join("; ")))
}

fn case(
    writer: &mut Writer<Vec<u8>>,
    class: &str,
    name: &str,
    rtt_ms: Option<f64>,
    trouble: Option<(&str, String)>,
) -> std::io::Result<()> {
    // In seconds.
    let time = rtt_ms.map_or_else(|| "0".to_owned(), |rtt| format!("{:.6}", rtt / 1000.0));
    let case = element("testcase", &[("classname", class), ("name", name), ("time", &time)]);
    let Some((kind, message)) = trouble else {
        return writer.write_event(Event::Empty(case));
    };
    writer.write_event(Event::Start(case))?;
    writer.write_event(Event::Empty(element(kind, &[("message", &message)])))?;
    writer.write_event(Event::End(BytesEnd::new("testcase")))
}

/// An element; its attributes are escaped, and without what XML cannot carry.
fn element<'a>(name: &'a str, attributes: &[(&str, &str)]) -> BytesStart<'a> {
    let mut element = BytesStart::new(name);
    for (key, value) in attributes {
        element.push_attribute((*key, plain(value).as_str()));
    }
    element
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::{counted, one};
    use super::*;

    #[test]
    fn a_pass_is_a_case_a_failure_has_its_reason_and_the_counts_agree() {
        let good = junit("lab", &[], &one(true, counted(2, 2))).unwrap();
        assert!(good.contains(r#"tests="2" failures="0" errors="0""#), "{good}");
        assert!(
            good.contains(r#"classname="lab.a" name="a reaches b (10.0.0.2)" time="0.000420"/>"#),
            "{good}"
        );

        let bad = junit("lab", &["start vm1".to_owned()], &one(true, counted(2, 0))).unwrap();
        assert!(bad.contains(r#"failures="2" errors="0""#), "{bad}");
        assert!(
            bad.contains("no reply to 2 pings") && bad.contains("start vm1"),
            "{bad}"
        );
    }

    #[test]
    fn what_a_guest_said_cannot_break_the_xml() {
        let text = junit("lab", &[], &one(true, Some(Err("\"><\u{1b}[2J&")))).unwrap();
        assert!(
            text.contains(r#"errors="1""#) && text.contains("&quot;&gt;&lt; [2J&amp;"),
            "{text}"
        );
    }
}
