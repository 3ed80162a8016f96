//! Where packets stop: follows the path that a cell's packets should take, and their replies, through the observed state
//! of guests, hosts, switches and routers. Returns the path hop by hop, and the first fault on it; nothing where no fault
//! can be observed. Never contacts a host.

mod bridged;
mod hop;
mod inside;
mod lookup;
mod packets;
mod routed;
mod rules;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

pub use hop::{Finding, Hop, first};
pub use packets::{Counted, at_hop, vanish};

use super::{Cell, Verdict};
use crate::guest::GuestView;
use crate::lab::{Asked, HostName, IfName, MacAddr, NetworkName, VmName};
use crate::state::view::View;
use crate::state::{HostState, Site, localhost};
use crate::topology::{Guest, GuestNic, Segment, Topology};

/// Ethernet's MTU in bytes (RFC 894).
const ETHERNET: u16 = 1500;

/// Everything that was observed.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The desired lab.
    pub topology: &'a Topology,
    /// The desired state.
    pub desired: &'a Site,
    /// The observed state.
    pub observed: &'a Site,
    /// What hosts, switches and routers show; one that is absent was not observed.
    pub views: &'a BTreeMap<HostName, View>,
    /// What guests show.
    pub guests: &'a BTreeMap<VmName, GuestView>,
}

/// Returns what stops the packets of `cell`, if that can be observed. Only for a cell in which something should answer.
pub fn diagnose(evidence: &Evidence<'_>, cell: &Cell) -> Option<String> {
    if cell.verdict == Verdict::Pass || !cell.expectation.reach {
        return None;
    }
    first(&path(evidence, cell)).map(ToString::to_string)
}

/// Returns the path of a cell's packets and of their replies, with what is wrong at each hop. Only what can be followed:
/// it ends where the lab does.
pub fn path(evidence: &Evidence<'_>, cell: &Cell) -> Vec<Hop> {
    let IpAddr::V4(to) = cell.expectation.address else {
        return Vec::new();
    };
    let from = &cell.expectation.from;
    let needed = match from {
        Asked::Vm(vm) => full_packet(evidence.topology, vm, to.into()),
        Asked::Host(_) | Asked::Router(_) => ETHERNET,
    };
    let mut path = Path::new(evidence, cell.small_only.then_some(needed));
    match from {
        Asked::Vm(asked) => path.of_guest(asked, to),
        Asked::Host(machine) | Asked::Router(machine) => path.of_machine(machine, to),
    }
    path.hops
}

/// Returns why the replies to an answered cell prove nothing: the address translation that its packets need is not the
/// lab's, so that another machine answers, or the packets came from another address.
pub fn unproved(evidence: &Evidence<'_>, cell: &Cell) -> Option<String> {
    let IpAddr::V4(to) = cell.expectation.address else {
        return None;
    };
    if cell.verdict != Verdict::Pass || !cell.expectation.reach {
        return None;
    }
    let path = Path::new(evidence, None);
    let topology = evidence.topology;
    let mut floating = topology.guests.values().filter_map(|guest| guest.floating.as_ref());
    if let Some(floating) = floating.find(|one| one.address == to) {
        return path
            .translated_to(&floating.host, to)
            .map(|finding| finding.to_string());
    }
    let Asked::Vm(vm) = &cell.expectation.from else {
        return None;
    };
    let Ends { from, own, to: target } = Ends::of(topology, vm, to.into())?;
    let inside = topology.hosts.values().flat_map(|host| host.segments.values());
    if target.is_some() || inside.into_iter().any(|segment| segment.subnet.contains(&to)) {
        return None;
    }
    let router = path.router(&own.network, own.gateway?, &from.host)?;
    let finding = path.translated_from(router, own.address.addr());
    finding.map(|finding| finding.to_string())
}

