//! A lab of a test: a lab file and a state folder of its own, what was on the machine before, and commands inside the
//! emulated hosts.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use netlab::emulated::init_pid;
use rustix::process::{Pid, Signal, kill_process};

use super::{emulated_hosts, kept, processes};

/// One host, one network, no guest: up in a third of a second.
pub const EMPTY: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0.address = "172.16.99.108/24"
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
bridge = "br1"
gateway = { address = "10.0.1.1", on = "node1" }
"#;

/// Two hosts with two cables between them.
pub const TWO_CABLES: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0.address = "172.16.99.108/24"
nics.eth1 = {}
[hosts.node2]
nics.eth0.address = "172.16.99.109/24"
nics.eth1 = {}
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[[cables]]
ends = ["node1:eth1", "node2:eth1"]
"#;

/// A host with a network of static and one of leased addresses.
pub const STATIC_AND_LEASED: &str = r#"
[hosts.node1]
[networks.service]
subnet = "10.0.1.0/24"
gateway = { address = "10.0.1.1", on = "node1" }
[networks.leased]
subnet = "10.0.2.0/24"
gateway = { address = "10.0.2.1", on = "node1" }
dhcp = true
"#;

/// The guest that makes [`EMPTY`] a lab in which something boots.
pub const GUEST: &str = r#"
[vms.vm1]
memory = "96MiB"
nics = [{ network = "service" }]
"#;

/// The lab `text`, one of those here, with two switches at node1: `down` removes an emulated machine in one step, and so has
/// more of them.
pub fn with_switches(text: &str) -> String {
    let nic = "nics.eth0.address = \"172.16.99.108/24\"\n";
    let text = text.replacen(nic, &format!("{nic}nics.eth1 = {{}}\nnics.eth2 = {{}}\n"), 1);
    let switches = ["eth1", "eth2"].map(|nic| {
        let switch = nic.replace("eth", "s");
        format!("[switches.{switch}]\n[[cables]]\nends = [\"node1:{nic}\", \"{switch}\"]\n")
    });
    format!("{text}{}", switches.concat())
}

/// Seconds for which `verify --wait` asks lossy and unknown cells again: guests under TCG on a busy machine lose pings.
pub const PATIENT: &str = "120";

/// The example that comes with netlab.
pub fn quickstart() -> String {
    include_str!("../../labs/quickstart.toml").replace("\"quickstart\"", "\"LABNAME\"")
}

/// A lab of its own; whatever is left of it goes with this value.
pub struct Bench {
    folder: tempfile::TempDir,
    before: BTreeSet<String>,
    pub lab: PathBuf,
    pub name: String,
}

impl Bench {
    /// A lab named after `tag` and this process, so that runs do not meet; none where emulated hosts cannot be had.
    /// In `text`, `LABNAME` is replaced by the lab's name.
    pub fn new(test: &str, tag: &str, text: &str) -> Option<Self> {
        if !emulated_hosts(test) {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("nl").tempdir().unwrap();
        let name = format!("{tag}{}", std::process::id());
        let bench = Self {
            before: machine(&name),
            lab: folder.path().join("lab.toml"),
            folder,
            name,
        };
        bench.write(text);
        Some(bench)
    }

    /// Rewrites the lab file.
    pub fn write(&self, text: &str) {
        std::fs::write(&self.lab, text.replace("LABNAME", &self.name)).unwrap();
    }

    /// The lab file, as an argument.
    pub fn file(&self) -> &str {
        self.lab.to_str().unwrap()
    }

    /// A path in this bench's own folder, which is removed on drop.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// netlab's state folder.
    pub fn state(&self) -> PathBuf {
        self.path("s")
    }

    /// netlab's cache, kept between tests and runs.
    pub fn cache() -> PathBuf {
        kept("cache")
    }

    /// netlab with this bench's folders.
    pub fn netlab(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netlab"));
        command
            .args(arguments)
            .env("NETLAB_STATE_DIR", self.state())
            .env("NETLAB_CACHE_DIR", Self::cache())
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs to the end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.netlab(arguments).output().unwrap()
    }

    /// Runs with a kill at the `at`th step boundary; true when it was killed, false when it ended well before that.
    pub fn killed(&self, arguments: &[&str], at: u32) -> bool {
        let mut command = self.netlab(arguments);
        let output = command.env("NETLAB_FAILPOINT", at.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() || output.status.code().is_none(),
            "neither done nor killed at boundary {at}: {}\n{said}",
            output.status
        );
        !output.status.success()
    }

    /// Runs and insists on success; gives standard output.
    pub fn good(&self, arguments: &[&str]) -> String {
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

    /// Runs and insists on this exit status; gives all that was said.
    pub fn bad(&self, arguments: &[&str], status: i32) -> String {
        said(&self.run(arguments), status)
    }

    /// Starts netlab and waits until it says a line with `word` in it.
    pub fn until(&self, arguments: &[&str], word: &str) -> Running {
        let mut child = self
            .netlab(arguments)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut heard = String::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            heard.push_str(&line);
            heard.push('\n');
            if line.contains(word) {
                return Running { child, lines, heard };
            }
        }
        let status = child.wait().unwrap();
        panic!("netlab {arguments:?} ended with {status} and never said {word}: {heard}");
    }

    /// Runs a command inside an emulated host and insists on success; gives its standard output.
    pub fn inside(&self, host: &str, command: &[&str]) -> String {
        let output = self.enter(host).args(command).output().unwrap();
        assert!(
            output.status.success(),
            "{command:?} on {host}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command that will run inside an emulated host.
    pub fn enter(&self, host: &str) -> Command {
        let pid = self.init(host).to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--net", "--mount", "--pid", "--"]);
        command
    }

    /// The process id of an emulated host's init.
    pub fn init(&self, host: &str) -> u32 {
        init_pid(&self.name.parse().unwrap(), &host.parse().unwrap()).unwrap_or_else(|| panic!("{host} is not up"))
    }

    /// Nothing of the lab is left: neither on this machine nor in the state folder.
    pub fn assert_as_before(&self) {
        assert_eq!(machine(&self.name), self.before, "something was left behind");
        for folder in ["labs", "locks"] {
            let left: Vec<_> = std::fs::read_dir(self.state().join(folder))
                .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
                .unwrap_or_default();
            // The folders of a lab whose `up` was refused may hold transcripts of before; a lock is removed with its run.
            assert!(left.is_empty(), "files left behind: {left:?}");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.run(&["-q", "down", &self.name]);
    }
}

/// A netlab that is still at work.
pub struct Running {
    pub child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    heard: String,
}

impl Running {
    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; gives the exit status and everything said on standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        for line in self.lines {
            self.heard.push_str(&line.unwrap());
            self.heard.push('\n');
        }
        (self.child.wait().unwrap().code(), self.heard)
    }
}

/// Insists on an exit status; gives all that was said.
pub fn said(output: &Output, status: i32) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(status), "{text}");
    text
}

/// Everything on this machine that could be a left-over of lab `name`: links, namespaces, mounts, processes, and
/// libvirt domains in their processes' command lines.
fn machine(name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let links = Command::new("ip").args(["-o", "-d", "link"]).output().unwrap();
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
    found.extend(
        processes()
            .into_iter()
            .map(|(_, command)| command)
            .filter(|command| command.contains(name)),
    );
    found
}
