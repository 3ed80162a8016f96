//! Tier 5: netlab as a user runs it, with real libvirt and real guests on emulated hosts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A state folder of its own, and what the machine looked like before.
struct Bench {
    folder: tempfile::TempDir,
    before: BTreeSet<String>,
    lab: PathBuf,
    name: String,
}

impl Bench {
    /// A lab file of the tests' own, named after the process so that runs do not meet.
    fn new(tag: &str, text: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("nl").tempdir().unwrap();
        let name = format!("{tag}{}", std::process::id());
        let lab = folder.path().join("lab.toml");
        std::fs::write(&lab, text.replace("LABNAME", &name)).unwrap();
        Self {
            before: machine(&name),
            folder,
            lab,
            name,
        }
    }

    fn netlab(&self, arguments: &[&str], failpoint: Option<u32>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netlab"));
        command
            .args(arguments)
            .env("NETLAB_STATE_DIR", self.folder.path().join("s"));
        command.env("NETLAB_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        if let Some(at) = failpoint {
            command.env("NETLAB_FAILPOINT", at.to_string());
        }
        command.output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.netlab(arguments, None)
    }

    /// Runs and insists on success; gives standard output.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "netlab {arguments:?}: {}\n{text}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    fn lab(&self) -> &str {
        self.lab.to_str().unwrap()
    }

    fn assert_as_before(&self) {
        assert_eq!(machine(&self.name), self.before, "something was left behind");
        let left: Vec<_> = std::fs::read_dir(self.folder.path().join("s/labs"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "files left behind: {left:?}");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.run(&["-q", "down", &self.name]);
    }
}

/// Everything on this machine that could be a left-over of lab `name`: links, namespaces, mounts, processes.
fn machine(name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
    for line in String::from_utf8_lossy(&links.stdout).lines() {
        if line.contains(name) {
            found.insert(line.to_owned());
        }
    }
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let namespace = entry.file_name().to_string_lossy().into_owned();
        if namespace.contains(name) {
            found.insert(namespace);
        }
    }
    for line in std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        if line.contains(name) {
            found.insert(line.to_owned());
        }
    }
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(name) {
            found.insert(command);
        }
    }
    found
}

const SMALL: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0.address = "172.16.99.108/24"
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
gateway = { address = "10.0.1.1", on = "node1" }
[vms.vm1]
memory = "96MiB"
nics = [{ network = "service" }]
"#;

