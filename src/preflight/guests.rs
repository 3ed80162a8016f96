//! Guests: names and MAC addresses that others use, memory and KVM.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Obstacle, Severity, finding};
use crate::lab::{Connect, HostName, MacAddr, VmName};
use crate::state::survey::Kvm;
use crate::state::{Domain, DomainName, Site, Survey, localhost};
use crate::topology::{Guest, GuestDisk, Topology};

/// Domains of others with the lab's names or MAC addresses. A MAC address must be unique on all hosts of the lab, since
/// networks extend from host to host; libvirt does not check that.
pub(super) fn domains(
    topology: &Topology,
    guests: &[(&VmName, &Guest)],
    macs: &BTreeMap<MacAddr, &VmName>,
    survey: &Survey,
) -> Vec<Finding> {
    let named = guests.iter().filter_map(|(vm, _)| {
        let name = DomainName::new(&topology.lab, vm).to_string();
        let owner = survey.foreign_domains.get(&name)?;
        Some(finding(
            format!("domain {name} already belongs to {owner}"),
            "rename the lab or the vm, or undefine that domain",
        ))
    });
    let addressed = survey.foreign_macs.iter().filter_map(|(mac, domain)| {
        let vm = macs.get(mac)?;
        Some(finding(
            format!("MAC address {mac} of vm `{vm}` is used by domain {domain}, which is not this lab's"),
            "give the vm's NIC another `mac`",
        ))
    });
    let identified = guests.iter().filter_map(|(vm, guest)| {
        let owner = survey.foreign_uuids.get(&guest.uuid.to_string())?;
        // One of the same name is reported by its name.
        (*owner != DomainName::new(&topology.lab, vm).to_string()).then(|| {
            finding(
                format!(
                    "UUID {} of vm `{vm}` is that of domain {owner}, which is not this lab's",
                    guest.uuid
                ),
                "undefine that domain, or define it again with a UUID of its own; or rename the lab or the vm",
            )
        })
    });
    named.chain(identified).chain(addressed).collect()
}

/// VMs with keys that only cloud-init can use, and an image without it.
pub(super) fn without_cloud_init(guests: &[(&VmName, &Guest)]) -> Vec<Finding> {
    let found = guests.iter().filter_map(|(vm, guest)| {
        let keys: Vec<String> = guest.setup.unusable.iter().map(|key| format!("`{key}`")).collect();
        (!keys.is_empty()).then(|| {
            finding(
                format!(
                    "vm `{vm}` has {}, and image `{}` has no cloud-init",
                    keys.join(", "),
                    guest.image
                ),
                "write `files` and `run`, which need none, or choose an image with `cloud_init = true`",
            )
        })
    });
    found.collect()
}

/// VMs with more disks and CDs than an IDE bus has places for: two channels of two.
pub(super) fn too_many_disks(topology: &Topology, guests: &[(&VmName, &Guest)]) -> Vec<Finding> {
    const PLACES: usize = 4;
    let found = guests.iter().filter_map(|(vm, guest)| {
        let image = topology.images.get(&guest.image)?;
        let own = usize::from(image.boot.disk().is_some());
        let seed = usize::from(image.cloud_init);
        let count = own + guest.disks.len() + usize::from(guest.cdrom.is_some()) + seed;
        (image.machine.disk_bus == "ide" && count > PLACES).then(|| {
            finding(
                format!(
                    "vm `{vm}` has {count} disks and CDs, and the IDE bus of image `{}` has {PLACES} places",
                    guest.image
                ),
                "give the vm fewer `disks`, or the image a `disk_bus` of its own if its guest has the driver",
            )
        })
    });
    found.collect()
}

/// VMs that are to lose one of several disks that are alike.
pub(super) fn unclear_disks(guests: &[(&VmName, &Guest)]) -> Vec<Finding> {
    let unclear = guests.iter().filter(|(_, guest)| guest.disk_numbers.unclear);
    let found = unclear.map(|(vm, _)| {
        finding(
            format!("which of the further disks of vm `{vm}` is to be deleted is not clear: some are alike, or any may grow"),
            "first give each disk that stays a size of its own in the order of now, larger than before, and run `netlab up`; \
             then remove the other",
        )
    });
    found.collect()
}

/// Machines without the program by which libvirt creates the disks of their guests.
pub(super) fn disk_program(topology: &Topology, surveys: &BTreeMap<HostName, Survey>) -> Vec<Obstacle> {
    let mut lacking = BTreeSet::new();
    for guest in topology.guests.values() {
        let image = topology.images.get(&guest.image);
        let has_disks = !guest.disks.is_empty() || image.is_some_and(|image| image.boot.disk().is_some());
        let Some(host) = topology.hosts.get(&guest.host).filter(|_| has_disks) else {
            continue;
        };
        let machine = machine_below(&guest.host, &host.connect);
        let survey = surveys.get(&guest.host).or_else(|| surveys.get(&machine));
        // Of a machine whose programs are unknown nothing is said.
        let lacks = |survey: &Survey| !survey.programs.is_empty() && !survey.programs.contains("qemu-img");
        if survey.is_some_and(lacks) {
            lacking.insert(machine);
        }
    }
    let obstacles = lacking.into_iter().map(|host| Obstacle {
        severity: Severity::Error,
        host,
        what: "program `qemu-img` is missing, by which libvirt creates the disks of guests".to_owned(),
        help: "install it on the host: `apt-get install qemu-utils`".to_owned(),
    });
    obstacles.collect()
}

