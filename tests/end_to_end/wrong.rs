//! FAULTS 30 and 31 at the command line: what is wrong in a file or an argument changes nothing.

use crate::support::lab::{Bench, EMPTY};

#[test]
fn an_invalid_lab_is_refused_with_every_problem_and_status_2() {
    let text = "name = \"LABNAME\"\nfoo = 1\n[hosts.h]\n[networks.n]\nsubnet = \"10.0.0.1/24\"\nvlan = 4096\n";
    let Some(bench) = Bench::new("an_invalid_lab_is_refused_with_every_problem_and_status_2", "inv", text) else {
        return;
    };
    for verb in ["up", "plan", "verify"] {
        let said = bench.bad(&[verb, bench.file()], 2);
        assert!(
            said.contains("foo") && said.contains("10.0.0.0/24") && said.contains("4094"),
            "{said}"
        );
        assert!(said.contains("lab.toml:2:1"), "line and column: {said}");
    }
    bench.assert_as_before();
}

/// FAULTS 30: what `tests/golden/bad` cannot hold.
#[test]
fn a_name_of_ten_kilobytes_is_refused_and_not_repeated() {
    let Some(bench) = Bench::new("a_name_of_ten_kilobytes_is_refused_and_not_repeated", "kb", EMPTY) else {
        return;
    };
    let long = "x".repeat(10_000);
    bench.write(&EMPTY.replace("node1", &long));
    let said = bench.bad(&["up", bench.file()], 2);
    // The message has its beginning; the file's line is shown as it is.
    assert!(said.contains("xxx…`: a host name has at most 24"), "{said}");
    let said = bench.bad(&["down", &long], 1);
    assert!(said.contains("neither a file nor the name of a lab"), "{said}");
    bench.assert_as_before();
}

/// FAULTS 30: names that are arguments.
#[test]
fn a_lab_name_that_could_be_something_else_is_refused() {
    let Some(bench) = Bench::new("a_lab_name_that_could_be_something_else_is_refused", "arg", EMPTY) else {
        return;
    };
    for name in ["..", "a/b", "$(reboot)", "x;id", "x%d", "two\nlines", "größer", ""] {
        for verb in ["down", "status"] {
            let said = bench.bad(&[verb, "--", name], 1);
            assert!(said.contains("neither a file nor the name of a lab"), "{name}: {said}");
        }
    }
    bench.bad(&["down", "-x"], 2);
    bench.assert_as_before();
}
