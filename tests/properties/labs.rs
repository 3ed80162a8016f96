//! Arbitrary small labs: three emulated hosts and this machine, up to four networks, up to five guests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use netlab::lab::{
    BaseDisk, Boot, Cable, CableEnd, Class, Connect, ConsoleKind, Datapath, Dialect, Firmware, Forward, HostName,
    IfName, Image, ImageConsole, ImageMachine, ImageName, LabHostNic, MacAddr, NatRule, NetworkName, Shaping,
    SwitchKind, TunnelKind, Video, VlanId, VmName,
};
use netlab::state::survey::Kvm;
use netlab::state::{NicConfig, Site, Survey, desired};
use netlab::topology::{
    Guest, GuestDisk, GuestFloating, GuestNic, LinkShaping, Segment, SegmentDhcp, SegmentTunnel, Tenants, Topology,
    TopologyHost, derive,
};
use proptest::prelude::*;

const EMULATED: [&str; 3] = ["a", "b", "c"];
const LOCAL: &str = "home";
const NICS: [&str; 2] = ["eth0", "eth1"];
const IMAGES: [&str; 3] = ["mini", "disk", "other"];

pub fn host(at: usize) -> HostName {
    let name = EMULATED.get(at).unwrap_or(&LOCAL);
    HostName::new(name).unwrap()
}

pub fn emulated() -> BTreeSet<HostName> {
    (0..EMULATED.len()).map(host).collect()
}

fn nic(at: usize) -> IfName {
    IfName::new(NICS[at]).unwrap()
}

