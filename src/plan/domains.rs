//! Guests of one host: their volumes, their domains, and what was configured in them.

use std::collections::{BTreeMap, BTreeSet};

use super::Step;
use crate::lab::{IfName, Task};
use crate::state::{Disk, DiskName, Domain, DomainName, SetUp, Start, Volume};

/// The guests' part of a host's state.
pub(super) struct Guests<'a> {
    pub volumes: &'a BTreeMap<DomainName, Volume>,
    pub disks: &'a BTreeMap<DiskName, Disk>,
    pub domains: &'a BTreeMap<DomainName, Domain>,
}

/// Returns the steps for all guests of a host. `remains(bridge)`: the bridge exists and the plan neither deletes nor
/// creates it. A tap on any other bridge is detached, and only a restart of the guest attaches it again.
pub(super) fn changes(from: &Guests, to: &Guests, remains: impl Fn(&IfName) -> bool) -> Vec<Step> {
    let domains = from.domains.keys().chain(to.domains.keys());
    let volumes = from.volumes.keys().chain(to.volumes.keys());
    let mut steps = Vec::new();
    let disks = from.disks.keys().chain(to.disks.keys()).map(DiskName::domain);
    for name in domains.chain(volumes).chain(disks).collect::<BTreeSet<_>>() {
        let (was, will) = (from.domains.get(name), to.domains.get(name));
        let (old_disk, new_disk) = (from.volumes.get(name), to.volumes.get(name));

        // A guest with another disk, or without its disk, is another guest, even if its definition is the same.
        let same_disk = old_disk == new_disk;
        let stays_defined = same_disk && was.zip(will).is_some_and(|(was, will)| same_definition(was, will));
        let further = Further::between(name, from.disks, to.disks);
        // A disk is created, grown or deleted only while nothing uses it.
        let stays_up = stays_defined
            && further.is_empty()
            && was
                .zip(will)
                .is_some_and(|(was, will)| can_keep_running(was, will, &remains));

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
        steps.extend(further.removal);
        if let Some(disk) = new_disk
            && !same_disk
        {
            steps.push(Step::CreateVolume(name.clone(), disk.clone()));
        }
        steps.extend(further.creation);
        if let Some(will) = will {
            if let Some(mib) = will.disk_mib
                && new_disk.is_some()
                && !stays_defined
            {
                steps.push(Step::GrowVolume(name.clone(), mib));
            }
            let done = was.filter(|_| same_disk && (stays_up || is_lasting(will)));
            let done = done.map_or(&[][..], |was| &was.tasks);
            if !stays_defined {
                let domain = Domain {
                    tasks: done.to_vec(),
                    ..will.clone()
                };
                steps.push(Step::DefineDomain(name.clone(), Box::new(domain)));
            }
            if will.running && !stays_up {
                // A disk that a guest may have written to is not replaced by that of a saved state.
                let start = if is_lasting(will) && same_disk {
                    Start::Boot
                } else {
                    will.start
                };
                steps.push(Step::StartDomain(name.clone(), start));
            }
            let configured = was.filter(|_| stays_up).and_then(|was| was.configured.as_ref());
            if let Some(config) = &will.configured
                && will.running
                && configured != Some(config)
            {
                steps.push(Step::ConfigureGuest(name.clone(), Box::new(config.clone())));
            }
            steps.extend(set_up(name, will, done));
        }
    }
    steps
}

/// Returns the steps that stop every guest that runs.
pub(super) fn stop_all(domains: &BTreeMap<DomainName, Domain>) -> Vec<Step> {
    let running = domains.iter().filter(|(_, domain)| domain.running);
    let stop = |(name, domain): (&DomainName, &Domain)| Step::StopDomain {
        name: name.clone(),
        uuid: domain.uuid.clone(),
    };
    running.map(stop).collect()
}

/// The steps for a guest's further disks.
struct Further {
    removal: Vec<Step>,
    creation: Vec<Step>,
}

