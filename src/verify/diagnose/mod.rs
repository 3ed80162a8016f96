//! Where packets stop: follows the path that a cell's packets should take, and their replies, through the observed state
//! of guests, hosts, switches and routers. Returns the path hop by hop, and the first fault on it; nothing where no fault
//! can be observed. Never contacts a host.

mod bridged;
mod hop;
mod inside;
mod lookup;
mod outside;
mod packets;
mod routed;
mod rules;
#[cfg(test)]
mod tests;
mod underlay;
mod walk;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

pub use hop::{Finding, Hop, first};
pub use packets::{Counted, at_hop, misdirected, untranslated, vanish};

use super::nics::{Nic, Nics};
use super::{Cell, Verdict};
use crate::guest::GuestView;
use crate::lab::{Asked, ETHERNET_MTU, HostName, IfName, LabHostNic, MacAddr, NetworkName, VlanId, VmName};
use crate::state::view::{PacketRule, Port, View};
use crate::state::{HostState, Site, localhost};
use crate::topology::{Guest, GuestNic, Segment, Topology};

/// Everything that was observed.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// The desired lab.
    pub topology: &'a Topology,
    /// The addresses of its guests.
    pub nics: Nics<'a>,
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
    let needed = cell
        .small_only
        .then(|| full_packet(evidence.topology, &evidence.nics, from, to.into()));
    let mut path = Path::new(evidence, needed);
    match from {
        Asked::Vm(asked) => path.of_guest(asked, to),
        Asked::Host(machine) | Asked::Router(machine) => path.of_machine(machine, to),
    }
    if let Some((vm, guest)) = evidence.nics.guest_at(to)
        && path.is_off(vm, guest)
    {
        // A guest that is off is the cause, and takes its tap and the carrier of its bridge with it.
        let (host, own) = (guest.host.as_str(), guest_hop(vm));
        let consequences = path.hops.iter_mut().filter(|hop| hop.at == host && hop.what != own);
        consequences.for_each(|hop| hop.finding = None);
    }
    path.hops
}

/// Returns what packets pass that go through a guest.
fn guest_hop(vm: &VmName) -> String {
    format!("guest {vm}")
}

/// Returns why the replies to an answered cell prove nothing: a rule of others diverts its packets, or the address
/// translation that they need is not the lab's, so that another machine answers, or the packets came from another address.
pub fn unproved(evidence: &Evidence<'_>, cell: &Cell) -> Option<String> {
    let IpAddr::V4(to) = cell.expectation.address else {
        return None;
    };
    if cell.verdict != Verdict::Pass || !cell.expectation.reach {
        return None;
    }
    let mut diverts = evidence.views.values().flat_map(|view| &view.diverts);
    if diverts.any(|rule| !is_own(evidence.topology, rule)) {
        let hops = path(evidence, cell);
        let mut findings = hops.iter().filter_map(|hop| hop.finding.as_ref());
        if let Some(diverts) = findings.find(|finding| finding.diverts) {
            return Some(diverts.to_string());
        }
    }
    let path = Path::new(evidence, None);
    let topology = evidence.topology;
    let floating = evidence.nics.floating(to);
    if let Some(floating) = floating.and_then(|(_, guest)| guest.floating.as_ref()) {
        return path
            .translated_to(&floating.host, to)
            .map(|finding| finding.to_string());
    }
    let Asked::Vm(vm) = &cell.expectation.from else {
        return None;
    };
    let Ends { from, own, to: target } = Ends::of(topology, &evidence.nics, vm, to.into())?;
    let inside = topology.hosts.values().flat_map(|host| host.segments.values());
    if target.is_some() || inside.into_iter().any(|segment| segment.subnet.contains(&to)) {
        return None;
    }
    let router = path.router(&own.network, own.gateway?, &from.host)?;
    let finding = path.translated_from(router, own.address.addr());
    finding.map(|finding| finding.to_string())
}

/// Whether a rule is one of the lab's tables, or of a router that leads to the machine of netlab.
fn is_own(topology: &Topology, rule: &PacketRule) -> bool {
    let rest = rule.table.strip_prefix("netlab-");
    let rest = rest.and_then(|rest| rest.strip_prefix(topology.lab.as_str()));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) || rule.table == "netlab-to-host"
}

