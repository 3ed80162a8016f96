//! Stops, starts and restarts single VMs of a lab that is up; everything else stays as it is.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::Serialize;

use super::connect::{connect_to_change, emulated};
use super::named::{file_of, is_emulated};
use super::observe::observe_to_change;
use super::rollback::record;
use super::{Aftermath, Env, ImageChoice, LoadOptions, OpsError, UpOptions, belongs, converge, lab_name, load, up};
use crate::lab::{IfName, LabName, VmName};
use crate::plan::plan;
use crate::run::{Journal, Lock, Record, Run};
use crate::state::Site;
use crate::transport::ssh::confirm::CONFIRM_WITHIN;

/// What is done to the VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// Stopped at once, as by cutting the power.
    Stop,
    /// Started and configured where they do not run.
    Start,
    /// Both.
    Restart,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PowerReport {
    /// The lab.
    pub lab: LabName,
    /// What was asked for.
    pub power: Power,
    /// The VMs.
    pub vms: BTreeSet<VmName>,
    /// Steps that were done; 0: the VMs were so already.
    pub steps: usize,
}

/// Stops, starts or restarts VMs of `lab`, a lab's name or file. A VM that is started gets what its lab file says: of a
/// lab's name, the file that the lab came up from.
pub fn power(env: &Env, lab: &str, vms: &BTreeSet<VmName>, power: Power) -> Result<PowerReport, OpsError> {
    let name = lab_name(lab)?;
    let mut steps = 0;
    if power != Power::Start {
        let _lock = Lock::take(&env.folders, &name, "stop")?;
        steps += stop(env, &name, vms)?;
    }
    if power != Power::Stop {
        let file = file_of(env, lab, &name)?;
        let options = LoadOptions {
            image: ImageChoice::LastUp,
            emulate: is_emulated(env, &name)?,
        };
        let loaded = load(env, &file, &options)?;
        if let Some(unknown) = vms.iter().find(|vm| !loaded.topology.guests.contains_key(*vm)) {
            return Err(OpsError::NoSuchVm {
                lab: name,
                vm: unknown.to_string(),
                known: loaded.topology.guests.keys().map(ToString::to_string).collect(),
            });
        }
        let options = UpOptions {
            only: Some(vms.clone()),
            ..UpOptions::default()
        };
        steps += up(env, &loaded, &options)?.steps;
    }
    Ok(PowerReport {
        lab: name,
        power,
        vms: vms.clone(),
        steps,
    })
}

/// Stops VMs that run; returns the number of steps done.
fn stop(env: &Env, lab: &LabName, vms: &BTreeSet<VmName>) -> Result<usize, OpsError> {
    belongs::check(env, lab)?;
    let folder = env.folders.lab(lab);
    let past = Journal::read(&folder)?;
    let mut known = past.hosts;
    known.extend(emulated(env, lab)?);
    let hosts = connect_to_change(env, lab, &known, CONFIRM_WITHIN)?;
    let observed = observe_to_change(&hosts, lab)?;
    let stopped = stopped(lab, &observed, vms)?;
    let to_do = plan(&observed, &stopped);
    if to_do.is_empty() {
        return Ok(0);
    }
    let run = Run {
        lab,
        hosts: &hosts,
        journal: Mutex::new(Journal::begin(&folder, "stop", &known, past.file)?),
        events: env.events.clone(),
        cancel: env.cancel.clone(),
    };
    let (done, now) = converge::run(&run, "stop", &to_do, &stopped, |_| Ok(Aftermath::Kept))?;
    let boots = now
        .iter()
        .filter_map(|(host, state)| Some((host.clone(), state.seen.boot.clone()?)));
    record(
        &run.journal,
        &Record::Finished {
            hosts: known,
            boots: boots.collect(),
        },
    )?;
    Ok(done)
}

/// Returns what was observed with some VMs stopped.
fn stopped(lab: &LabName, observed: &Site, vms: &BTreeSet<VmName>) -> Result<Site, OpsError> {
    let mut site = observed.clone();
    let mut left = vms.clone();
    let domains = site.values_mut().flat_map(|state| &mut state.domains);
    for (name, domain) in domains.filter(|(name, _)| vms.contains(name.vm())) {
        domain.running = false;
        domain.configured = None;
        left.remove(name.vm());
    }
    let Some(unknown) = left.first() else {
        return Ok(site);
    };
    let known = observed.values().flat_map(|state| state.domains.keys());
    Err(OpsError::NoSuchVm {
        lab: lab.clone(),
        vm: unknown.to_string(),
        known: known.map(|name| name.vm().to_string()).collect(),
    })
}

/// Returns `observed` with some VMs as in `desired`.
pub(super) fn only(observed: &Site, desired: &Site, vms: &BTreeSet<VmName>) -> Site {
    let mut site = observed.clone();
    for (host, state) in desired {
        let domains = state.domains.iter().filter(|(name, _)| vms.contains(name.vm()));
        for (name, domain) in domains {
            let there = site.entry(host.clone()).or_default();
            there.domains.insert(name.clone(), domain.clone());
            there.volumes.remove(name);
            let volume = state.volumes.get(name).cloned();
            there.volumes.extend(volume.map(|volume| (name.clone(), volume)));
            for (machine, links) in &state.shaped {
                let of_vm = |link: &&IfName| domain.nics.iter().any(|nic| nic.tap == **link);
                let limits = links.iter().filter(|(link, _)| of_vm(link));
                let limits: Vec<_> = limits.map(|(link, shaping)| (link.clone(), *shaping)).collect();
                if !limits.is_empty() {
                    there.shaped.entry(machine.clone()).or_default().extend(limits);
                }
            }
        }
    }
    site
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Step, example};

    fn vms(names: &[&str]) -> BTreeSet<VmName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn stopping_one_vm_and_starting_it_again_touches_no_other_object() {
        let lab = "quick".parse().unwrap();
        let site = example::up();
        let stopped = stopped(&lab, &site, &vms(&["vm1"])).unwrap();
        let down = plan(&site, &stopped);
        let down: Vec<_> = down.steps().map(|(_, step)| step).collect();
        assert!(matches!(down[..], [Step::StopDomain { .. }]), "{down:?}");

        let back = plan(&stopped, &only(&stopped, &site, &vms(&["vm1"])));
        let back: Vec<_> = back.steps().map(|(_, step)| step).collect();
        assert!(
            matches!(back[..], [Step::StartDomain(_), Step::ConfigureGuest(..)]),
            "{back:?}"
        );

        let other = plan(&stopped, &only(&stopped, &site, &vms(&["vm3"])));
        assert!(other.is_empty(), "vm1 was not asked for");
    }

    #[test]
    fn a_vm_that_the_lab_does_not_have_is_an_error_that_lists_those_it_has() {
        let lab = "quick".parse().unwrap();
        let error = stopped(&lab, &example::up(), &vms(&["vm1", "vm9"])).unwrap_err();
        assert!(error.to_string().contains("vm9"), "{error}");
    }
}
