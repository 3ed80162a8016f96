//! Where packets stop: follows the path that a failed cell's packets should take through the observed state of guests,
//! hosts and routers, and names the first fault on it. Returns nothing where no fault can be observed.

mod bridged;
mod routed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{Cell, Verdict};
use crate::guest::GuestView;
use crate::lab::{Asked, HostName, NetworkName, VmName};
use crate::state::view::{DropRule, View};
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
    let IpAddr::V4(to) = cell.expectation.address else {
        return None;
    };
    let from = &cell.expectation.from;
    let needed = match from {
        Asked::Vm(vm) => full_packet(evidence.topology, vm, to.into()),
        Asked::Host(_) | Asked::Router(_) => ETHERNET,
    };
    let path = Path {
        evidence,
        needed: cell.small_only.then_some(needed),
    };
    match from {
        Asked::Vm(asked) => path.of_guest(asked, to),
        Asked::Host(host) => path.host(host).or_else(|| path.of_machine(host, to)),
        Asked::Router(router) => path.of_machine(router, to),
    }
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
    let path = Path { evidence, needed: None };
    let topology = evidence.topology;
    let mut floating = topology.guests.values().filter_map(|guest| guest.floating.as_ref());
    if let Some(floating) = floating.find(|one| one.address == to) {
        return path.translated_to(&floating.host, to);
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
    path.translated_from(router, own.address.addr())
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
        let own = own(&|nic| to.is_some_and(|(_, _, to)| to.network == nic.network))
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
}

impl<'a> Path<'a> {
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
    fn of_guest(&self, asked: &VmName, address: Ipv4Addr) -> Option<String> {
        let Ends { from, own, to } = Ends::of(self.evidence.topology, asked, address.into())?;
        let same = to.is_some_and(|(_, _, nic)| nic.network == own.network);
        let start = self
            .guest(asked, from, own)
            .or_else(|| self.inside(asked, own, address, !same && own.gateway != Some(address)));
        let bridge_drop = |host: &HostName| self.drops(host, false, own.address.addr(), address);
        start.or_else(|| match to {
            Some((name, guest, nic)) if same => self
                .segment(&own.network, &from.host, &guest.host)
                .or_else(|| self.guest(name, guest, nic))
                .or_else(|| self.target(name, nic, own.address.addr(), None))
                .or_else(|| bridge_drop(&from.host))
                .or_else(|| bridge_drop(&guest.host)),
            _ => {
                let gateway = own.gateway?;
                let router = self.router(&own.network, gateway, &from.host)?;
                self.segment(&own.network, &from.host, router)
                    .or_else(|| self.gateway(router, &own.network, gateway))
                    .or_else(|| bridge_drop(&from.host))
                    .or_else(|| {
                        if address == gateway {
                            return self.drops(router, true, own.address.addr(), address);
                        }
                        self.forwards(router)
                            .or_else(|| match to {
                                Some((name, guest, nic)) => self
                                    .gateway(router, &nic.network, nic.gateway?)
                                    .or_else(|| self.routes(router, address))
                                    .or_else(|| self.segment(&nic.network, router, &guest.host))
                                    .or_else(|| self.guest(name, guest, nic))
                                    .or_else(|| self.target(name, nic, own.address.addr(), nic.gateway)),
                                None => self.outside(router, own.address.addr(), address),
                            })
                            .or_else(|| self.drops(router, true, own.address.addr(), address))
                    })
            }
        })
    }

    /// The path of the packets of a host or router.
    fn of_machine(&self, machine: &HostName, to: Ipv4Addr) -> Option<String> {
        self.routes(machine, to)
            .or_else(|| self.floating(to))
            .or_else(|| {
                let mut guests = self.evidence.topology.guests.iter();
                let (name, guest, nic) = guests.find_map(|(name, guest)| {
                    let nic = guest.nics.iter().find(|nic| nic.address.addr() == to)?;
                    Some((name, guest, nic))
                })?;
                self.segment(&nic.network, machine, &guest.host)
                    .or_else(|| self.guest(name, guest, nic))
            })
            .or_else(|| self.owner(to))
            .or_else(|| self.drops(machine, true, to, to))
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
    fn host(&self, host: &HostName) -> Option<String> {
        let machine = self.state(&localhost())?.machines.get(host)?;
        (!machine.alive).then(|| format!("{host}: the emulated host is not running"))
    }
}
