//! The machine netlab runs on, as the owner of the emulated hosts, switches and routers: applies the steps of
//! [`localhost`](crate::state::localhost) through [`emulated`](crate::emulated) and observes what is there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;

use super::{Host, HostError, StepError, StepLog, ping_through};
use crate::emulated::{self, Emulator, Failed, need_root, other};
use crate::guest::{Answer, Console};
use crate::lab::{Asked, ConsoleKind, LabName};
use crate::plan::Step;
use crate::state::survey::VLAN_FILTERING;
use crate::state::{DomainName, HostState, MachineKind, Survey};

impl Emulator {
    /// Steps of one kind that stand next to each other, applied as is best for the kind.
    fn apply_alike(&self, lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Vec<StepError> {
        if matches!(steps, [Step::PlugCable(_), ..]) {
            return logged(steps, log, || self.plug(lab, steps)).into_iter().collect();
        }
        let mut steps: Vec<&Step> = steps.iter().collect();
        // The first host of all probes QEMU; the others then find what it learned.
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
        self.apply_side_by_side(lab, &steps, log)
    }

    /// Steps that have nothing to do with one another, each in a thread of its own.
    fn apply_side_by_side(&self, lab: &LabName, steps: &[&Step], log: &dyn StepLog) -> Vec<StepError> {
        let panicked = |step| failed(step, other("applying the step", "netlab's thread panicked"));
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
        logged(std::slice::from_ref(step), log, || match step {
            Step::CreateMachine(host) => Ok(self.create(lab, host)?),
            Step::CreateDevice(name, kind) => Ok(emulated::create_device(&self.shell, lab, name, *kind)?),
            Step::RemoveMachine(name) => Ok(self.remove(lab, name)?),
            Step::UnplugCable(cable) => Ok(self.unplug(lab, cable)?),
            Step::ConfigureMachine(name, machine) => Ok(match machine.kind {
                MachineKind::Host => self.configure(lab, name, machine),
                MachineKind::Switch => self.configure_switch(lab, name, machine),
                MachineKind::Router => self.configure_router(lab, name, machine),
            }?),
            _ => Err(other("applying the step", "it is not a step of an emulated machine").into()),
        })
    }
}

impl Host for Emulator {
    fn observe(&self, lab: &LabName) -> Result<HostState, HostError> {
        self.observe_machines(lab)
    }

    /// Only which of the programs that the rig runs are there, and whether switches can sort frames by VLAN.
    fn survey(&self, _lab: &LabName) -> Result<Survey, HostError> {
        let wanted = [
            "ip",
            "unshare",
            "nsenter",
            "setsid",
            "libvirtd",
            "virtqemud",
            "virtlogd",
        ];
        let found = wanted.iter().filter(|program| emulated::find(program).is_some());
        let missing = (!emulated::can_filter(&self.shell)?).then(|| VLAN_FILTERING.to_owned());
        Ok(Survey {
            programs: found.map(ToString::to_string).collect(),
            missing_modules: missing.into_iter().collect(),
            ..Survey::default()
        })
    }

    fn apply(&self, lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>> {
        if let (Some(step), Err(error)) = (steps.first(), need_root()) {
            return Err(vec![failed(step, error)]);
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

    fn open_console(&self, domain: &DomainName, _: ConsoleKind) -> Result<Box<dyn Console>, HostError> {
        Err(other(
            &format!("opening the console of {domain}"),
            "this machine has the emulated hosts, and they have the guests",
        ))
    }

    fn ping(&self, lab: &LabName, from: &Asked, targets: &[IpAddr]) -> Result<BTreeMap<IpAddr, Answer>, HostError> {
        match from {
            Asked::Router(router) => ping_through(&self.inside_router(lab, router)?, targets),
            Asked::Vm(_) | Asked::Host(_) => Err(other(&format!("having {from} ping"), "it is no router of this lab")),
        }
    }
}

/// Acts between the beginning and the end of `steps` as `log` is told them.
fn logged(steps: &[Step], log: &dyn StepLog, act: impl FnOnce() -> Result<(), Failed>) -> Option<StepError> {
    if let (Some(step), Err(error)) = (steps.first(), log.begin(steps)) {
        return Some(failed(step, other("writing the journal", &error.to_string())));
    }
    let error = act().err().map(|Failed { at, error }| failed(&steps[at], error));
    log.end(steps, error.as_ref().map_or(Ok(()), Err));
    error
}

fn failed(step: &Step, error: HostError) -> StepError {
    StepError {
        step: step.clone(),
        source: Box::new(error),
    }
}
