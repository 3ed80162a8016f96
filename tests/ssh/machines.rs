//! Two machines behind ssh and the one that netlab runs on: namespaces with an sshd, a libvirt daemon and addresses
//! of their own, wired by cables. They share nothing but the kernel and the files that no machine has to itself.
//!
//! ```text
//! ctl:eth1 10.200.1.1 ── 10.200.1.2 node1:mgmt      node1:eth0 ── node2:eth0
//! ctl:eth2 10.200.2.1 ── 10.200.2.2 node2:mgmt
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use netlab::folders::Folders;
use netlab::lab::{Cable, CableEnd, HostName};
use netlab::plan::Step;
use netlab::state::{Machine, MachineKind, MachineNic};
use netlab::transport::{Cmd, NamespaceShell, Shell};
use rustix::process::{Signal, kill_process};

use crate::sshd::{Keyring, children, sshd_config, wait_until};
use crate::support::kept;
use crate::support::machines::Machines as Emulated;
use crate::support::whole;

pub const NODES: [&str; 2] = ["node1", "node2"];

/// The machines, and a lab file for them. Everything goes with this value.
pub struct Machines {
    pub keyring: Keyring,
    /// The lab that is brought up over ssh.
    pub name: String,
    emulated: Emulated,
}

impl Machines {
    pub fn new(test: &str) -> Option<Self> {
        let keyring = Keyring::new(test)?;
        let machines = Self {
            emulated: Emulated::new(test)?,
            name: format!("s{}", std::process::id()),
            keyring,
        };
        machines.wire();
        for machine in NODES.iter().chain(&["ctl"]) {
            machines.separate_temporary_files(machine);
        }
        for node in NODES {
            machines
                .keyring
                .know(&format!("{} {}", address(node), machines.keyring.public("host")));
            machines.listen(node, address(node));
            // Their own files: nothing of netlab's cache is seen there.
            fs::create_dir_all(cache()).unwrap();
            machines.run(node, &["mount", "-t", "tmpfs", "tmpfs", cache().to_str().unwrap()]);
            machines.share_saved_states(node);
        }
        machines.write_lab("");
        Some(machines)
    }

    fn wire(&self) {
        let cables = [
            (("ctl", "eth1"), ("node1", "mgmt")),
            (("ctl", "eth2"), ("node2", "mgmt")),
            (("node1", "eth0"), ("node2", "eth0")),
        ];
        let nic = |address: &str| MachineNic {
            address: Some(address.parse().unwrap()),
            ..MachineNic::default()
        };
        let machine = |nics: &[(&str, &str)]| Machine {
            stp: false,
            lags: BTreeSet::new(),
            nics: nics
                .iter()
                .map(|(name, address)| {
                    let config = if address.is_empty() {
                        MachineNic::default()
                    } else {
                        nic(address)
                    };
                    (name.parse().unwrap(), config)
                })
                .collect::<BTreeMap<_, _>>(),
            kind: MachineKind::Host,
            outside: BTreeSet::new(),
            names: BTreeMap::new(),
            to_host: None,
            changed: BTreeSet::new(),
            alive: true,
        };
        let all = [
            ("ctl", machine(&[("eth1", "10.200.1.1/24"), ("eth2", "10.200.2.1/24")])),
            ("node1", machine(&[("mgmt", "10.200.1.2/24"), ("eth0", "")])),
            ("node2", machine(&[("mgmt", "10.200.2.2/24"), ("eth0", "")])),
        ];
        let mut steps: Vec<Step> = all.iter().map(|(name, _)| Step::CreateMachine(host(name))).collect();
        for (a, b) in cables {
            let end = |(name, nic): (&str, &str)| CableEnd {
                host: host(name),
                nic: nic.parse().unwrap(),
            };
            let mut ends = [end(a), end(b)];
            ends.sort();
            steps.push(Step::PlugCable(Cable { ends }));
        }
        steps.extend(
            all.iter()
                .map(|(name, machine)| Step::ConfigureMachine(host(name), machine.clone())),
        );
        self.emulated.apply(&steps).unwrap();
    }

    /// Gives the machine a /tmp of its own, in which only the test's own files are seen.
    fn separate_temporary_files(&self, machine: &str) {
        let script = "mkdir /run/tmp && mount -t tmpfs -o mode=1777 tmpfs /run/tmp && mkdir \"/run$1\" && \
                      mount --bind \"$1\" \"/run$1\" && mount --move /run/tmp /tmp && rmdir /run/tmp";
        let own = self.keyring.temp.path().to_str().unwrap();
        self.run(machine, &["sh", "-c", script, "sh", own]);
    }

    /// The machines have one processor, one QEMU and the same images: what one has saved, all of them can start, in the next
    /// test, too.
    fn share_saved_states(&self, node: &str) {
        let shared = kept("ssh-saved");
        fs::create_dir_all(&shared).unwrap();
        let script = "mkdir -p \"$2\" && mount --bind \"$1\" \"$2\"";
        self.run(
            node,
            &[
                "sh",
                "-c",
                script,
                "sh",
                shared.to_str().unwrap(),
                Folders::SAVED_BEHIND_SSH,
            ],
        );
    }

    pub fn pid(&self, machine: &str) -> u32 {
        self.emulated.pid(&host(machine))
    }

    /// A command on one of the machines, past ssh.
    pub fn run(&self, machine: &str, argv: &[&str]) -> String {
        let shell = NamespaceShell::of_process(self.pid(machine));
        let output = shell.check(&Cmd::new(argv.iter().copied()));
        String::from_utf8_lossy(&output.unwrap_or_else(|error| panic!("{machine}: {error}"))).into_owned()
    }

