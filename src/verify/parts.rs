//! The layer 2 segments of a lab, who is in them, and whose addresses are whose: from the topology, and from what the
//! hosts show of the hardware addresses that they chose themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::guest::ArpQuestion;
use crate::lab::{HostName, MacAddr, NetworkName, VmName};
use crate::state::view::View;
use crate::topology::{Guest, GuestNic, Segment, Topology};

/// Segments that a guest asks about at most: it asks of all at the same time, and each guest asks about others.
const FOREIGN: usize = 8;

/// One layer 2 segment: a network, or what one host has of a network that nothing connects between its hosts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The network.
    pub network: NetworkName,
    /// The only host that it is on; absent: an uplink or a tunnel connects its hosts.
    pub only: Option<HostName>,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network {}", self.network)?;
        match &self.only {
            Some(host) => write!(f, " on {host}"),
            None => Ok(()),
        }
    }
}

/// Returns the segment of `network` on `host`.
pub fn part(topology: &Topology, network: &NetworkName, host: &HostName) -> Part {
    let segment = topology.hosts.get(host).and_then(|host| host.segments.get(network));
    let connected = segment.is_some_and(Segment::is_connected);
    // One host alone has the whole network, whatever its uplink.
    let hosts = topology.hosts.values();
    let alone = hosts.filter(|host| host.segments.contains_key(network)).count() < 2;
    Part {
        network: network.clone(),
        only: (!connected && !alone).then(|| host.clone()),
    }
}

/// A machine that has an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// In words: "guest vm1 (node1)", "bridge br1 of host node1".
    pub text: String,
    /// The guest, if it is one.
    pub guest: Option<VmName>,
    /// The segment that it has the address in; absent: none of a network.
    pub part: Option<Part>,
}

/// Whose the addresses of a lab are.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    /// Hardware addresses; a bridge can have that of its uplink, so that one has several owners.
    macs: BTreeMap<MacAddr, BTreeSet<Owner>>,
    /// Addresses, each with the hardware addresses that it may have in a segment (absent: outside of the networks).
    addresses: BTreeMap<(Option<Part>, IpAddr), (Owner, BTreeSet<MacAddr>)>,
}

impl Owners {
    /// Collects what the topology gives guests, and what hosts and routers show of their own.
    pub fn of(topology: &Topology, views: &BTreeMap<HostName, View>) -> Self {
        let mut owners = Self::default();
        for (vm, guest) in &topology.guests {
            for nic in &guest.nics {
                let part = part(topology, &nic.network, &guest.host);
                let owner = Owner {
                    text: format!("guest {vm} ({})", guest.host),
                    guest: Some(vm.clone()),
                    part: Some(part.clone()),
                };
                owners.add(Some(part), nic.address.addr().into(), owner.clone(), Some(nic.mac));
            }
        }
        for (host, here) in &topology.hosts {
            let ports = views.get(host).map(|view| &view.ports);
            let mac = |link: &str| ports.and_then(|ports| ports.get(link)?.mac);
            // Linux answers for each of its addresses by every link: with the MAC address of the link that was asked.
            let all: BTreeSet<MacAddr> = ports.into_iter().flatten().filter_map(|(_, port)| port.mac).collect();
            for (network, segment) in &here.segments {
                let part = part(topology, network, host);
                let bridge = segment.bridge.as_str();
                let owner = Owner {
                    text: format!("bridge {bridge} of host {host}"),
                    guest: None,
                    part: Some(part.clone()),
                };
                for address in segment.gateway.iter().chain(&segment.address) {
                    let mut owner = owner.clone();
                    if segment.gateway_everywhere && segment.gateway == Some(*address) {
                        owner.text = format!("the gateway of network {network} on every host");
                    }
                    owners.add(Some(part.clone()), (*address).into(), owner, mac(bridge));
                    owners.accept(Some(part.clone()), (*address).into(), &all);
                }
                if let Some(mac) = mac(bridge) {
                    owners.macs.entry(mac).or_default().insert(owner);
                }
            }
            for nic in here.nics.keys() {
                let owner = Owner {
                    text: format!("NIC {nic} of host {host}"),
                    guest: None,
                    part: None,
                };
                let mac = mac(nic.as_str());
                let addresses = here.nics[nic].address.iter().map(Ipv4Net::addr);
                let floating = topology.guests.values().filter_map(|guest| guest.floating.as_ref());
                let floating = floating.filter(|one| one.host == *host && one.nic == *nic);
                for address in addresses.chain(floating.map(|one| one.address)) {
                    owners.add(None, address.into(), owner.clone(), mac);
                    owners.accept(None, address.into(), &all);
                }
                if let Some(mac) = mac {
                    owners.macs.entry(mac).or_default().insert(owner);
                }
            }
        }
        for (host, view) in views.iter().filter(|(host, _)| topology.hosts.contains_key(*host)) {
            for (link, mac) in view.ports.iter().filter_map(|(link, port)| Some((link, port.mac?))) {
                let of = owners.macs.entry(mac).or_default();
                if of.is_empty() {
                    of.insert(Owner {
                        text: format!("link {link} of host {host}"),
                        guest: None,
                        part: None,
                    });
                }
            }
        }
        for (router, has) in &topology.routers {
            for (nic, config) in &has.nics {
                let owner = Owner {
                    text: format!("router {router}"),
                    guest: None,
                    part: None,
                };
                let mac = views.get(router).and_then(|view| view.ports.get(nic.as_str())?.mac);
                if let Some(net) = &config.address {
                    owners.add(None, net.addr().into(), owner.clone(), mac);
                }
                if let Some(mac) = mac {
                    owners.macs.entry(mac).or_default().insert(owner);
                }
            }
        }
        owners
    }

