//! Stops, starts and restarts single VMs and emulated hosts of a lab that is up; everything else stays as it is.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::Serialize;

use super::connect::{connect_to_change, known};
use super::named::{is_emulated, load_named};
use super::observe::observe_to_change;
use super::{Aftermath, Env, ImageChoice, LoadOptions, OpsError, UpOptions, belongs, converge, lab_name, up};
use crate::lab::{Cable, Connect, HostName, IfName, LabName, VmName};
use crate::plan::plan;
use crate::run::{Journal, Lock, Run};
use crate::state::{MachineKind, Site, localhost};
use crate::transport::ssh::confirm::CONFIRM_WITHIN;

/// What is meant by the names that a user gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// VMs.
    pub vms: BTreeSet<VmName>,
    /// Emulated hosts, with all guests on them.
    pub hosts: BTreeSet<HostName>,
}

/// What is done to them.
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
    /// The VMs and hosts.
    pub vms: BTreeSet<VmName>,
    /// Steps that were done; 0: the VMs were so already.
    pub steps: usize,
}

/// Stops, starts or restarts VMs and emulated hosts of `lab`, a lab's name or file. A host that is stopped no longer exists:
/// neither do its guests and their disks, until it is started. A VM that is started gets what its lab file says: of a
/// lab's name, the file that the lab came up from.
pub fn power(env: &Env, lab: &str, vms: &BTreeSet<VmName>, power: Power) -> Result<PowerReport, OpsError> {
    let name = lab_name(lab)?;
    let mut steps = 0;
    if power != Power::Start {
        let _lock = Lock::take(&env.folders, &name, "stop")?;
        steps += stop(env, &name, vms)?;
    }
    if power != Power::Stop {
        let options = LoadOptions {
            image: ImageChoice::LastUp,
            emulate: is_emulated(env, &name)?,
        };
        let mut loaded = load_named(env, lab, &options)?;
        // Who cuts a machine's power and restores it wants to see it boot.
        loaded.boot_all();
        let guests = &loaded.topology.guests;
        let hosts = loaded.topology.hosts.iter();
        let hosts = hosts.filter(|(_, host)| host.connect == Connect::Emulated);
        let chosen = choose(
            &name,
            vms,
            &guests.keys().cloned().collect(),
            &hosts.map(|(host, _)| host.clone()).collect(),
        )?;
        let stopped = super::stopped::stopped(env, &name);
        let mut on_stopped = chosen.vms.iter().filter_map(|vm| Some((vm, &guests.get(vm)?.host)));
        if let Some((vm, host)) = on_stopped.find(|(_, host)| stopped.contains(*host) && !chosen.hosts.contains(*host))
        {
            return Err(OpsError::HostStopped {
                lab: name.clone(),
                vm: vm.clone(),
                host: host.clone(),
            });
        }
        let options = UpOptions {
            only: Some(chosen),
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
    let (known, file) = known(env, lab)?;
    let hosts = connect_to_change(env, lab, &known, CONFIRM_WITHIN)?;
    let observed = observe_to_change(&hosts, lab)?;
    let mut recorded = super::stopped::stopped(env, lab);
    let chosen = choose(lab, vms, &guests_of(&observed), &(&hosts_of(&observed) | &recorded))?;
    let stopped = stopped(&observed, &chosen);
    let to_do = plan(&observed, &stopped);
    if to_do.is_empty() {
        return Ok(0);
    }
    // Recorded first: what a run that is killed has stopped was stopped on request.
    recorded.extend(chosen.hosts.iter().cloned());
    super::stopped::record(env, lab, &recorded)?;
    let run = Run {
        lab,
        hosts: &hosts,
        journal: Mutex::new(Journal::begin(&folder, "stop", &known, file)?),
        events: env.events.clone(),
        cancel: env.cancel.clone(),
    };
    let (done, now) = converge::run(&run, "stop", &to_do, &stopped, |_| Ok(Aftermath::Kept))?;
    converge::finish(&run, known, &now)?;
    Ok(done)
}

/// Returns which VMs and hosts `names` are; a name that is both is the VM's.
fn choose(
    lab: &LabName,
    names: &BTreeSet<VmName>,
    vms: &BTreeSet<VmName>,
    hosts: &BTreeSet<HostName>,
) -> Result<Chosen, OpsError> {
    let mut chosen = Chosen::default();
    for name in names {
        let host = hosts.iter().find(|host| host.as_str() == name.as_str());
        if vms.contains(name) {
            chosen.vms.insert(name.clone());
        } else if let Some(host) = host {
            chosen.hosts.insert(host.clone());
        } else {
            let known = vms.iter().map(ToString::to_string);
            return Err(OpsError::NoSuchVm {
                lab: lab.clone(),
                vm: name.to_string(),
                known: known.chain(hosts.iter().map(ToString::to_string)).collect(),
            });
        }
    }
    Ok(chosen)
}

fn guests_of(observed: &Site) -> BTreeSet<VmName> {
    let domains = observed.values().flat_map(|state| state.domains.keys());
    domains.map(|name| name.vm().clone()).collect()
}

fn hosts_of(observed: &Site) -> BTreeSet<HostName> {
    let machines = observed.get(&localhost()).into_iter().flat_map(|state| &state.machines);
    let hosts = machines.filter(|(_, machine)| machine.kind == MachineKind::Host);
    hosts.map(|(name, _)| name.clone()).collect()
}

/// Returns what was observed with some VMs stopped, and without some hosts.
fn stopped(observed: &Site, chosen: &Chosen) -> Site {
    let mut site = observed.clone();
    let domains = site.values_mut().flat_map(|state| &mut state.domains);
    for (_, domain) in domains.filter(|(name, _)| chosen.vms.contains(name.vm())) {
        domain.running = false;
        domain.configured = None;
    }
    for host in &chosen.hosts {
        site.remove(host);
        if let Some(here) = site.get_mut(&localhost()) {
            here.machines.remove(host);
            here.cables
                .retain(|cable| cable.ends.iter().all(|end| end.host != *host));
            here.forwards.retain(|_, forward| forward.via != *host);
        }
    }
    site
}

/// Returns `observed` with some VMs and hosts as in `desired`.
pub(super) fn only(observed: &Site, desired: &Site, chosen: &Chosen) -> Site {
    let mut site = observed.clone();
    for (host, state) in desired {
        let domains = state.domains.iter().filter(|(name, _)| chosen.vms.contains(name.vm()));
        for (name, domain) in domains {
            let there = site.entry(host.clone()).or_default();
            there.domains.insert(name.clone(), domain.clone());
            there.volumes.remove(name);
            let volume = state.volumes.get(name).cloned();
            there.volumes.extend(volume.map(|volume| (name.clone(), volume)));
            there.disks.retain(|disk, _| disk.domain() != name);
            let disks = state.disks.iter().filter(|(disk, _)| disk.domain() == name);
            there.disks.extend(disks.map(|(disk, is)| (disk.clone(), is.clone())));
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
    let Some(wanted) = desired.get(&localhost()) else {
        return site;
    };
    for host in &chosen.hosts {
        if let Some(state) = desired.get(host) {
            site.insert(host.clone(), state.clone());
        }
        let here = site.entry(localhost()).or_default();
        let machine = wanted.machines.get(host).cloned();
        here.machines.extend(machine.map(|machine| (host.clone(), machine)));
        let forwards = wanted.forwards.iter().filter(|(_, forward)| forward.via == *host);
        here.forwards
            .extend(forwards.map(|(port, forward)| (*port, forward.clone())));
    }
    if let Some(here) = site.get_mut(&localhost()) {
        let machines: BTreeSet<HostName> = here.machines.keys().cloned().collect();
        let of_chosen = |cable: &&Cable| cable.ends.iter().any(|end| chosen.hosts.contains(&end.host));
        let cables = wanted.cables.iter().filter(of_chosen);
        let cables = cables.filter(|cable| cable.ends.iter().all(|end| machines.contains(&end.host)));
        here.cables.extend(cables.cloned());
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

    fn chosen(names: &[&str]) -> Chosen {
        Chosen {
            vms: vms(names),
            hosts: BTreeSet::new(),
        }
    }

    #[test]
    fn stopping_one_vm_and_starting_it_again_touches_no_other_object() {
        let site = example::up();
        let stopped = stopped(&site, &chosen(&["vm1"]));
        let down = plan(&site, &stopped);
        let down: Vec<_> = down.steps().map(|(_, step)| step).collect();
        assert!(matches!(down[..], [Step::StopDomain { .. }]), "{down:?}");

        let back = plan(&stopped, &only(&stopped, &site, &chosen(&["vm1"])));
        let back: Vec<_> = back.steps().map(|(_, step)| step).collect();
        assert!(
            matches!(back[..], [Step::StartDomain(..), Step::ConfigureGuest(..)]),
            "{back:?}"
        );

        let other = plan(&stopped, &only(&stopped, &site, &chosen(&["vm3"])));
        assert!(other.is_empty(), "vm1 was not asked for");
    }

    #[test]
    fn a_name_is_a_vm_or_else_an_emulated_host_and_any_other_is_an_error() {
        let lab = "quick".parse().unwrap();
        let hosts = ["node1", "vm1"].map(|host| host.parse().unwrap()).into();
        let found = choose(&lab, &vms(&["vm1", "node1"]), &vms(&["vm1"]), &hosts).unwrap();
        assert_eq!(found.vms, vms(&["vm1"]));
        assert_eq!(found.hosts, ["node1".parse().unwrap()].into());
        let error = choose(&lab, &vms(&["vm9"]), &vms(&["vm1"]), &hosts).unwrap_err();
        assert!(error.to_string().contains("vm9"), "{error}");
    }
}
