//! What lies outside of the networks: the NIC that leads there, and the machine that has an address there.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Path;
use super::hop::{Finding, Hop};
use crate::lab::{HostName, IfName};

impl<'a> Path<'a> {
    /// The link of a host by which packets leave to the outside, and the NIC behind it: by the rule that translates their
    /// source, else the one that has the host's default gateway.
    pub(super) fn outward(&self, host: &HostName, source: Ipv4Addr, to: Ipv4Addr) -> Option<(&'a IfName, &'a str)> {
        let here = self.evidence.topology.hosts.get(host)?;
        let mut rules = here.nat.iter();
        let rule = rules.find(|rule| rule.from.iter().any(|net| net.contains(&source)));
        let mut floating = self.evidence.topology.guests.values().filter_map(|guest| {
            let floating = guest.floating.as_ref().filter(|floating| floating.host == *host)?;
            let mine = guest.nics.iter().any(|nic| nic.address.addr() == source);
            mine.then_some(&floating.nic)
        });
        let nic = rule.map(|rule| &rule.out).or_else(|| floating.next()).or_else(|| {
            let mut nics = here.nics.iter();
            let on_link = |net: Option<Ipv4Net>| net.is_some_and(|net| net.contains(&to));
            let nic = nics.clone().find(|(_, nic)| on_link(nic.address));
            nic.or_else(|| nics.find(|(_, nic)| nic.gateway.is_some()))
                .map(|(name, _)| name)
        })?;
        Some((nic, self.in_use(host, nic)))
    }

    /// Returns the source address that packets of `source` have once they have left `host`, where the lab decides that.
    pub(super) fn translated(&self, host: &HostName, source: Ipv4Addr) -> Option<Ipv4Addr> {
        let guest = self.evidence.nics.at(source.into());
        if let Some(floating) = guest.and_then(|(_, guest, _)| guest.floating.as_ref()) {
            return Some(floating.address);
        }
        let here = self.evidence.topology.hosts.get(host)?;
        let mut rules = here.nat.iter();
        match rules.find(|rule| rule.from.iter().any(|net| net.contains(&source))) {
            Some(rule) => rule.source.or_else(|| Some(here.nics.get(&rule.out)?.address?.addr())),
            None => Some(source),
        }
    }

    /// Returns the host of the lab, and its NIC, that has the address of a host's default gateway by the lab; `None` where the
    /// gateway is another machine, or `to` is on a link of the host itself.
    fn next_host(&self, machine: &HostName, to: Ipv4Addr) -> Option<(&'a HostName, &'a IfName)> {
        let topology = self.evidence.topology;
        let nics = &topology.hosts.get(machine)?.nics;
        let mut addresses = nics.values().filter_map(|nic| nic.address);
        if addresses.any(|net| net.contains(&to)) {
            return None;
        }
        let gateway = nics.values().find_map(|nic| nic.gateway)?;
        let (next, nic) = self.owner(gateway)?;
        topology.hosts.get_key_value(next)?;
        Some((next, nic?)).filter(|(next, _)| *next != machine)
    }

    /// The path from a host through another one, which is its default gateway, to an address outside of the networks.
    fn through_host(
        &mut self,
        machine: &HostName,
        (router, nic): (&'a HostName, &'a IfName),
        [source, to]: [Ipv4Addr; 2],
    ) {
        self.outside_to(machine, router, nic);
        let inner = self.in_use(router, nic);
        if self.has(router, to) {
            self.answers(router, [source, to]);
            return self.back(router, Some(to), source, Some(inner));
        }
        self.forwarding(router, inner, source, to);
        let out = self.outward(router, source, to).map(|(_, link)| link);
        self.route(router, Some(source), to, Some(inner), out);
        self.translates_from(router, source);
        self.rules(router, true, [source, to]);
        self.outside(router, source, to);
        self.back(router, Some(to), source, Some(inner));
    }

