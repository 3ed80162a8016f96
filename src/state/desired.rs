//! What a lab wants to own on every host.

mod services;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net};

use super::{
    Accel, Domain, DomainName, DomainNic, GuestConfig, GuestNicConfig, HostState, Link, LinkKind, Machine, MachineKind,
    MachineNic, NicConfig, Route, Site, Sysctl, Uplink, Volume, localhost,
};
use crate::lab::{Boot, Class, Connect, HostName, IfName, Image, LabHostNic, VmName};
use crate::state::Survey;
use crate::state::survey::Kvm;
use crate::topology::{Guest, Topology, TopologyHost, derive};

/// What `topology` wants to own, in the shape in which it will be observed once it is there.
///
/// `surveys` tell what only the hosts know: what stands on their NICs and whether KVM works. For an emulated host
/// that is not there yet, the survey of this machine ([`localhost`]) stands in.
pub fn desired(topology: &Topology, surveys: &BTreeMap<HostName, Survey>) -> Site {
    let this_machine = localhost();
    let survey = |host: &HostName| match topology.hosts.get(host)?.connect {
        Connect::Emulated => surveys.get(host).or_else(|| surveys.get(&this_machine)),
        Connect::Local | Connect::Ssh(_) => surveys.get(host),
    };

    let machines = machines(topology);
    let mut site = Site::new();
    for (name, host) in &topology.hosts {
        let was = |nic: &IfName| match machines.get(name) {
            // Not surveyed: the machine boots with what the lab says, also when it is yet to be made, or made anew.
            Some(machine) => machine.nics.get(nic).map(boot_config),
            None => survey(name).and_then(|survey| survey.nics.get(nic).cloned()),
        };
        // A NIC that is not there is refused in preflight.
        let mut state = network(host, |nic| was(nic).unwrap_or_default());
        services::add(&mut state, topology, name, host);
        site.insert(name.clone(), state);
    }
    for (vm, guest) in &topology.guests {
        let image = &topology.images[&guest.image];
        let name = DomainName::new(&topology.lab, vm);
        let state = site.entry(guest.host.clone()).or_default();
        if let Boot::Disk { base, format } = &image.boot {
            let volume = Volume {
                base: base.clone(),
                base_format: format.clone(),
            };
            state.volumes.insert(name.clone(), volume);
        }
        let accel = accel(&image.machine.arch, survey(&guest.host));
        let domain = domain(&name, guest, image, accel);
        state.domains.insert(name, domain);
    }
    if !machines.is_empty() {
        let cables = topology.cables.iter();
        let cables = cables.filter(|cable| cable.ends.iter().all(|end| machines.contains_key(&end.host)));
        let rig = HostState {
            cables: cables.cloned().collect(),
            machines,
            ..HostState::default()
        };
        site.insert(this_machine, rig);
    }
    site.retain(|_, state| *state != HostState::default());
    site
}

/// The emulated hosts, with the NICs that the lab gives them and those that only a cable makes, and the switches and
/// routers between them.
fn machines(topology: &Topology) -> BTreeMap<HostName, Machine> {
    let emulated = topology
        .hosts
        .iter()
        .filter(|(_, host)| host.connect == Connect::Emulated);
    let mut machines: BTreeMap<_, _> = emulated
        .map(|(name, host)| (name.clone(), machine(MachineKind::Host, machine_nics(&host.nics))))
        .collect();
    machines.extend(topology.switches.iter().map(|(name, switch)| {
        let ports = switch.ports.iter().map(|(port, mode)| {
            let nic = MachineNic {
                port: mode.clone(),
                ..MachineNic::default()
            };
            (port.clone(), nic)
        });
        (name.clone(), machine(MachineKind::Switch, ports.collect()))
    }));
    machines.extend(topology.routers.iter().map(|(name, router)| {
        let machine = Machine {
            outside: router.outside.clone(),
            ..machine(MachineKind::Router, machine_nics(&router.nics))
        };
        (name.clone(), machine)
    }));
    for end in topology.cables.iter().flat_map(|cable| &cable.ends) {
        if let Some(machine) = machines.get_mut(&end.host) {
            machine.nics.entry(end.nic.clone()).or_default();
        }
    }
    machines
}

fn machine(kind: MachineKind, nics: BTreeMap<IfName, MachineNic>) -> Machine {
    Machine {
        kind,
        nics,
        outside: BTreeSet::new(),
        alive: true,
    }
}

fn machine_nics(nics: &BTreeMap<IfName, LabHostNic>) -> BTreeMap<IfName, MachineNic> {
    let made = nics.iter().map(|(name, wanted)| {
        let nic = MachineNic {
            address: wanted.address,
            gateway: wanted.gateway,
            ..MachineNic::default()
        };
        (name.clone(), nic)
    });
    made.collect()
}

