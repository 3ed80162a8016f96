//! Makes every choice that the lab leaves open.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;

use super::assign::{Assigned, assign};
use super::{
    DiskNumbers, Existing, Guest, GuestDisk, GuestFloating, GuestNic, GuestSetup, Segment, SegmentDhcp, Tenants,
    Topology, TopologyHost, derive, setup, shaping, tunnels,
};
use crate::lab::{
    Asked, BaseDisk, ExtraDisk, Format, GatewayHosts, HostName, IfName, Image, ImageName, Lab, LabHost, NatRule,
    Network, NetworkName, Question, ServiceCheck, Target, Vm, VmName,
};

/// Memory of a guest where neither lab nor image have it, in MiB.
const MEMORY_MIB: u64 = 128;

/// Forward delay of a bridge with spanning tree in seconds, where the lab has none: the default of IEEE 802.1D.
const FORWARD_DELAY: u8 = 15;

/// Returns `lab` with a value for every address, MAC address, UUID, bridge and tap; the same lab has the same topology.
pub fn allocate(lab: &Lab, images: &BTreeMap<ImageName, Image>) -> Topology {
    reallocate(lab, images, &Existing::default())
}

/// Like [`allocate`], for hosts that have something already: guests that exist keep their addresses, MAC addresses and
/// taps wherever the lab file does not contradict.
pub fn reallocate(lab: &Lab, images: &BTreeMap<ImageName, Image>, existing: &Existing) -> Topology {
    let bridges = bridges(lab);
    let mut names: BTreeSet<IfName> = bridges.values().cloned().collect();
    names.extend(lab.hosts.values().flat_map(|host| host.nics.keys().cloned()));
    let assigned = assign(lab, existing, names.clone());
    names.extend(assigned.iter().map(|assigned| assigned.tap.clone()));
    let mut assigned = assigned.into_iter();
    let mut guests = BTreeMap::new();
    for (name, vm) in &lab.vms {
        let mut nics = Vec::new();
        let mut nameservers = Vec::new();
        for nic in &vm.nics {
            // A checked lab names only networks it has.
            let (Some(network), Some(bridge)) = (lab.networks.get(&nic.network), bridges.get(&nic.network)) else {
                continue;
            };
            let Some(Assigned { address, mac, tap }) = assigned.next() else {
                continue;
            };
            for server in network.nameservers.iter().filter(|_| !network.dhcp) {
                if !nameservers.contains(server) {
                    nameservers.push(*server);
                }
            }
            nics.push(GuestNic {
                network: nic.network.clone(),
                bridge: bridge.clone(),
                tap,
                mac,
                address: Ipv4Net::new_assert(address, network.subnet.prefix_len()),
                gateway: network.gateway.as_ref().map(|gateway| gateway.address),
                dhcp: network.dhcp,
                mtu: tunnels::mtu(lab, network),
                port_security: nic.port_security.unwrap_or(network.port_security),
            });
        }
        let guest = Guest {
            uuid: derive::domain_uuid(&lab.name, name),
            host: vm.host.clone(),
            image: vm.image.clone(),
            memory_mib: vm
                .memory_mib
                .or(images.get(&vm.image).map(|image| image.machine.memory_mib))
                .unwrap_or(MEMORY_MIB),
            disk_mib: vm.disk_mib,
            disks: vm.disks.iter().map(disk).collect(),
            disk_numbers: DiskNumbers::default(),
            cdrom: vm.cdrom.clone(),
            cpus: vm.cpus,
            default_route: nics.iter().find_map(|nic| nic.gateway),
            nameservers,
            floating: floating(lab, vm),
            serve: vm.serve.clone(),
            forward: vm.forward.clone(),
            setup: GuestSetup::default(), // needs every address
            nics,
        };
        guests.insert(name.clone(), guest);
    }
    setup::add(lab, images, existing, &mut guests);
    let used: BTreeSet<&ImageName> = lab.vms.values().map(|vm| &vm.image).collect();
    let members = Members::of(lab, &guests);
    let hosts = lab.hosts.iter();
    let hosts = hosts.map(|(name, host)| (name.clone(), topology_host(lab, name, host, &bridges, &members)));
    let mut hosts: BTreeMap<HostName, TopologyHost> = hosts.collect();
    tunnels::add(lab, &mut hosts, &names);
    Topology {
        lab: lab.name.clone(),
        hosts,
        switches: lab.switches.clone(),
        routers: lab.routers.clone(),
        cables: lab.cables.clone(),
        shaping: shaping::stated(lab),
        tenants: tenants(lab),
        guests,
        images: images
            .iter()
            .filter(|(name, _)| used.contains(name))
            .map(|(name, image)| (name.clone(), image.clone()))
            .collect(),
        outside: lab.verify.outside.clone(),
        pings: lab.verify.pings.clone(),
        checks: checks(lab),
    }
}