    /// Adds the rest of a path to an address outside of the networks: from a host, or a router, that has packets from
    /// `source` for it.
    pub(super) fn outside(&mut self, from: &HostName, source: Ipv4Addr, to: Ipv4Addr) {
        // Each host once: two may be each other's gateway.
        if let Some(next) = self.next_host(from, to).filter(|(next, _)| self.passed.insert(next)) {
            let source = self.translated(from, source).unwrap_or(source);
            return self.through_host(from, next, [source, to]);
        }
        if let Some(owner) = self.owner(to) {
            let (machine, nic) = owner;
            if machine == from {
                return self.answers(machine, [source, to]);
            }
            let out = self.outward(from, source, to).map(|(nic, _)| nic);
            let out = out.or_else(|| self.router_nic(from, to));
            if let Some(out) = out {
                let bridge = self.segments(from).find(|segment| segment.port().as_ref() == Some(out));
                self.link(
                    from,
                    out.as_str(),
                    bridge.map(|segment| segment.bridge.as_str()),
                    "towards the outside",
                );
            }
            if let (Some(out), Some(nic)) = (out, nic) {
                self.wire((from, out), (machine, nic), None);
            }
            let seen = self.translated(from, source);
            self.arrives(machine, nic, [seen.unwrap_or(source), to]);
            if let Some(back) = seen.filter(|back| *back != to) {
                self.back(machine, Some(to), back, None);
            }
        }
    }

    /// The NIC of an emulated router whose subnet has an address.
    fn router_nic(&self, router: &HostName, to: Ipv4Addr) -> Option<&'a IfName> {
        let router = self.evidence.topology.routers.get(router)?;
        let mut nics = router.nics.iter();
        let (nic, _) = nics.find(|(_, nic)| nic.address.is_some_and(|net| net.contains(&to)))?;
        Some(nic)
    }

    /// Returns the router or host that has an address outside of the networks by the lab, and the NIC towards the lab.
    pub(super) fn owner(&self, address: Ipv4Addr) -> Option<(&'a HostName, Option<&'a IfName>)> {
        let topology = self.evidence.topology;
        for (name, router) in &topology.routers {
            let of_nic = |net: Option<Ipv4Net>| net.is_some_and(|net| net.addr() == address);
            if let Some((nic, _)) = router.nics.iter().find(|(_, nic)| of_nic(nic.address)) {
                return Some((name, Some(nic)));
            }
            if router.outside.iter().any(|net| net.addr() == address) {
                return Some((name, router.nics.keys().next().filter(|_| router.nics.len() == 1)));
            }
        }
        topology.hosts.iter().find_map(|(name, host)| {
            let mut nics = host.nics.iter();
            let (nic, _) = nics.find(|(_, nic)| nic.address.is_some_and(|net| net.addr() == address))?;
            Some((name, Some(nic)))
        })
    }

    /// Adds the machine that has an address outside of the networks.
    fn arrives(&mut self, machine: &HostName, nic: Option<&IfName>, [source, to]: [Ipv4Addr; 2]) {
        let is_router = self.evidence.topology.routers.contains_key(machine);
        let kind = if is_router { "the router" } else { "the host" };
        if self.view(machine).is_none() {
            let text = format!("{machine}: {kind}, which has {to}, does not exist");
            let finding = self
                .host(machine)
                .or_else(|| is_router.then(|| Finding::new(text).fixed_by_up()));
            self.hops.push(Hop::new(machine, kind).found(finding));
            return;
        }
        let nics = match nic {
            Some(nic) => vec![nic],
            None => self
                .evidence
                .topology
                .routers
                .get(machine)
                .into_iter()
                .flat_map(|router| router.nics.keys())
                .collect(),
        };
        for nic in nics {
            let of = if is_router {
                format!("of router {machine}")
            } else {
                "of the host".to_owned()
            };
            self.link(machine, nic.as_str(), None, &of);
        }
        let lacks = (!self.has(machine, to)).then(|| {
            let of = nic.map_or_else(String::new, |nic| format!(" of NIC {nic}"));
            let text = if is_router {
                format!("{machine}: the router lacks its address {to}")
            } else {
                format!("{machine}: no link has the address {to}{of}")
            };
            Finding::new(text).shown(machine, "ip addr").fixed_by_up()
        });
        let hop = Hop::new(machine, format!("address {to}"));
        self.hops.push(hop.shows(Some("present".to_owned())).found(lacks));
        self.answers(machine, [source, to]);
    }
}
