//! What there is of a lab's emulated machines and cables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use super::namespace::{self, Found, Link};
use super::{Emulator, cables, daemon, doing, init_pid, need_root, nics};
use crate::host::HostError;
use crate::lab::{HostName, LabName};
use crate::state::{HostState, Machine, MachineKind};

/// How long a daemon whose init lives may be away before the machine counts as dead: init starts it again.
const RESTART_WITHIN: Duration = Duration::from_secs(10);

impl Emulator {
    /// A machine is there if its namespace is, or its folder: a reboot takes the one and leaves the other.
    pub(crate) fn observe_machines(&self, lab: &LabName) -> Result<HostState, HostError> {
        let mut hosts: BTreeSet<_> = namespace::named(lab)?.into_iter().collect();
        hosts.extend(self.furnished(lab)?);
        if hosts.is_empty() {
            // Anybody can see that there is nothing, and ask what would be done.
            return Ok(HostState::default());
        }
        need_root()?;

        let mut machines = BTreeMap::new();
        let mut links = cables::Links::new();
        for host in hosts {
            let found = namespace::look(&self.shell, lab, &host)?;
            if matches!(found, Found::Foreign | Found::Absent) && !self.folders.machine(lab, &host).exists() {
                continue;
            }
            let (kind, own) = match found {
                Found::Ours(kind, own) => (kind, own),
                // A folder alone: only hosts have one.
                Found::Foreign | Found::Absent | Found::Stale => (MachineKind::Host, Vec::new()),
            };
            machines.insert(host.clone(), self.machine(lab, &host, kind, &own)?);
            links.insert(host, own);
        }
        Ok(HostState {
            machines,
            cables: cables::observed(lab, &links),
            ..HostState::default()
        })
    }

    /// The hosts that have a private folder.
    fn furnished(&self, lab: &LabName) -> Result<Vec<HostName>, HostError> {
        let folder = self.folders.lab(lab).join("hosts");
        match fs::read_dir(&folder) {
            Ok(machines) => Ok(machines
                .filter_map(|machine| machine.ok()?.file_name().to_str()?.parse().ok())
                .collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => need_root().map(|()| Vec::new()),
            Err(error) => Err(doing(format!("listing {}", folder.display()))(error)),
        }
    }

    fn machine(&self, lab: &LabName, name: &HostName, kind: MachineKind, links: &[Link]) -> Result<Machine, HostError> {
        match kind {
            MachineKind::Host => {
                let record = nics::read(&self.folders.machine(lab, name));
                let record = record.map_err(doing(format!("reading what {name}'s NICs have")))?;
                let there = |nic: &str| links.iter().any(|link| link.ifname == nic);
                Ok(Machine {
                    kind,
                    nics: record.into_iter().filter(|(nic, _)| there(nic.as_str())).collect(),
                    outside: BTreeSet::new(),
                    alive: self.is_alive(lab, name),
                })
            }
            MachineKind::Switch => self.observe_switch(lab, name, links),
            MachineKind::Router => self.observe_router(lab, name, links),
        }
    }

    fn is_alive(&self, lab: &LabName, host: &HostName) -> bool {
        let deadline = Instant::now() + RESTART_WITHIN;
        let machine = self.folders.machine(lab, host);
        // Without its folder nothing of it can be reached, whatever runs.
        while machine.exists() && init_pid(lab, host).is_some() {
            if daemon::listens(&machine) {
                return true;
            }
            if Instant::now() > deadline {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }
}