    /// Whether a guest on the machine was restored.
    pub fn restored(&self, machine: &str) -> bool {
        let processes = self.run(machine, &["ps", "-e", "-o", "args="]);
        processes.contains(" -incoming ")
    }

    fn enter(&self, machine: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.pid(machine).to_string(),
            "--net",
            "--mount",
            "--pid",
            "--uts",
            "--",
        ]);
        command
    }

    /// Starts an sshd that listens at one of the machine's addresses.
    pub fn listen(&self, node: &str, address: &str) {
        let config = self.keyring.path(&format!("sshd_config.{address}"));
        let text = sshd_config(&self.keyring, &format!("ListenAddress {address}\n"));
        fs::write(&config, text).unwrap();
        self.run(node, &["mkdir", "-p", "/run/sshd"]);
        let log = self.sshd_log(node);
        let script = format!(
            "setsid /usr/sbin/sshd -D -f {} -E {} </dev/null >/dev/null 2>&1 &",
            config.display(),
            log.display()
        );
        self.run(node, &["sh", "-c", &script]);
        wait_until("sshd listens", || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains(&format!("Server listening on {address}")))
        });
    }

    pub fn sshd_log(&self, node: &str) -> PathBuf {
        self.keyring.path(&format!("sshd.{node}.log"))
    }

    /// Two guests on two hosts, over ssh; `more` is added.
    pub fn write_lab(&self, more: &str) {
        let text = format!(
            r#"
name = "{name}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
nics.eth0 = {{}}
[hosts.node2]
connect = "ssh://root@10.200.2.2"
nics.eth0 = {{}}
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
gateway = {{ address = "10.0.1.1", on = "node1" }}
[vms.vm1]
host = "node1"
memory = "96MiB"
nics = [{{ network = "service" }}]
[vms.vm2]
host = "node2"
memory = "96MiB"
nics = [{{ network = "service" }}]
{more}
"#,
            name = self.name
        );
        fs::write(self.lab(), text).unwrap();
    }

    pub fn lab(&self) -> PathBuf {
        self.keyring.path("lab.toml")
    }

    /// netlab, as it would be run on the machine `ctl`.
    pub fn netlab(&self, arguments: &[&str]) -> Command {
        let mut command = self.enter("ctl");
        command.arg(env!("CARGO_BIN_EXE_netlab")).args(arguments);
        command
            .env("NETLAB_STATE_DIR", self.keyring.path("s"))
            .env("NETLAB_CACHE_DIR", cache())
            .env("NETLAB_SSH_CONFIG", self.keyring.path("config"))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null());
        command
    }

    /// The folder of the built-in image `mini`, which is built where it is not in the cache.
    pub fn mini(&self) -> PathBuf {
        self.good(&["-q", "image", "build", "mini"]);
        cache().join("images/mini")
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.netlab(arguments).output().unwrap()
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.netlab(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs and insists on success.
    #[track_caller]
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let text = said(&output);
        assert!(
            output.status.success(),
            "netlab {arguments:?}: {}\n{text}",
            output.status
        );
        text
    }

    #[track_caller]
    pub fn bad(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(1), "netlab {arguments:?}: {}", said(&output));
        said(&output)
    }

    /// Everything on the three machines that a lab could leave behind or change, a line each.
    pub fn snapshot(&self) -> BTreeSet<String> {
        self.snapshot_of(&["ctl", "node1", "node2"])
    }

    /// The same on some of them.
    pub fn snapshot_of(&self, machines: &[&str]) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for machine in machines {
            let printed = self.run(machine, &["sh", "-c", whole::SCRIPT, whole::WORD, whole::WORD]);
            let of_machine = whole::read(&printed, &self.name).into_iter();
            lines.extend(of_machine.map(|line| format!("{machine} {line}")));
        }
        lines
    }

    /// The machines are as in an earlier snapshot, but for what needs a moment to end.
    #[track_caller]
    pub fn assert_as(&self, earlier: &BTreeSet<String>) {
        assert_soon(earlier, "", || self.snapshot());
    }

    /// As [`Self::assert_as`]; `what` was done before.
    #[track_caller]
    pub fn assert_as_after(&self, earlier: &BTreeSet<String>, what: &str) {
        assert_soon(earlier, what, || self.snapshot());
    }
}

/// What is observed is soon the same as earlier: a process needs a moment to end.
#[track_caller]
pub fn assert_soon(earlier: &BTreeSet<String>, what: &str, observe: impl Fn() -> BTreeSet<String>) {
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let now = observe();
        if now == *earlier {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "other than before {what}:\n{}",
            whole::difference(earlier, &now)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in NODES {
                let log = fs::read_to_string(self.sshd_log(node)).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(5).collect();
                eprintln!("{node}'s sshd: {tail:#?}");
            }
        }
    }
}

/// Ends a netlab that was started by [`Machines::spawn`] without warning, and gives what it has said.
pub fn kill(netlab: Child) -> String {
    // nsenter's child: netlab itself.
    for netlab in children(netlab.id()) {
        kill_process(netlab, Signal::KILL).unwrap();
    }
    said(&netlab.wait_with_output().unwrap())
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

pub fn address(node: &str) -> &'static str {
    if node == "node1" { "10.200.1.2" } else { "10.200.2.2" }
}

/// The cache with the built image, as other tests have it.
pub fn cache() -> PathBuf {
    kept("cache")
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}
