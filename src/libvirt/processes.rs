//! The processes behind a host's libvirt, observed from outside of it: its daemon and the QEMU of each guest. What a
//! daemon or a QEMU that does not answer cannot report itself: that it is stopped, or still busy with its start.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::lab::LabName;
use crate::state::DomainName;
use crate::transport::cmd::{Cmd, Script, Shell};

const READ: Script = Script {
    name: "libvirt/processes.sh",
    text: include_str!("processes.sh"),
};

/// Where the processes of one host can be observed.
#[derive(Clone)]
pub(super) struct Processes {
    shell: Arc<dyn Shell>,
    /// The first process of an emulated host, as this machine counts. What is inside has other numbers there.
    init: Option<u32>,
    /// The URI of the connection to its libvirt.
    uri: String,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// `libvirtd` or `virtqemud`, or a domain's name.
    name: String,
    /// Its process id, on this machine for an emulated host.
    pid: u32,
    /// It was stopped by a signal, or by a debugger.
    stopped: bool,
}

/// A daemon that does not answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Daemon {
    /// It, where it was found.
    pub process: Option<Process>,
    /// It is finding out what its emulators can do, which may take minutes.
    pub probing: bool,
}

impl Process {
    /// Returns a text such as `process 4242 of libvirtd is stopped`; none where it is not.
    pub(super) fn stopped(&self, what: &str) -> Option<String> {
        self.stopped.then(|| {
            format!(
                "{what} process {} is stopped (`kill -CONT {}` continues it)",
                self.pid, self.pid
            )
        })
    }

    pub(super) fn named(&self) -> String {
        format!("{}, process {}", self.name, self.pid)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }
}

impl Processes {
    /// `shell` runs commands on the host; `init` is the first process of an emulated host.
    pub(super) fn new(shell: Arc<dyn Shell>, init: Option<u32>, uri: &str) -> Self {
        Self {
            shell,
            init,
            uri: uri.to_owned(),
        }
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Returns the daemon and what it is doing.
    pub(super) fn daemon(&self) -> Daemon {
        let mut found = Daemon::default();
        // No domain has this name.
        for line in self.read("/", "probes").lines() {
            if line == "probing" {
                found.probing = true;
            } else if let Some(("daemon", process)) = parse(line) {
                let better = found.process.is_none() || process.stopped;
                found.process = Some(process).filter(|_| better).or(found.process);
            }
        }
        found.process = found.process.map(|process| self.numbered(process));
        found
    }

    /// Returns why guests of `lab` do not run although libvirt counts them as running.
    pub(super) fn halted(&self, lab: &LabName) -> BTreeMap<DomainName, String> {
        self.guests(&format!("{lab}."))
            .filter(Process::is_stopped)
            .filter_map(|process| {
                let name = DomainName::try_from(process.name.clone()).ok()?;
                Some((name, self.numbered(process).stopped("its QEMU")?))
            })
            .collect()
    }

    /// Returns why a guest does not run although libvirt counts it as running.
    pub(super) fn halted_guest(&self, name: &DomainName) -> Option<String> {
        let name = name.to_string();
        let process = self.guests(&name).find(|process| process.name == name)?;
        Some(process)
            .filter(Process::is_stopped)
            .map(|process| self.numbered(process))?
            .stopped("its QEMU")
    }

    fn guests(&self, prefix: &str) -> impl Iterator<Item = Process> {
        let text = self.read(prefix, "");
        let found: Vec<Process> = text
            .lines()
            .filter_map(|line| match parse(line) {
                Some(("guest", process)) => Some(process),
                _ => None,
            })
            .collect();
        found.into_iter()
    }

    /// Runs the script. What cannot be read is not known: this only explains failures.
    fn read(&self, prefix: &str, probes: &str) -> String {
        let output = self.shell.run(&Cmd::script(READ, [prefix, probes]));
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// Replaces the number that a process has inside an emulated host by the one it has on this machine.
    fn numbered(&self, process: Process) -> Process {
        match self.init.and_then(|init| outside(init, process.pid)) {
            Some(pid) => Process { pid, ..process },
            None => process,
        }
    }
}

/// Parses e.g. `guest lab.vm1 4242 T`. `T` and `t`: stopped by a signal or a debugger (proc_pid_stat(5)).
fn parse(line: &str) -> Option<(&str, Process)> {
    let mut fields = line.split_whitespace();
    let (kind, name, pid, state) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let process = Process {
        name: name.to_owned(),
        pid: pid.parse().ok()?,
        stopped: matches!(state, "T" | "t"),
    };
    Some((kind, process))
}

/// Returns the number on this machine of the process with number `inside` in the PID namespace of `init`. `NSpid:` lists
/// a process's number in each namespace from the reader's to its own (proc_pid_status(5)).
fn outside(init: u32, inside: u32) -> Option<u32> {
    let namespace = |pid: &str| {
        let file = fs::metadata(Path::new("/proc").join(pid).join("ns/pid")).ok()?;
        Some((file.dev(), file.ino()))
    };
    let wanted = namespace(&init.to_string())?;
    let all = fs::read_dir("/proc").ok()?.flatten();
    all.filter_map(|process| process.file_name().into_string().ok())
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
        .find(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let last = numbers.and_then(|numbers| numbers.split_whitespace().next_back()?.parse().ok());
            last == Some(inside) && namespace(pid) == Some(wanted)
        })?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::cmd::{CmdError, Output};

    /// A host on which the script prints this.
    struct Printing(&'static str);

    impl Shell for Printing {
        fn run(&self, _: &Cmd) -> Result<Output, CmdError> {
            Ok(Output {
                status: 0,
                stdout: self.0.into(),
                stderr: Vec::new(),
            })
        }
    }

    fn host(text: &'static str) -> Processes {
        Processes::new(Arc::new(Printing(text)), None, "test:///default")
    }

    #[test]
    fn a_stopped_guest_is_named_with_its_process_and_a_running_one_is_not() {
        let host = host("guest lab.vm1 41 S\nguest lab.vm2 42 T\nguest lab.vm22 43 R\n");
        let halted = host.halted(&"lab".parse().unwrap());
        let names: Vec<String> = halted.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["lab.vm2"]);
        assert!(halted.values().all(|why| why.contains("process 42 is stopped")));
        let name = |text: &str| DomainName::try_from(text.to_owned()).unwrap();
        assert!(host.halted_guest(&name("lab.vm2")).is_some());
        assert_eq!(host.halted_guest(&name("lab.vm1")), None);
    }

    #[test]
    fn a_daemon_that_probes_is_not_one_that_is_stopped() {
        let probing = host("daemon libvirtd 7 S\nprobing\n").daemon();
        assert!(probing.probing && !probing.process.unwrap().is_stopped());
        let stopped = host("daemon virtqemud 8 S\ndaemon libvirtd 7 T\n").daemon();
        assert_eq!(stopped.process.unwrap().named(), "libvirtd, process 7");
        assert_eq!(host("").daemon(), Daemon::default());
    }
}
