use std::cell::RefCell;
use std::io;
use std::sync::Mutex;

use netlab::host::{CmdError, HostError, StepFailure};
use netlab::image;
use netlab::lab::{HostName, IfName};
use netlab::plan::plan;
use netlab::state::{HostState, LOCALHOST, Link, LinkKind, Site, Sysctl, desired};
use netlab::topology::allocate;

use super::{Host, SimulatedSite, Step, StepError, StepLog, When};

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn link(name: &str) -> IfName {
    name.parse().unwrap()
}

/// A lab of two emulated hosts with a cable between their NICs, which are attached to bridge br1.
fn up() -> Site {
    let text = include_str!("../../../labs/quickstart.toml");
    let folders = netlab::folders::Folders {
        state: "/state".into(),
        cache: "/cache".into(),
    };
    let images = image::catalog(&folders).unwrap();
    let known = images.keys().cloned().collect();
    let lab = netlab::lab::parse("quickstart.toml", text, &known).unwrap();
    desired(&allocate(&lab, &images), &std::collections::BTreeMap::new())
}

/// Records its calls; returns an error for the step at `full`, and cancels before the step at `stop`.
#[derive(Default)]
struct Log {
    lines: Mutex<RefCell<Vec<String>>>,
    full: Option<usize>,
    stop: Option<usize>,
}

impl Log {
    fn add(&self, line: String) {
        self.lines.lock().unwrap().borrow_mut().push(line);
    }
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().borrow().clone()
    }
    fn begun(&self) -> usize {
        self.lines().iter().filter(|line| line.starts_with("begin")).count()
    }
}