#[test]
fn the_quickstart_comes_up_answers_and_goes_without_a_trace() {
    let text = include_str!("../../labs/quickstart.toml").replace("\"quickstart\"", "\"LABNAME\"");
    let bench = Bench::new("qs", &text);
    bench.good(&["up", bench.lab()]);
    let matrix: serde_json::Value = serde_json::from_str(&bench.good(&["verify", "--json", bench.lab()])).unwrap();
    let cells = matrix["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 16, "4 guests ask 3 others and the gateway: {matrix:#}");

    let again = bench.good(&["up", bench.lab()]);
    assert!(again.contains("nothing to do"), "{again}");
    let status = bench.good(&["status", &bench.name]);
    assert_eq!(status.matches("running").count(), 6, "2 hosts and 4 guests:\n{status}");

    // The lab file is edited away: `down` needs the name only.
    std::fs::remove_file(&bench.lab).unwrap();
    bench.good(&["down", &bench.name]);
    bench.assert_as_before();
    let again = bench.good(&["down", &bench.name]);
    assert!(again.contains("nothing to do"), "{again}");
}

#[test]
fn a_run_killed_at_any_step_boundary_is_finished_by_up_and_cleaned_by_down() {
    let bench = Bench::new("kill", SMALL);
    let mut boundaries = 0;
    for at in 1..200 {
        let killed = bench.netlab(&["-q", "up", bench.lab()], Some(at));
        if killed.status.success() {
            break;
        }
        assert_eq!(
            killed.status.code(),
            None,
            "{}",
            String::from_utf8_lossy(&killed.stderr)
        );
        boundaries = at;
        // Every other time `down` has to cope with the half-made lab by itself.
        if at % 2 == 0 {
            bench.good(&["-q", "up", bench.lab()]);
            bench.good(&["-q", "verify", bench.lab()]);
        }
        bench.good(&["-q", "down", &bench.name]);
        bench.assert_as_before();
    }
    assert!(boundaries >= 10, "only {boundaries} boundaries were met");
}

#[test]
fn a_down_killed_at_any_step_boundary_is_finished_by_down() {
    let bench = Bench::new("dn", SMALL);
    for at in 1..200 {
        bench.good(&["-q", "up", bench.lab()]);
        let killed = bench.netlab(&["-q", "down", &bench.name], Some(at));
        bench.good(&["-q", "down", &bench.name]);
        bench.assert_as_before();
        if killed.status.success() {
            assert!(at > 5, "only {at} boundaries were met");
            return;
        }
    }
}

#[test]
fn a_guest_that_was_killed_is_shown_and_only_it_is_started_again() {
    let bench = Bench::new("crash", SMALL);
    bench.good(&["-q", "up", bench.lab()]);
    let uri = format!(
        "qemu+unix:///system?socket={}",
        bench
            .folder
            .path()
            .join(format!("s/labs/{}/hosts/node1/run/libvirt/libvirt-sock", bench.name))
            .display()
    );
    let destroyed = Command::new("virsh")
        .args(["-c", &uri, "destroy", &format!("{}.vm1", bench.name)])
        .output()
        .unwrap();
    assert!(
        destroyed.status.success(),
        "{}",
        String::from_utf8_lossy(&destroyed.stderr)
    );
    assert_eq!(bench.run(&["verify", bench.lab()]).status.code(), Some(1));
    let plan = bench.good(&["plan", bench.lab()]);
    assert_eq!(plan.lines().count(), 2, "start and configure:\n{plan}");
    bench.good(&["-q", "up", bench.lab()]);
    bench.good(&["-q", "verify", bench.lab()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn ctrl_c_while_a_guest_boots_stops_safely_and_up_goes_on() {
    let bench = Bench::new("int", SMALL);
    let mut up = Command::new(env!("CARGO_BIN_EXE_netlab"));
    up.args(["up", bench.lab()])
        .env("NETLAB_STATE_DIR", bench.folder.path().join("s"));
    up.env("NETLAB_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    let mut up = up.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines();
    // From here on the guest boots, which takes seconds.
    for line in lines.by_ref() {
        let line = line.unwrap();
        if line.contains(": start ") {
            let pid = rustix::process::Pid::from_child(&up);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
            break;
        }
    }
    for line in lines {
        said.push_str(&line.unwrap());
    }
    assert_eq!(up.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("netlab up") && said.contains("netlab down"), "{said}");
    bench.good(&["-q", "up", bench.lab()]);
    bench.good(&["-q", "verify", bench.lab()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn the_second_of_two_runs_on_one_lab_is_told_who_holds_it() {
    let bench = Bench::new("two", SMALL);
    let lock = bench.folder.path().join("s/locks");
    std::fs::create_dir_all(&lock).unwrap();
    let held = std::fs::File::create(lock.join(&bench.name)).unwrap();
    std::fs::write(lock.join(&bench.name), "`netlab up`, process 1").unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let second = bench.run(&["up", bench.lab()]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("in use by `netlab up`, process 1"), "{said}");
    drop(held);
    bench.assert_as_before();
}

#[test]
fn an_invalid_lab_is_refused_with_every_problem_and_status_2() {
    let bench = Bench::new(
        "bad",
        "name = \"LABNAME\"\nfoo = 1\n[hosts.h]\n[networks.n]\nsubnet = \"10.0.0.1/24\"\n",
    );
    let output = bench.run(&["up", bench.lab()]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("foo") && text.contains("10.0.0.0/24"), "{text}");
    bench.assert_as_before();
}
