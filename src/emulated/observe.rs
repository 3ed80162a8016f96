//! Reads which emulated machines and cables of a lab exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use super::error::{EmulatedError, Operation, failed};
use super::links::Link;
use super::namespace::{self, Found};
use super::{Emulator, cables, daemon, init_pid, need_root, nics, shaping, to_host};
use crate::lab::{HostName, LabName};
use crate::linux::ip;
use crate::state::view::View;
use crate::state::{HostState, Machine, MachineKind, Shaped};
use crate::transport::NamespaceShell;

/// How long a daemon may be down, while init runs, before the machine counts as dead: init restarts it.
const RESTART_WITHIN: Duration = Duration::from_secs(10);

/// A router of which only the record of its connection to this machine's network exists.
fn dead_router() -> Machine {
    Machine {
        lags: BTreeSet::new(),
        to_host: None,
        stp: false,
        kind: MachineKind::Router,
        nics: BTreeMap::new(),
        outside: BTreeSet::new(),
        names: BTreeMap::new(),
        changed: BTreeSet::new(),
        alive: false,
    }
}

impl Emulator {
    /// Returns the lab's machines and cables. A machine exists if its namespace does, or its folder: a reboot removes the
    /// one and leaves the other.
    pub(crate) fn observe_machines(&self, lab: &LabName) -> Result<HostState, EmulatedError> {
        let mut hosts: BTreeSet<_> = namespace::named(lab)?.into_iter().collect();
        hosts.extend(self.with_folder(lab)?);
        hosts.extend(to_host::recorded(lab)?);
        if hosts.is_empty() {
            // No root is needed to see that nothing exists, e.g. for `netlab plan`.
            return Ok(HostState::default());
        }
        need_root()?;

        let mut machines = BTreeMap::new();
        let mut links = cables::Links::new();
        let mut shaped = Shaped::new();
        for host in hosts {
            let found = namespace::find(&self.shell, lab, &host)?;
            let has_record = to_host::is_recorded(lab, &host);
            let has_files = self.folders.machine(lab, &host).exists() || has_record;
            if matches!(found, Found::Foreign | Found::Absent) && !has_files {
                continue;
            }
            if has_record && !matches!(found, Found::Own(..)) {
                // What is left of its connection to this machine's network is removed with it.
                machines.insert(host, dead_router());
                continue;
            }
            let (kind, own) = match found {
                Found::Own(kind, own) => (kind, own),
                // A folder alone: only hosts have one.
                Found::Foreign | Found::Absent | Found::Stale => (MachineKind::Host, Vec::new()),
            };
            machines.insert(host.clone(), self.machine(lab, &host, kind, &own)?);
            let limits = shaping::observe(lab, &host, &own)?;
            if !limits.is_empty() {
                shaped.insert(host.clone(), limits);
            }
            links.insert(host, own);
        }
        Ok(HostState {
            machines,
            cables: cables::observed(lab, &links),
            shaped,
            ..HostState::default()
        })
    }

    /// Returns what the kernel shows in each of the lab's switches and routers.
    pub(crate) fn views_of_devices(&self, lab: &LabName) -> Result<BTreeMap<HostName, View>, EmulatedError> {
        let mut views = BTreeMap::new();
        for name in namespace::named(lab)? {
            if let Found::Own(MachineKind::Switch | MachineKind::Router, _) = namespace::find(&self.shell, lab, &name)?
            {
                let shell = NamespaceShell::of_network(&namespace::name(lab, &name));
                views.insert(name, ip::view(&shell)?);
            }
        }
        Ok(views)
    }

    /// Lists the hosts that have a private folder.
    fn with_folder(&self, lab: &LabName) -> Result<Vec<HostName>, EmulatedError> {
        let folder = self.folders.lab(lab).join("hosts");
        match fs::read_dir(&folder) {
            Ok(machines) => Ok(machines
                .filter_map(|machine| machine.ok()?.file_name().to_str()?.parse().ok())
                .collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => need_root().map(|()| Vec::new()),
            Err(error) => Err(failed(Operation::List(folder))(error)),
        }
    }

    fn machine(
        &self,
        lab: &LabName,
        name: &HostName,
        kind: MachineKind,
        links: &[Link],
    ) -> Result<Machine, EmulatedError> {
        match kind {
            MachineKind::Host => {
                let record = nics::read(&self.folders.machine(lab, name));
                let record = record.map_err(failed(Operation::ReadNics(name.clone())))?;
                let exists = |nic: &str| links.iter().any(|link| link.ifname == nic);
                let record: nics::Record = record.into_iter().filter(|(nic, _)| exists(nic.as_str())).collect();
                Ok(Machine {
                    stp: false,
                    lags: BTreeSet::new(),
                    kind,
                    to_host: None,
                    changed: self.changed_nics(lab, name, links, &record)?,
                    nics: record,
                    outside: BTreeSet::new(),
                    names: BTreeMap::new(),
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
        // Without its folder nothing in it can be reached, whatever runs.
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
