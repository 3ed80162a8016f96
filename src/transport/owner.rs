//! Which run a process on a host belongs to. Every command of a run that changes hosts has the run's mark in its
//! environment, where the kernel shows it (proc_pid_environ(5)). So a command that its run did not live to see the end of
//! is found by the next run on the lab, and ended before that run observes anything.
//!
//! What is to outlive a run (a DHCP server, the timer of a rollback) is started without the mark: it has an owner of its
//! own, a folder or a token.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use super::cmd::{Cmd, CmdError, Output, Script, Shell};
use crate::lab::{HostName, LabName};

/// The variable that holds the mark. Scripts that start what outlives a run unset it by this name.
pub(super) const VARIABLE: &str = "NETLAB_RUN";

const END_STALE: Script = Script {
    name: "owner/end_stale.sh",
    text: include_str!("owner/end_stale.sh"),
};

/// One run on a lab, as the owner of what it runs on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    lab: LabName,
    host: HostName,
    /// Distinguishes runs.
    run: String,
}

impl Owner {
    /// Creates the owner of what a run on `lab` runs on `host`, which no earlier run is.
    pub fn new(lab: &LabName, host: &HostName) -> Self {
        // The standard library's only source of random numbers.
        let random = RandomState::new().build_hasher().finish();
        Self {
            lab: lab.clone(),
            host: host.clone(),
            run: format!("{}-{random:016x}", std::process::id()),
        }
    }

    /// Returns the same run on another host.
    #[must_use]
    pub fn on(&self, host: &HostName) -> Self {
        Self {
            host: host.clone(),
            ..self.clone()
        }
    }

    /// Returns the mark: letters, digits, `.`, `-` and `:`.
    pub fn mark(&self) -> String {
        format!("{}:{}:{}", self.lab, self.host, self.run)
    }

    /// Returns the command that ends what earlier runs on the lab still run on the host. It fails where something of
    /// them does not end.
    pub fn end_stale(&self) -> Cmd {
        let arguments = [self.lab.as_str(), self.host.as_str(), &self.mark()];
        Cmd::script(END_STALE, arguments)
    }
}

/// A shell whose commands have the mark of a run, where there is one.
#[derive(Debug, Clone)]
pub struct OwnedShell<S> {
    mark: Option<String>,
    shell: S,
}

impl<S: Shell> OwnedShell<S> {
    /// Wraps `shell`; without an owner, its commands have no mark.
    pub fn new(shell: S, owner: Option<&Owner>) -> Self {
        Self {
            mark: owner.map(Owner::mark),
            shell,
        }
    }
}

impl<S: Shell> Shell for OwnedShell<S> {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        match &self.mark {
            Some(mark) => self.shell.run(&cmd.clone().marked(mark)),
            None => self.shell.run(cmd),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::transport::LocalShell;

    fn owner(lab: &str) -> Owner {
        let (lab, host) = (lab.parse().unwrap(), "localhost".parse().unwrap());
        Owner::new(&lab, &host)
    }

    /// A lab that no other test and no other run of the tests has.
    fn lab(name: &str) -> String {
        format!("{name}{}", std::process::id())
    }

    /// A process with a mark, which ignores SIGTERM and hang-ups and has a child; and the end of its output, which both
    /// have open.
    fn started(owner: &Owner) -> std::process::ChildStdout {
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", "trap '' TERM HUP; sleep 100 & echo begun; wait"])
            .env(VARIABLE, owner.mark())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut begun = [0; 6];
        output.read_exact(&mut begun).unwrap();
        std::thread::spawn(move || child.wait());
        output
    }

    /// Whether all processes that have `output` open end within that time.
    fn ends(mut output: std::process::ChildStdout, within: Duration) -> bool {
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = output.read_to_end(&mut Vec::new());
            let _ = sender.send(());
        });
        ended.recv_timeout(within).is_ok()
    }

    #[test]
    fn what_an_earlier_run_on_the_lab_left_is_ended_and_nothing_else() {
        let (own, other) = (lab("own"), lab("other"));
        let earlier = started(&owner(&own));
        let present = owner(&own);
        let (ours, theirs) = (started(&present), started(&owner(&other)));
        let shell = OwnedShell::new(LocalShell, Some(&present));
        shell.check(&present.end_stale()).unwrap();
        assert!(ends(earlier, Duration::from_secs(5)));
        let moment = Duration::from_millis(100);
        assert!(!ends(ours, moment), "a process of the present run was ended");
        assert!(!ends(theirs, moment), "a process of another lab was ended");
        // Their owners' next runs.
        for lab in [own, other] {
            let next = owner(&lab);
            LocalShell.check(&next.end_stale()).unwrap();
        }
    }

    #[test]
    fn without_anything_to_end_it_takes_no_time() {
        let began = Instant::now();
        LocalShell.check(&owner(&lab("none")).end_stale()).unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_command_has_the_mark_of_its_run() {
        let owner = owner("quick");
        let output = OwnedShell::new(LocalShell, Some(&owner))
            .check(&Cmd::new(["printenv", VARIABLE]))
            .unwrap();
        assert_eq!(String::from_utf8(output).unwrap().trim(), owner.mark());
        assert!(owner.mark().starts_with("quick:localhost:"));
        assert_eq!(owner.on(&"node1".parse().unwrap()).run, owner.run);
    }
}