    fn add(&mut self, part: Option<Part>, address: IpAddr, owner: Owner, mac: Option<MacAddr>) {
        let (_, macs) = self
            .addresses
            .entry((part, address))
            .or_insert_with(|| (owner.clone(), BTreeSet::new()));
        if let Some(mac) = mac {
            macs.insert(mac);
            self.macs.entry(mac).or_default().insert(owner);
        }
    }

    /// Adds hardware addresses that an address may also have.
    fn accept(&mut self, part: Option<Part>, address: IpAddr, more: &BTreeSet<MacAddr>) {
        if let Some((_, macs)) = self.addresses.get_mut(&(part, address)) {
            macs.extend(more);
        }
    }

    /// Returns the owners of a hardware address.
    pub fn of_mac(&self, mac: MacAddr) -> impl Iterator<Item = &Owner> {
        self.macs.get(&mac).into_iter().flatten()
    }

    /// Returns the owner of an address in a segment, and the hardware addresses that it may have there. None where it is
    /// nobody's or where the hardware address is unknown.
    pub fn of_address(&self, part: Option<&Part>, address: IpAddr) -> Option<(&Owner, &BTreeSet<MacAddr>)> {
        let (owner, macs) = self.addresses.get(&(part.cloned(), address))?;
        (!macs.is_empty()).then_some((owner, macs))
    }

    /// Returns the owner of an address, wherever it is.
    pub fn of_any(&self, address: IpAddr) -> Option<&Owner> {
        let mut all = self.addresses.iter();
        all.find_map(|((_, at), (owner, _))| (*at == address).then_some(owner))
    }

    /// Returns whose a hardware address is, in words.
    pub fn who(&self, mac: MacAddr) -> String {
        let owners: Vec<&str> = self.of_mac(mac).map(|owner| owner.text.as_str()).collect();
        match owners[..] {
            [] => format!("a machine that is not the lab's ({mac})"),
            _ => format!("{} ({mac})", owners.join(" and ")),
        }
    }
}

