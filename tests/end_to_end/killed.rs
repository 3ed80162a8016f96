//! FAULTS 1: kill -9 at every step boundary; `up` converges, `down` restores everything.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::lab::{Bench, EMPTY, GUEST, quickstart, with_switches};

/// The quickstart's hosts, cable and network without its guests, for whose boot each round would wait.
fn hosts_of_the_quickstart() -> String {
    let text = quickstart();
    let guests = text.find("[vms.").unwrap();
    text[..guests].to_owned()
}

/// Kills `up` at each boundary, or each `every`th; `then` handles what is left. Returns how many there are, at least.
fn boundaries_of_up(bench: &Bench, every: usize, then: impl Fn()) -> u32 {
    for at in (1..200).step_by(every) {
        if !bench.killed(&["-q", "up", bench.file()], at) {
            bench.good(&["-q", "down", &bench.name]);
            return at - 1;
        }
        then();
        bench.good(&["-q", "down", &bench.name]);
        bench.assert_as_before();
    }
    panic!("up does not end");
}

#[test]
fn an_up_killed_at_every_third_boundary_of_the_quickstarts_hosts_is_finished_by_up() {
    finished_by_up(
        "an_up_killed_at_every_third_boundary_of_the_quickstarts_hosts_is_finished_by_up",
        3,
    );
}

#[test]
#[ignore = "soak: every step boundary"]
fn an_up_killed_at_any_boundary_of_the_quickstarts_hosts_is_finished_by_up() {
    finished_by_up(
        "an_up_killed_at_any_boundary_of_the_quickstarts_hosts_is_finished_by_up",
        1,
    );
}

fn finished_by_up(test: &str, every: usize) {
    let Some(bench) = Bench::new(test, "ku", &hosts_of_the_quickstart()) else {
        return;
    };
    let boundaries = boundaries_of_up(&bench, every, || {
        bench.good(&["-q", "up", bench.file()]);
        let left = bench.good(&["plan", bench.file()]);
        assert!(left.contains("nothing to do"), "{left}");
    });
    assert!(boundaries >= 12, "only {boundaries} boundaries were met");
}

#[test]
fn an_up_killed_at_every_third_boundary_of_the_quickstarts_hosts_is_cleaned_by_down() {
    cleaned_by_down(
        "an_up_killed_at_every_third_boundary_of_the_quickstarts_hosts_is_cleaned_by_down",
        3,
    );
}

#[test]
#[ignore = "soak: every step boundary"]
fn an_up_killed_at_any_boundary_of_the_quickstarts_hosts_is_cleaned_by_down() {
    cleaned_by_down(
        "an_up_killed_at_any_boundary_of_the_quickstarts_hosts_is_cleaned_by_down",
        1,
    );
}

fn cleaned_by_down(test: &str, every: usize) {
    let Some(bench) = Bench::new(test, "kd", &hosts_of_the_quickstart()) else {
        return;
    };
    let boundaries = boundaries_of_up(&bench, every, || ());
    assert!(boundaries >= 12, "only {boundaries} boundaries were met");
}

#[test]
#[ignore = "soak: a guest boots at every step boundary"]
fn an_up_killed_at_any_boundary_of_a_guest_is_finished_by_up() {
    let test = "an_up_killed_at_any_boundary_of_a_guest_is_finished_by_up";
    let Some(bench) = Bench::new(test, "kg", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    let boundaries = boundaries_of_up(&bench, 1, || {
        bench.good(&["-q", "up", bench.file()]);
        bench.good(&["-q", "verify", bench.file()]);
    });
    assert!(boundaries >= 10, "only {boundaries} boundaries were met");
}

#[test]
fn a_down_killed_at_every_third_boundary_is_finished_by_down() {
    finished_by_down("a_down_killed_at_every_third_boundary_is_finished_by_down", 3);
}

#[test]
#[ignore = "soak: every step boundary"]
fn a_down_killed_at_any_boundary_is_finished_by_down() {
    finished_by_down("a_down_killed_at_any_boundary_is_finished_by_down", 1);
}

fn finished_by_down(test: &str, every: usize) {
    let Some(bench) = Bench::new(test, "dn", &with_switches(&hosts_of_the_quickstart())) else {
        return;
    };
    for at in (1..200).step_by(every) {
        bench.good(&["-q", "up", bench.file()]);
        let killed = bench.killed(&["-q", "down", &bench.name], at);
        bench.good(&["-q", "down", &bench.name]);
        bench.assert_as_before();
        if !killed {
            assert!(at > 8, "only {at} boundaries were met");
            return;
        }
    }
    panic!("down does not end");
}

#[test]
#[ignore = "soak: a guest boots at every step boundary"]
fn a_down_killed_at_any_boundary_of_a_guest_is_reverted_by_up() {
    let test = "a_down_killed_at_any_boundary_of_a_guest_is_reverted_by_up";
    let Some(bench) = Bench::new(test, "db", &with_switches(&format!("{EMPTY}{GUEST}"))) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    for at in 1..200 {
        if !bench.killed(&["-q", "down", &bench.name], at) {
            assert!(at > 8, "only {at} boundaries were met");
            bench.assert_as_before();
            return;
        }
        bench.good(&["-q", "up", bench.file()]);
        bench.good(&["-q", "verify", bench.file()]);
    }
    panic!("down does not end");
}

#[test]
fn the_quickstart_comes_up_and_goes_down_by_runs_that_are_all_killed_but_the_last() {
    let test = "the_quickstart_comes_up_and_goes_down_by_runs_that_are_all_killed_but_the_last";
    let Some(bench) = Bench::new(test, "kq", &quickstart()) else {
        return;
    };
    // Each run gets one boundary further than the one before could, from wherever that one left the lab.
    let killed = |arguments: &[&str]| (1..200).take_while(|at| bench.killed(arguments, *at)).count();
    let ups = killed(&["-q", "up", bench.file()]);
    assert!(ups >= 6, "only {ups} runs were killed");
    bench.good(&["-q", "verify", bench.file()]);
    let downs = killed(&["-q", "down", &bench.name]);
    assert!(downs >= 3, "only {downs} runs were killed");
    bench.assert_as_before();
}

/// FAULTS 51.
#[test]
fn an_up_that_was_killed_while_it_probes_for_dhcp_servers_is_finished_by_up_at_once() {
    let test = "an_up_that_was_killed_while_it_probes_for_dhcp_servers_is_finished_by_up_at_once";
    let Some(bench) = Bench::new(test, "dk", &EMPTY.replace("bridge = \"br1\"", "dhcp = true")) else {
        return;
    };
    // In the middle of the probe, which takes two seconds, and when it is about to start the server.
    for after in [300, 1900] {
        let up = bench.until(&["up", bench.file()], "set net.ipv4");
        std::thread::sleep(Duration::from_millis(after));
        up.signal(Signal::KILL);
        up.end();
        bench.good(&["-q", "up", bench.file()]);
        let left = bench.good(&["plan", bench.file()]);
        assert!(left.contains("nothing to do"), "killed after {after} ms: {left}");
        bench.good(&["-q", "down", &bench.name]);
        bench.assert_as_before();
    }
}
