//! Domains, volumes, and what is configured in a guest.

use super::datapath;
use crate::lab::{Datapath, HostName, Image, NetworkName, VmName};
use crate::state::survey::Kvm;
use crate::state::{Accel, Domain, DomainName, DomainNic, GuestConfig, GuestNicConfig, Site, Survey, Volume};
use crate::topology::{Guest, Topology};

/// Adds the guests of `topology` to `site`; `survey` returns that of a guest's host.
pub(super) fn add<'a>(site: &mut Site, topology: &Topology, survey: impl Fn(&HostName) -> Option<&'a Survey>) {
    for (vm, guest) in &topology.guests {
        let image = &topology.images[&guest.image];
        let name = DomainName::new(&topology.lab, vm);
        let state = site.entry(guest.host.clone()).or_default();
        if let Some((base, format)) = image.boot.disk() {
            let volume = Volume {
                base: base.clone(),
                base_format: format.clone(),
            };
            state.volumes.insert(name.clone(), volume);
        }
        let accel = accel(&image.machine.arch, survey(&guest.host));
        let ovs = |network: &NetworkName| {
            let segment = topology.hosts.get(&guest.host)?.segments.get(network)?;
            datapath(segment.switch, survey(&guest.host))
        };
        let domain = domain(&name, guest, image, accel, ovs);
        state.domains.insert(name, domain);
    }
}

/// KVM only where the survey found it usable, and only for the architectures of that CPU.
fn accel(arch: &str, survey: Option<&Survey>) -> Accel {
    let usable = survey.is_some_and(|survey| survey.kvm == Kvm::Usable);
    if usable && ["x86_64", "i686"].contains(&arch) {
        Accel::Kvm
    } else {
        Accel::Qemu
    }
}

fn domain(
    name: &DomainName,
    guest: &Guest,
    image: &Image,
    accel: Accel,
    ovs: impl Fn(&NetworkName) -> Option<Datapath>,
) -> Domain {
    let nics = guest.nics.iter().map(|nic| DomainNic {
        bridge: nic.bridge.clone(),
        tap: nic.tap.clone(),
        mac: nic.mac,
        model: image.machine.nic_model.clone(),
        mtu: nic.mtu,
        // Other NICs than virtio are the same with either.
        ovs: ovs(&nic.network).map(|datapath| match image.machine.nic_model.as_str() {
            "virtio" => datapath,
            _ => Datapath::System,
        }),
    });
    let disk_bus = match image.boot.disk() {
        None => String::new(),
        Some(_) => image.machine.disk_bus.clone(),
    };
    let config = guest_config(name.vm(), guest, image);
    Domain {
        uuid: guest.uuid.to_string(),
        accel,
        arch: image.machine.arch.clone(),
        machine: image.machine.machine.clone(),
        disk_bus,
        disk_mib: guest.disk_mib.filter(|_| image.boot.disk().is_some()),
        memory_mib: guest.memory_mib,
        cpus: guest.cpus,
        boot: image.boot.clone(),
        seed: image.cloud_init.then(|| config.clone()),
        firmware: image.machine.firmware,
        video: image.machine.video,
        nics: nics.collect(),
        running: true,
        configured: Some(config),
    }
}

/// Returns what a guest is to be configured with.
pub fn guest_config(vm: &VmName, guest: &Guest, image: &Image) -> GuestConfig {
    let nics = guest.nics.iter().map(|nic| GuestNicConfig {
        mac: nic.mac,
        address: nic.address,
        dhcp: nic.dhcp,
        mtu: nic.mtu,
    });
    GuestConfig {
        hostname: vm.clone(),
        console: image.console.clone(),
        nics: nics.collect(),
        default_route: guest.default_route,
        nameservers: guest.nameservers.clone(),
        seeded: image.cloud_init,
    }
}
