//! Obstacles and warnings, by what a survey has.

mod services;

use std::collections::BTreeMap;

use super::{Obstacle, Severity, preflight};
use crate::lab::{Class, Connect, Firmware, HostName, TunnelKind};
use crate::plan::example::{host, link, on, survey, topology, up, vm};
use crate::state::survey::Kvm;
use crate::state::{DomainName, NicConfig, Site, Survey};
use crate::topology::{GuestDisk, SegmentTunnel, Topology};

/// The example lab with `node1` as localhost, which has NICs of its own; nothing connects the two hosts.
fn local() -> Topology {
    let mut topology = topology();
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    node1.connect = Connect::Local;
    node1.nics.values_mut().for_each(|nic| nic.address = None);
    let node2 = topology.hosts.get_mut(&host("node2")).unwrap();
    node2.segments.values_mut().for_each(|segment| segment.uplink = None);
    topology.cables.clear();
    topology
}

fn on_node1(survey: Survey) -> BTreeMap<HostName, Survey> {
    [(host("node1"), survey)].into()
}

/// Returns the obstacles that a survey of `node1` shows, as text.
fn texts(topology: &Topology, survey: Survey) -> Vec<String> {
    let obstacles = preflight(topology, &on_node1(survey), &Site::new());
    obstacles.iter().map(ToString::to_string).collect()
}

#[test]
fn a_lab_on_hosts_that_have_what_it_needs_has_no_obstacle() {
    assert_eq!(texts(&local(), survey()), [""; 0]);
    assert_eq!(preflight(&topology(), &BTreeMap::new(), &Site::new()), []);
}

#[test]
fn a_host_without_qemu_img_cannot_have_guests_with_disks() {
    let mut topology = local();
    let mut survey = survey();
    survey.programs.remove("qemu-img");
    assert_eq!(texts(&topology, survey.clone()), [""; 0], "vm1 boots from a kernel");
    topology.guests.get_mut(&vm("vm1")).unwrap().disks = vec![GuestDisk::Blank { mib: 64 }];
    assert_eq!(
        texts(&topology, survey),
        [
            "localhost: program `qemu-img` is missing, by which libvirt creates the disks of guests (help: install it on the \
          host: `apt-get install qemu-utils`)"
        ]
    );
}

#[test]
fn more_disks_than_an_ide_bus_has_places_for_are_an_error() {
    let mut topology = topology();
    let guest = topology.guests.get_mut(&vm("vm2")).unwrap();
    guest.disks = vec![GuestDisk::Blank { mib: 64 }; 3];
    guest.cdrom = Some("/srv/x.iso".into());
    let found = |topology: &Topology| -> Vec<String> {
        let obstacles = preflight(topology, &BTreeMap::new(), &Site::new());
        obstacles.iter().map(ToString::to_string).collect()
    };
    assert_eq!(found(&topology), [""; 0]);
    for image in topology.images.values_mut() {
        "ide".clone_into(&mut image.machine.disk_bus);
    }
    let found = found(&topology);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("vm `vm2` has 5 disks and CDs"), "{found:?}");
}

#[test]
fn a_missing_nic_is_reported_with_the_nics_that_exist() {
    let mut survey = survey();
    survey.nics.remove(&link("eth0"));
    survey.nics.insert(link("wlan0"), NicConfig::default());
    assert_eq!(
        texts(&local(), survey),
        [
            "node1: NIC eth0, the uplink of network `service`, does not exist; the host has: eth1, wlan0 \
             (help: use one of these as the network's uplink)"
        ]
    );
}

#[test]
fn a_nic_that_another_lab_has_attached_is_reported_with_its_owner_unless_the_network_is_tagged() {
    let mut survey = survey();
    survey.foreign_links = [("eth0".to_owned(), "lab other".to_owned())].into();
    let mut topology = local();
    let messages = texts(&topology, survey.clone());
    assert_eq!(messages.len(), 1, "{messages:#?}");
    assert!(messages[0].contains("NIC eth0, the uplink of network `service`, already belongs to lab other"));
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    node1.segments.values_mut().next().unwrap().vlan = Some(10.try_into().unwrap());
    assert_eq!(preflight(&topology, &on_node1(survey), &Site::new()), []);
}

