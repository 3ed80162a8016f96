//! Emulated machines made by calling the library, for tests below the command line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use netlab::emulated::{Emulator, init_pid, libvirt_uri};
use netlab::folders::Folders;
use netlab::host::{Host, StepError, StepLog};
use netlab::lab::{HostName, LabName};
use netlab::plan::Step;
use netlab::state::HostState;
use netlab::transport::{Cmd, LocalShell, Shell};
use tempfile::TempDir;
use virt::connect::Connect;

use super::{emulated_hosts, kept, processes};

/// A lab of a name of its own, in folders of its own. Whatever is left of it is removed with this value.
pub struct Machines {
    pub lab: LabName,
    pub folders: Folders,
    pub emulator: Emulator,
    temp: TempDir,
}

impl Machines {
    /// Nothing yet, in a lab named after the test; None where emulated hosts cannot be had.
    pub fn new(test: &str) -> Option<Self> {
        Self::with(test, &kept("emulated-cache"), env!("CARGO_BIN_EXE_netlab"))
    }

    /// With another cache, and another program for the machines' first process.
    pub fn with(test: &str, cache: &Path, program: &str) -> Option<Self> {
        if !emulated_hosts(test) {
            return None;
        }
        // Below /var, as a state folder usually is: an emulated host has a /var of its own.
        let temp = tempfile::tempdir_in("/var/tmp").unwrap();
        let folders = Folders {
            state: temp.path().to_owned(),
            cache: cache.to_owned(),
        };
        // The process id separates runs and tests; the name is for the reader.
        let words: String = test
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(10)
            .collect::<String>()
            .to_lowercase();
        Some(Self {
            lab: format!("t{}-{words}", std::process::id()).parse().unwrap(),
            emulator: Emulator::new(&folders, Path::new(program)).unwrap(),
            folders,
            temp,
        })
    }

    pub fn apply(&self, steps: &[Step]) -> Result<(), Vec<StepError>> {
        let log = Log::default();
        let result = self.emulator.apply(&self.lab, steps, &log);
        let (begun, ended) = (log.begun.into_inner().unwrap(), log.ended.into_inner().unwrap());
        assert_eq!(begun, ended, "what was begun has ended");
        result
    }

    pub fn observe(&self) -> HostState {
        self.emulator.observe(&self.lab).unwrap()
    }

    /// A folder of the test's own, for any files.
    pub fn folder(&self) -> &Path {
        self.temp.path()
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

impl Drop for Machines {
    fn drop(&mut self) {
        let namespaces = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let found = namespaces.filter_map(|namespace| {
            let name = namespace.file_name().into_string().ok()?;
            Some(name.strip_prefix(&self.namespace(""))?.to_owned())
        });
        // Of a machine that could not be made there may be a folder only.
        for host in found.chain(["node1", "node2"].map(str::to_owned)) {
            let remove = Step::RemoveMachine(host.parse().unwrap());
            let _ = self.emulator.apply(&self.lab, &[remove], &());
            let _ = LocalShell.run(&Cmd::new(["ip", "netns", "delete", &self.namespace(&host)]));
        }
    }
}

/// Remembers what was begun and ended, as the lines a user reads.
#[derive(Default)]
struct Log {
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
