//! The order of the hops: from a guest, a host or a router to a guest, a gateway, a floating address or the outside.

use std::net::Ipv4Addr;

use super::hop::{Finding, Hop};
use super::{Ends, Path, wire};
use crate::lab::{HostName, IfName, VmName};
use crate::topology::{Guest, GuestNic};

impl<'a> Path<'a> {
    /// The path of a guest's packets.
    pub(super) fn of_guest(&mut self, asked: &VmName, address: Ipv4Addr) {
        let Some(Ends { from, own, to }) = Ends::of(self.evidence.topology, &self.evidence.nics, asked, address.into())
        else {
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
                self.back(host, Some(address), source, bridge);
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
        let floating = self.evidence.nics.floating(address);
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
            let out = out.map(|(_, link)| link).filter(|_| floating.is_none());
            self.route(router, Some(source), address, Some(inner), out);
            self.translates_from(router, source);
            self.rules(router, true, ends);
            match floating {
                Some(floating) => self.floating(floating, source, address),
                None => self.outside(router, source, address),
            }
        }
        self.back(router, Some(address), source, Some(inner));
    }

    /// The path of the packets of a host or router.
    pub(super) fn of_machine(&mut self, machine: &HostName, to: Ipv4Addr) {
        if let Some(finding) = self.host(machine) {
            self.hops.push(Hop::new(machine, "the host").found(Some(finding)));
            return;
        }
        let topology = self.evidence.topology;
        let target = self.evidence.nics.at(to.into());
        let segments = topology.hosts.get(machine).map(|host| &host.segments);
        let mut on_link = segments
            .into_iter()
            .flatten()
            .filter(|(_, segment)| segment.subnet.contains(&to));
        let on_link = on_link.next();
        let wanted = on_link.map(|(_, segment)| segment.bridge.as_str());
        self.route(machine, None, to, None, wanted);
        let source = on_link.and_then(|(_, segment)| segment.address.or(segment.gateway));
        let source = source.or_else(|| self.own_address(machine, to));
        let ends = [source.unwrap_or(to), to];
        if let Some(floating) = self.evidence.nics.floating(to) {
            self.rules(machine, true, [to, to]);
            if let Some(one) = &floating.1.floating {
                self.outside_to(machine, &one.host, &one.nic);
            }
            self.floating(floating, ends[0], to);
            if let (Some(one), Some(source)) = (&floating.1.floating, source) {
                self.back(&one.host, None, source, None);
            }
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
                self.back(host, Some(to), ends[0], bridge);
            }
        } else {
            self.rules(machine, true, ends);
            self.outside(machine, ends[0], to);
        }
    }

    /// The address that a machine sends from to one outside of its networks: that of the NIC on its subnet, else of the one
    /// that has its default gateway, else the only one.
    fn own_address(&self, machine: &HostName, to: Ipv4Addr) -> Option<Ipv4Addr> {
        let nics = self.nics_of(machine)?;
        let near = nics
            .values()
            .find(|nic| nic.address.is_some_and(|net| net.contains(&to)));
        let near = near.or_else(|| nics.values().find(|nic| nic.gateway.is_some()));
        let near = near.or_else(|| nics.values().next().filter(|_| nics.len() == 1));
        Some(near?.address?.addr())
    }

    /// Adds the cables between a machine and the NIC of a host.
    pub(super) fn outside_to(&mut self, machine: &HostName, host: &HostName, nic: &IfName) {
        if host == machine {
            return;
        }
        let topology = self.evidence.topology;
        let nics = self.nics_of(machine).into_iter();
        let connected = nics
            .flat_map(|nics| nics.keys())
            .find(|own| wire::between(topology, (machine, own), (host, nic)).is_some());
        if let Some(own) = connected {
            self.wire((machine, own), (host, nic), None);
        }
        self.link(host, nic.as_str(), None, "towards the outside");
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
        let outer = self.in_use(host, &floating.nic);
        self.forwarding(host, outer, source, private);
        let bridge = self.part(host, &nic.network).map(|segment| segment.bridge.as_str());
        self.route(host, None, private, Some(outer), bridge);
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
}
