//! Makes every choice the lab leaves open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Guest, GuestNic, Segment, Topology, TopologyHost, ifname};
use crate::lab::{HostName, IfName, Image, ImageName, Lab, MacAddr, Network, NetworkName, VmName};

/// Memory of a guest whose lab and image both say nothing, in MiB.
const MEMORY_MIB: u64 = 128;

/// Gives every address, MAC, bridge and tap its value; the same lab gives the same topology.
pub fn allocate(lab: &Lab, images: &BTreeMap<ImageName, Image>) -> Topology {
    let bridges = bridges(lab);
    let mut pools: BTreeMap<&NetworkName, Pool> = pools(lab);
    let mut macs: BTreeSet<MacAddr> = lab
        .vms
        .values()
        .flat_map(|vm| &vm.nics)
        .filter_map(|nic| nic.mac)
        .collect();
    let mut names: BTreeSet<IfName> = bridges.values().cloned().collect();
    names.extend(lab.hosts.values().flat_map(|host| host.nics.keys().cloned()));
    let mut guests = BTreeMap::new();
    for (name, vm) in &lab.vms {
        let mut nics = Vec::new();
        let mut nameservers = Vec::new();
        for (place, nic) in vm.nics.iter().enumerate() {
            // A checked lab names only networks it has.
            let (Some(network), Some(bridge), Some(pool)) = (
                lab.networks.get(&nic.network),
                bridges.get(&nic.network),
                pools.get_mut(&nic.network),
            ) else {
                continue;
            };
            let tap = ifname::tap(&lab.name, name, place, |tap| !names.contains(tap));
            names.insert(tap.clone());
            let address = nic.address.unwrap_or_else(|| pool.take());
            for server in &network.nameservers {
                if !nameservers.contains(server) {
                    nameservers.push(*server);
                }
            }
            nics.push(GuestNic {
                network: nic.network.clone(),
                bridge: bridge.clone(),
                tap,
                mac: nic.mac.unwrap_or_else(|| derive_mac(lab, name, place, &mut macs)),
                address: Ipv4Net::new_assert(address, network.subnet.prefix_len()),
                gateway: network.gateway.as_ref().map(|gateway| gateway.address),
            });
        }
        let guest = Guest {
            host: vm.host.clone(),
            image: vm.image.clone(),
            memory_mib: vm
                .memory_mib
                .or(images.get(&vm.image).map(|image| image.machine.memory_mib))
                .unwrap_or(MEMORY_MIB),
            cpus: vm.cpus,
            default_route: nics.iter().find_map(|nic| nic.gateway),
            nameservers,
            nics,
        };
        guests.insert(name.clone(), guest);
    }
    let used: BTreeSet<&ImageName> = lab.vms.values().map(|vm| &vm.image).collect();
    Topology {
        lab: lab.name.clone(),
        hosts: lab
            .hosts
            .keys()
            .filter_map(|host| Some((host.clone(), topology_host(lab, host, &bridges)?)))
            .collect(),
        cables: lab.cables.clone(),
        guests,
        images: images
            .iter()
            .filter(|(name, _)| used.contains(name))
            .map(|(name, image)| (name.clone(), image.clone()))
            .collect(),
        outside: lab.verify.outside.clone(),
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
        let bridge = bridge.unwrap_or_else(|| ifname::bridge(&lab.name, name, |bridge| !taken.contains(bridge)));
        taken.insert(bridge.clone());
        bridges.insert(name.clone(), bridge);
    }
    bridges
}

/// The free addresses of a network, lowest first.
struct Pool {
    subnet: Ipv4Net,
    next: u32,
    taken: BTreeSet<Ipv4Addr>,
}

impl Pool {
    fn take(&mut self) -> Ipv4Addr {
        let last = u32::from(self.subnet.broadcast());
        while self.next < last {
            let address = Ipv4Addr::from(self.next);
            self.next += 1;
            if !self.taken.contains(&address) {
                return address;
            }
        }
        // A checked lab has room; this keeps the function total.
        self.subnet.broadcast()
    }
}

fn pools(lab: &Lab) -> BTreeMap<&NetworkName, Pool> {
    let pool = |(name, network): (&'_ NetworkName, &'_ Network)| {
        let nics = lab.vms.values().flat_map(|vm| &vm.nics);
        let mut taken: BTreeSet<Ipv4Addr> = nics
            .filter(|nic| nic.network == *name)
            .filter_map(|nic| nic.address)
            .collect();
        taken.extend(network.gateway.as_ref().map(|gateway| gateway.address));
        let next = u32::from(network.subnet.network()).saturating_add(1);
        Pool {
            subnet: network.subnet,
            next,
            taken,
        }
    };
    lab.networks.iter().map(|entry| (entry.0, pool(entry))).collect()
}

/// `52:54:00` and three bytes of a digest, so a VM keeps its MAC when others come and go.
fn derive_mac(lab: &Lab, vm: &VmName, place: usize, taken: &mut BTreeSet<MacAddr>) -> MacAddr {
    let mut text = format!("{}/{vm}/{place}", lab.name);
    loop {
        let [a, b, c] = ifname::digest(&text);
        if let Ok(mac) = MacAddr::new([0x52, 0x54, 0x00, a, b, c])
            && taken.insert(mac)
        {
            return mac;
        }
        text.push('#');
    }
}

fn topology_host(lab: &Lab, host: &HostName, bridges: &BTreeMap<NetworkName, IfName>) -> Option<TopologyHost> {
    let described = lab.hosts.get(host)?;
    let mut segments = BTreeMap::new();
    for (name, network) in &lab.networks {
        let here = lab.vms.values().filter(|vm| vm.host == *host);
        let has_vm = here.flat_map(|vm| &vm.nics).any(|nic| nic.network == *name);
        let gateway = network
            .gateway
            .as_ref()
            .filter(|gateway| gateway.on == *host)
            .map(|gateway| gateway.address);
        if !has_vm && gateway.is_none() {
            continue;
        }
        let uplink = network.uplinks.get(host).cloned();
        let segment = Segment {
            bridge: bridges.get(name)?.clone(),
            stp: network.stp,
            vlan: network.vlan.filter(|_| uplink.is_some()),
            uplink,
            subnet: network.subnet,
            gateway,
        };
        segments.insert(name.clone(), segment);
    }
    Some(TopologyHost {
        connect: described.connect.clone(),
        nics: described.nics.clone(),
        segments,
    })
}
