//! Guests that are paused.

use std::time::{Duration, UNIX_EPOCH};

use crate::support::lab::{Bench, EMPTY, GUEST, PATIENT};

/// Asks a guest, and how many seconds its clock differs from that of this machine.
fn clock_differs_by(bench: &Bench, vm: &str) -> u64 {
    let date = bench.good(&["exec", &bench.name, vm, "--", "date +%s"]);
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    date.trim().parse::<u64>().unwrap().abs_diff(now)
}

#[test]
fn a_paused_lab_is_reported_as_paused_and_resumes_with_its_memory_and_the_right_time() {
    let test = "a_paused_lab_is_reported_as_paused_and_resumes_with_its_memory_and_the_right_time";
    let second = GUEST.replace("vm1", "vm2");
    let Some(bench) = Bench::new(test, "paused", &format!("{EMPTY}{GUEST}{second}")) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let ask = |vm: &str, what: &str| bench.good(&["exec", &bench.name, vm, "--", what]).trim().to_owned();
    ask("vm1", "echo kept >/tmp/mine; sleep 1000 & echo $! >/tmp/sleep");

    assert!(bench.good(&["pause", &bench.name]).starts_with("vm1, vm2: paused"));
    assert!(
        bench
            .good(&["pause", &bench.name])
            .contains("nothing runs that could be paused")
    );
    let status = bench.good(&["status", &bench.name]);
    assert_eq!(
        status.matches("paused; `netlab resume` resumes it").count(),
        2,
        "{status}"
    );
    let verified = bench.bad(&["verify", bench.file()], 1);
    assert!(verified.contains("guest vm1 does not run: it is paused"), "{verified}");
    assert!(
        verified.contains(&format!("fix: `netlab resume {} vm1`", bench.name)),
        "{verified}"
    );
    let refused = bench.bad(&["exec", &bench.name, "vm1", "--", "true"], 125);
    assert!(refused.contains("`netlab resume` resumes it"), "{refused}");

    // One of them; the other stays paused.
    assert!(bench.good(&["resume", &bench.name, "vm1"]).starts_with("vm1: resumed"));
    assert!(bench.good(&["status", &bench.name]).contains("paused; `netlab resume`"));
    assert_eq!(
        ask("vm1", "cat /tmp/mine; kill -0 $(cat /tmp/sleep) && echo runs"),
        "kept\nruns"
    );
    let missing = bench.bad(&["resume", &bench.name, "vm3"], 1);
    assert!(missing.contains("no VM \"vm3\""), "{missing}");

    // Long enough to be seen on the clock. An `up` resumes as well.
    bench.good(&["-q", "pause", &bench.name]);
    std::thread::sleep(Duration::from_secs(6));
    bench.good(&["-q", "resume", &bench.name, "vm2"]);
    assert!(clock_differs_by(&bench, "vm2") <= 4);
    bench.good(&["-q", "up", bench.file()]);
    assert!(clock_differs_by(&bench, "vm1") <= 4);
    assert_eq!(ask("vm1", "cat /tmp/mine"), "kept");
    let verified = bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    assert!(verified.contains(" as expected"), "{verified}");

    bench.good(&["-q", "pause", &bench.name]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
