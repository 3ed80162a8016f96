//! How long 500 networks on one host take, and 200 to go, against one `ip -batch` of the same lines. In throw-away
//! network namespaces, so it needs root.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what a benchmark cannot make ends it, and what it measured is what it says"
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

/// Networks made.
const MADE: usize = 500;
/// Networks there are when all go.
const GOING: usize = 200;
/// Rounds of each; the fastest counts, as what disturbs a round only makes it slower.
const ROUNDS: usize = 2;
/// Longer than the kernel takes for the links of one namespace, some 17 ms each.
const CLEARING: Duration = Duration::from_secs(12);

fn main() {
    let made = fastest(|| ratio(MADE, |steps, batch| (make(steps), by_hand(&[], batch))));
    println!(
        "{MADE} networks made: netlab {:?}, one `ip -batch` {:?}: {:.2}",
        made.0,
        made.1,
        share(made)
    );
    let gone = fastest(|| ratio(GOING, |steps, batch| (unmake(steps), by_hand(batch, &deletions()))));
    println!(
        "{GOING} networks gone: netlab {:?}, one `ip -batch` {:?}: {:.2}",
        gone.0,
        gone.1,
        share(gone)
    );
}

type Times = (Duration, Duration);

fn share((ours, theirs): Times) -> f64 {
    ours.as_secs_f64() / theirs.as_secs_f64()
}

/// The fastest of either, each of its own round.
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

/// How long netlab takes to make them.
fn make(steps: &[Step]) -> Duration {
    let host = Namespace::new();
    let start = Instant::now();
    ip::apply(&host.shell, &lab(), steps).unwrap();
    start.elapsed()
}

/// How long netlab takes to remove what those steps made.
fn unmake(steps: &[Step]) -> Duration {
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

/// How long one `ip -batch` of `lines` takes on a host on which `before` has been done.
fn by_hand(before: &[String], lines: &[String]) -> Duration {
    let host = Namespace::new();
    let batch = |lines: &[String]| {
        let lines: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        host.shell.check(&Cmd::new(["ip", "-batch", "-"]).fed(lines)).unwrap();
    };
    batch(before);
    let start = Instant::now();
    batch(lines);
    start.elapsed()
}

fn deletions() -> Vec<String> {
    (0..GOING).map(|n| format!("link del dev {}", name(n))).collect()
}

fn name(n: usize) -> IfName {
    IfName::new(&format!("net{n}")).unwrap()
}

/// A network's bridge with its gateway.
fn create(n: usize) -> Step {
    let link = Link {
        kind: LinkKind::Bridge { stp: false, mac: None },
        master: None,
        addresses: BTreeSet::from([format!("10.{}.{}.1/24", n / 250, n % 250).parse().unwrap()]),
        purpose: format!("network n{n}"),
    };
    Step::CreateLink(name(n), link)
}

fn lab() -> LabName {
    LabName::new("bench").unwrap()
}

/// Remembers the lines of `ip -batch`.
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

/// A network namespace that ends with this value.
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
        // The kernel takes it apart later, and all other namespaces wait for that lock: not within what is measured.
        std::thread::sleep(CLEARING);
    }
}