/// What stands on an emulated host's NIC after the machine was configured.
fn boot_config(nic: &MachineNic) -> NicConfig {
    let default_route = nic.gateway.map(|gateway| Route {
        to: Ipv4Net::default().into(),
        via: Some(gateway.into()),
        source: None,
        metric: None,
        protocol: None,
    });
    NicConfig {
        up: true,
        addresses: nic.address.into_iter().map(IpNet::from).collect(),
        routes: default_route.into_iter().collect(),
    }
}

/// Bridges, VLAN devices, uplinks and settings of one host; `was` tells what stands on a NIC of it.
fn network(host: &TopologyHost, was: impl Fn(&IfName) -> NicConfig) -> HostState {
    let mut state = HostState::default();
    for (network, segment) in &host.segments {
        // `netlab status` reads the class back from here: the hosts are asked, not the lab file.
        let purpose = match segment.class {
            Class::Service => format!("network {network}"),
            class => format!("{class} network {network}"),
        };
        let own = segment.gateway.into_iter().chain(segment.address);
        let own = own.filter_map(|address| Ipv4Net::new(address, segment.subnet.prefix_len()).ok());
        if segment.gateway.is_some() {
            state.sysctls.insert(Sysctl::Ipv4Forward, "1".to_owned());
        }
        let bridge = Link {
            kind: LinkKind::Bridge {
                stp: segment.stp,
                mac: segment.mac,
            },
            master: None,
            addresses: own.map(IpNet::from).collect(),
            purpose: purpose.clone(),
        };
        state.links.insert(segment.bridge.clone(), bridge);

        match (&segment.uplink, segment.vlan) {
            (None, _) => {}
            (Some(nic), None) => {
                let uplink = Uplink {
                    bridge: segment.bridge.clone(),
                    was: was(nic),
                };
                state.uplinks.insert(nic.clone(), uplink);
            }
            (Some(nic), Some(id)) => {
                let device = Link {
                    kind: LinkKind::Vlan {
                        parent: nic.clone(),
                        id,
                    },
                    master: Some(segment.bridge.clone()),
                    addresses: BTreeSet::new(),
                    purpose,
                };
                state.links.insert(derive::vlan_device(nic, id), device);
            }
        }
    }
    state
}

/// KVM only where it was seen to work and runs the architecture; both of its kinds are one CPU's.
fn accel(arch: &str, survey: Option<&Survey>) -> Accel {
    let usable = survey.is_some_and(|survey| survey.kvm == Kvm::Usable);
    if usable && ["x86_64", "i686"].contains(&arch) {
        Accel::Kvm
    } else {
        Accel::Qemu
    }
}

fn domain(name: &DomainName, guest: &Guest, image: &Image, accel: Accel) -> Domain {
    let nics = guest.nics.iter().map(|nic| DomainNic {
        bridge: nic.bridge.clone(),
        tap: nic.tap.clone(),
        mac: nic.mac,
        model: image.machine.nic_model.clone(),
    });
    let disk_bus = match image.boot {
        Boot::Kernel { .. } => String::new(),
        Boot::Disk { .. } => image.machine.disk_bus.clone(),
    };
    let config = guest_config(name.vm(), guest, image);
    Domain {
        uuid: guest.uuid.to_string(),
        accel,
        arch: image.machine.arch.clone(),
        machine: image.machine.machine.clone(),
        disk_bus,
        memory_mib: guest.memory_mib,
        cpus: guest.cpus,
        boot: image.boot.clone(),
        seed: image.cloud_init.then(|| config.clone()),
        nics: nics.collect(),
        running: true,
        configured: Some(config),
    }
}

