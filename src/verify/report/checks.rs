//! The results of checks as lines of text.

use std::fmt::Write as _;

use super::text::{color_of, paint};
use super::{name, printable};
use crate::verify::{CheckResult, Verdict};

/// Returns a line for each check, with the reason, the cause and the hint of those that did not pass below it, and a
/// summary; with `color` in ANSI colors. Empty where there is no check.
pub(super) fn checks_text(checks: &[CheckResult], color: bool) -> String {
    let mut out = String::new();
    if checks.is_empty() {
        return out;
    }
    for check in checks {
        let state = format!("{:<5}", name(check.verdict));
        let state = paint(&state, Some(color_of(check.verdict)), color);
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "{state} {}: {}", check.from, printable(&title(check)));
        for line in details(check) {
            let _ = writeln!(out, "      {}", printable(&line));
        }
    }
    let passed = checks.iter().filter(|check| check.verdict == Verdict::Pass).count();
    let _ = writeln!(out, "{passed} of {} checks as expected", checks.len());
    out
}

/// What was checked.
pub(super) fn title(check: &CheckResult) -> String {
    let verb = if check.reach { "" } else { "not " };
    if check.name == check.question {
        format!("{verb}{}", check.question)
    } else {
        format!("{} ({verb}{})", check.name, check.question)
    }
}

/// Why a check did not pass, what the fault is, and the hint: a text each.
pub(super) fn details(check: &CheckResult) -> Vec<String> {
    let asked = (check.asked > 1 && check.verdict != Verdict::Pass).then(|| format!("asked {} times", check.asked));
    let cause = check.cause.iter().filter(|cause| Some(*cause) != check.reason.as_ref());
    let hint = check.hint.iter().map(|hint| format!("hint: {hint}"));
    let texts = check
        .reason
        .iter()
        .cloned()
        .chain(asked)
        .chain(cause.cloned())
        .chain(hint);
    texts.collect()
}

#[cfg(test)]
pub(in crate::verify) mod tests {
    use super::*;

    pub fn check(verdict: Verdict) -> CheckResult {
        CheckResult {
            name: "the web server".to_owned(),
            from: "vm1".to_owned(),
            question: "http://web/".to_owned(),
            reach: true,
            verdict,
            asked: 1,
            reason: (verdict != Verdict::Pass).then(|| "the connection is refused".to_owned()),
            cause: None,
            hint: (verdict != Verdict::Pass).then(|| "start it\nby hand".to_owned()),
        }
    }

    #[test]
    fn a_check_that_fails_shows_its_reason_and_its_hint() {
        let text = checks_text(&[check(Verdict::Pass), check(Verdict::Fail)], false);
        assert_eq!(
            text,
            "ok    vm1: the web server (http://web/)\n\
             FAIL  vm1: the web server (http://web/)\n      the connection is refused\n      hint: start it by hand\n\
             1 of 2 checks as expected\n"
        );
        assert_eq!(checks_text(&[], true), "");
    }

    #[test]
    fn a_check_that_must_not_succeed_says_so() {
        let inverted = CheckResult {
            reach: false,
            name: "http://web/".to_owned(),
            ..check(Verdict::Pass)
        };
        assert!(checks_text(&[inverted], false).starts_with("ok    vm1: not http://web/\n"));
    }
}
