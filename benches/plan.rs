//! Time and memory of planning, for a lab of 1,000 guests on 50 networks and 20 hosts.

#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use divan::{AllocProfiler, Bencher};
use ipnet::Ipv4Net;
use netlab::lab::{
    Boot, Class, Connect, ConsoleKind, Dialect, HostName, IfName, Image, ImageConsole, ImageMachine, ImageName,
    LabHostNic, MacAddr, NetworkName, SwitchKind, VmName,
};
use netlab::plan::plan;
use netlab::preflight::preflight;
use netlab::state::{Site, Survey, desired};
use netlab::topology::{Guest, GuestNic, Segment, Tenants, Topology, TopologyHost, derive};

const HOSTS: u16 = 20;
const NETWORKS: u16 = 50;
const GUESTS: u16 = 1000;

#[global_allocator]
static MEMORY: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// What `netlab plan` computes for a lab that is loaded and not up.
#[divan::bench]
fn desired_and_plan_from_nothing(bencher: Bencher) {
    let topology = topology();
    bencher.bench_local(|| plan(&Site::new(), &desired(&topology, &BTreeMap::new())));
}

#[divan::bench]
fn plan_of_a_lab_that_is_up(bencher: Bencher) {
    let site = desired(&topology(), &BTreeMap::new());
    bencher.bench_local(|| plan(&site, &site));
}

#[divan::bench]
fn plan_of_down(bencher: Bencher) {
    let site = desired(&topology(), &BTreeMap::new());
    bencher.bench_local(|| plan(&site, &Site::new()));
}

#[divan::bench]
fn plan_to_change_every_guest(bencher: Bencher) {
    let mut edited = topology();
    let site = desired(&edited, &BTreeMap::new());
    for guest in edited.guests.values_mut() {
        guest.memory_mib += 1;
    }
    let edited = desired(&edited, &BTreeMap::new());
    bencher.bench_local(|| plan(&site, &edited));
}

#[divan::bench]
fn preflight_on_every_host(bencher: Bencher) {
    let topology = topology();
    let surveys = topology.hosts.keys().map(|host| (host.clone(), Survey::default()));
    let surveys: BTreeMap<_, _> = surveys.collect();
    bencher.bench_local(|| preflight(&topology, &surveys, &Site::new()));
}

fn network_name(number: u16) -> NetworkName {
    NetworkName::new(&format!("net{number}")).unwrap()
}

fn bridge(number: u16) -> IfName {
    IfName::new(&format!("br{number}")).unwrap()
}

/// Returns a lab with every network on every host as a VLAN of one uplink, and every guest on two networks.
fn topology() -> Topology {
    let image = image();
    let hosts = (0..HOSTS).map(|at| (HostName::new(&format!("host{at}")).unwrap(), host(at)));
    let guests = (0..GUESTS).map(|at| (VmName::new(&format!("vm{at}")).unwrap(), guest(at, &image.name)));
    Topology {
        lab: "bench".parse().unwrap(),
        hosts: hosts.collect(),
        switches: BTreeMap::new(),
        routers: BTreeMap::new(),
        shaping: netlab::topology::LinkShaping::default(),
        tenants: Tenants::default(),
        cables: Vec::new(),
        guests: guests.collect(),
        images: [(image.name.clone(), image)].into(),
        outside: Vec::new(),
        pings: Vec::new(),
        checks: Vec::new(),
    }
}

fn host(at: u16) -> TopologyHost {
    let segments = (0..NETWORKS).map(|number| {
        let segment = Segment {
            class: Class::Service,
            bridge: bridge(number),
            mac: None,
            stp: None,
            uplink: Some(IfName::new("eth0").unwrap()),
            vlan: Some(i64::from(number + 1).try_into().unwrap()),
            mtu: None,
            switch: SwitchKind::Bridge,
            tunnel: None,
            subnet: subnet(number),
            gateway: (at == number % HOSTS).then(|| Ipv4Addr::from(u32::from(subnet(number).network()) + 1)),
            gateway_everywhere: false,
            address: None,
            dhcp: None,
        };
        (network_name(number), segment)
    });
    TopologyHost {
        connect: Connect::Emulated,
        nics: [(IfName::new("eth0").unwrap(), LabHostNic::default())].into(),
        segments: segments.collect(),
        nat: Vec::new(),
    }
}

fn subnet(number: u16) -> Ipv4Net {
    format!("10.{number}.0.0/16").parse().unwrap()
}

fn guest(at: u16, image: &ImageName) -> Guest {
    let nics = [at % NETWORKS, (at + 1) % NETWORKS]
        .into_iter()
        .enumerate()
        .map(|(place, number)| {
            let [high, low] = at.to_be_bytes();
            let address = Ipv4Addr::from(u32::from(subnet(number).network()) + 2 + u32::from(at));
            GuestNic {
                network: network_name(number),
                bridge: bridge(number),
                tap: IfName::new(&format!("tap{at}.{place}")).unwrap(),
                mac: MacAddr::new([0x52, 0x54, 0, u8::from(place == 1), high, low]).unwrap(),
                address: Ipv4Net::new(address, 16).unwrap(),
                gateway: None,
                dhcp: false,
                mtu: None,
                port_security: false,
            }
        });
    Guest {
        uuid: derive::uuid(&at.to_string()),
        host: HostName::new(&format!("host{}", at % HOSTS)).unwrap(),
        image: image.clone(),
        memory_mib: 128,
        disk_mib: None,
        disks: Vec::new(),
        disk_numbers: netlab::topology::DiskNumbers::default(),
        cdrom: None,
        cpus: 1,
        nics: nics.collect(),
        default_route: None,
        nameservers: Vec::new(),
        floating: None,
        forward: Vec::new(),
        serve: Vec::new(),
        setup: netlab::topology::GuestSetup::default(),
    }
}

fn image() -> Image {
    Image {
        name: "disk".parse().unwrap(),
        description: String::new(),
        machine: ImageMachine {
            arch: "x86_64".to_owned(),
            machine: "pc".to_owned(),
            disk_bus: "virtio".to_owned(),
            nic_model: "virtio".to_owned(),
            memory_mib: 128,
            firmware: netlab::lab::Firmware::default(),
            video: netlab::lab::Video::default(),
        },
        boot: Boot::Disk {
            base: "/images/disk/base.qcow2".into(),
            format: "qcow2".to_owned(),
        },
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