#[test]
fn an_emulated_host_has_the_nics_of_the_lab_and_no_other() {
    let mut topology = topology();
    topology.hosts.get_mut(&host("node1")).unwrap().nics.clear();
    assert_eq!(texts(&topology, survey()), [""; 0], "the cable makes the NIC");
    topology.cables.clear();
    let messages = texts(&topology, survey());
    assert_eq!(messages.len(), 1, "{messages:#?}");
    assert!(messages[0].starts_with("node1: NIC eth0, the uplink"), "{messages:#?}");
}

#[test]
fn a_foreign_bridge_a_tap_and_a_vlan_device_are_reported_with_their_owners() {
    let mut topology = local();
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    node1.segments.values_mut().next().unwrap().vlan = Some(10.try_into().unwrap());
    let mut survey = survey();
    survey.foreign_links = [("br1", "lab other"), ("tap1", "libvirt"), ("eth0.10", "someone else")]
        .map(|(name, owner)| (name.to_owned(), owner.to_owned()))
        .into();
    let messages = texts(&topology, survey);
    assert_eq!(messages.len(), 3, "{messages:#?}");
    assert!(
        messages[0].starts_with("node1: the name br1 of the bridge of network `service` already belongs to lab other")
    );
    assert!(messages[1].starts_with(
        "node1: the name eth0.10 of the VLAN device of network `service` already belongs to someone else"
    ));
    assert!(
        messages[2]
            .starts_with("node1: the name tap1 of the tap of vm `vm1` on network `service` already belongs to libvirt")
    );
}

#[test]
fn a_bridge_cannot_have_the_name_of_a_nic() {
    let mut survey = survey();
    survey.nics.insert(link("br1"), NicConfig::default());
    let messages = texts(&local(), survey);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    assert!(
        messages[0].contains("already belongs to a NIC of the host"),
        "{messages:#?}"
    );
}

#[test]
fn a_foreign_domain_and_a_mac_used_on_any_host_are_reported() {
    let mut survey = survey();
    survey.foreign_domains = [("quick.vm1".to_owned(), "lab other".to_owned())].into();
    // vm2 runs on the other host, but the network extends over both.
    let mac = topology().guests[&vm("vm2")].nics[0].mac;
    survey.foreign_macs = [(mac, "stranger".to_owned())].into();
    let messages = texts(&local(), survey);
    assert_eq!(messages.len(), 2, "{messages:#?}");
    assert!(
        messages[0].contains("domain quick.vm1 already belongs to lab other"),
        "{messages:#?}"
    );
    assert!(
        messages[1].contains("of vm `vm2` is used by domain stranger"),
        "{messages:#?}"
    );
}

#[test]
fn a_subnet_that_the_host_already_reaches_is_reported_with_the_link() {
    let mut survey = survey();
    survey.subnets = vec![
        ("10.0.0.0/8".parse().unwrap(), "docker0".to_owned()),
        ("10.0.1.128/25".parse().unwrap(), "eth1".to_owned()),
        ("10.0.2.0/24".parse().unwrap(), "eth1".to_owned()),
        ("0.0.0.0/0".parse().unwrap(), "eth1".to_owned()),
    ];
    survey.foreign_links = [("docker0".to_owned(), "someone else".to_owned())].into();
    let messages = texts(&local(), survey);
    assert_eq!(messages.len(), 2, "{messages:#?}");
    assert!(messages[0].contains("overlaps 10.0.0.0/8, which the host reaches by docker0 (someone else)"));
    assert!(messages[1].contains("overlaps 10.0.1.128/25, which the host reaches by eth1 (a NIC of the host)"));
}

#[test]
fn an_uplinks_own_subnet_is_the_networks_unless_the_network_is_tagged_on_it() {
    let mut survey = survey();
    survey.subnets = vec![("10.0.1.0/24".parse().unwrap(), "eth0".to_owned())];
    let mut topology = local();
    assert_eq!(texts(&topology, survey.clone()), [""; 0]);
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    node1.segments.values_mut().next().unwrap().vlan = Some(10.try_into().unwrap());
    let messages = texts(&topology, survey);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    assert!(messages[0].contains("which the host reaches by eth0"), "{messages:#?}");
}

