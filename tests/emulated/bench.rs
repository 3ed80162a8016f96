//! What every test here stands on: a lab of its own, and words for what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use netlab::emulated::{Emulator, init_pid, libvirt_uri};
use netlab::folders::Folders;
use netlab::host::{Host, StepError, StepLog};
use netlab::lab::{Cable, CableEnd, HostName, IfName, LabName};
use netlab::plan::Step;
use netlab::state::{HostState, Machine, MachineKind, MachineNic};
use netlab::transport::{Cmd, LocalShell, Shell};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use virt::connect::Connect;

/// How long anything here may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A lab of a name of its own, in folders of its own. Whatever is left of it goes with this value.
pub struct Bench {
    pub lab: LabName,
    pub folders: Folders,
    pub rig: Emulator,
    _temp: TempDir,
}

impl Bench {
    /// A bench, or none where emulated hosts cannot be had.
    pub fn new(test: &str) -> Option<Self> {
        // What libvirt learns of QEMU is kept between tests and runs, as it is between labs.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated-cache");
        Self::with(test, &cache, env!("CARGO_BIN_EXE_netlab"))
    }

    pub fn with(test: &str, cache: &Path, program: &str) -> Option<Self> {
        let daemon = ["libvirtd", "virtqemud"].iter().any(|daemon| {
            ["/usr/sbin", "/usr/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(daemon).is_file())
        });
        if !rustix::process::geteuid().is_root() || !daemon {
            // Past the capture of test output, which would hide it in a test that passes.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {test}: needs root and libvirtd or virtqemud"
            );
            return None;
        }
        // Below /var, as a state folder usually is: an emulated host has a /var of its own.
        let temp = tempfile::tempdir_in("/var/tmp").unwrap();
        let folders = Folders {
            state: temp.path().to_owned(),
            cache: cache.to_owned(),
        };
        // The process id tells runs apart, the start of the test's name tells tests apart.
        let lab = format!("t{}-{}", std::process::id(), &test[..12.min(test.len())]);
        Some(Self {
            lab: lab.trim_end_matches('_').replace('_', "-").parse().unwrap(),
            rig: Emulator::new(&folders, Path::new(program)).unwrap(),
            folders,
            _temp: temp,
        })
    }

    pub fn apply(&self, steps: &[Step]) -> Result<(), Vec<StepError>> {
        let log = Log::default();
        let result = self.rig.apply(&self.lab, steps, &log);
        let (begun, ended) = (log.begun.into_inner().unwrap(), log.ended.into_inner().unwrap());
        assert_eq!(begun, ended, "what was begun has ended");
        result
    }

    pub fn observe(&self) -> HostState {
        self.rig.observe(&self.lab).unwrap()
    }

    pub fn machine(&self, host: &HostName) -> PathBuf {
        self.folders.machine(&self.lab, host)
    }

    pub fn namespace(&self, host: &str) -> String {
        format!("netlab.{}.{host}", self.lab)
    }

    pub fn pid(&self, host: &HostName) -> u32 {
        init_pid(&self.lab, host).expect("init runs")
    }

    pub fn connect(&self, host: &HostName) -> Result<Connect, virt::error::Error> {
        virt::error::clear_error_callback();
        Connect::open(Some(&libvirt_uri(&self.folders, &self.lab, host).unwrap()))
    }

    /// Everything on this machine that has the lab's name in it, or lies in its folder.
    pub fn traces(&self) -> BTreeSet<String> {
        let mine =
            |text: &str| text.contains(self.lab.as_str()) || text.contains(&*self.folders.state.to_string_lossy());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut traces: BTreeSet<_> = mounts
            .lines()
            .filter(|line| mine(line))
            .map(|line| format!("mount {line}"))
            .collect();
        for name in fs::read_dir("/run/netns").into_iter().flatten() {
            traces.insert(name.unwrap().file_name().into_string().unwrap());
        }
        traces.retain(|trace| mine(trace));
        for (pid, arguments) in processes() {
            if mine(&arguments) {
                traces.insert(format!("process {pid} {arguments}"));
            }
        }
        let labs = fs::read_dir(self.folders.lab(&self.lab)).into_iter().flatten();
        traces.extend(labs.map(|file| file.unwrap().path().display().to_string()));
        traces
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let namespaces = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let mine = namespaces.filter_map(|namespace| {
            let name = namespace.file_name().into_string().ok()?;
            Some(name.strip_prefix(&self.namespace(""))?.to_owned())
        });
        for host in mine.chain(["node1", "node2"].map(str::to_owned)) {
            let _ = self
                .rig
                .apply(&self.lab, &[Step::RemoveMachine(name(&host))], &Log::default());
            let _ = LocalShell.run(&Cmd::new(["ip", "netns", "delete", &self.namespace(&host)]));
        }
    }
}

