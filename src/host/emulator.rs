//! The machine netlab runs on, as the owner of emulated hosts, switches and routers: applies the steps of
//! [`localhost`](crate::state::localhost) through [`emulated`](crate::emulated) and observes which machines exist.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;

use super::forward;
use super::steps::{Failed, batch, one};
use super::{Host, HostError, Request, StepError, StepFailure, StepLog, ping_through};
use crate::emulated::{self, Emulator, need_root};
use crate::guest::{ProbeOptions, Reply, Target};
use crate::lab::{Asked, HostName, LabName};
use crate::plan::Step;
use crate::state::survey::VLAN_FILTERING;
use crate::state::view::View;
use crate::state::{HostState, MachineKind, Survey};
use crate::transport::{Cmd, Output, Shell as _};

impl Emulator {
    /// Applies consecutive steps of one kind: cables in one batch, machines in parallel.
    fn apply_alike(&self, lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Vec<StepError> {
        if matches!(steps, [Step::PlugCable(_), ..]) {
            let plug = || {
                self.plug(lab, steps)
                    .map_err(|failed| Failed::new(failed.at, failed.error))
            };
            return batch(steps, log, plug).into_iter().collect();
        }
        let mut steps: Vec<&Step> = steps.iter().collect();
        // The first host probes QEMU; the others then find what it cached.
        let host = steps.iter().position(|step| matches!(step, Step::CreateMachine(_)));
        if let Some(host) = host
            && emulated::are_cold(&self.folders)
        {
            if let Some(error) = self.apply_one(lab, steps.remove(host), log) {
                return vec![error];
            }
            if log.cancelled() {
                return Vec::new();
            }
        }
        self.apply_in_parallel(lab, &steps, log)
    }

    /// Applies independent steps, each in a thread of its own.
    fn apply_in_parallel(&self, lab: &LabName, steps: &[&Step], log: &dyn StepLog) -> Vec<StepError> {
        let panicked = |step| StepError::new(step, StepFailure::Panicked);
        thread::scope(|scope| {
            let threads: Vec<_> = steps
                .iter()
                .map(|&step| (step, scope.spawn(move || self.apply_one(lab, step, log))))
                .collect();
            threads
                .into_iter()
                .filter_map(|(step, thread)| thread.join().unwrap_or_else(|_| Some(panicked(step))))
                .collect()
        })
    }

    fn apply_one(&self, lab: &LabName, step: &Step, log: &dyn StepLog) -> Option<StepError> {
        one(step, log, || -> Result<(), StepFailure> {
            match step {
                Step::CreateMachine(host) => self.create(lab, host)?,
                Step::CreateDevice(name, kind) => emulated::create_device(&self.shell, lab, name, *kind)?,
                Step::RemoveMachine(name) => self.remove(lab, name)?,
                Step::UnplugCable(cable) => self.unplug(lab, cable)?,
                Step::ConfigureMachine(name, machine) => match machine.kind {
                    MachineKind::Host => self.configure(lab, name, machine)?,
                    MachineKind::Switch => self.configure_switch(lab, name, machine)?,
                    MachineKind::Router => self.configure_router(lab, name, machine)?,
                },
                Step::StartForward(port, forward) => self
                    .start_forward(lab, *port, forward)
                    .map_err(|cause| StepFailure::Forward { port: *port, cause })?,
                Step::StopForward(port) => self
                    .stop_forward(lab, *port)
                    .map_err(|cause| StepFailure::Forward { port: *port, cause })?,
                Step::Shape(machine, ..) | Step::Unshape(machine, ..) => self.shape(lab, machine, step)?,
                _ => return Err(StepFailure::NotForThisHost),
            }
            Ok(())
        })
    }
}

impl Host for Emulator {
    fn observe(&self, lab: &LabName) -> Result<HostState, HostError> {
        let mut state = self.observe_machines(lab)?;
        state.forwards = self.forwards(lab);
        Ok(state)
    }

    /// Returns only which of the programs that emulated machines need are installed, whether bridges can filter by VLAN,
    /// and on which ports somebody listens.
    fn survey(&self, _lab: &LabName) -> Result<Survey, HostError> {
        let wanted = [
            "ip",
            "unshare",
            "nsenter",
            "setsid",
            "libvirtd",
            "virtqemud",
            "virtlogd",
            "dnsmasq",
        ];
        let found = wanted.iter().filter(|program| emulated::find(program).is_some());
        let missing = (!emulated::can_filter(&self.shell)?).then(|| VLAN_FILTERING.to_owned());
        Ok(Survey {
            programs: found.map(ToString::to_string).collect(),
            missing_modules: missing.into_iter().collect(),
            listening: forward::listening(),
            ..Survey::default()
        })
    }

    /// Ends what is left of earlier runs' commands on this machine, those inside emulated hosts included.
    fn settle(&self, _lab: &LabName) -> Result<(), HostError> {
        if let Some(owner) = &self.owner {
            self.shell.check(&owner.end_stale())?;
        }
        Ok(())
    }

    fn apply(&self, lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>> {
        let as_user = |step: &&Step| matches!(step, Step::StartForward(..) | Step::StopForward(..));
        if let (Some(step), Err(error)) = (steps.iter().find(|step| !as_user(step)), need_root()) {
            return Err(vec![StepError::new(step, error)]);
        }
        let mut errors = Vec::new();
        let makes = |step: &Step| matches!(step, Step::CreateMachine(_) | Step::CreateDevice(..));
        let alike =
            |a: &Step, b: &Step| std::mem::discriminant(a) == std::mem::discriminant(b) || (makes(a) && makes(b));
        for steps in steps.chunk_by(alike) {
            if log.cancelled() {
                break;
            }
            errors.extend(self.apply_alike(lab, steps, log));
            if !errors.is_empty() && !steps.iter().all(Step::is_removal) {
                break;
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn views(&self, lab: &LabName) -> Result<BTreeMap<HostName, View>, HostError> {
        Ok(self.views_of_devices(lab)?)
    }

    fn ask_router(&self, lab: &LabName, router: &HostName, cmd: &Cmd) -> Result<Output, HostError> {
        Ok(self.inside_router(lab, router)?.run(cmd)?)
    }

    fn login_device(&self, lab: &LabName, device: &HostName) -> Result<Vec<String>, HostError> {
        Ok(self.inside_router(lab, device)?.login(device.as_str()))
    }

    fn ping(
        &self,
        lab: &LabName,
        from: &Asked,
        targets: &[Target],
        options: &ProbeOptions,
    ) -> Result<BTreeMap<IpAddr, Reply>, HostError> {
        match from {
            Asked::Router(router) => ping_through(&self.inside_router(lab, router)?, targets, options),
            Asked::Vm(_) | Asked::Host(_) => Err(HostError::Unsupported(Request::Ping(from.clone()))),
        }
    }
}