/// Returns the size in bytes of the largest packet that both ends of a path accept: the MTU of the network by which the
/// source sends, or that of the target's if it is smaller.
pub fn full_packet(topology: &Topology, nics: &Nics<'_>, from: &Asked, to: IpAddr) -> u16 {
    let own = match from {
        Asked::Vm(vm) => Ends::of(topology, nics, vm, to).and_then(|ends| ends.own.mtu),
        Asked::Host(host) => {
            let segments = topology.hosts.get(host).map(|host| host.segments.values());
            let mut on_link = segments.into_iter().flatten().filter(|segment| match to {
                IpAddr::V4(to) => segment.subnet.contains(&to),
                IpAddr::V6(_) => false,
            });
            on_link.next().and_then(|segment| segment.mtu)
        }
        Asked::Router(_) => None,
    };
    let own = own.unwrap_or(ETHERNET_MTU);
    nics.mtu(to).map_or(own, |mtu| mtu.min(own))
}

/// Both ends of a path.
struct Ends<'a> {
    from: &'a Guest,
    /// The NIC by which the packets leave: the one on the target's network, else that of the pinged gateway, else that of
    /// the default route.
    own: &'a GuestNic,
    /// The target, where it is a guest.
    to: Option<Nic<'a>>,
}

impl<'a> Ends<'a> {
    fn of(topology: &'a Topology, nics: &Nics<'a>, from: &VmName, address: IpAddr) -> Option<Self> {
        let from = topology.guests.get(from)?;
        let to = nics.at(address);
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
    /// The VLAN that frames are tagged with where the path is now.
    carries: Option<VlanId>,
    /// The hosts that the packets have passed as the gateway of another one.
    passed: BTreeSet<&'a HostName>,
    hops: Vec<Hop>,
}

impl<'a> Path<'a> {
    fn new(evidence: &'a Evidence<'a>, needed: Option<u16>) -> Self {
        Self {
            evidence,
            needed,
            source: None,
            carries: None,
            passed: BTreeSet::new(),
            hops: Vec::new(),
        }
    }

    fn state(&self, host: &HostName) -> Option<&'a HostState> {
        self.evidence.observed.get(host)
    }

    fn view(&self, machine: &HostName) -> Option<&'a View> {
        self.evidence.views.get(machine)
    }

    /// The parts of networks on a host.
    fn segments(&self, host: &HostName) -> impl Iterator<Item = &'a Segment> + use<'a> {
        let host = self.evidence.topology.hosts.get(host);
        host.into_iter().flat_map(|host| host.segments.values())
    }

    /// The NICs of a host or router by the lab.
    fn nics_of(&self, machine: &HostName) -> Option<&'a BTreeMap<IfName, LabHostNic>> {
        let topology = self.evidence.topology;
        match topology.routers.get(machine) {
            Some(router) => Some(&router.nics),
            None => Some(&topology.hosts.get(machine)?.nics),
        }
    }

    /// The link by which a host sends what leaves by a NIC: the lab's bridge that the NIC is attached to, else the link that
    /// has its IP addresses: itself, or the bridge or bond whose port it is, e.g. Open vSwitch's bridge of a NIC with VLANs.
    fn in_use(&self, host: &HostName, nic: &'a IfName) -> &'a str {
        let attached = |segment: &&Segment| segment.uplink.as_ref() == Some(nic) && segment.vlan.is_none();
        if let Some(segment) = self.segments(host).find(attached) {
            return segment.bridge.as_str();
        }
        let Some(ports) = self.view(host).map(|view| &view.ports) else {
            return nic.as_str();
        };
        let has_address = |port: &Port| port.addresses.iter().any(|net| net.addr().is_ipv4());
        let mut link = nic.as_str();
        let mut seen = BTreeSet::new();
        while let Some(port) = ports.get(link).filter(|port| !has_address(port)) {
            match port.master.as_deref() {
                Some(master) if ports.contains_key(master) && seen.insert(master) => link = master,
                _ => break,
            }
        }
        // Of a chain without any address the NIC is what the lab names.
        match ports.get(link) {
            Some(port) if has_address(port) => link,
            _ => nic.as_str(),
        }
    }

    fn part(&self, host: &HostName, network: &NetworkName) -> Option<&'a Segment> {
        self.evidence.topology.hosts.get(host)?.segments.get(network)
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