/// Remembers what was begun and ended, as the lines a user reads.
#[derive(Default)]
pub struct Log {
    begun: Mutex<BTreeSet<String>>,
    ended: Mutex<BTreeSet<String>>,
}

impl StepLog for Log {
    fn begin(&self, steps: &[Step]) -> std::io::Result<()> {
        self.begun.lock().unwrap().extend(steps.iter().map(ToString::to_string));
        Ok(())
    }
    fn end(&self, steps: &[Step], _: Result<(), &StepError>) {
        self.ended.lock().unwrap().extend(steps.iter().map(ToString::to_string));
    }
    fn note(&self, _: &Step, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

pub fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

pub fn nic(name: &str) -> IfName {
    name.parse().unwrap()
}

pub fn cable() -> Cable {
    let end = |host| CableEnd {
        host: name(host),
        nic: nic("eth0"),
    };
    Cable {
        ends: [end("node1"), end("node2")],
    }
}

/// A machine whose eth0 has this address.
pub fn with_address(address: &str) -> Machine {
    let eth0 = MachineNic {
        address: Some(address.parse().unwrap()),
        ..MachineNic::default()
    };
    Machine {
        kind: MachineKind::Host,
        outside: BTreeSet::new(),
        nics: BTreeMap::from([(nic("eth0"), eth0)]),
        alive: true,
    }
}

/// Two machines and a cable; the first has another NIC, with a default gateway and without a cable.
pub fn desired() -> HostState {
    let mut first = with_address("172.16.99.108/24");
    let eth1 = MachineNic {
        address: Some("192.168.7.2/24".parse().unwrap()),
        gateway: Some("192.168.7.1".parse().unwrap()),
        ..MachineNic::default()
    };
    first.nics.insert(nic("eth1"), eth1);
    HostState {
        machines: BTreeMap::from([
            (name("node1"), first),
            (name("node2"), with_address("172.16.99.109/24")),
        ]),
        cables: BTreeSet::from([cable()]),
        ..HostState::default()
    }
}

pub fn steps_to(state: &HostState) -> Vec<Step> {
    let create = state.machines.keys().cloned().map(Step::CreateMachine);
    let plug = state.cables.iter().cloned().map(Step::PlugCable);
    let configure = state.machines.clone().into_iter();
    create
        .chain(plug)
        .chain(configure.map(|(host, machine)| Step::ConfigureMachine(host, machine)))
        .collect()
}

/// Numbers and arguments of all processes.
pub fn processes() -> Vec<(u32, String)> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let arguments = fs::read(process.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&arguments).replace('\0', " ")))
    })
    .collect()
}

/// Processes in a network namespace, named as /proc/PID/ns/net names it; zombies not counted.
pub fn namesakes(namespace: &Path) -> Vec<u32> {
    processes()
        .into_iter()
        .map(|(pid, _)| pid)
        .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|net| net == namespace))
        .collect()
}

/// The process of that name whose parent is `parent`.
pub fn child(parent: u32, command: &str) -> Option<u32> {
    processes().into_iter().map(|(pid, _)| pid).find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&format!("PPid:\t{parent}\n")) && status.contains(&format!("Name:\t{command}\n"))
    })
}

pub fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// Waits until `done`, and fails if that does not happen.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn libvirt_daemon(init: u32) -> Option<u32> {
    child(init, "libvirtd").or_else(|| child(init, "virtqemud"))
}

pub fn ip(arguments: &[&str]) -> String {
    let argv = ["ip"].iter().chain(arguments).copied();
    String::from_utf8(LocalShell.check(&Cmd::new(argv)).unwrap()).unwrap()
}
