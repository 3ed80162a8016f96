//! Throw-away network namespaces, and what the tests say to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use netlab::lab::{IfName, LabName};
use netlab::linux::FailedAt;
use netlab::linux::ip::{self, Network, NetworkError};
use netlab::plan::Step;
use netlab::state::survey::Survey;
use netlab::state::{Link, LinkKind, Missing, NicConfig, Uplink};
use netlab::transport::cmd::{Cmd, CmdError, Output, Shell};
use netlab::transport::{LocalShell, NamespaceShell};
use serde_json::Value;

pub use crate::support::skip;

/// A network namespace that ends with the test.
pub struct Namespace {
    pub name: String,
    pub shell: NamespaceShell,
}

impl Namespace {
    /// A new one; None, with the reason printed, where there cannot be any.
    pub fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("netlab-test-{}-{count}", std::process::id());
        if let Err(why) = LocalShell.check(&Cmd::new(["ip", "netns", "add", &name])) {
            skip(test, &format!("no network namespace can be made: {why}"));
            return None;
        }
        let shell = NamespaceShell::of_network(&name);
        let namespace = Self { name, shell };
        // Duplicate address detection takes a second, in which an address is not what it was.
        for scope in ["all", "default"] {
            let file = format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad");
            namespace.check_fed(&["tee", &file], "0");
        }
        namespace.ip("link set dev lo up");
        Some(namespace)
    }

    /// Runs lines of `ip`.
    pub fn ip(&self, lines: &str) {
        self.check_fed(&["ip", "-batch", "-"], lines);
    }

    pub fn check_fed(&self, argv: &[&str], stdin: &str) -> String {
        let output = self.shell.check(&Cmd::new(argv.iter().copied()).fed(stdin)).unwrap();
        String::from_utf8(output).unwrap()
    }

    /// A cable: `nic` here, `far` in the other namespace, both up. Neither end is ever anywhere else.
    pub fn cable(&self, nic: &str, other: &Self, far: &str) {
        self.ip(&format!(
            "link add name {nic} type veth peer name {far} netns {}\nlink set dev {nic} up",
            other.name
        ));
        other.ip(&format!("link set dev {far} up"));
    }

    pub fn observe(&self) -> Network {
        ip::observe(&self.shell, &lab()).unwrap()
    }

    pub fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        ip::survey(&self.shell, &lab(), &mut survey).unwrap();
        survey
    }

    pub fn apply(&self, steps: &[Step]) -> Result<(), FailedAt<NetworkError>> {
        ip::apply(&self.shell, &lab(), steps)
    }

    /// Waits until the kernel has done what it does in its own time: carriers, IPv6 addresses.
    pub fn settle(&self) {
        for _ in 0..500 {
            let text = self.check_fed(&["ip", "addr"], "");
            if !text.contains("tentative") && !text.contains("LOWERLAYERDOWN") {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the namespace never came to rest");
    }

    /// Returns everything that `ip` prints about links, addresses and routes, without what changes by itself, a line for
    /// each: once the kernel, which adds some routes later than it prints their addresses, has changed nothing for 100 ms.
    pub fn snapshot(&self) -> Vec<String> {
        let mut before = Vec::new();
        for _ in 0..100 {
            self.settle();
            let now = self.lines();
            if now == before {
                return now;
            }
            before = now;
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the namespace never came to rest");
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for argv in [
            &["ip", "-j", "-d", "link"][..],
            &["ip", "-j", "-d", "addr"],
            &["ip", "-j", "-d", "route", "show", "table", "all"],
            &["ip", "-j", "rule"],
        ] {
            let mut value: Value = serde_json::from_str(&self.check_fed(argv, "")).unwrap();
            forget_times(&mut value);
            for object in value.as_array().unwrap() {
                let addresses = object["addr_info"].as_array();
                lines.extend(
                    addresses
                        .into_iter()
                        .flatten()
                        .map(|a| format!("{} {a}", object["ifname"])),
                );
                if addresses.is_none() {
                    lines.push(object.to_string());
                }
            }
        }
        lines
    }
}

/// Fails with the lines that differ, in the order of each side.
#[track_caller]
pub fn assert_same(now: &[String], before: &[String], when: &str) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let (more, less) = (only(now, before), only(before, now));
    assert!(
        more.is_empty() && less.is_empty(),
        "{when}: more {more:#?}, less {less:#?}"
    );
    let moved: Vec<_> = now.iter().zip(before).filter(|(a, b)| a != b).collect();
    assert!(moved.is_empty(), "{when}: moved {moved:#?}");
}

/// What counts down by itself.
fn forget_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let counts = key.ends_with("_timer") || key.ends_with("_life_time") || key == "expires";
                if counts && value.as_u64() != Some(u32::MAX.into()) {
                    *value = Value::from("some time");
                }
                forget_times(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        _ => {}
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = LocalShell.run(&Cmd::new(["ip", "netns", "del", &self.name]));
    }
}

/// A shell in which netlab is killed while its first `ip -batch` runs: only so many lines take effect.
pub struct Killed<'a> {
    pub shell: &'a NamespaceShell,
    pub after: usize,
}

impl Shell for Killed<'_> {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        if !cmd.argv.contains(&"-batch".to_owned()) {
            return self.shell.run(cmd);
        }
        let lines = String::from_utf8(cmd.stdin.clone()).unwrap();
        let first: String = lines.split_inclusive('\n').take(self.after).collect();
        let output = self.shell.run(&cmd.clone().fed(first))?;
        assert_eq!(output.status, 0, "{}", String::from_utf8_lossy(&output.stderr));
        let status = if self.after < lines.lines().count() { 137 } else { 0 };
        Ok(Output { status, ..output })
    }
}

pub fn lab() -> LabName {
    LabName::new("quickstart").unwrap()
}

pub fn ifname(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

pub fn bridge(purpose: &str) -> Link {
    Link {
        kind: LinkKind::Bridge { stp: None, mac: None },
        master: None,
        addresses: BTreeSet::new(),
        mtu: None,
        gateway: None,
        purpose: purpose.to_owned(),
    }
}

pub fn create(name: &str) -> Step {
    Step::CreateLink(ifname(name), bridge("network service"))
}

pub fn delete(name: &str, seen: &Network) -> Step {
    let name = ifname(name);
    let index = seen.seen.links.get(&name).copied();
    Step::DeleteLink { name, index }
}

pub fn uplink(bridge: &str, was: &NicConfig) -> Uplink {
    Uplink {
        bonded: false,
        bridge: ifname(bridge),
        was: was.clone(),
        missing: Missing::default(),
    }
}

pub fn links<const N: usize>(links: [(&str, Link); N]) -> BTreeMap<IfName, Link> {
    links.map(|(name, link)| (ifname(name), link)).into()
}
