use ipnet::IpNet;

use super::*;
use crate::plan::example::{host, link, survey, topology, up, vm};
use crate::state::LOCALHOST;
use crate::state::survey::Kvm;
use crate::state::{Accel, Domain, DomainName, MachineNic};
use crate::state::{LinkKind, NicConfig, Sysctl};

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
fn a_tagged_network_attaches_no_nic_but_a_vlan_device_to_its_bridge() {
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
    // node1 was surveyed; node2 does not exist yet, and the survey of localhost is used for it.
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
fn a_guest_is_configured_with_its_addresses_by_mac_and_its_default_route() {
    let site = up();
    let config = domain(&site, "node1", "vm1").configured.clone().unwrap();
    let nic = &topology().guests[&vm("vm1")].nics[0];
    assert_eq!(config.hostname, vm("vm1"));
    assert_eq!((config.nics[0].mac, config.nics[0].address), (nic.mac, nic.address));
    assert!(!config.nics[0].dhcp);
    assert_eq!(config.default_route, Some([10, 0, 1, 1].into()));
}

#[test]
fn a_cable_creates_a_nic_that_the_lab_does_not_mention() {
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

#[test]
fn of_thousands_of_tenants_it_is_listed_what_is_routed_and_not_each_pair_that_is_apart() {
    const COUNT: usize = 3000;
    let mut topology = topology();
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    let segment = node1.segments.values().next().unwrap().clone();
    for number in 0..COUNT {
        let network: crate::lab::NetworkName = format!("n{number}").parse().unwrap();
        let mut segment = segment.clone();
        segment.bridge = link(&format!("b{number}"));
        node1.segments.insert(network.clone(), segment);
        topology
            .tenants
            .of
            .insert(network, format!("t{number}").parse().unwrap());
    }
    topology.tenants.routes = vec![["t0", "t1"].map(|tenant| tenant.parse().unwrap()).into()];
    let site = desired(&topology, &BTreeMap::new());
    let together = &site[&host("node1")].firewall.as_ref().unwrap().together;
    assert_eq!(together.len(), COUNT);
    assert_eq!(together[&link("b0")], [link("b0"), link("b1")].into());
    assert_eq!(together[&link("b2")], [link("b2")].into());
    assert_eq!(
        together.values().map(std::collections::BTreeSet::len).sum::<usize>(),
        COUNT + 2
    );
}
