//! Machines created, observed and removed.

use std::fs;
use std::path::Path;
use std::sync::{Condvar, Mutex};

use netlab::emulated::init_pid;
use netlab::host::{Host, StepError, StepLog};
use netlab::lab::HostName;
use netlab::plan::Step;
use netlab::state::HostState;

use super::bench::{Bench, PATIENCE, cable, desired, ip, kill, name, steps_to, wait_until};

#[test]
fn a_machine_whose_init_was_killed_is_dead_and_is_removed_and_recreated() {
    let Some(bench) = Bench::new("init_was_killed") else {
        return;
    };
    let (before, desired) = (bench.traces(), desired());
    bench.apply(&steps_to(&desired)).unwrap();
    kill(bench.pid(&name("node1")));
    wait_until("init has ended", || init_pid(&bench.lab, &name("node1")).is_none());
    let mut expected = desired.clone();
    expected.machines.get_mut(&name("node1")).unwrap().alive = false;
    assert_eq!(bench.observe(), expected);

    bench
        .apply(&[Step::UnplugCable(cable()), Step::RemoveMachine(name("node1"))])
        .unwrap();
    let [first, second] = [name("node1"), name("node2")];
    bench
        .apply(&[
            Step::CreateMachine(first.clone()),
            Step::PlugCable(cable()),
            Step::ConfigureMachine(first.clone(), desired.machines[&first].clone()),
            Step::ConfigureMachine(second.clone(), desired.machines[&second].clone()),
        ])
        .unwrap();
    assert_eq!(bench.observe(), desired);
    bench
        .apply(&[Step::RemoveMachine(first), Step::RemoveMachine(second)])
        .unwrap();
    assert_eq!(bench.traces(), before);
}

/// Delays the first step until the second has begun.
#[derive(Default)]
struct Meeting {
    begun: Mutex<usize>,
    all: Condvar,
}

impl StepLog for Meeting {
    fn begin(&self, _: &[Step]) -> std::io::Result<()> {
        let mut begun = self.begun.lock().unwrap();
        *begun += 1;
        self.all.notify_all();
        let wait = self.all.wait_timeout_while(begun, PATIENCE, |begun| *begun < 2);
        if wait.unwrap().1.timed_out() {
            return Err(std::io::Error::other("alone"));
        }
        Ok(())
    }
    fn end(&self, _: &[Step], _: Result<(), &StepError>) {}
    fn note(&self, _: &Step, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

#[test]
fn machines_are_created_and_removed_in_parallel() {
    let Some(bench) = Bench::new("side_by_side") else {
        return;
    };
    // So that QEMU's capabilities are cached.
    bench.apply(&[Step::CreateMachine(name("node1"))]).unwrap();
    bench.apply(&[Step::RemoveMachine(name("node1"))]).unwrap();

    let both = |step: fn(HostName) -> Step| [step(name("node1")), step(name("node2"))];
    for steps in [both(Step::CreateMachine), both(Step::RemoveMachine)] {
        bench.emulator.apply(&bench.lab, &steps, &Meeting::default()).unwrap();
    }
    assert_eq!(bench.observe(), HostState::default());
}

#[test]
fn a_step_that_is_not_in_the_journal_is_not_done() {
    struct Full;
    impl StepLog for Full {
        fn begin(&self, _: &[Step]) -> std::io::Result<()> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn end(&self, _: &[Step], _: Result<(), &StepError>) {}
        fn note(&self, _: &Step, _: &str) {}
        fn cancelled(&self) -> bool {
            false
        }
    }
    let Some(bench) = Bench::new("not_in_the_journal") else {
        return;
    };
    let steps = [Step::CreateMachine(name("node1"))];
    assert_eq!(bench.emulator.apply(&bench.lab, &steps, &Full).unwrap_err().len(), 1);
    assert_eq!(bench.observe(), HostState::default());
}

#[test]
fn a_folder_left_by_a_reboot_is_a_dead_machine_and_is_removed() {
    let Some(bench) = Bench::new("a_reboot") else { return };
    let host = name("node1");
    fs::create_dir_all(bench.machine(&host).join("run")).unwrap();
    assert!(!bench.observe().machines[&host].alive);
    bench.apply(&[Step::RemoveMachine(host.clone())]).unwrap();
    assert!(!bench.machine(&host).exists());
    bench.apply(&[Step::RemoveMachine(host)]).unwrap();
    assert_eq!(bench.observe(), HostState::default());
}

#[test]
fn a_machine_is_recognized_by_its_mark_after_the_state_folder_was_lost() {
    let Some(bench) = Bench::new("state_was_lost") else {
        return;
    };
    let host = name("node1");
    bench.apply(&[Step::CreateMachine(host.clone())]).unwrap();
    let init = bench.pid(&host);
    fs::remove_dir_all(bench.folders.state.join("labs")).unwrap();
    assert!(bench.observe().machines.contains_key(&host));
    bench.apply(&[Step::RemoveMachine(host.clone())]).unwrap();
    assert!(!Path::new("/proc").join(init.to_string()).join("ns/net").exists());
    assert_eq!(bench.observe(), HostState::default());
}

#[test]
fn a_foreign_namespace_of_the_same_name_is_neither_adopted_nor_deleted() {
    let Some(bench) = Bench::new("a_foreign_namespace") else {
        return;
    };
    let (host, namespace) = (name("node1"), bench.namespace("node1"));
    ip(&["netns", "add", &namespace]);
    let errors = bench.apply(&[Step::CreateMachine(host.clone())]).unwrap_err();
    assert!(format!("{} {}", errors[0], errors[0].cause).contains(&namespace));
    assert_eq!(bench.observe(), HostState::default());
    bench.apply(&[Step::RemoveMachine(host.clone())]).unwrap();
    assert!(Path::new("/run/netns").join(&namespace).exists());
    assert!(!bench.machine(&host).exists());
}

#[test]
fn a_machine_that_cannot_start_leaves_an_error_and_nothing_else() {
    let cache = tempfile::tempdir().unwrap();
    let Some(bench) = Bench::with("cannot_start", cache.path(), "/bin/false") else {
        return;
    };
    let before = bench.traces();
    let errors = bench.apply(&[Step::CreateMachine(name("node1"))]).unwrap_err();
    assert!(
        errors[0].cause.to_string().contains("its init ended"),
        "{}",
        errors[0].cause
    );
    assert_eq!(bench.traces(), before);
}
