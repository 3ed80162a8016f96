//! The matrix as JUnit XML for CI systems: a test case per cell, and one for the drift from the lab file.

use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::checks::{details, title};
use super::{explanation, printable};
use crate::verify::{Cell, CheckResult, FaultReport, Matrix, Verdict};

/// Returns the report of `lab` as XML; `drift` is what `up` would do, one step per item. A failed or lossy cell or
/// check is a JUnit failure, an unknown one an error. Fails only where the XML writer does.
pub fn junit(
    lab: &str,
    drift: &[String],
    faults: &[FaultReport],
    checks: &[CheckResult],
    matrix: &Matrix,
) -> Result<String, SerializeError> {
    let name = format!("netlab verify {lab}");
    let mut suite = TestSuite::new(&*name);
    let problem =
        (!drift.is_empty()).then(|| (NonSuccessKind::Failure, format!("`up` would do: {}", drift.join("; "))));
    suite.add_test_case(case(lab, "as described", problem));
    let texts: Vec<String> = faults.iter().map(|fault| printable(&fault.text)).collect();
    let problem = (!texts.is_empty()).then(|| (NonSuccessKind::Failure, texts.join("; ")));
    suite.add_test_case(case(lab, "without faults", problem));
    for cell in &matrix.cells {
        let asked = &cell.expectation;
        let verb = if asked.reach { "reaches" } else { "does not reach" };
        let name = format!("{} {verb} {} ({})", asked.from, asked.to, asked.address);
        let mut case = case(&format!("{lab}.{}", asked.from), &name, problem_of(cell));
        if let Some(rtt) = cell.rtt_ms {
            // In seconds. `set_time` would round a round trip to 0.000.
            case.extra.insert("time".into(), format!("{:.6}", rtt / 1000.0).into());
        }
        if cell.asked > 1 {
            case.add_property(Property::new("asked", cell.asked.to_string()));
        }
        suite.add_test_case(case);
    }
    for check in checks {
        let problem = kind_of(check.verdict).map(|kind| (kind, details(check).join("; ")));
        let mut case = case(&format!("{lab}.{}", check.from), &printable(&title(check)), problem);
        if check.asked > 1 {
            case.add_property(Property::new("asked", check.asked.to_string()));
        }
        suite.add_test_case(case);
    }
    let mut report = Report::new(&*name);
    report.add_test_suite(suite);
    report.to_string()
}

/// The kind and message of a cell that is no pass.
fn problem_of(cell: &Cell) -> Option<(NonSuccessKind, String)> {
    Some((kind_of(cell.verdict)?, explanation(cell).join("; ")))
}

fn kind_of(verdict: Verdict) -> Option<NonSuccessKind> {
    match verdict {
        Verdict::Pass => None,
        Verdict::Fail | Verdict::Lossy => Some(NonSuccessKind::Failure),
        Verdict::Unknown => Some(NonSuccessKind::Error),
    }
}

fn case(class: &str, name: &str, problem: Option<(NonSuccessKind, String)>) -> TestCase {
    let status = match problem {
        None => TestCaseStatus::success(),
        Some((kind, message)) => {
            let mut status = TestCaseStatus::non_success(kind);
            // Without this, characters that XML 1.0 has not (2.2) would be dropped and words joined.
            status.set_message(printable(&message));
            status
        }
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::matrix::tests::{counted, one};

    #[test]
    fn a_pass_is_a_case_a_failure_has_its_reason_and_the_counts_agree() {
        let good = junit("lab", &[], &[], &[], &one(true, counted(2, 2))).unwrap();
        assert!(
            good.contains(r#"tests="3" skipped="0" failures="0" errors="0""#),
            "{good}"
        );
        assert!(
            good.contains(r#"name="a reaches b (10.0.0.2)" classname="lab.a" time="0.000420"/>"#),
            "{good}"
        );

        let bad = junit("lab", &["start vm1".to_owned()], &[], &[], &one(true, counted(2, 0))).unwrap();
        assert!(bad.contains(r#"failures="2" errors="0""#), "{bad}");
        assert!(
            bad.contains("no reply to 2 pings") && bad.contains("start vm1"),
            "{bad}"
        );
    }

    #[test]
    fn a_check_is_a_case_and_one_that_cannot_be_asked_is_an_error() {
        use crate::verify::report::checks::tests::check;
        let all = [check(Verdict::Pass), check(Verdict::Fail), check(Verdict::Unknown)];
        let text = junit("lab", &[], &[], &all, &one(true, counted(2, 2))).unwrap();
        assert!(
            text.contains(r#"tests="6" skipped="0" failures="1" errors="1""#),
            "{text}"
        );
        assert!(text.contains("hint: start it by hand"), "{text}");
    }

    #[test]
    fn a_guests_output_is_escaped_with_its_control_characters() {
        let text = junit("lab", &[], &[], &[], &one(true, Some(Err("\"><\u{1b}[2J\u{202e}&")))).unwrap();
        assert!(
            text.contains(r#"errors="1""#) && text.contains(r"&quot;&gt;&lt;\u{1b}[2J\u{202e}&amp;"),
            "{text}"
        );
    }
}