/// Returns a further disk as it is before its file was read.
fn disk(disk: &ExtraDisk) -> GuestDisk {
    match disk {
        ExtraDisk::Blank { mib } => GuestDisk::Blank { mib: *mib },
        ExtraDisk::File(file) => GuestDisk::Over(BaseDisk {
            base: file.clone(),
            format: Format::Raw.word().to_owned(),
        }),
    }
}

/// The lab's checks, and for each name outside one by all guests.
fn checks(lab: &Lab) -> Vec<ServiceCheck> {
    let outside = lab.verify.outside_names.iter().map(|name| ServiceCheck {
        name: None,
        from: lab.vms.keys().cloned().map(Asked::Vm).collect(),
        question: Question::Ping {
            to: Target::Name(name.clone()),
            max_rtt_ms: None,
            mtu: None,
        },
        reach: true,
        hint: None,
    });
    outside.chain(lab.verify.checks.iter().cloned()).collect()
}

/// The tenants of the lab's networks, and the routes between them.
fn tenants(lab: &Lab) -> Tenants {
    let networks = lab.networks.iter();
    let of = networks.filter_map(|(name, network)| Some((name.clone(), network.tenant.clone()?)));
    Tenants {
        of: of.collect(),
        routes: lab.routes.clone(),
    }
}

/// Each network's bridge: the user's, or one derived.
fn bridges(lab: &Lab) -> BTreeMap<NetworkName, IfName> {
    let mut taken: BTreeSet<IfName> = lab
        .networks
        .values()
        .filter_map(|network| network.bridge.clone())
        .collect();
    taken.extend(lab.hosts.values().flat_map(|host| host.nics.keys().cloned()));
    let mut bridges = BTreeMap::new();
    for (name, network) in &lab.networks {
        let bridge = network.bridge.clone();
        let bridge = bridge.unwrap_or_else(|| derive::bridge(&lab.name, name, |bridge| !taken.contains(bridge)));
        taken.insert(bridge.clone());
        bridges.insert(name.clone(), bridge);
    }
    bridges
}

/// Returns the host that routes for a vm, and its NIC in the floating address's subnet; a checked lab has both.
fn floating(lab: &Lab, vm: &Vm) -> Option<GuestFloating> {
    let address = vm.floating?;
    let network = lab.networks.get(&vm.nics.first()?.network)?;
    let host = match &network.gateway.as_ref()?.on {
        GatewayHosts::One(host) => host,
        GatewayHosts::Every => &vm.host,
    };
    let mut nics = lab.hosts.get(host)?.nics.iter();
    let (nic, _) = nics.find(|(_, nic)| nic.address.is_some_and(|subnet| subnet.contains(&address)))?;
    Some(GuestFloating {
        address,
        host: host.clone(),
        nic: nic.clone(),
    })
}

/// The guests' NICs by network, and what concerns each host: to ask each network for each host takes the square of the
/// lab's size.
#[derive(Default)]
struct Members<'a> {
    nics: BTreeMap<&'a NetworkName, Vec<(&'a VmName, &'a GuestNic)>>,
    hosts: BTreeMap<&'a HostName, OfHost<'a>>,
}