/// Returns the machine whose memory and CPU a host's guests use.
fn machine_below(name: &HostName, connect: &Connect) -> HostName {
    match connect {
        Connect::Emulated | Connect::Local => localhost(),
        Connect::Ssh(_) => name.clone(),
    }
}

/// Returns a guest's domain, if it runs already.
fn running<'a>(topology: &Topology, observed: &'a Site, vm: &VmName, guest: &Guest) -> Option<&'a Domain> {
    let state = observed.get(&guest.host)?;
    let domain = state.domains.get(&DomainName::new(&topology.lab, vm));
    domain.filter(|domain| domain.running)
}

/// Machines with less memory than the guests to be started need.
pub(super) fn memory(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, observed: &Site) -> Vec<Obstacle> {
    /// Per machine: guests to be started, memory that they need and that is available, in MiB.
    #[derive(Default)]
    struct Budget {
        guests: usize,
        needed: u64,
        available: Option<u64>,
    }
    let mut budgets: BTreeMap<HostName, Budget> = BTreeMap::new();
    let known = |host: &HostName| surveys.get(host).map(|survey| survey.memory_mib).filter(|mib| *mib > 0);
    for (name, host) in &topology.hosts {
        let machine = machine_below(name, &host.connect);
        let available = known(name).into_iter().chain(known(&machine));
        let budget = budgets.entry(machine.clone()).or_default();
        // Several surveys of one machine are of slightly different moments.
        budget.available = budget.available.into_iter().chain(available).min();
    }
    for (vm, guest) in &topology.guests {
        let Some(host) = topology.hosts.get(&guest.host) else {
            continue;
        };
        let domain = running(topology, observed, vm, guest);
        let budget = budgets.entry(machine_below(&guest.host, &host.connect)).or_default();
        budget.guests += usize::from(domain.is_none());
        // A running guest has its memory already.
        budget.needed += guest
            .memory_mib
            .saturating_sub(domain.map_or(0, |domain| domain.memory_mib));
    }
    let short = budgets.into_iter().filter_map(|(host, budget)| {
        let available = budget.available.filter(|available| *available < budget.needed)?;
        let Budget { guests, needed, .. } = budget;
        Some(Obstacle {
            severity: Severity::Error,
            host,
            what: format!(
                "{guests} guest{} to be started need{} {needed} MiB of memory, {available} MiB are available",
                if guests == 1 { "" } else { "s" },
                if guests == 1 { "s" } else { "" },
            ),
            help: "give the guests less `memory`, or run fewer of them".to_owned(),
        })
    });
    short.collect()
}

/// Machines with less free space than disks of guests that do not exist yet can grow to. Only sizes that the lab states
/// count; disks grow as they are written, so that this is no error.
pub(super) fn disk_space(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, observed: &Site) -> Vec<Obstacle> {
    let mut sizes: BTreeMap<HostName, u64> = BTreeMap::new();
    let mut free: BTreeMap<HostName, u64> = BTreeMap::new();
    for (vm, guest) in &topology.guests {
        let Some(host) = topology.hosts.get(&guest.host) else {
            continue;
        };
        let name = DomainName::new(&topology.lab, vm);
        if observed
            .get(&guest.host)
            .is_some_and(|state| state.domains.contains_key(&name))
        {
            continue;
        }
        let machine = machine_below(&guest.host, &host.connect);
        if let Some(mib) = surveys.get(&guest.host).and_then(|survey| survey.disk_mib) {
            let least = free.entry(machine.clone()).or_insert(mib);
            *least = mib.min(*least);
        }
        let further = guest.disks.iter().filter_map(|disk| match disk {
            GuestDisk::Blank { mib } => Some(*mib),
            GuestDisk::Over(_) => None,
        });
        *sizes.entry(machine).or_default() += guest.disk_mib.into_iter().chain(further).sum::<u64>();
    }
    let short = sizes.into_iter().filter_map(|(host, size)| {
        let free = *free.get(&host).filter(|free| **free < size)?;
        Some(Obstacle {
            severity: Severity::Warning,
            host,
            what: format!("disks of guests to be created can grow to {size} MiB, {free} MiB are free"),
            help: "a guest whose disk no longer fits is paused when it writes: give `disk` and `disks` less, or free some space"
                .to_owned(),
        })
    });
    short.collect()
}

/// Machines with a /dev/kvm that does not work, where guests are to be started; once per machine, not per emulated
/// host.
pub(super) fn kvm(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, observed: &Site) -> Vec<Obstacle> {
    let mut useless: BTreeSet<(HostName, &str)> = BTreeSet::new();
    let to_start = topology
        .guests
        .iter()
        .filter(|(vm, guest)| running(topology, observed, vm, guest).is_none());
    for (name, host) in to_start.filter_map(|(_, guest)| topology.hosts.get_key_value(&guest.host)) {
        if let Some(Kvm::Useless(why)) = surveys.get(name).map(|survey| &survey.kvm) {
            useless.insert((machine_below(name, &host.connect), why));
        }
    }
    let warnings = useless.into_iter().map(|(host, why)| Obstacle {
        severity: Severity::Warning,
        host,
        what: useless_kvm(why),
        help: USELESS_KVM_HELP.to_owned(),
    });
    warnings.collect()
}

/// Returns the message about a /dev/kvm that does not work.
pub fn useless_kvm(why: &str) -> String {
    format!("/dev/kvm exists but does not work: {why}; guests run in emulation (TCG)")
}

/// What the user can do about it.
pub const USELESS_KVM_HELP: &str =
    "guests are several times slower without it; enable virtualization in the firmware or the outer hypervisor";
