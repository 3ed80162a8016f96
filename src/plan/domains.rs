//! Guests of one host: their volumes, their domains, and what they were told over their consoles.

use std::collections::{BTreeMap, BTreeSet};

use super::Step;
use crate::lab::IfName;
use crate::state::{Domain, DomainName, Volume};

/// The guests' part of a host's state.
pub(super) struct Guests<'a> {
    pub volumes: &'a BTreeMap<DomainName, Volume>,
    pub domains: &'a BTreeMap<DomainName, Domain>,
}

/// The steps for all guests of a host. `stands(bridge)`: the bridge is there now and is not touched by the plan; a
/// tap on any other hangs in the air, and only a new start of the guest plugs it in again.
pub(super) fn changes(from: &Guests, to: &Guests, stands: impl Fn(&IfName) -> bool) -> Vec<Step> {
    let domains = from.domains.keys().chain(to.domains.keys());
    let volumes = from.volumes.keys().chain(to.volumes.keys());
    let mut steps = Vec::new();
    for name in domains.chain(volumes).collect::<BTreeSet<_>>() {
        let (was, will) = (from.domains.get(name), to.domains.get(name));
        let (old_disk, new_disk) = (from.volumes.get(name), to.volumes.get(name));

        // A guest whose disk is another or has gone is another guest, even if its definition reads the same.
        let same_disk = old_disk == new_disk;
        let stays_defined = same_disk && was.zip(will).is_some_and(|(was, will)| same_definition(was, will));
        let stays_up = stays_defined && was.zip(will).is_some_and(|(was, will)| may_run_on(was, will, &stands));

        if let Some(Domain { uuid, running, .. }) = was {
            let (name, uuid) = (name.clone(), uuid.clone());
            if *running && !stays_up {
                steps.push(Step::StopDomain {
                    name: name.clone(),
                    uuid: uuid.clone(),
                });
            }
            if !stays_defined {
                steps.push(Step::UndefineDomain { name, uuid });
            }
        }
        if old_disk.is_some() && !same_disk {
            steps.push(Step::DeleteVolume(name.clone()));
        }
        if let Some(disk) = new_disk
            && !same_disk
        {
            steps.push(Step::CreateVolume(name.clone(), disk.clone()));
        }
        if let Some(will) = will {
            if !stays_defined {
                steps.push(Step::DefineDomain(name.clone(), Box::new(will.clone())));
            }
            if will.running && !stays_up {
                steps.push(Step::StartDomain(name.clone()));
            }
            let told = was.filter(|_| stays_up).and_then(|was| was.configured.as_ref());
            if let Some(config) = &will.configured
                && will.running
                && told != Some(config)
            {
                steps.push(Step::ConfigureGuest(name.clone(), Box::new(config.clone())));
            }
        }
    }
    steps
}

/// Everything that libvirt is told about a domain is the same.
fn same_definition(a: &Domain, b: &Domain) -> bool {
    // Taken apart exhaustively, so that whoever adds a field comes by here.
    let Domain {
        uuid,
        accel,
        arch,
        machine,
        disk_bus,
        memory_mib,
        cpus,
        boot,
        seed,
        nics,
        running: _, // these two are the guest's state, not its definition
        configured: _,
    } = a;
    *uuid == b.uuid
        && *accel == b.accel
        && *arch == b.arch
        && *machine == b.machine
        && *disk_bus == b.disk_bus
        && *memory_mib == b.memory_mib
        && *cpus == b.cpus
        && *boot == b.boot
        && *seed == b.seed
        && *nics == b.nics
}

/// A running guest of an unchanged definition can go on running.
fn may_run_on(was: &Domain, will: &Domain, stands: impl Fn(&IfName) -> bool) -> bool {
    // What a guest was told can be told anew but not taken back, except by a new start.
    let must_forget = was.configured.is_some() && will.configured.is_none();
    was.running && will.running && !must_forget && was.nics.iter().all(|nic| stands(&nic.bridge))
}
