//! The time to create 500 networks on one host and to delete 200, compared with one `ip -batch` of the same lines. Runs
//! in temporary network namespaces, so it needs root.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and a panic is its report"
)]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use netlab::lab::{IfName, LabName};
use netlab::linux::ip;
use netlab::plan::Step;
use netlab::state::{Link, LinkKind};
use netlab::transport::cmd::{Cmd, CmdError, Output, Shell};
use netlab::transport::{LocalShell, NamespaceShell};

/// Networks that are created.
const CREATED: usize = 500;
/// Networks that are deleted.
const DELETED: usize = 200;
/// Rounds of each; the fastest counts, since other load only makes a round slower.
const ROUNDS: usize = 2;
/// Longer than the kernel takes to delete the links of one namespace, about 17 ms each.
const CLEANUP: Duration = Duration::from_secs(12);

fn main() {
    let created = fastest(|| ratio(CREATED, |steps, lines| (create_all(steps), batch(&[], lines))));
    println!(
        "{CREATED} networks created: netlab {:?}, one `ip -batch` {:?}: {:.2}",
        created.0,
        created.1,
        share(created)
    );
    let deleted = fastest(|| ratio(DELETED, |steps, lines| (delete_all(steps), batch(lines, &deletions()))));
    println!(
        "{DELETED} networks deleted: netlab {:?}, one `ip -batch` {:?}: {:.2}",
        deleted.0,
        deleted.1,
        share(deleted)
    );
}

type Times = (Duration, Duration);

fn share((ours, theirs): Times) -> f64 {
    ours.as_secs_f64() / theirs.as_secs_f64()
}

/// Returns the fastest time of each side; they may come from different rounds.
fn fastest(mut round: impl FnMut() -> Times) -> Times {
    let rounds: Vec<Times> = (0..ROUNDS).map(|_| round()).collect();
    let ours = rounds.iter().map(|times| times.0).min().unwrap();
    (ours, rounds.iter().map(|times| times.1).min().unwrap())
}

fn ratio(networks: usize, measure: impl Fn(&[Step], &[String]) -> Times) -> Times {
    let steps: Vec<Step> = (0..networks).map(create).collect();
    let host = Namespace::new();
    let recorder = Recorder {
        shell: &host.shell,
        lines: Mutex::default(),
    };
    ip::apply(&recorder, &lab(), &steps).unwrap();
    let lines = recorder.lines.into_inner().unwrap();
    drop(host);
    measure(&steps, &lines)
}

/// Measures how long netlab takes to create the networks.
fn create_all(steps: &[Step]) -> Duration {
    let host = Namespace::new();
    let start = Instant::now();
    ip::apply(&host.shell, &lab(), steps).unwrap();
    start.elapsed()
}

/// Measures how long netlab takes to delete them.
fn delete_all(steps: &[Step]) -> Duration {
    let host = Namespace::new();
    ip::apply(&host.shell, &lab(), steps).unwrap();
    let seen = ip::observe(&host.shell, &lab()).unwrap();
    let removal: Vec<Step> = seen
        .links
        .keys()
        .map(|name| Step::DeleteLink {
            name: name.clone(),
            index: seen.seen.links.get(name).copied(),
        })
        .collect();
    let start = Instant::now();
    ip::apply(&host.shell, &lab(), &removal).unwrap();
    start.elapsed()
}

/// Measures how long one `ip -batch` of `lines` takes on a host where `before` was run.
fn batch(before: &[String], lines: &[String]) -> Duration {
    let host = Namespace::new();
    let run = |lines: &[String]| {
        let lines: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        host.shell.check(&Cmd::new(["ip", "-batch", "-"]).fed(lines)).unwrap();
    };
    run(before);
    let start = Instant::now();
    run(lines);
    start.elapsed()
}

fn deletions() -> Vec<String> {
    (0..DELETED).map(|n| format!("link del dev {}", name(n))).collect()
}

fn name(n: usize) -> IfName {
    IfName::new(&format!("net{n}")).unwrap()
}

/// A network's bridge with its gateway.
fn create(n: usize) -> Step {
    let link = Link {
        kind: LinkKind::Bridge { stp: None, mac: None },
        master: None,
        addresses: BTreeSet::from([format!("10.{}.{}.1/24", n / 250, n % 250).parse().unwrap()]),
        mtu: None,
        gateway: None,
        purpose: format!("network n{n}"),
    };
    Step::CreateLink(name(n), link)
}

fn lab() -> LabName {
    LabName::new("bench").unwrap()
}

/// Records the lines of `ip -batch`.
struct Recorder<'a> {
    shell: &'a NamespaceShell,
    lines: Mutex<Vec<String>>,
}

impl Shell for Recorder<'_> {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        let lines = String::from_utf8_lossy(&cmd.stdin);
        self.lines.lock().unwrap().extend(lines.lines().map(ToOwned::to_owned));
        self.shell.run(cmd)
    }
}

/// A network namespace, deleted on drop.
struct Namespace {
    name: String,
    shell: NamespaceShell,
}

impl Namespace {
    fn new() -> Self {
        let name = format!("netlab-bench-{}", std::process::id());
        LocalShell.check(&Cmd::new(["ip", "netns", "add", &name])).unwrap();
        let shell = NamespaceShell::of_network(&name);
        Self { name, shell }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = LocalShell.run(&Cmd::new(["ip", "netns", "del", &self.name]));
        // The kernel deletes the links later, under a lock that all other namespaces need: outside of what is measured.
        std::thread::sleep(CLEANUP);
    }
}
