//! Finds faults in what hosts and guests show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Concerns, Fault, Traces};
use crate::guest::{Deviation, GuestView};
use crate::lab::{Asked, HostName, IfName, MacAddr, VmName};
use crate::state::guest_config;
use crate::state::view::View;
use crate::topology::{Guest, GuestNic, Segment, derive};
use crate::verify::parts::{Owner, Owners, Part, part};

/// Returns the faults, each once.
pub fn faults(traces: &Traces<'_>) -> Vec<Fault> {
    let owners = Owners::of(traces.topology, traces.views);
    let mut found = Found {
        traces: *traces,
        owners: &owners,
        joined: BTreeMap::new(),
        faults: BTreeSet::new(),
    };
    for (host, view) in traces.views {
        found.learned(host, view);
        found.fixed_entries(host, view);
        found.taps(host, view);
        found.neighbors(host, view);
        found.bridges(host, view);
        found.addresses(host, view);
    }
    found.loops();
    for (vm, view) in traces.guests {
        if let Some(guest) = traces.topology.guests.get(vm) {
            found.arp(vm, guest, view);
            found.settings(vm, guest, view);
        }
    }
    let joined = std::mem::take(&mut found.joined).into_iter();
    let joined: Vec<Fault> = joined
        .map(|((a, b), (_, text))| {
            let strange = found.strange_ports(&[&a, &b]);
            let texts: Vec<String> = [text].into_iter().chain(strange).collect();
            Fault {
                text: format!("{a} and {b} are joined at layer 2: {}", texts.join("; ")),
                concerns: Concerns::Between(a, b),
            }
        })
        .collect();
    joined.into_iter().chain(found.faults).collect()
}

pub(super) struct Found<'a> {
    pub(super) traces: Traces<'a>,
    pub(super) owners: &'a Owners,
    /// Two joined segments with the best evidence: the lower, the better.
    joined: BTreeMap<(Part, Part), (u8, String)>,
    faults: BTreeSet<Fault>,
}