#[test]
fn missing_programs_modules_and_emulators_are_reported_all_at_once() {
    let mut topology = local();
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    node1.segments.values_mut().next().unwrap().vlan = Some(10.try_into().unwrap());
    let mut survey = survey();
    survey.programs.clear();
    survey.missing_modules = ["8021q", "bridge", "bonding"].map(str::to_owned).into();
    survey.arches = Some(["aarch64".to_owned()].into());
    let messages = texts(&topology, survey);
    assert_eq!(messages.len(), 4, "{messages:#?}");
    assert!(messages[0].contains("`ip` is missing"));
    assert!(messages[1].contains("module bridge is missing"));
    assert!(messages[2].contains("module 8021q is missing") && messages[2].contains("modprobe 8021q"));
    assert!(messages[3].contains("QEMU cannot run x86_64 guests"));
}

#[test]
fn uefi_firmware_that_the_host_lacks_is_reported_with_its_package() {
    let wanted = |firmware| {
        let mut topology = local();
        let images = topology.images.values_mut();
        images.for_each(|image| image.machine.firmware = firmware);
        topology
    };
    let with = |found: &[Firmware]| {
        let mut survey = survey();
        let found = found.iter().copied().collect();
        survey.firmware = [("x86_64".to_owned(), found)].into();
        survey
    };
    assert_eq!(texts(&wanted(Firmware::Bios), with(&[])), [""; 0]);
    assert_eq!(texts(&wanted(Firmware::Efi), with(&[Firmware::Efi])), [""; 0]);
    let found = texts(&wanted(Firmware::Efi), survey());
    assert!(
        !found.is_empty() && found.iter().all(|text| text.contains("apt-get install ovmf")),
        "{found:?}"
    );
    let found = texts(&wanted(Firmware::SecureEfi), with(&[Firmware::Efi]));
    assert!(
        found[0].contains("no UEFI firmware with Secure Boot for x86_64 guests"),
        "{found:?}"
    );
}

#[test]
fn modules_that_the_lab_does_not_need_may_be_missing_and_arches_unknown() {
    let mut survey = survey();
    survey.missing_modules = ["8021q".to_owned()].into();
    survey.arches = None;
    assert_eq!(texts(&local(), survey), [""; 0]);
}

#[test]
fn memory_is_summed_over_all_hosts_of_one_machine() {
    let survey = Survey {
        memory_mib: 255,
        ..survey()
    };
    assert_eq!(
        texts(&local(), survey.clone()),
        [
            "localhost: 2 guests to be started need 256 MiB of memory, 255 MiB are available \
             (help: give the guests less `memory`, or run fewer of them)"
        ]
    );
    let enough = Survey {
        memory_mib: 256,
        ..survey
    };
    assert_eq!(texts(&local(), enough), [""; 0]);
}

#[test]
fn sizes_of_disks_of_new_guests_are_compared_with_the_free_space_of_their_machine() {
    let mut topology = local();
    topology
        .guests
        .values_mut()
        .for_each(|guest| guest.disk_mib = Some(600));
    let survey = Survey {
        disk_mib: Some(1000),
        ..survey()
    };
    let found = preflight(&topology, &on_node1(survey.clone()), &Site::new());
    let [obstacle] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(obstacle.severity, Severity::Warning);
    assert!(
        obstacle.what.contains("can grow to 1200 MiB, 1000 MiB are free"),
        "{obstacle}"
    );
    // Of guests that exist, a part of the size is in use already.
    assert_eq!(preflight(&topology, &on_node1(survey), &up()), []);
}

#[test]
fn guests_that_run_already_need_no_more_memory_but_those_that_stopped_do() {
    let survey = Survey {
        memory_mib: 100,
        ..survey()
    };
    let mut observed = up();
    assert_eq!(preflight(&local(), &on_node1(survey.clone()), &observed), []);
    let lab = topology().lab;
    let stopped = DomainName::new(&lab, &vm("vm2"));
    on(&mut observed, "node2").domains.get_mut(&stopped).unwrap().running = false;
    let obstacles = preflight(&local(), &on_node1(survey), &observed);
    assert_eq!(obstacles.len(), 1, "{obstacles:#?}");
    assert!(
        obstacles[0].what.contains("1 guest to be started needs 128 MiB"),
        "{obstacles:#?}"
    );
}

