//! The use cases as a library: what a program that links netlab does, without its command line.

use netlab::event::{Event, Events};
use netlab::folders::Folders;
use netlab::ops::{
    self, Aftermath, DownOptions, Env, LabState, LoadOptions, OpsError, RunOutcome, UpOptions, VerifyOptions,
};

use crate::support::lab::{Bench, EMPTY, GUEST, quickstart};

/// The bench's folders, with the program that becomes PID 1 of its emulated hosts.
fn env(bench: &Bench) -> Env {
    let folders = Folders {
        state: bench.state(),
        cache: Bench::cache(),
    };
    Env::new(folders, env!("CARGO_BIN_EXE_netlab").into())
}

#[test]
fn the_quickstart_comes_up_is_verified_and_goes_down_by_library_calls() {
    let test = "the_quickstart_comes_up_is_verified_and_goes_down_by_library_calls";
    let Some(bench) = Bench::new(test, "lib", &quickstart()) else {
        return;
    };
    let (sender, events) = std::sync::mpsc::channel();
    let env = Env {
        events: Events::to(sender),
        ..env(&bench)
    };
    let lab = ops::load(&env, &bench.lab, &LoadOptions::default()).unwrap();

    let up = ops::up(&env, &lab, &UpOptions::default()).unwrap();
    assert_eq!(up.vms.len(), 4);
    let ended = events
        .try_iter()
        .filter(|event| matches!(event, Event::Ended { .. }))
        .count();
    assert_eq!(ended, up.steps, "an event for each step");
    assert_eq!(ops::up(&env, &lab, &UpOptions::default()).unwrap().steps, 0);

    let report = ops::verify(&env, &lab, &VerifyOptions::default()).unwrap();
    assert!(report.as_expected, "{report:#?}");

    let status = ops::status(&env, &lab.topology.lab).unwrap();
    assert_eq!((status.state, status.vms.len()), (LabState::Up, 4));
    let run = status.last_run.unwrap();
    assert_eq!((run.command.as_str(), run.outcome), ("up", RunOutcome::Finished));

    let down = ops::down(&env, &lab.topology.lab, &DownOptions::default()).unwrap();
    assert!(down.steps > 0);
    bench.assert_as_before();
}

#[test]
fn a_request_to_stop_ends_a_run_between_steps_with_a_typed_error() {
    let test = "a_request_to_stop_ends_a_run_between_steps_with_a_typed_error";
    let Some(bench) = Bench::new(test, "lic", EMPTY) else {
        return;
    };
    let env = env(&bench);
    let lab = ops::load(&env, &bench.lab, &LoadOptions::default()).unwrap();
    env.cancel.request();
    let error = ops::up(&env, &lab, &UpOptions::default()).unwrap_err();
    assert!(matches!(error, OpsError::Interrupted { done: 0, .. }), "{error}");
    assert!(error.help().unwrap().contains("netlab down"), "{error}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn a_guest_that_cannot_be_configured_is_a_typed_error_with_a_help_of_its_own() {
    let test = "a_guest_that_cannot_be_configured_is_a_typed_error_with_a_help_of_its_own";
    let image = "[images.mute]\nrecipe = \"mini\"\ncmdline = \"console=tty0\"\n\
                 console = { prompt = \"mini# \", boot_seconds = 5 }\n";
    let guest = GUEST.replace("memory", "image = \"mute\"\nmemory");
    let Some(bench) = Bench::new(test, "lig", &format!("{EMPTY}{guest}{image}")) else {
        return;
    };
    let env = env(&bench);
    let lab = ops::load(&env, &bench.lab, &LoadOptions::default()).unwrap();
    let error = ops::up(&env, &lab, &UpOptions::default()).unwrap_err();
    let OpsError::StepsFailed { failed, then, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(failed.len(), 1);
    assert!(matches!(then, Aftermath::GuestsOnly { .. }), "{then:?}");
    let [detail] = &error.details()[..] else {
        panic!("{:?}", error.details());
    };
    assert!(detail.message.contains("printed nothing in 5 s"), "{detail:?}");
    assert!(detail.help.as_ref().unwrap().contains("console=ttyS0"), "{detail:?}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
