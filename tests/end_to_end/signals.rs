//! FAULTS 2 and 3: a run that is stopped by a signal, and one that finds the lab locked by another.

use rustix::process::Signal;

use crate::support::lab::{Bench, EMPTY, GUEST};

/// Stops `up` by `signal` once it has printed `word`; it must end with `status` and print how to continue.
fn stopped(bench: &Bench, word: &str, signal: Signal, status: i32) {
    let up = bench.until(&["up", bench.file()], word);
    up.signal(signal);
    let (code, said) = up.end();
    assert_eq!(code, Some(status), "{said}");
    assert!(said.contains("netlab up") && said.contains("netlab down"), "{said}");
}

#[test]
fn ctrl_c_while_a_guest_boots_stops_safely_and_up_continues() {
    let test = "ctrl_c_while_a_guest_boots_stops_safely_and_up_continues";
    let Some(bench) = Bench::new(test, "int", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    // From here on the guest boots, which takes seconds.
    stopped(&bench, ": start ", Signal::INT, 130);
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "verify", bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn sigterm_while_a_guest_boots_stops_safely_and_down_cleans() {
    let test = "sigterm_while_a_guest_boots_stops_safely_and_down_cleans";
    let Some(bench) = Bench::new(test, "term", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    stopped(&bench, ": start ", Signal::TERM, 143);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// FAULTS 3.
#[test]
fn a_second_run_learns_who_holds_the_lab_while_the_first_continues() {
    let test = "a_second_run_learns_who_holds_the_lab_while_the_first_continues";
    let Some(bench) = Bench::new(test, "held", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    let mut first = bench.until(&["up", bench.file()], ": start ");
    let holder = format!("`netlab up`, process {}", first.child.id());
    for verb in [&["up", bench.file()], &["down", &bench.name]] {
        let said = bench.bad(verb, 1);
        assert!(said.contains(&holder), "{said}");
    }
    assert!(
        first.child.try_wait().unwrap().is_none(),
        "the second ones did not wait for the first"
    );
    let (code, said) = first.end();
    assert_eq!(code, Some(0), "{said}");
    bench.good(&["-q", "verify", bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