impl Found<'_> {
    fn join(&mut self, a: &Part, b: &Part, rank: u8, text: String) {
        let pair = if a < b { (a, b) } else { (b, a) };
        let best = self.joined.entry((pair.0.clone(), pair.1.clone()));
        let best = best.or_insert_with(|| (u8::MAX, String::new()));
        if rank < best.0 {
            *best = (rank, text);
        }
    }

    pub(super) fn fault(&mut self, concerns: Concerns, text: String) {
        self.faults.insert(Fault { text, concerns });
    }

    /// Checks what the bridges of a host learned from the pings.
    fn learned(&mut self, host: &HostName, view: &View) {
        let topology = self.traces.topology;
        let Some(here) = topology.hosts.get(host) else { return };
        let fresh = |age: Option<Duration>| age.is_some_and(|age| age <= self.traces.since);
        let learned: Vec<_> = view.learned.iter().filter(|one| fresh(one.age)).collect();
        for one in learned {
            let network = here
                .segments
                .iter()
                .find(|(_, segment)| segment.bridge.as_str() == one.bridge);
            let Some((network, segment)) = network else { continue };
            let own = part(topology, network, host);
            let owners: Vec<_> = self
                .owners
                .of_mac(one.mac)
                .filter(|owner| owner.part.is_some())
                .collect();
            let Some(first) = owners.first() else { continue };
            let port = self.port_text(host, &one.port);
            if !owners.iter().any(|owner| owner.part.as_ref() == Some(&own)) {
                let Some(other) = &first.part else { continue };
                if self.passes_tagged(host, segment, other, &one.port) {
                    continue;
                }
                let expected = self.is_expected(host, segment, &one.port);
                let text = format!(
                    "{host}: bridge {} learned the address of {} from port {port}",
                    one.bridge,
                    self.owners.who(one.mac)
                );
                self.join(&own, other, if expected { 3 } else { 1 }, text);
                continue;
            }
            let guest = owners.iter().find_map(|owner| owner.guest.as_ref());
            let Some((vm, guest)) = guest.and_then(|vm| Some((vm, topology.guests.get(vm)?))) else {
                continue;
            };
            let Some(nic) = guest.nics.iter().find(|nic| nic.mac == one.mac) else {
                continue;
            };
            let wanted = wanted_port(host, segment, guest, nic, &one.port);
            if let Some(wanted) = wanted.filter(|wanted| wanted.as_str() != one.port) {
                let text = format!(
                    "{host}: bridge {} learned the MAC address {} of guest {vm} from port {port}, not from {wanted}: another \
                     machine has that MAC address, or there is a loop",
                    one.bridge, one.mac
                );
                self.fault(Concerns::To(nic.address.addr().into()), text);
            }
        }
    }

    /// A port in words.
    fn port_text(&self, host: &HostName, port: &str) -> String {
        let mut guests = self.traces.topology.guests.iter();
        let of = guests.find_map(|(vm, guest)| {
            let has = guest.host == *host && guest.nics.iter().any(|nic| nic.tap.as_str() == port);
            has.then(|| format!(", the tap of guest {vm}"))
        });
        let is_nic = |nic: &str| {
            let here = self.traces.topology.hosts.get(host);
            here.is_some_and(|here| here.nics.keys().any(|own| own.as_str() == nic))
        };
        let of = of.or_else(|| is_nic(port).then(|| ", a NIC of the host".to_owned()));
        format!("{port}{}", of.unwrap_or_default())
    }

    /// Whether a port belongs to the bridge of a network by the lab.
    fn is_expected(&self, host: &HostName, segment: &Segment, port: &str) -> bool {
        let uplink =
            segment.ports().iter().any(|own| own.as_str() == port) || self.is_patch_of_vlan(host, segment, port);
        let mut guests = self.traces.topology.guests.values().filter(|guest| guest.host == *host);
        uplink
            || guests.any(|guest| {
                let mut nics = guest.nics.iter();
                nics.any(|nic| nic.bridge == segment.bridge && nic.tap.as_str() == port)
            })
    }

    /// Returns the ports, in words, of the segments' bridges that the lab does not have there.
    fn strange_ports(&self, parts: &[&Part]) -> Vec<String> {
        let mut strange = Vec::new();
        for (host, view) in self.traces.views {
            let segments = self.traces.topology.hosts.get(host).map(|here| here.segments.iter());
            let of_parts = segments.into_iter().flatten().filter(|(network, _)| {
                let own = part(self.traces.topology, network, host);
                parts.iter().any(|part| **part == own)
            });
            for (network, segment) in of_parts {
                let ports = view
                    .ports
                    .iter()
                    .filter(|(_, port)| port.master.as_deref() == Some(segment.bridge.as_str()));
                for (port, _) in ports.filter(|(port, _)| !self.is_expected(host, segment, port)) {
                    let port = self.port_text(host, port);
                    strange.push(format!(
                        "{host}: {port} is no port of network {network}, but attached to {}",
                        segment.bridge
                    ));
                }
            }
        }
        strange
    }

    /// Tagged frames of a network that a host does not have pass an untagged bridge on the same NIC unchanged.
    fn passes_tagged(&self, at: &HostName, segment: &Segment, other: &Part, port: &str) -> bool {
        let mut hosts = self.traces.topology.hosts.values();
        let tagged = hosts.any(|host| {
            host.segments
                .get(&other.network)
                .is_some_and(|other| other.vlan.is_some())
        });
        let on_nic = segment.uplink.as_ref().is_some_and(|nic| nic.as_str() == port);
        tagged && segment.vlan.is_none() && (on_nic || self.is_patch_of_vlan(at, segment, port))
    }

    /// A port leads from a bridge of Open vSwitch to that of a network with a VLAN on the same NIC.
    fn is_patch_of_vlan(&self, host: &HostName, segment: &Segment, port: &str) -> bool {
        let Some(nic) = segment
            .uplink
            .as_ref()
            .filter(|_| segment.switch.is_ovs() && segment.vlan.is_none())
        else {
            return false;
        };
        let others = self.traces.topology.hosts.get(host).map(|here| here.segments.values());
        let mut others = others
            .into_iter()
            .flatten()
            .filter(|other| other.uplink.as_ref() == Some(nic));
        others.any(|other| {
            let patch = other.vlan.map(|id| derive::vlan_device(nic, id));
            patch.is_some_and(|patch| derive::patch_peer(&patch).as_str() == port)
        })
    }

    /// Checks the neighbor table of a host or router.
    fn neighbors(&mut self, host: &HostName, view: &View) {
        let topology = self.traces.topology;
        for one in &view.neighbors {
            let Some(mac) = one.mac.filter(|_| one.permanent || one.used <= self.traces.since) else {
                continue;
            };
            let segments = topology.hosts.get(host).map(|here| &here.segments);
            let network = segments.and_then(|all| all.iter().find(|(_, segment)| segment.bridge.as_str() == one.link));
            let own = network.map(|(network, _)| part(topology, network, host));
            let concerns = match &own {
                Some(part) if one.permanent => Concerns::Routed(part.clone(), one.address),
                _ => Concerns::To(one.address),
            };
            let how = if one.permanent { " (set by hand)" } else { "" };
            let at = format!("{host}: by its neighbor table on {}{how}", one.link);
            self.compare(own.as_ref(), one.address, mac, &at, concerns);
        }
    }

    /// Compares whose hardware address an address has with whose address it is.
    fn compare(&mut self, own: Option<&Part>, address: IpAddr, mac: MacAddr, at: &str, concerns: Concerns) {
        // An address of a host's NIC may be on the bridge that the NIC is attached to.
        let owner = self
            .owners
            .of_address(own, address)
            .or_else(|| self.owners.of_address(None, address));
        let Some((owner, _)) = owner.filter(|(_, macs)| !macs.contains(&mac)) else {
            return;
        };
        let text = format!("{at} {address} of {} belongs to {}", owner.text, self.owners.who(mac));
        self.fault(concerns, text);
    }

    /// Checks a guest's neighbor table and the answers to what it asked by ARP.
    fn arp(&mut self, vm: &VmName, guest: &Guest, view: &GuestView) {
        let topology = self.traces.topology;
        let own = guest
            .nics
            .iter()
            .map(|nic| (nic, part(topology, &nic.network, &guest.host)));
        let own: Vec<_> = own.collect();
        let on_link = |address: Ipv4Addr| {
            let mut own = own.iter().filter(|(nic, _)| nic.address.contains(&address));
            own.find(|(_, part)| self.owners.of_address(Some(part), address.into()).is_some())
        };
        let mut differing = Vec::new();
        for (address, mac) in &view.arp {
            let Some((_, part)) = on_link(*address) else { continue };
            let by_hand = view.arp_by_hand.contains(address);
            let at = format!(
                "guest {vm}: by its neighbor table{}",
                if by_hand { " (set by hand)" } else { "" }
            );
            let concerns = if by_hand {
                Concerns::One(Asked::Vm(vm.clone()), (*address).into())
            } else {
                Concerns::To((*address).into())
            };
            differing.push((part.clone(), *address, *mac, at, concerns));
        }
        for (address, macs) in &view.replies {
            if let Some((_, part)) = on_link(*address) {
                let answers = macs.iter().map(|mac| {
                    let concerns = Concerns::To((*address).into());
                    (part.clone(), *address, *mac, format!("guest {vm}: by ARP"), concerns)
                });
                differing.extend(answers);
            }
        }
        let foreign: Vec<_> = view
            .replies
            .iter()
            .filter(|(address, _)| on_link(**address).is_none())
            .collect();
        for (address, macs) in foreign {
            for mac in macs {
                self.foreign_reply(
                    vm,
                    &own.iter().map(|(_, part)| part).collect::<Vec<_>>(),
                    *address,
                    *mac,
                );
            }
        }
        for (part, address, mac, at, concerns) in differing {
            self.compare(Some(&part), address.into(), mac, &at, concerns);
        }
    }

    /// Evaluates an answer about an address of another segment.
    fn foreign_reply(&mut self, vm: &VmName, own: &[&Part], address: Ipv4Addr, mac: MacAddr) {
        let target = self.owners.of_any(address.into());
        let Some(target) = target.cloned() else { return };
        let owners: Vec<_> = self.owners.of_mac(mac).cloned().collect();
        let who = self.owners.who(mac);
        // A guest with NICs in both segments answers by each for all of its addresses.
        let in_own = |owner: &&Owner| owner.part.as_ref().is_some_and(|part| own.contains(&part));
        match (
            owners.iter().find(in_own),
            owners.iter().find_map(|owner| owner.part.clone()),
        ) {
            (Some(owner), _) if owner.guest == target.guest => {}
            (None, Some(other)) => {
                let text = format!("guest {vm} asked by ARP for {address}, and {who} answered");
                if let Some(own) = own.first() {
                    self.join(own, &other, 2, text);
                }
            }
            _ => {
                let text = format!(
                    "guest {vm} asked by ARP for {address} of {}, which is in another network, and {who} answered (proxy_arp)",
                    target.text
                );
                self.fault(Concerns::One(Asked::Vm(vm.clone()), address.into()), text);
            }
        }
    }

    /// Compares a guest's own settings with the lab's.
    fn settings(&mut self, vm: &VmName, guest: &Guest, view: &GuestView) {
        if let Some(image) = self.traces.topology.images.get(&guest.image) {
            for deviation in view.deviations(&guest_config(vm, guest, image)) {
                let concerns = match deviation {
                    Deviation::NotServing(_) | Deviation::NameServer(_) | Deviation::HostName { .. } => {
                        Concerns::NoPing
                    }
                    Deviation::DefaultRoute { .. } => Concerns::DefaultRoute(vm.clone()),
                    _ => Concerns::Guest(vm.clone()),
                };
                self.fault(concerns, format!("guest {vm}: {deviation}"));
            }
        }
        let mine = |address: &Ipv4Addr| guest.nics.iter().any(|nic| nic.address.addr() == *address);
        for address in view.addresses.iter().filter(|address| !mine(address)) {
            if let Some(owner) = self.owners.of_any((*address).into()) {
                let text = format!(
                    "guest {vm} ({}) has the address {address} of {}",
                    guest.host, owner.text
                );
                self.fault(Concerns::To((*address).into()), text);
            }
        }
    }
}

/// Returns the port of a host's bridge by which a guest's NIC is reached, which is `port` where several are.
pub(super) fn wanted_port(
    host: &HostName,
    segment: &Segment,
    guest: &Guest,
    nic: &GuestNic,
    port: &str,
) -> Option<IfName> {
    if guest.host == *host {
        return Some(nic.tap.clone());
    }
    let ports = segment.ports();
    ports
        .into_iter()
        .find(|own| own.as_str() == port)
        .or_else(|| segment.port())
}