#[test]
fn a_kvm_that_cannot_work_is_one_warning_per_machine_and_no_error() {
    let useless = Survey {
        kvm: Kvm::Useless("the CPU has neither vmx nor svm".to_owned()),
        ..survey()
    };
    let surveys = [(host("node1"), useless.clone()), (host("node2"), useless)].into();
    let obstacles = preflight(&topology(), &surveys, &Site::new());
    assert!(
        matches!(&obstacles[..], [Obstacle { severity: Severity::Warning, what, .. }] if what.contains("vmx")),
        "{obstacles:#?}"
    );
    assert_eq!(preflight(&topology(), &surveys, &up()), [], "no guest is to be started");
}

#[test]
fn a_network_may_have_the_subnet_of_its_own_uplink() {
    for class in [Class::Public, Class::Management, Class::Storage] {
        let mut topology = local();
        let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
        let segment = node1.segments.values_mut().next().unwrap();
        (segment.class, segment.subnet) = (class, "192.168.99.0/24".parse().unwrap());
        let on = |link: &str| Survey {
            subnets: vec![("192.168.99.0/24".parse().unwrap(), link.to_owned())],
            ..survey()
        };
        assert_eq!(texts(&topology, on("eth0")), [""; 0]);
        assert_eq!(texts(&topology, on("eth1")).len(), 1, "by another NIC it overlaps");
    }
}

#[test]
fn the_nic_that_a_real_host_is_reached_by_is_attached_only_where_the_lab_allows_it() {
    let mut topology = local();
    let target = "ssh://root@192.0.2.7".parse().unwrap();
    topology.hosts.get_mut(&host("node1")).unwrap().connect = Connect::Ssh(target);
    let mut survey = survey();
    let config = survey.nics.get_mut(&link("eth0")).unwrap();
    config.addresses = vec!["192.0.2.7/24".parse().unwrap()];
    config.routes.clear();
    assert_eq!(texts(&topology, survey.clone()), [""; 0], "reached by another NIC");
    survey.reached_at = Some("192.0.2.7".parse().unwrap());
    let refused = texts(&topology, survey.clone());
    assert!(
        refused[0].contains("carries the ssh session") && refused[0].contains("takeover"),
        "{refused:?}"
    );
    // A NIC that is attached already is not checked again.
    assert_eq!(preflight(&topology, &on_node1(survey.clone()), &up()), []);
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    node1.nics.entry(link("eth0")).or_default().takeover = true;
    assert_eq!(texts(&topology, survey), [""; 0]);
}

#[test]
fn a_host_behind_ssh_has_memory_of_its_own() {
    let mut topology = local();
    let target = "ssh://root@192.0.2.7".parse().unwrap();
    topology.hosts.get_mut(&host("node1")).unwrap().connect = Connect::Ssh(target);
    let little = Survey {
        memory_mib: 1,
        ..survey()
    };
    let messages = texts(&topology, little);
    assert!(
        messages
            .iter()
            .any(|line| line.starts_with("node1: ") && line.contains("MiB")),
        "{messages:?}"
    );
}

#[test]
fn a_vni_that_another_device_has_and_a_kernel_without_vxlan_are_reported() {
    let mut topology = local();
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    let segment = node1.segments.values_mut().next().unwrap();
    segment.uplink = None;
    segment.tunnel = Some(SegmentTunnel {
        kind: TunnelKind::Vxlan,
        key: 1001,
        device: link("vxlan-1"),
        nic: Some(link("eth0")),
        local: [172, 16, 99, 1].into(),
        remotes: [(host("node2"), [172, 16, 99, 2].into())].into(),
    });
    assert_eq!(texts(&topology, survey()), [""; 0]);
    let survey = Survey {
        foreign_keys: [((TunnelKind::Vxlan, 1001), "vxlan7".to_owned())].into(),
        missing_modules: ["vxlan".to_owned()].into(),
        ..survey()
    };
    let found = texts(&topology, survey);
    assert!(
        matches!(&found[..], [key, module] if key.contains("key 1001") && key.contains("vxlan7") && module.contains("module vxlan")),
        "{found:#?}"
    );
}