#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "every one is a key of a lab that is there or not"
)]
struct Network {
    uplink: Option<usize>,
    tagged: bool,
    /// Its bridges are Open vSwitch's.
    ovs: bool,
    /// Carried by tunnels, where it has no uplink.
    tunneled: bool,
    stp: bool,
    gateway: Option<usize>,
    /// Present on these hosts, whether or not a guest is.
    on: [bool; 4],
    /// Served DHCP on its gateway host.
    dhcp: bool,
    /// All hosts that have it have its gateway.
    everywhere: bool,
    /// Translated on its gateway host, out of `eth1`, with a floating address for its first guest.
    nat: bool,
    /// Its bridge has the name that is a VLAN device's in another lab.
    odd_name: bool,
    /// Its guests send with their own addresses only.
    port_security: bool,
    tenant: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Vm {
    host: usize,
    image: usize,
    memory_mib: u64,
    networks: BTreeSet<usize>,
}

fn network() -> impl Strategy<Value = Network> {
    let uplink = prop::option::of(0..NICS.len());
    let gateway = prop::option::of(0..4_usize);
    let tenant = prop::option::of(prop::sample::select(vec!["red", "blue", "green"]));
    (uplink, any::<[bool; 9]>(), gateway, any::<[bool; 4]>(), tenant).prop_map(
        |(
            uplink,
            [
                tagged,
                ovs,
                tunneled,
                stp,
                dhcp,
                everywhere,
                nat,
                odd_name,
                port_security,
            ],
            gateway,
            on,
            tenant,
        )| Network {
            uplink,
            tagged,
            ovs,
            tunneled,
            stp,
            gateway,
            on,
            dhcp,
            everywhere,
            nat,
            odd_name,
            port_security,
            tenant,
        },
    )
}

fn guest() -> impl Strategy<Value = Vm> {
    let networks = prop::collection::btree_set(0..4_usize, 0..3);
    (0..4_usize, 0..IMAGES.len(), 1..3_u64, networks).prop_map(|(host, image, memory, networks)| Vm {
        host,
        image,
        memory_mib: memory * 64,
        networks,
    })
}

/// An arbitrary lab that is up.
pub fn site() -> impl Strategy<Value = Site> {
    let networks = prop::collection::vec(network(), 0..=4);
    let guests = prop::collection::vec(guest(), 0..=5);
    let cables = prop::collection::vec((0..3_usize, 0..2_usize, 0..3_usize, 0..2_usize), 0..4);
    let present = prop::array::uniform4(prop::bool::weighted(0.85));
    let limits = prop::collection::vec(limits(), 16);
    (networks, guests, cables, any::<[bool; 3]>(), present, limits).prop_map(
        |(networks, guests, cables, numbered, present, limits)| {
            let mut topology = topology(&networks, &guests, &cables, numbered, present);
            topology.shaping = shaping(&topology, &limits);
            desired(&topology, &surveys())
        },
    )
}

/// Limits of a link, or none.
fn limits() -> impl Strategy<Value = Shaping> {
    let rate = Shaping {
        rate: "1mbit".parse().ok(),
        ..Shaping::default()
    };
    let delay = Shaping {
        delay: "50ms".parse().ok(),
        ..rate
    };
    prop::sample::select(vec![
        Shaping::default(),
        Shaping::default(),
        rate,
        delay,
        Shaping::link_down(),
    ])
}

/// Limits of guests' NICs and of the ends of cables.
fn shaping(topology: &Topology, limits: &[Shaping]) -> LinkShaping {
    let limited = |at: &usize| limits.get(*at).copied().filter(|limits| !limits.is_none());
    let nics = topology
        .guests
        .iter()
        .flat_map(|(vm, guest)| (0..guest.nics.len()).map(move |at| (vm.clone(), at)));
    let ends = topology.cables.iter().flat_map(|cable| cable.ends.clone());
    LinkShaping {
        guests: nics
            .enumerate()
            .filter_map(|(at, nic)| Some((nic, limited(&at)?)))
            .collect(),
        ends: ends
            .enumerate()
            .filter_map(|(at, end)| Some((end, limited(&(at + 8))?)))
            .collect(),
    }
}

/// What is configured on the NICs of the one host that netlab did not create.
fn surveys() -> BTreeMap<HostName, Survey> {
    let nics = [0, 1].map(|at| {
        let config = NicConfig {
            up: true,
            addresses: vec![format!("192.0.2.{}/24", at + 1).parse().unwrap()],
            routes: Vec::new(),
        };
        (nic(at), config)
    });
    let survey = Survey {
        nics: nics.into(),
        kvm: Kvm::Usable,
        ..Survey::default()
    };
    [(host(3), survey)].into()
}

fn topology(
    networks: &[Network],
    guests: &[Vm],
    cables: &[(usize, usize, usize, usize)],
    numbered: [bool; 3],
    present: [bool; 4],
) -> Topology {
    let guests: Vec<_> = guests.iter().filter(|guest| present[guest.host]).collect();
    let mut hosts = BTreeMap::new();
    for at in (0..4).filter(|at| present[*at]) {
        let here = |number: usize, network: &Network| {
            let used = guests
                .iter()
                .any(|guest| guest.host == at && guest.networks.contains(&number));
            used || network.on[at] || network.gateway == Some(at)
        };
        let connect = if at < 3 { Connect::Emulated } else { Connect::Local };
        let nics = if at < 3 {
            emulated_nics(at, numbered[at])
        } else {
            BTreeMap::new()
        };
        let segments = segments(networks, at, here);
        let nat = networks
            .iter()
            .enumerate()
            .filter(|(_, network)| network.nat && network.gateway == Some(at));
        let nat = nat.map(|(number, _)| NatRule {
            on: host(at),
            from: vec![format!("10.0.{number}.0/24").parse().unwrap()],
            out: nic(1),
            source: None,
        });
        let new = TopologyHost {
            connect,
            nics,
            segments,
            nat: nat.collect(),
        };
        hosts.insert(host(at), new);
    }
    let guests = guests.iter().enumerate().map(|(number, vm)| {
        let mut guest = placed(number, vm, &hosts[&host(vm.host)]);
        for nic in &mut guest.nics {
            let number: usize = nic.network.as_str()["net".len()..].parse().unwrap();
            nic.port_security = networks[number].port_security;
        }
        if vm.memory_mib > 64 && !guest.nics.is_empty() {
            guest.floating = Some(GuestFloating {
                address: Ipv4Addr::new(192, 168, 99, u8::try_from(number).unwrap()),
                host: guest.host.clone(),
                nic: nic(1),
            });
        }
        (VmName::new(&format!("vm{number}")).unwrap(), guest)
    });
    Topology {
        lab: "lab".parse().unwrap(),
        guests: guests.collect(),
        hosts: hosts.clone(),
        switches: BTreeMap::new(),
        routers: BTreeMap::new(),
        cables: plugged(cables, present),
        shaping: LinkShaping::default(),
        tenants: tenants(networks),
        images: IMAGES
            .iter()
            .map(|name| (ImageName::new(name).unwrap(), image(name)))
            .collect(),
        outside: Vec::new(),
        pings: Vec::new(),
        checks: Vec::new(),
    }
}

/// `red` and `green` are routed to each other.
fn tenants(networks: &[Network]) -> Tenants {
    let name = |number| NetworkName::new(&format!("net{number}")).unwrap();
    let of = networks
        .iter()
        .enumerate()
        .filter_map(|(number, network)| Some((name(number), network.tenant?.parse().unwrap())));
    Tenants {
        of: of.collect(),
        routes: vec![["red", "green"].map(|tenant| tenant.parse().unwrap()).into()],
    }
}

fn emulated_nics(at: usize, numbered: bool) -> BTreeMap<IfName, LabHostNic> {
    let address = numbered.then(|| format!("172.16.99.{}/24", at + 1).parse().unwrap());
    let gateway = numbered.then(|| Ipv4Addr::new(172, 16, 99, 254));
    let numbered = LabHostNic {
        bond: None,
        address,
        gateway,
        takeover: false,
        shaping: None,
    };
    [(nic(0), numbered), (nic(1), LabHostNic::default())].into()
}

/// The parts of the networks on one host, with clashes of names and uplinks resolved: a lab file would not pass.
fn segments(networks: &[Network], at: usize, here: impl Fn(usize, &Network) -> bool) -> BTreeMap<NetworkName, Segment> {
    let mut enslaved = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut kinds: BTreeMap<usize, bool> = BTreeMap::new();
    let mut segments = BTreeMap::new();
    for (number, network) in networks
        .iter()
        .enumerate()
        .filter(|(number, network)| here(*number, network))
    {
        let vlan = VlanId::try_from(10 + i64::try_from(number).unwrap()).unwrap();
        let vlan = network.tagged.then_some(vlan);
        let uplink = network
            .uplink
            .filter(|at| vlan.is_some() || enslaved.insert(*at))
            .map(nic);
        if let Some((uplink, id)) = uplink.as_ref().zip(vlan) {
            names.insert(derive::vlan_device(uplink, id));
        }
        let has_gateway = network.gateway == Some(at) || network.everywhere;
        let segment = Segment {
            class: Class::Service,
            bridge: IfName::new(&format!("br{number}")).unwrap(),
            mac: network
                .stp
                .then(|| MacAddr::new([2, 0, 0, 0, 0, at.try_into().unwrap()]).unwrap()),
            stp: network.stp.then_some(15),
            uplink,
            vlan,
            mtu: network.stp.then_some(1400),
            // A NIC is a port of bridges of one kind.
            switch: if *kinds
                .entry(network.uplink.unwrap_or(NICS.len() + number))
                .or_insert(network.ovs)
            {
                SwitchKind::Ovs(Some(Datapath::Netdev))
            } else {
                SwitchKind::Bridge
            },
            tunnel: (network.tunneled && network.uplink.is_none()).then(|| tunnel(number, at)),
            subnet: format!("10.0.{number}.0/24").parse().unwrap(),
            gateway: has_gateway.then(|| format!("10.0.{number}.1").parse().unwrap()),
            gateway_everywhere: network.everywhere,
            address: network.on[at].then(|| format!("10.0.{number}.{}", 200 + at).parse().unwrap()),
            dhcp: (has_gateway && network.dhcp).then(|| SegmentDhcp {
                leases: BTreeMap::new(),
                nameservers: Vec::new(),
                mtu: None,
                lease: None,
            }),
        };
        segments.insert(NetworkName::new(&format!("net{number}")).unwrap(), segment);
    }
    for (number, segment) in segments.values_mut().enumerate() {
        let odd = IfName::new(&format!("eth{}.{}", number % 2, 10 + (number + 1) % 4)).unwrap();
        if networks[number].odd_name && names.insert(odd.clone()) {
            segment.bridge = odd;
        }
    }
    segments
}

/// Tunnels from one host to the next one.
fn tunnel(number: usize, at: usize) -> SegmentTunnel {
    let other = (at + 1) % 4;
    let end = |at: usize| Ipv4Addr::new(172, 16, 99, u8::try_from(at + 1).unwrap());
    SegmentTunnel {
        kind: TunnelKind::Vxlan,
        key: u32::try_from(number).unwrap(),
        device: IfName::new(&format!("vxlan{number}")).unwrap(),
        nic: None,
        local: end(at),
        remotes: [(host(other), end(other))].into(),
    }
}

/// Further disks that differ from lab to lab: in number, size and what is under them.
fn disks(vm: &Vm) -> Vec<GuestDisk> {
    let blank = GuestDisk::Blank {
        mib: vm.memory_mib * 16,
    };
    let over = GuestDisk::Over(BaseDisk {
        base: format!("/images/data{}", vm.memory_mib).into(),
        format: "raw".to_owned(),
    });
    [blank, over].into_iter().take(vm.networks.len()).collect()
}

fn placed(number: usize, vm: &Vm, host: &TopologyHost) -> Guest {
    let networks = vm.networks.iter().filter_map(|network| {
        let name = NetworkName::new(&format!("net{network}")).unwrap();
        host.segments.get_key_value(&name)
    });
    let nics = networks.enumerate().map(|(at, (network, segment))| {
        let low = u8::try_from(number * 8 + at + 2).unwrap();
        let address = format!(
            "{}/24",
            Ipv4Addr::from(u32::from(segment.subnet.network()) | u32::from(low))
        );
        GuestNic {
            network: network.clone(),
            bridge: segment.bridge.clone(),
            tap: IfName::new(&format!("tap{number}.{at}")).unwrap(),
            mac: MacAddr::new([0x52, 0x54, 0, 0, 0, low]).unwrap(),
            address: address.parse().unwrap(),
            gateway: None,
            dhcp: false,
            mtu: None,
            port_security: false,
        }
    });
    let forwarded = (vm.memory_mib > 64).then(|| Forward {
        host: 8000 + u16::try_from(number).unwrap(),
        guest: 80,
    });
    Guest {
        uuid: derive::uuid(&number.to_string()),
        host: HostName::new(EMULATED.get(vm.host).unwrap_or(&LOCAL)).unwrap(),
        image: ImageName::new(IMAGES[vm.image]).unwrap(),
        memory_mib: vm.memory_mib,
        disk_mib: (vm.memory_mib > 64).then_some(2048),
        disks: disks(vm),
        disk_numbers: netlab::topology::DiskNumbers::default(),
        cdrom: (vm.image == 0).then(|| "/images/tools.iso".into()),
        cpus: 1,
        nics: nics.collect(),
        default_route: None,
        nameservers: Vec::new(),
        floating: None,
        serve: Vec::new(),
        forward: forwarded.into_iter().collect(),
        setup: netlab::topology::GuestSetup::default(),
    }
}

/// Cables between different hosts that are there, at most one in each NIC.
fn plugged(cables: &[(usize, usize, usize, usize)], present: [bool; 4]) -> Vec<Cable> {
    let mut used = BTreeSet::new();
    let mut plugged = Vec::new();
    for &(a, a_nic, b, b_nic) in cables {
        let free = !used.contains(&(a, a_nic)) && !used.contains(&(b, b_nic));
        if a != b && present[a] && present[b] && free {
            used.extend([(a, a_nic), (b, b_nic)]);
            let mut ends = [(a, a_nic), (b, b_nic)].map(|(host_at, nic_at)| CableEnd {
                host: host(host_at),
                nic: nic(nic_at),
            });
            ends.sort();
            plugged.push(Cable { ends });
        }
    }
    plugged
}

fn image(name: &str) -> Image {
    let boot = match name {
        "mini" => Boot::Kernel {
            disk: None,
            kernel: "/images/kernel".into(),
            initrd: Some("/images/initrd".into()),
            cmdline: String::new(),
        },
        _ => Boot::Disk {
            base: format!("/images/{name}").into(),
            format: "qcow2".to_owned(),
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
            prompt: "# ".to_owned(),
            login: None,
            dialect: Dialect::Ip,
            boot_seconds: 60,
        },
        cloud_init: false,
        warm: false,
    }
}