fn guest_config(vm: &VmName, guest: &Guest, image: &Image) -> GuestConfig {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example::{host, link, survey, topology, up, vm};
    use crate::state::LOCALHOST;

    fn domain<'a>(site: &'a Site, on: &str, guest: &str) -> &'a Domain {
        &site[&host(on)].domains[&DomainName::new(&topology().lab, &vm(guest))]
    }

    #[test]
    fn a_bridge_has_the_gateway_address_only_on_the_gateway_host_which_forwards() {
        let site = up();
        let (gateway, other) = (&site[&host("node1")], &site[&host("node2")]);
        assert_eq!(
            gateway.links[&link("br1")].addresses,
            ["10.0.1.1/24".parse().unwrap()].into()
        );
        assert_eq!(gateway.sysctls, [(Sysctl::Ipv4Forward, "1".to_owned())].into());
        assert!(other.links[&link("br1")].addresses.is_empty());
        assert!(other.sysctls.is_empty());
    }

    #[test]
    fn an_emulated_hosts_uplink_had_what_the_lab_gives_the_nic() {
        let was = &up()[&host("node2")].uplinks[&link("eth0")].was;
        assert!(was.up);
        assert_eq!(was.addresses, ["172.16.99.2/24".parse::<IpNet>().unwrap()]);
        assert_eq!(was.routes[0].to, "0.0.0.0/0".parse::<IpNet>().unwrap());
        assert_eq!(was.routes[0].via, Some([172, 16, 99, 1].into()));
    }

    #[test]
    fn a_real_hosts_uplink_had_what_was_surveyed() {
        let mut topology = topology();
        topology.hosts.get_mut(&host("node1")).unwrap().connect = Connect::Local;
        let mut survey = survey();
        let found = NicConfig {
            up: true,
            addresses: vec!["192.0.2.7/24".parse().unwrap()],
            routes: Vec::new(),
        };
        survey.nics.insert(link("eth0"), found.clone());
        let site = desired(&topology, &[(host("node1"), survey)].into());
        assert_eq!(site[&host("node1")].uplinks[&link("eth0")].was, found);
        assert!(!site[&host(LOCALHOST)].machines.contains_key(&host("node1")));
    }

    #[test]
    fn a_tagged_network_takes_no_nic_but_puts_a_vlan_device_into_its_bridge() {
        let mut topology = topology();
        let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
        node1.segments.values_mut().next().unwrap().vlan = Some(10.try_into().unwrap());
        let site = desired(&topology, &BTreeMap::new());
        let state = &site[&host("node1")];
        assert!(state.uplinks.is_empty());
        let device = &state.links[&link("eth0.10")];
        assert_eq!(device.master, Some(link("br1")));
        let kind = LinkKind::Vlan {
            parent: link("eth0"),
            id: 10.try_into().unwrap(),
        };
        assert_eq!(device.kind, kind);
    }

    #[test]
    fn only_a_guest_with_a_disk_has_a_volume_and_a_disk_bus() {
        let site = up();
        assert!(site[&host("node1")].volumes.is_empty());
        assert_eq!(domain(&site, "node1", "vm1").disk_bus, "");
        let volume = site[&host("node2")].volumes.values().next().unwrap();
        assert_eq!(volume.base.to_str(), Some("/images/disk/base.img"));
        assert_eq!(domain(&site, "node2", "vm2").disk_bus, "virtio");
    }

    #[test]
    fn kvm_is_used_where_it_works_and_for_its_own_architecture_only() {
        let mut topology = topology();
        let usable = Survey {
            kvm: Kvm::Usable,
            ..survey()
        };
        // node1 was surveyed; node2 is not there yet, and this machine speaks for it.
        let surveys = [(host("node1"), survey()), (host(LOCALHOST), usable)].into();
        let site = desired(&topology, &surveys);
        assert_eq!(domain(&site, "node1", "vm1").accel, Accel::Qemu);
        assert_eq!(domain(&site, "node2", "vm2").accel, Accel::Kvm);
        for image in topology.images.values_mut() {
            image.machine.arch = "aarch64".to_owned();
        }
        let site = desired(&topology, &surveys);
        assert_eq!(domain(&site, "node2", "vm2").accel, Accel::Qemu);
    }

    #[test]
    fn a_guest_is_told_its_addresses_by_mac_and_its_way_out() {
        let site = up();
        let config = domain(&site, "node1", "vm1").configured.clone().unwrap();
        let nic = &topology().guests[&vm("vm1")].nics[0];
        assert_eq!(config.hostname, vm("vm1"));
        assert_eq!((config.nics[0].mac, config.nics[0].address), (nic.mac, nic.address));
        assert!(!config.nics[0].dhcp);
        assert_eq!(config.default_route, Some([10, 0, 1, 1].into()));
    }

    #[test]
    fn a_cable_makes_a_nic_that_the_lab_does_not_mention() {
        let mut topology = topology();
        topology.hosts.get_mut(&host("node1")).unwrap().nics.clear();
        let site = desired(&topology, &BTreeMap::new());
        let machine = &site[&host(LOCALHOST)].machines[&host("node1")];
        assert_eq!(machine.nics, [(link("eth0"), MachineNic::default())].into());
    }

    #[test]
    fn a_host_without_anything_has_no_entry() {
        let mut topology = topology();
        topology.guests.clear();
        for host in topology.hosts.values_mut() {
            host.connect = Connect::Local;
            host.segments.clear();
        }
        assert_eq!(desired(&topology, &BTreeMap::new()), Site::new());
    }
}