impl Further {
    fn between(domain: &DomainName, from: &BTreeMap<DiskName, Disk>, to: &BTreeMap<DiskName, Disk>) -> Self {
        let of_domain = |name: &&DiskName| name.domain() == domain;
        let names = from.keys().chain(to.keys()).filter(of_domain);
        let mut steps = Self {
            removal: Vec::new(),
            creation: Vec::new(),
        };
        for name in names.collect::<BTreeSet<_>>() {
            let (was, will) = (from.get(name), to.get(name));
            match (was, will) {
                (Some(was), Some(will)) if was == will => {}
                // A disk is never made smaller: what is at its end would be lost.
                (Some(Disk::Blank { mib: was }), Some(Disk::Blank { mib: will })) if was < will => {
                    steps.creation.push(Step::GrowDisk(name.clone(), *will));
                }
                (was, will) => {
                    let delete = was.map(|disk| Step::DeleteDisk(name.clone(), disk.clone()));
                    let create = will.map(|disk| Step::CreateDisk(name.clone(), disk.clone()));
                    steps.removal.extend(delete);
                    steps.creation.extend(create);
                }
            }
        }
        steps
    }

    fn is_empty(&self) -> bool {
        self.removal.is_empty() && self.creation.is_empty()
    }
}

/// Returns whether what is done in a guest stays when it restarts.
fn is_lasting(domain: &Domain) -> bool {
    domain.boot.disk().is_some()
}

/// Returns the step for what is to do in a running guest in which `done` was done: everything from the first file or command
/// that differs, because what follows may depend on it. What is known by its digest only cannot be done, and nothing that
/// was done can be undone.
fn set_up(name: &DomainName, will: &Domain, done: &[Task]) -> Option<Step> {
    let config = will.configured.as_ref().filter(|_| will.running)?;
    let same = will.tasks.iter().zip(done).take_while(|(will, was)| will == was);
    let same = same.count();
    let rest = &will.tasks[same..];
    let known = rest.iter().all(|task| task.content().bytes().is_some());
    (known && !rest.is_empty()).then(|| {
        let set_up = SetUp {
            console: config.console.clone(),
            seeded: config.seeded,
            lasting: is_lasting(will),
            tasks: will.tasks.clone(),
            done: same,
            proxies: config.proxies.clone(),
        };
        Step::SetUpGuest(name.clone(), Box::new(set_up))
    })
}

/// Returns whether everything that libvirt knows of a domain is the same.
pub fn same_definition(a: &Domain, b: &Domain) -> bool {
    // Destructured exhaustively, so that a new field is an error here.
    let Domain {
        uuid,
        accel,
        arch,
        machine,
        disk_bus,
        disk_mib,
        disks,
        cdrom,
        memory_mib,
        cpus,
        boot,
        seed,
        firmware,
        video,
        nics,
        start: _,
        running: _, // these three are the guest's state, not its definition
        configured: _,
        tasks: _,
    } = a;
    *uuid == b.uuid
        && *accel == b.accel
        && *arch == b.arch
        && *machine == b.machine
        && *disk_bus == b.disk_bus
        && *disk_mib == b.disk_mib
        && *disks == b.disks
        && *cdrom == b.cdrom
        && *memory_mib == b.memory_mib
        && *cpus == b.cpus
        && *boot == b.boot
        && *seed == b.seed
        && *firmware == b.firmware
        && *video == b.video
        && *nics == b.nics
}

/// A running guest of an unchanged definition need not be stopped.
fn can_keep_running(was: &Domain, will: &Domain, remains: impl Fn(&IfName) -> bool) -> bool {
    // A guest can be configured again, but its configuration is removed only by a restart.
    let must_restart = was.configured.is_some() && will.configured.is_none();
    was.running && will.running && !must_restart && was.nics.iter().all(|nic| remains(&nic.bridge))
}