/// Returns the size in bytes of the largest packet that both ends of a path accept, according to the MTU of their
/// networks.
pub fn full_packet(topology: &Topology, from: &VmName, to: IpAddr) -> u16 {
    let ends = Ends::of(topology, from, to);
    let nics = ends
        .iter()
        .flat_map(|ends| [Some(ends.own), ends.to.map(|(_, _, nic)| nic)]);
    nics.flatten()
        .map(|nic| nic.mtu.unwrap_or(ETHERNET))
        .min()
        .unwrap_or(ETHERNET)
}

/// Both ends of a path.
struct Ends<'a> {
    from: &'a Guest,
    /// The NIC by which the packets leave: the one on the target's network, else that of the pinged gateway, else that of
    /// the default route.
    own: &'a GuestNic,
    /// The target, where it is a guest.
    to: Option<(&'a VmName, &'a Guest, &'a GuestNic)>,
}

impl<'a> Ends<'a> {
    fn of(topology: &'a Topology, from: &VmName, address: IpAddr) -> Option<Self> {
        let from = topology.guests.get(from)?;
        let to = topology.guests.iter().find_map(|(name, guest)| {
            let nic = guest.nics.iter().find(|nic| nic.address.addr() == address)?;
            Some((name, guest, nic))
        });
        let own = |wanted: &dyn Fn(&GuestNic) -> bool| from.nics.iter().find(|nic| wanted(nic));
        let on_link = |nic: &GuestNic| match address {
            IpAddr::V4(address) => to.is_none() && nic.address.contains(&address),
            IpAddr::V6(_) => false,
        };
        let own = own(&|nic| to.is_some_and(|(_, _, to)| to.network == nic.network))
            .or_else(|| own(&on_link))
            .or_else(|| own(&|nic| nic.gateway.is_some_and(|gateway| address == gateway)))
            .or_else(|| own(&|nic| nic.gateway.is_some() && nic.gateway == from.default_route))?;
        Some(Self { from, own, to })
    }
}

/// The path of one cell's packets.
struct Path<'a> {
    evidence: &'a Evidence<'a>,
    /// The size in bytes of the packets that do not pass, where smaller ones do.
    needed: Option<u16>,
    /// The hardware address of the guest that sends.
    source: Option<MacAddr>,
    hops: Vec<Hop>,
}

impl<'a> Path<'a> {
    fn new(evidence: &'a Evidence<'a>, needed: Option<u16>) -> Self {
        Self {
            evidence,
            needed,
            source: None,
            hops: Vec::new(),
        }
    }