/// What concerns one host.
#[derive(Default)]
struct OfHost<'a> {
    /// The networks that have a part on it, and whether a guest on it is on them.
    networks: BTreeMap<&'a NetworkName, (&'a Network, bool)>,
    nat: Vec<NatRule>,
}

impl<'a> Members<'a> {
    fn of(lab: &'a Lab, guests: &'a BTreeMap<VmName, Guest>) -> Self {
        let mut members = Self::default();
        for (name, network) in &lab.networks {
            let gateway = network.gateway.iter().filter_map(|gateway| match &gateway.on {
                GatewayHosts::One(host) => Some(host),
                GatewayHosts::Every => None,
            });
            for host in gateway.chain(network.addresses.keys()) {
                let of_host = members.hosts.entry(host).or_default();
                of_host.networks.insert(name, (network, false));
            }
        }
        for (vm, guest) in guests {
            for nic in &guest.nics {
                members.nics.entry(&nic.network).or_default().push((vm, nic));
                if let Some((name, network)) = lab.networks.get_key_value(&nic.network) {
                    let of_host = members.hosts.entry(&guest.host).or_default();
                    of_host.networks.insert(name, (network, true));
                }
            }
        }
        for rule in &lab.nat {
            members.hosts.entry(&rule.on).or_default().nat.push(rule.clone());
        }
        members
    }
}

fn topology_host(
    lab: &Lab,
    host: &HostName,
    described: &LabHost,
    bridges: &BTreeMap<NetworkName, IfName>,
    members: &Members<'_>,
) -> TopologyHost {
    let of_host = members.hosts.get(host);
    let mut segments = BTreeMap::new();
    for (name, (network, has_guest)) in of_host.iter().flat_map(|of_host| &of_host.networks) {
        let (name, has_guest) = (*name, *has_guest);
        let (gateway, gateway_everywhere) = match network.gateway.as_ref().map(|gateway| (gateway.address, &gateway.on))
        {
            Some((address, GatewayHosts::One(on))) => (Some(address).filter(|_| on == host), false),
            Some((address, GatewayHosts::Every)) => (Some(address).filter(|_| has_guest), true),
            None => (None, false),
        };
        let address = network.addresses.get(host).copied();
        let uplink = network.uplinks.of(host, &lab.hosts).cloned();
        let dhcp = network.dhcp && gateway.is_some();
        let vlan = network.vlan.filter(|_| uplink.is_some());
        let Some(bridge) = bridges.get(name).cloned() else {
            continue;
        };
        // Neighbors know the host by the MAC address of its NIC: a bridge that takes over the NIC's IP addresses takes
        // over that, too.
        let follows_uplink = uplink.is_some() && vlan.is_none();
        let derived = || (!follows_uplink).then(|| derive::bridge_mac(&lab.name, host, &bridge));
        let segment = Segment {
            class: network.class,
            mac: network.bridge_mac.get(host).copied().or_else(derived),
            bridge,
            stp: network.stp.then(|| network.forward_delay.unwrap_or(FORWARD_DELAY)),
            vlan,
            uplink,
            mtu: tunnels::mtu(lab, network),
            switch: network.switch,
            tunnel: None, // `tunnels`
            subnet: network.subnet,
            gateway,
            gateway_everywhere,
            address,
            dhcp: dhcp.then(|| segment_dhcp(lab, name, network, members)),
        };
        segments.insert(name.clone(), segment);
    }
    TopologyHost {
        connect: described.connect.clone(),
        nics: described.nics.clone(),
        segments,
        nat: of_host.map(|of_host| of_host.nat.clone()).unwrap_or_default(),
    }
}

fn segment_dhcp(lab: &Lab, name: &NetworkName, network: &Network, members: &Members<'_>) -> SegmentDhcp {
    let nics = members.nics.get(name).into_iter().flatten();
    let leases = nics.map(|(vm, nic)| (nic.mac, ((*vm).clone(), nic.address.addr())));
    SegmentDhcp {
        leases: leases.collect(),
        nameservers: network.nameservers.clone(),
        mtu: tunnels::mtu(lab, network),
        lease: network.dhcp_lease,
    }
}