impl StepLog for Log {
    fn begin(&self, steps: &[Step]) -> io::Result<()> {
        if self.full == Some(self.begun()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.add(format!("begin {}", steps[0]));
        Ok(())
    }
    fn end(&self, steps: &[Step], result: Result<(), &StepError>) {
        let how = if result.is_ok() { "done" } else { "failed" };
        self.add(format!("{how} {}", steps[0]));
    }
    fn note(&self, _: &Step, _: &str) {}
    fn cancelled(&self) -> bool {
        self.stop == Some(self.begun())
    }
}

fn bridge() -> Link {
    Link {
        kind: LinkKind::Bridge { stp: None, mac: None },
        master: None,
        addresses: [].into(),
        mtu: None,
        gateway: None,
        purpose: "test".to_owned(),
    }
}

fn create(name: &str) -> Step {
    Step::CreateLink(link(name), bridge())
}

fn delete(name: &str, index: Option<u32>) -> Step {
    Step::DeleteLink {
        name: link(name),
        index,
    }
}

/// Returns an error as `step: what the simulated command printed`.
fn text(error: &StepError) -> String {
    let StepFailure::Host(HostError::Command(CmdError::Failed { stderr, .. })) = &error.cause else {
        return error.to_string();
    };
    format!("{error}: {stderr}")
}

/// Applies steps to `home` in `site`; returns the errors as text.
fn apply(site: &SimulatedSite, steps: &[Step], log: &Log) -> Vec<String> {
    let result = site.host(&host("home")).apply(&"lab".parse().unwrap(), steps, log);
    result.err().into_iter().flatten().map(|error| text(&error)).collect()
}

fn names(site: &SimulatedSite) -> Vec<String> {
    let site = site.observe();
    let links = site.get(&host("home")).map(|state| &state.links);
    links.into_iter().flatten().map(|(name, _)| name.to_string()).collect()
}

#[test]
fn every_step_is_logged_before_and_after() {
    let log = Log::default();
    assert_eq!(apply(&SimulatedSite::default(), &[create("br1")], &log), [""; 0]);
    assert_eq!(
        log.lines(),
        ["begin create bridge br1 for test", "done create bridge br1 for test"]
    );
}

#[test]
fn creation_stops_at_the_first_error() {
    let site = SimulatedSite::default();
    let log = Log::default();
    let errors = apply(&site, &[create("br1"), create("br1"), create("br2")], &log);
    assert_eq!(errors, ["create bridge br1 for test: br1 exists already"]);
    assert_eq!(names(&site), ["br1"]);
    assert_eq!(log.lines().last().unwrap(), "failed create bridge br1 for test");
}

#[test]
fn removal_goes_on_after_an_error_and_reports_all() {
    let site = SimulatedSite::default();
    apply(&site, &[create("br2")], &Log::default());
    let steps = [delete("br1", None), delete("br2", None), delete("br3", None)];
    let errors = apply(&site, &steps, &Log::default());
    assert_eq!(
        errors,
        [
            "delete link br1: br1 does not exist",
            "delete link br3: br3 does not exist"
        ]
    );
    assert_eq!(names(&site), [""; 0]);
}

#[test]
fn a_step_that_cannot_be_logged_does_not_happen() {
    let site = SimulatedSite::default();
    let log = Log {
        full: Some(1),
        ..Log::default()
    };
    assert_eq!(apply(&site, &[create("br1"), create("br2")], &log).len(), 1);
    assert_eq!(names(&site), ["br1"]);
}

#[test]
fn nothing_new_begins_after_the_user_asked_to_stop() {
    let site = SimulatedSite::default();
    let log = Log {
        stop: Some(1),
        ..Log::default()
    };
    assert_eq!(apply(&site, &[create("br1"), create("br2")], &log), [""; 0]);
    assert_eq!(names(&site), ["br1"]);
}

#[test]
fn an_injected_failure_comes_once_before_or_after_the_effect() {
    for (when, there) in [(When::Before, vec!["br1"]), (When::After, vec!["br1", "br2"])] {
        let site = SimulatedSite::default();
        site.fail_after(1, when);
        let errors = apply(&site, &[create("br1"), create("br2")], &Log::default());
        assert_eq!(errors, ["create bridge br2 for test: a failure was injected here"]);
        assert_eq!(names(&site), there);
        assert_eq!(apply(&site, &[create("br3")], &Log::default()), [""; 0]);
    }
}

#[test]
fn a_link_that_was_recreated_under_the_same_name_is_not_deleted() {
    let site = SimulatedSite::default();
    apply(&site, &[create("br1")], &Log::default());
    let index = |site: &SimulatedSite| site.observe()[&host("home")].seen.links[&link("br1")];
    let old = index(&site);
    apply(&site, &[delete("br1", Some(old)), create("br1")], &Log::default());
    let errors = apply(&site, &[delete("br1", Some(old))], &Log::default());
    assert_eq!(errors, ["delete link br1: br1 was replaced since it was observed"]);
    let new = index(&site);
    assert_eq!(apply(&site, &[delete("br1", Some(new))], &Log::default()), [""; 0]);
}

#[test]
fn a_host_in_a_dead_or_missing_machine_can_be_neither_observed_nor_changed() {
    let home = [host("home")];
    let inside = HostState {
        sysctls: [(Sysctl::Ipv4Forward, "1".to_owned())].into(),
        ..HostState::default()
    };
    let site = SimulatedSite::new(Site::from([(host("home"), inside)]), home.into());
    assert_eq!(site.observe(), Site::new());
    assert_eq!(
        apply(&site, &[create("br1")], &Log::default()),
        ["create bridge br1 for test: host home does not exist"]
    );
}

#[test]
fn removing_a_machine_removes_everything_inside_and_its_cables() {
    let site = SimulatedSite::new(up(), [host("node1"), host("node2")].into());
    let steps = [Step::RemoveMachine(host("node1"))];
    let result = site
        .host(&host(LOCALHOST))
        .apply(&"lab".parse().unwrap(), &steps, &Log::default());
    assert!(result.is_ok());
    let mut left = site.observe();
    assert!(!left.contains_key(&host("node1")));
    assert!(left[&host(LOCALHOST)].cables.is_empty());
    assert!(
        left.get_mut(&host(LOCALHOST)).unwrap().machines[&host("node2")]
            .nics
            .is_empty(),
        "its NIC was the cable's end"
    );
}

#[test]
fn a_bridge_in_use_is_not_deleted() {
    let site = SimulatedSite::new(up(), [host("node1"), host("node2")].into());
    let node1 = site.host(&host("node1"));
    let errors = node1
        .apply(&"lab".parse().unwrap(), &[delete("br1", None)], &Log::default())
        .unwrap_err();
    assert_eq!(text(&errors[0]), "delete link br1: br1 is in use by eth0");
    let mut emptied = up();
    emptied.insert(host("node1"), HostState::default());
    let to_do = plan(&up(), &emptied);
    let release = |(on, step): &(&HostName, &Step)| **on == host("node1") && matches!(step, Step::DetachUplink(..));
    let step = to_do.steps().find(release).unwrap().1.clone();
    assert!(node1.apply(&"lab".parse().unwrap(), &[step], &Log::default()).is_ok());
    let errors = node1
        .apply(&"lab".parse().unwrap(), &[delete("br1", None)], &Log::default())
        .unwrap_err();
    assert_eq!(text(&errors[0]), "delete link br1: br1 is in use by quickstart.vm1");
}