    fn state(&self, host: &HostName) -> Option<&'a HostState> {
        self.evidence.observed.get(host)
    }

    fn view(&self, machine: &HostName) -> Option<&'a View> {
        self.evidence.views.get(machine)
    }

    fn part(&self, host: &HostName, network: &NetworkName) -> Option<&'a Segment> {
        self.evidence.topology.hosts.get(host)?.segments.get(network)
    }

    /// The path of a guest's packets.
    fn of_guest(&mut self, asked: &VmName, address: Ipv4Addr) {
        let Some(Ends { from, own, to }) = Ends::of(self.evidence.topology, asked, address.into()) else {
            let text = format!("{asked} has no NIC on the network of {address}, and no default route");
            self.hops.push(
                Hop::new(format!("guest {asked}"), format!("route to {address}")).found(Some(Finding::new(text))),
            );
            return;
        };
        self.source = Some(own.mac);
        let source = own.address.addr();
        let ends = [source, address];
        let on_link = own.address.contains(&address);
        self.sender(asked, from, own, address, own.gateway.filter(|_| !on_link));
        match to {
            Some((name, guest, nic)) if nic.network == own.network => {
                self.segment(&own.network, &from.host, &guest.host, ends);
                self.receiver(name, guest, nic, source, None);
            }
            None if on_link => {
                let Some(host) = self.host_at(&own.network, address, &from.host) else {
                    return;
                };
                self.segment(&own.network, &from.host, host, ends);
                self.gateway(host, &own.network, address);
                self.answers(host, ends);
                let bridge = self.part(host, &own.network).map(|segment| segment.bridge.as_str());
                self.back(host, source, bridge);
            }
            _ => self.through_gateway(from, own, to, address),
        }
    }

    /// The path from a guest's gateway on.
    fn through_gateway(
        &mut self,
        from: &'a Guest,
        own: &'a GuestNic,
        to: Option<(&'a VmName, &'a Guest, &'a GuestNic)>,
        address: Ipv4Addr,
    ) {
        let source = own.address.addr();
        let ends = [source, address];
        let router = own
            .gateway
            .and_then(|gateway| Some((gateway, self.router(&own.network, gateway, &from.host)?)));
        let Some((gateway, router)) = router else {
            return;
        };
        let Some(inner) = self.part(router, &own.network).map(|segment| segment.bridge.as_str()) else {
            return;
        };
        self.segment(&own.network, &from.host, router, [source, address]);
        self.gateway(router, &own.network, gateway);
        let floating = self.floating_at(address);
        if let Some((name, guest, nic)) = to {
            self.forwarding(router, inner, source, address);
            if let Some(gateway) = nic.gateway.filter(|_| self.part(router, &nic.network).is_some()) {
                self.gateway(router, &nic.network, gateway);
            }
            let outer = self.part(router, &nic.network).map(|segment| segment.bridge.as_str());
            self.route(router, Some(source), address, Some(inner), outer);
            self.rules(router, true, ends);
            self.segment(&nic.network, router, &guest.host, ends);
            // The guest answers by its NIC on the source's network, if it has one, else by its gateway.
            let direct = guest.nics.iter().find(|other| other.network == own.network);
            self.receiver(
                name,
                guest,
                direct.unwrap_or(nic),
                source,
                nic.gateway.filter(|_| direct.is_none()),
            );
        } else {
            self.forwarding(router, inner, source, address);
            let out = self.outward(router, source, address);
            let out = out.map(|(_, link)| link.as_str()).filter(|_| floating.is_none());
            self.route(router, Some(source), address, Some(inner), out);
            self.translates_from(router, source);
            self.rules(router, true, ends);
            match floating {
                Some(floating) => self.floating(floating, source, address),
                None => self.outside(router, source, address),
            }
        }
        self.back(router, source, Some(inner));
    }

    /// The path of the packets of a host or router.
    fn of_machine(&mut self, machine: &HostName, to: Ipv4Addr) {
        if let Some(finding) = self.host(machine) {
            self.hops.push(Hop::new(machine, "the host").found(Some(finding)));
            return;
        }
        let topology = self.evidence.topology;
        let mut guests = topology.guests.iter();
        let target = guests.find_map(|(name, guest)| {
            let nic = guest.nics.iter().find(|nic| nic.address.addr() == to)?;
            Some((name, guest, nic))
        });
        let segments = topology.hosts.get(machine).map(|host| &host.segments);
        let mut on_link = segments
            .into_iter()
            .flatten()
            .filter(|(_, segment)| segment.subnet.contains(&to));
        let on_link = on_link.next();
        let wanted = on_link.map(|(_, segment)| segment.bridge.as_str());
        self.route(machine, None, to, None, wanted);
        let source = on_link.and_then(|(_, segment)| segment.address.or(segment.gateway));
        let ends = [source.unwrap_or(to), to];
        if let Some(floating) = self.floating_at(to) {
            self.rules(machine, true, [to, to]);
            if let Some(one) = &floating.1.floating {
                self.outside_to(machine, &one.host, &one.nic);
            }
            self.floating(floating, ends[0], to);
        } else if let (Some((network, _)), Some((name, guest, nic))) = (on_link, target) {
            self.rules(machine, true, ends);
            self.segment(network, machine, &guest.host, ends);
            self.receiver(name, guest, nic, ends[0], None);
        } else if let Some((network, _)) = on_link {
            if let Some(host) = self.host_at(network, to, machine).filter(|host| *host != machine) {
                self.rules(machine, true, ends);
                self.segment(network, machine, host, ends);
                self.gateway(host, network, to);
                self.answers(host, ends);
                let bridge = self.part(host, network).map(|segment| segment.bridge.as_str());
                self.back(host, ends[0], bridge);
            }
        } else {
            self.rules(machine, true, ends);
            self.outside(machine, ends[0], to);
        }
    }

    /// Adds the cables between a machine and the NIC of a host.
    fn outside_to(&mut self, machine: &HostName, host: &HostName, nic: &IfName) {
        if host == machine {
            return;
        }
        let topology = self.evidence.topology;
        let nics = topology
            .routers
            .get(machine)
            .map(|router| router.nics.keys().collect::<Vec<_>>());
        let nics = nics.or_else(|| Some(topology.hosts.get(machine)?.nics.keys().collect()));
        let connected = nics
            .into_iter()
            .flatten()
            .find(|own| wire::between(topology, (machine, own), (host, nic)).is_some());
        if let Some(own) = connected {
            self.wire((machine, own), (host, nic), None);
        }
        self.link(host, nic.as_str(), None, "towards the outside");
    }

    /// The guest that has a floating address.
    fn floating_at(&self, address: Ipv4Addr) -> Option<(&'a VmName, &'a Guest)> {
        let mut guests = self.evidence.topology.guests.iter();
        guests.find(|(_, guest)| guest.floating.as_ref().is_some_and(|one| one.address == address))
    }

    /// Adds a floating address: its host, its rules, and the guest behind it.
    fn floating(&mut self, (vm, guest): (&'a VmName, &'a Guest), source: Ipv4Addr, address: Ipv4Addr) {
        let Some(floating) = &guest.floating else { return };
        let nic = guest
            .nics
            .iter()
            .find(|nic| nic.gateway.is_some() && nic.gateway == guest.default_route);
        let Some(nic) = nic else { return };
        let host = &floating.host;
        let there = self.view(host).is_none() || self.has(host, address);
        let lacks = || {
            Finding::new(format!(
                "{host}: no link has the floating address {address} of guest {vm}"
            ))
            .shown(host, "ip addr")
            .fixed_by_up()
        };
        let hop = Hop::new(host, format!("floating address {address}"));
        self.hops
            .push(hop.shows(Some("present".to_owned())).found((!there).then(lacks)));
        self.translates_to(host, address);
        let private = nic.address.addr();
        self.forwarding(host, floating.nic.as_str(), source, private);
        let bridge = self.part(host, &nic.network).map(|segment| segment.bridge.as_str());
        self.route(host, None, private, Some(floating.nic.as_str()), bridge);
        self.rules(host, true, [address, private]);
        self.segment(&nic.network, host, &guest.host, [source, private]);
        self.receiver(
            vm,
            guest,
            nic,
            source,
            nic.gateway.filter(|_| !nic.address.contains(&source)),
        );
    }

    /// Returns the host that has an address of a network: the gateway's, or one of its own.
    fn host_at(&self, network: &NetworkName, address: Ipv4Addr, near: &'a HostName) -> Option<&'a HostName> {
        if let Some(router) = self.router(network, address, near) {
            return Some(router);
        }
        let mut hosts = self.evidence.topology.hosts.iter();
        let (name, _) = hosts.find(|(_, host)| {
            let segment = host.segments.get(network);
            segment.is_some_and(|segment| segment.address == Some(address))
        })?;
        Some(name)
    }

    /// Returns the host that should answer for the gateway's address: the guest's own, if every host has the address.
    fn router(&self, network: &NetworkName, gateway: Ipv4Addr, near: &'a HostName) -> Option<&'a HostName> {
        let hosts = self.evidence.topology.hosts.iter();
        let mut having = hosts.filter_map(|(name, host)| {
            let part = host.segments.get(network)?;
            (part.gateway == Some(gateway)).then_some((name, part.gateway_everywhere))
        });
        let (first, everywhere) = having.next()?;
        Some(if everywhere { near } else { first })
    }

    /// Checks that an emulated host is running.
    fn host(&self, host: &HostName) -> Option<Finding> {
        let machine = self.state(&localhost())?.machines.get(host)?;
        let text = format!("{host}: the emulated host is not running");
        (!machine.alive).then(|| Finding::new(text).fixed_by_up())
    }
}
