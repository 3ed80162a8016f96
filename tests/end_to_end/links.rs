//! Links that are limited or down by request, what passes them, and faults that are put in for people to find.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::lab::{Bench, PATIENT};
use crate::support::skip;

/// Two guests on two hosts.
const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0 = {}
[hosts.node2]
nics.eth0 = {}
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
gateway = { address = "10.0.1.1", on = "node1" }
[vms.vm1]
host = "node1"
memory = "96MiB"
nics = [{ network = "service", address = "10.0.1.2" }]
[vms.vm3]
host = "node2"
memory = "96MiB"
nics = [{ network = "service", address = "10.0.1.3", rate = "50mbit" }]
"#;

/// Runs a script on node1.
fn sh(bench: &Bench, script: &str) -> String {
    bench.inside("node1", &["sh", "-c", script])
}

fn links(bench: &Bench) -> Vec<(String, String, bool)> {
    let status: Value = serde_json::from_str(&bench.good(&["status", "--json", &bench.name])).unwrap();
    let links = status["links"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    links
        .iter()
        .map(|link| {
            let by_request = link["by_request"].as_bool().unwrap();
            (text(&link["link"]), text(&link["state"]), by_request)
        })
        .collect()
}

#[test]
fn a_link_is_limited_or_down_by_request_until_that_is_cleared_and_is_no_drift() {
    let test = "a_link_is_limited_or_down_by_request_until_that_is_cleared_and_is_no_drift";
    let Some(bench) = Bench::new(test, "ln", LAB) else {
        return;
    };
    let link = |words: &[&str]| bench.good(&[&["link", &bench.name], words].concat());
    let row = |name: &str, state: &str, by_request| (name.to_owned(), state.to_owned(), by_request);
    let stated = row("vm3:service", "rate 50mbit", false);
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(links(&bench), std::slice::from_ref(&stated));

    // The rate of a request, and a cable that is pulled: recorded, shown, no drift.
    let said = link(&["vm1", "--rate", "1mbit"]);
    assert!(
        said.contains("vm1:service  rate 1mbit (by request)  what is sent to vm1"),
        "{said}"
    );
    link(&["node1:eth0", "down"]);
    let wanted = [
        row("node1:eth0", "down", true),
        row("vm1:service", "rate 1mbit", true),
        stated.clone(),
    ];
    assert_eq!(links(&bench), wanted);
    assert!(bench.good(&["plan", bench.file()]).starts_with("nothing to do"));
    let said = bench.bad(&["verify", bench.file()], 1);
    assert!(said.contains("down by request"), "{said}");
    assert!(!said.contains("drift"), "{said}");

    // What somebody changes by hand is drift, and `up` restores it; the requests stay.
    let tap = sh(&bench, "ip -br link | grep -o '^vm1-[^ ]*'");
    sh(
        &bench,
        &format!("tc qdisc del dev {} root; ip link set dev eth0 up", tap.trim()),
    );
    let plan = bench.good(&["plan", bench.file()]);
    assert!(
        plan.contains("set link eth0 of node1 down") && plan.contains("rate 1mbit"),
        "{plan}"
    );
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(links(&bench), wanted);

    // A guest that restarts has a new tap, which is limited as well.
    bench.good(&["-q", "restart", &bench.name, "vm1"]);
    assert_eq!(links(&bench), wanted);

    // A kernel without netem is asked before anything is changed.
    let delayed = bench.run(&["-q", "link", &bench.name, "vm1", "--delay", "5ms"]);
    if delayed.status.success() {
        assert_eq!(links(&bench)[1].1, "rate 1mbit, delay 5ms");
    } else {
        let said = String::from_utf8_lossy(&delayed.stderr).into_owned();
        assert!(
            said.contains("nothing was changed") && said.contains("sch_netem"),
            "{said}"
        );
        assert_eq!(links(&bench), wanted);
    }

    link(&["node1:eth0,vm1", "--clear"]);
    assert_eq!(links(&bench), [stated]);
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    let said = bench.bad(&["link", &bench.name, "vm9", "down"], 1);
    assert!(said.contains("no link \"vm9\""), "{said}");

    link(&["node2:eth0", "down"]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn requests_survive_kills_and_are_removed_with_the_lab() {
    let lab = LAB.split("[vms.vm1]").next().unwrap();
    let Some(bench) = Bench::new("requests_survive_kills_and_are_removed_with_the_lab", "lk", lab) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let mut at = 1;
    while bench.killed(&["-q", "link", &bench.name, "node1:eth0", "down"], at) {
        bench.good(&["-q", "up", bench.file()]);
        assert_eq!(links(&bench)[0].1, "down", "killed at {at}");
        bench.good(&["-q", "link", &bench.name, "node1:eth0", "--clear"]);
        assert!(links(&bench).is_empty());
        at += 1;
    }
    assert!(at > 1, "it was never killed");
    assert!(bench.killed(&["-q", "link", &bench.name, "node1:eth0", "up"], 1));
    bench.good(&["-q", "down", &bench.name]);
    bench.good(&["-q", "up", bench.file()]);
    assert!(links(&bench).is_empty(), "a lab that comes up again has no requests");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn pings_are_captured_to_the_terminal_to_a_file_and_along_a_path_and_nothing_is_left() {
    let test = "pings_are_captured_to_the_terminal_to_a_file_and_along_a_path";
    let Some(bench) = Bench::new(test, "cp", LAB) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let ping = || sh(&bench, "ping -c 3 -i 0.3 -W 10 10.0.1.3 >/dev/null; true");

    // To the terminal, from a tap of another host, until there are enough.
    let mut text = capturing(&bench, &["vm3", "-c", "2", "icmp"]);
    ping();
    assert!(text.child.wait().unwrap().success());
    let said = text.output();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("IP 10.0.1.1 > 10.0.1.3: ICMP echo request"), "{said}");

    // To a file, until Ctrl-C.
    let file = bench.path("cable.pcapng");
    let name = file.to_str().unwrap();
    let mut saved = capturing(&bench, &["node2:eth0", "-w", name, "icmp"]);
    ping();
    let pid = Pid::from_child(&saved.child);
    kill_process(pid, Signal::INT).unwrap();
    saved.child.wait().unwrap();
    let read = Command::new("tcpdump").args(["-n", "-r", name]).output().unwrap();
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(read.matches("ICMP echo request").count() >= 3, "{read}");
    assert!(read.matches("ICMP echo reply").count() >= 3, "{read}");

    // At every link of a path, in time order, to a pipe.
    let mut path = capturing(&bench, &["--both-ends", "vm1", "vm3", "-w", "-", "-c", "6", "icmp"]);
    bench.good(&["exec", &bench.name, "vm1", "--", "ping -c 3 10.0.1.3"]);
    let mut bytes = Vec::new();
    path.child.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
    path.child.wait().unwrap();
    std::fs::write(&file, &bytes).unwrap();
    let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for point in ["vm1:service", "node1:eth0", "node2:eth0", "vm3:service"] {
        assert!(contains(point), "no interface {point}");
    }
    let read = Command::new("tcpdump")
        .args(["-n", "-tt", "-r", name])
        .output()
        .unwrap();
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    let times: Vec<f64> = read
        .lines()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(times.len(), 6, "{read}");
    assert!(times.is_sorted(), "{read}");

    // Where tcpdump is not installed, frames are read all the same, but not filtered.
    sh(
        &bench,
        "file=$(command -v tcpdump) && : >/run/hidden && mount --bind /run/hidden \"$file\" && ! command -v tcpdump",
    );
    let mut read = capturing(&bench, &["node1:eth0", "-c", "6"]);
    ping();
    assert!(read.child.wait().unwrap().success());
    let said = read.output();
    assert_eq!(said.lines().count(), 6, "{said}");
    assert!(said.contains("IP 10.0.1.1 > 10.0.1.3: ICMP echo request"), "{said}");
    let said = bench.bad(&["capture", &bench.name, "vm1", "icmp"], 1);
    assert!(
        said.contains("a filter needs tcpdump") && said.contains("apt-get install tcpdump"),
        "{said}"
    );
    let said = bench.bad(&["capture", &bench.name, "node1:nothing"], 1);
    assert!(said.contains("No such device"), "{said}");
    sh(&bench, "umount \"$(readlink -f /usr/bin/tcpdump)\" && rm /run/hidden");

    // Killed in the middle: the host has no program left either.
    let mut killed = capturing(&bench, &["node1:eth0"]);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let left = "for i in $(seq 100); do pgrep -f '[t]cpdump -i eth0' >/dev/null || exit 0; sleep 0.1; done; pgrep -af '[t]cpdump -i eth0' || true";
    assert_eq!(sh(&bench, left), "");

    let said = bench.bad(&["capture", &bench.name, "vm9"], 1);
    assert!(
        said.contains("no link \"vm9\"") && said.contains("vm1:service"),
        "{said}"
    );
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// A capture that listens.
struct Capturing {
    child: std::process::Child,
}

impl Capturing {
    fn output(&mut self) -> String {
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

fn capturing(bench: &Bench, words: &[&str]) -> Capturing {
    let mut child = bench
        .netlab(&[&["capture", &bench.name], words].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = child.stderr.take().unwrap();
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&said).contains("Ctrl-C ends") {
        assert_eq!(errors.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    // What it says later is read, so that it never waits for that.
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    Capturing { child }
}

/// Puts in what each seed means, and removes it; returns what that was.
fn broken(bench: &Bench, seeds: std::ops::Range<u32>) -> BTreeSet<String> {
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    let mut seen = BTreeSet::new();
    for seed in seeds {
        let number = seed.to_string();
        let said = bench.good(&["break", &bench.name, "--seed", &number]);
        let again = bench.bad(&["break", &bench.name], 1);
        assert!(again.contains("has a fault already"), "{again}");
        let revealed = bench.good(&["break", &bench.name, "--reveal"]);
        let fault = revealed.lines().next().unwrap().to_owned();
        assert!(!said.contains(&fault), "it is not named: {said}");
        let red = bench.bad(&["verify", "--wait", "20", bench.file()], 1);
        assert!(
            red.contains("FAIL") || red.contains("red") || red.contains("not as"),
            "seed {seed}, {fault}: {red}"
        );
        let healed = bench.good(&["break", &bench.name, "--heal"]);
        assert!(healed.contains(&fault), "{healed}");
        let plan = bench.good(&["plan", bench.file()]);
        assert!(plan.starts_with("nothing to do"), "seed {seed}, {fault}: {plan}");
        bench.good(&["verify", "--wait", PATIENT, bench.file()]);
        eprintln!("seed {seed}: {fault}");
        seen.insert(fault);
    }
    let said = bench.bad(&["break", &bench.name, "--heal"], 1);
    assert!(said.contains("has no fault"), "{said}");
    // `up` removes it as well.
    bench.good(&["break", &bench.name, "--seed", "1", "--level", "1"]);
    bench.good(&["-q", "up", bench.file()]);
    bench.bad(&["break", &bench.name, "--reveal"], 1);
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    seen
}

#[test]
fn a_fault_that_is_put_in_makes_verify_red_until_it_is_removed() {
    let test = "a_fault_that_is_put_in_makes_verify_red_until_it_is_removed";
    if let Some(bench) = Bench::new(test, "bk", LAB) {
        assert_eq!(broken(&bench, 1..2).len(), 1);
    }
}

#[test]
#[ignore = "soak: 24 faults, each with two verifications"]
fn every_fault_that_a_seed_means_makes_verify_red_until_it_is_removed() {
    let test = "every_fault_that_a_seed_means_makes_verify_red_until_it_is_removed";
    if let Some(bench) = Bench::new(test, "ba", &crate::support::lab::quickstart()) {
        let seen = broken(&bench, 1..25);
        assert!(seen.len() > 1, "always the same: {seen:?}");
    }
}

#[test]
#[ignore = "soak: a lab with Open vSwitch whose guest restarts"]
fn links_on_open_vswitch_are_limited_set_down_and_captured_as_others_are() {
    let test = "links_on_open_vswitch_are_limited_set_down_and_captured_as_others_are";
    if Command::new("ovs-vswitchd").arg("--version").output().is_err() {
        return skip(test, "no ovs-vswitchd");
    }
    let lab = include_str!("../../labs/ovs-gre.toml").replace("\"ovs-gre\"", "\"LABNAME\"");
    let Some(bench) = Bench::new(test, "lo", &lab) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let row = |name: &str, state: &str| (name.to_owned(), state.to_owned(), true);
    bench.good(&["-q", "link", &bench.name, "vm1", "--rate", "1mbit"]);
    bench.good(&["-q", "link", &bench.name, "vm2", "down"]);
    let wanted = [row("vm1:service", "rate 1mbit"), row("vm2:service", "down")];
    for _ in 0..2 {
        assert_eq!(links(&bench), wanted);
        assert!(bench.good(&["plan", bench.file()]).starts_with("nothing to do"));
        let said = bench.bad(&["verify", bench.file()], 1);
        assert!(said.contains("down by request"), "{said}");
        bench.good(&["-q", "restart", &bench.name, "vm2"]);
    }
    bench.good(&["-q", "link", &bench.name, "vm1,vm2", "--clear"]);
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);

    let mut capture = capturing(&bench, &["--both-ends", "vm1", "vm2", "-c", "4", "icmp"]);
    bench.good(&["exec", "-n", &bench.name, "vm1", "--", "ping -c 3 10.0.1.3"]);
    assert!(capture.child.wait().unwrap().success());
    let said = capture.output();
    for point in ["vm1:service", "vm2:service"] {
        assert_eq!(said.matches(point).count(), 2, "{said}");
    }

    for level in ["1", "2", "3"] {
        bench.good(&["break", &bench.name, "--level", level, "--seed", "3"]);
        bench.bad(&["verify", "--wait", "20", bench.file()], 1);
        bench.good(&["break", &bench.name, "--heal"]);
        assert!(bench.good(&["plan", bench.file()]).starts_with("nothing to do"));
    }
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
