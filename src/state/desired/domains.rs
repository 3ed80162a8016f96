//! Domains, volumes, and what is configured in a guest.

use super::datapath;
use crate::lab::{BaseDisk, Datapath, HostName, Image, Login, NetworkName, VmName};
use crate::state::survey::Kvm;
use crate::state::{
    Accel, CloudConfig, Disk, DiskName, Domain, DomainDisk, DomainName, DomainNic, GuestConfig, GuestNicConfig, Site,
    Start, Survey, Volume,
};
use crate::topology::{Guest, GuestDisk, GuestSetup, Topology};

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
        for (number, disk) in guest.numbered_disks() {
            state.disks.insert(DiskName::new(&name, number), own(disk));
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

/// Returns a further disk as a file on its host.
fn own(disk: &GuestDisk) -> Disk {
    match disk {
        GuestDisk::Blank { mib } => Disk::Blank { mib: *mib },
        GuestDisk::Over(BaseDisk { base, format }) => Disk::Over(Volume {
            base: base.clone(),
            base_format: format.clone(),
        }),
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
        None if guest.disks.is_empty() => String::new(),
        _ => image.machine.disk_bus.clone(),
    };
    let disks = guest.numbered_disks().map(|(number, disk)| DomainDisk {
        number,
        over: match own(disk) {
            Disk::Blank { .. } => None,
            Disk::Over(volume) => Some(volume),
        },
    });
    let config = guest_config(name.vm(), guest, image);
    Domain {
        uuid: guest.uuid.to_string(),
        accel,
        arch: image.machine.arch.clone(),
        machine: image.machine.machine.clone(),
        disk_bus,
        disk_mib: guest.disk_mib.filter(|_| image.boot.disk().is_some()),
        disks: disks.collect(),
        cdrom: guest.cdrom.clone(),
        memory_mib: guest.memory_mib,
        cpus: guest.cpus,
        boot: image.boot.clone(),
        seed: image.cloud_init.then(|| GuestConfig {
            serve: Vec::new(), // started over the console
            ..config.clone()
        }),
        firmware: image.machine.firmware,
        video: image.machine.video,
        nics: nics.collect(),
        running: true,
        start: if image.warm { Start::Warm } else { Start::Boot },
        configured: Some(config),
        tasks: guest.setup.tasks.clone(),
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
    let setup = &guest.setup;
    let mut console = image.console.clone();
    if image.cloud_init && (setup.user.is_some() || setup.password.is_some()) {
        console.login = Some(login(console.login.as_ref(), setup));
    }
    GuestConfig {
        hostname: vm.clone(),
        console,
        nics: nics.collect(),
        default_route: guest.default_route,
        nameservers: guest.nameservers.clone(),
        seeded: image.cloud_init,
        serve: guest.serve.clone(),
        cloud_init: if image.cloud_init {
            CloudConfig {
                ssh_keys: setup.ssh_keys.clone().unwrap_or_default(),
                packages: setup.packages.clone(),
                user_data: setup.user_data.clone(),
            }
        } else {
            CloudConfig::default()
        },
        proxies: setup.proxies.clone(),
    }
}

/// Returns the login of a guest whose account the lab chooses, in place of the image's.
fn login(of_image: Option<&Login>, setup: &GuestSetup) -> Login {
    let login = of_image.cloned().unwrap_or_else(|| Login {
        prompt: "login: ".to_owned(),
        user: "root".to_owned(),
        password: None,
        root_password: None,
    });
    Login {
        user: setup.user.clone().unwrap_or(login.user),
        password: setup.password.clone().or(login.password),
        ..login
    }
}
