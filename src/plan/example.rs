//! A small lab for tests: two emulated hosts with a cable between them, one network over it, a guest on each.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::lab::{
    Boot, Cable, CableEnd, Class, Connect, ConsoleKind, Dialect, Firmware, HostName, IfName, Image, ImageConsole,
    ImageMachine, LabHostNic, MacAddr, SwitchKind, Video, VmName,
};
use crate::state::{HostState, Site, Survey, desired};
use crate::topology::{Guest, GuestNic, LinkShaping, Segment, Tenants, Topology, TopologyHost, derive};

pub(crate) fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

pub(crate) fn link(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

pub(crate) fn vm(name: &str) -> VmName {
    VmName::new(name).unwrap()
}

/// `vm1` on `node1`, which has the gateway, and `vm2` on `node2`; `vm2` has a disk.
pub(crate) fn topology() -> Topology {
    let end = |host_name: &str| CableEnd {
        host: host(host_name),
        nic: link("eth0"),
    };
    Topology {
        lab: "quick".parse().unwrap(),
        hosts: BTreeMap::from([
            (host("node1"), node(1, Some([10, 0, 1, 1].into()))),
            (host("node2"), node(2, None)),
        ]),
        switches: BTreeMap::new(),
        routers: BTreeMap::new(),
        cables: vec![Cable {
            ends: [end("node1"), end("node2")],
        }],
        shaping: LinkShaping::default(),
        tenants: Tenants::default(),
        guests: BTreeMap::from([
            (vm("vm1"), guest("node1", "mini", 1)),
            (vm("vm2"), guest("node2", "disk", 2)),
        ]),
        images: BTreeMap::from([image("mini"), image("disk")].map(|image| (image.name.clone(), image))),
        outside: Vec::new(),
        pings: Vec::new(),
        checks: Vec::new(),
    }
}

fn node(number: u8, gateway: Option<Ipv4Addr>) -> TopologyHost {
    let nic = LabHostNic {
        bond: None,
        address: Some(format!("172.16.99.{number}/24").parse().unwrap()),
        gateway: (number == 2).then(|| [172, 16, 99, 1].into()),
        takeover: false,
        shaping: None,
    };
    let segment = Segment {
        class: Class::Service,
        bridge: link("br1"),
        mac: None,
        stp: None,
        uplink: Some(link("eth0")),
        vlan: None,
        mtu: None,
        switch: SwitchKind::Bridge,
        tunnel: None,
        subnet: "10.0.1.0/24".parse().unwrap(),
        gateway,
        gateway_everywhere: false,
        address: None,
        dhcp: None,
    };
    TopologyHost {
        connect: Connect::Emulated,
        nics: BTreeMap::from([(link("eth0"), nic)]),
        segments: BTreeMap::from([("service".parse().unwrap(), segment)]),
        nat: Vec::new(),
    }
}

fn guest(host_name: &str, image: &str, number: u8) -> Guest {
    let nic = GuestNic {
        network: "service".parse().unwrap(),
        bridge: link("br1"),
        tap: link(&format!("tap{number}")),
        mac: MacAddr::new([0x52, 0x54, 0, 0, 0, number]).unwrap(),
        address: format!("10.0.1.{}/24", number + 1).parse().unwrap(),
        gateway: Some([10, 0, 1, 1].into()),
        dhcp: false,
        mtu: None,
        port_security: false,
    };
    Guest {
        uuid: derive::uuid(&number.to_string()),
        host: host(host_name),
        image: image.parse().unwrap(),
        memory_mib: 128,
        disk_mib: None,
        disks: Vec::new(),
        disk_numbers: crate::topology::DiskNumbers::default(),
        cdrom: None,
        cpus: 1,
        nics: vec![nic],
        default_route: Some([10, 0, 1, 1].into()),
        nameservers: vec![IpAddr::from([9, 9, 9, 9])],
        floating: None,
        serve: Vec::new(),
        forward: Vec::new(),
        setup: crate::topology::GuestSetup::default(),
    }
}

fn image(name: &str) -> Image {
    let boot = match name {
        "mini" => Boot::Kernel {
            disk: None,
            kernel: "/images/mini/kernel".into(),
            initrd: Some("/images/mini/initrd".into()),
            cmdline: "console=ttyS0".to_owned(),
        },
        _ => Boot::Disk {
            base: format!("/images/{name}/base.img").into(),
            format: "raw".to_owned(),
        },
    };
    Image {
        name: name.parse().unwrap(),
        description: String::new(),
        machine: ImageMachine {
            arch: "x86_64".to_owned(),
            machine: "pc".to_owned(),
            disk_bus: "virtio".to_owned(),
            nic_model: "virtio".to_owned(),
            memory_mib: 96,
            firmware: Firmware::default(),
            video: Video::default(),
        },
        boot,
        console: ImageConsole {
            kind: ConsoleKind::Serial,
            prompt: "~ # ".to_owned(),
            login: None,
            dialect: Dialect::Ip,
            boot_seconds: 60,
        },
        cloud_init: false,
        warm: false,
    }
}

/// Returns the example lab's state when it is up.
pub(crate) fn up() -> Site {
    desired(&topology(), &BTreeMap::new())
}

/// A host with the NICs `eth0` and `eth1` and without obstacles.
pub(crate) fn survey() -> Survey {
    Survey {
        nics: ["eth0", "eth1"]
            .map(|nic| (link(nic), crate::state::NicConfig::default()))
            .into(),
        programs: ["ip", "qemu-img"].map(str::to_owned).into(),
        arches: Some(["x86_64".to_owned()].into()),
        ..Survey::default()
    }
}

/// One host's state in `site`.
pub(crate) fn on<'a>(site: &'a mut Site, name: &str) -> &'a mut HostState {
    site.get_mut(&host(name)).unwrap()
}