/// Returns what each guest asks by ARP: for its gateways and the next guest in each of its segments, where a second
/// answer shows that an address is used twice; and for one guest of other segments, where any answer shows that two
/// segments are joined. A constant number for each guest.
pub fn arp_questions(topology: &Topology) -> BTreeMap<VmName, Vec<ArpQuestion>> {
    let mut members: BTreeMap<Part, Vec<(&VmName, &Guest, &GuestNic)>> = BTreeMap::new();
    for (vm, guest) in &topology.guests {
        for nic in &guest.nics {
            let part = part(topology, &nic.network, &guest.host);
            members.entry(part).or_default().push((vm, guest, nic));
        }
    }
    let mut questions: BTreeMap<VmName, Vec<ArpQuestion>> = BTreeMap::new();
    for (at, (part, own)) in members.iter().enumerate() {
        for (number, (vm, guest, nic)) in own.iter().enumerate() {
            let mut add = |address: Ipv4Addr, foreign: bool, forged: Option<Ipv4Addr>| {
                questions.entry((*vm).clone()).or_default().push(ArpQuestion {
                    nic: nic.mac,
                    address,
                    foreign,
                    forged,
                });
            };
            let next = own[(number + 1) % own.len()].2;
            if own.len() > 1 && next.address != nic.address {
                add(next.address.addr(), false, None);
            }
            if let Some(gateway) = nic.gateway {
                add(gateway, false, None);
            }
            let target = if own.len() > 1 {
                Some(next.address.addr())
            } else {
                nic.gateway
            };
            if let (Some(target), Some(source)) = (target, nic.port_security.then(|| unused(topology, nic)).flatten()) {
                add(target, false, Some(source));
            }
            let others = members.iter().cycle().skip(at + 1 + number).take(members.len());
            let others = others.filter(|(other, _)| *other != part).take(FOREIGN);
            for (_, foreign) in others {
                let (_, _, target) = foreign[number % foreign.len()];
                // A guest answers for all of its addresses on all of its NICs.
                let mine = guest.nics.iter().any(|own| own.address.addr() == target.address.addr());
                if !mine {
                    add(target.address.addr(), true, None);
                }
            }
        }
    }
    questions
}

/// Returns the highest address of a NIC's subnet that nobody in the lab has.
fn unused(topology: &Topology, nic: &GuestNic) -> Option<Ipv4Addr> {
    let guests = topology.guests.values().flat_map(|guest| &guest.nics);
    let mut used: BTreeSet<Ipv4Addr> = guests.map(|nic| nic.address.addr()).collect();
    for host in topology.hosts.values() {
        let segments = host.segments.values();
        used.extend(segments.flat_map(|segment| segment.gateway.into_iter().chain(segment.address)));
        used.extend(host.nics.values().filter_map(|nic| Some(nic.address?.addr())));
    }
    let first = u32::from(nic.address.network()).saturating_add(1);
    let mut free = (first..u32::from(nic.address.broadcast())).rev().map(Ipv4Addr::from);
    free.find(|address| !used.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example::{topology, vm};

    #[test]
    fn a_guest_on_a_secured_port_also_asks_from_an_address_that_nobody_has() {
        let mut topology = topology();
        topology.guests.get_mut(&vm("vm1")).unwrap().nics[0].port_security = true;
        let mut host = topology.hosts.values_mut();
        host.next().unwrap().segments.values_mut().next().unwrap().address = Some([10, 0, 1, 254].into());
        let asked = arp_questions(&topology);
        let forged = |name: &str| -> Vec<_> { asked[&vm(name)].iter().filter_map(|one| one.forged).collect() };
        assert_eq!(forged("vm1"), [Ipv4Addr::new(10, 0, 1, 253)]);
        assert!(forged("vm2").is_empty());
    }

    #[test]
    fn a_guest_asks_for_its_gateway_the_next_guest_and_one_guest_of_each_other_segment() {
        let mut topology = topology();
        let asked = arp_questions(&topology);
        let of = |asked: &BTreeMap<VmName, Vec<ArpQuestion>>, name: &str| -> Vec<(String, bool)> {
            let mine = asked[&vm(name)].iter();
            mine.map(|one| (one.address.to_string(), one.foreign)).collect()
        };
        assert_eq!(
            of(&asked, "vm1"),
            [("10.0.1.3".to_owned(), false), ("10.0.1.1".to_owned(), false)]
        );
        // Without an uplink each host has a segment of its own.
        for host in topology.hosts.values_mut() {
            for segment in host.segments.values_mut() {
                segment.uplink = None;
            }
        }
        let asked = arp_questions(&topology);
        assert_eq!(
            of(&asked, "vm1"),
            [("10.0.1.1".to_owned(), false), ("10.0.1.3".to_owned(), true)]
        );
    }
}
