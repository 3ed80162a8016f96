//! Layer 3: gateways, routes, address translation, rules that drop packets.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{DropRule, Path};
use crate::lab::{HostName, NetworkName};
use crate::state::{Firewall, Sysctl};

impl Path<'_> {
    /// Checks that the router's bridge has the gateway's address.
    pub(super) fn gateway(&self, router: &HostName, network: &NetworkName, gateway: Ipv4Addr) -> Option<String> {
        let bridge = &self.part(router, network)?.bridge;
        let link = self.state(router).and_then(|state| state.links.get(bridge));
        let there = link.is_some_and(|link| link.addresses.iter().any(|at| at.addr() == gateway));
        (!there).then(|| format!("{router}: bridge {bridge} of network {network} lacks the gateway address {gateway}"))
    }

    /// Checks that the router forwards.
    pub(super) fn forwards(&self, router: &HostName) -> Option<String> {
        let value = self.state(router)?.sysctls.get(&Sysctl::Ipv4Forward);
        (value.map(String::as_str) != Some("1")).then(|| format!("{router}: {} is not 1", Sysctl::Ipv4Forward))
    }

    /// Checks that a machine has a usable route, and that the link which it leads to works.
    pub(super) fn routes(&self, machine: &HostName, to: Ipv4Addr) -> Option<String> {
        let view = self.view(machine)?;
        let own = view
            .ports
            .values()
            .any(|port| port.addresses.iter().any(|net| net.addr() == IpAddr::from(to)));
        if own {
            return None;
        }
        let ours = |table: &Option<String>| table.as_deref().is_none_or(|table| table == "main");
        let routes = view
            .routes
            .iter()
            .filter(|route| ours(&route.table) && route.to.contains(&IpAddr::from(to)));
        let key = |net: &IpNet, metric: u32| (net.prefix_len(), u32::MAX - metric);
        let Some(route) = routes.max_by_key(|route| key(&route.to, route.metric)) else {
            return Some(format!("{machine}: it has no route to {to}, and no default route"));
        };
        if route.kind != "unicast" {
            return Some(format!(
                "{machine}: its route to {} is {}: it drops packets",
                route.to, route.kind
            ));
        }
        let link = route.link.as_deref()?;
        self.port(machine, link, None, &format!("towards {to}"))
            .or_else(|| self.carrier(machine, link, to))
            .or_else(|| {
                let next = route.via.unwrap_or_else(|| to.into());
                let mut neighbors = view.neighbors.iter();
                let silent = neighbors.any(|one| one.address == next && one.link == link && one.mac.is_none());
                silent
                    .then(|| format!("{machine}: {next}, the next hop to {to} by {link}, does not answer ARP requests"))
            })
    }

    fn carrier(&self, machine: &HostName, link: &str, to: Ipv4Addr) -> Option<String> {
        let port = self.view(machine)?.ports.get(link)?;
        (!port.carrier)
            .then(|| format!("{machine}: link {link} towards {to} has no carrier: its other end is not connected"))
    }

    /// Checks the path of a guest's packets from its gateway's host to an address outside of the networks.
    pub(super) fn outside(&self, router: &HostName, from: Ipv4Addr, to: Ipv4Addr) -> Option<String> {
        self.routes(router, to)
            .or_else(|| self.translated_from(router, from))
            .or_else(|| self.floating(to))
            .or_else(|| self.owner(to))
    }

    /// Checks the rules that translate a guest's address.
    pub(super) fn translated_from(&self, router: &HostName, from: Ipv4Addr) -> Option<String> {
        self.translation(router, |firewall| {
            let nat = firewall.nat.iter().filter(|rule| rule.from.contains(&from));
            let nat = nat.map(|rule| {
                let source = rule.source.map(|source| source.to_string());
                let source = source.unwrap_or_else(|| format!("that of {}", rule.out));
                format!(
                    "of {} leaving by {} to source address {source}",
                    text(rule.from),
                    rule.out
                )
            });
            let floating = firewall.floating.iter().filter(|rule| rule.private == from);
            let floating = floating.map(|rule| format!("of {} to floating address {}", rule.private, rule.public));
            nat.chain(floating).collect()
        })
    }

    /// Checks the rules that translate a floating address to a guest's.
    pub(super) fn translated_to(&self, host: &HostName, address: Ipv4Addr) -> Option<String> {
        self.translation(host, |firewall| {
            let rules = firewall.floating.iter().filter(|rule| rule.public == address);
            rules
                .map(|rule| format!("of floating address {address} to {}", rule.private))
                .collect()
        })
    }

    /// Checks that a host has the rules of address translation that concern a path.
    fn translation(&self, host: &HostName, concerning: impl Fn(&Firewall) -> Vec<String>) -> Option<String> {
        let wanted = concerning(self.evidence.desired.get(host)?.firewall.as_ref()?);
        let state = self.state(host)?;
        let found = state.firewall.as_ref().map(&concerning).unwrap_or_default();
        let missing = wanted.iter().find(|rule| !found.contains(rule));
        if let Some(missing) = missing {
            let instead = found.iter().find(|rule| !wanted.contains(rule));
            let instead = instead.map_or_else(String::new, |rule| format!(" (found instead: {rule})"));
            return Some(format!("{host}: the address translation {missing} is missing{instead}"));
        }
        let altered = state.firewall.as_ref().is_some_and(|firewall| firewall.altered);
        (altered && !wanted.is_empty()).then(|| format!("{host}: the lab's nftables tables were altered"))
    }

    /// Checks a floating address, if `address` is one: its host, its rules, and the guest behind it.
    pub(super) fn floating(&self, address: Ipv4Addr) -> Option<String> {
        let mut guests = self.evidence.topology.guests.iter();
        let (vm, guest, floating) = guests.find_map(|(vm, guest)| {
            let floating = guest.floating.as_ref().filter(|one| one.address == address)?;
            Some((vm, guest, floating))
        })?;
        let host = &floating.host;
        let nic = guest
            .nics
            .iter()
            .find(|nic| nic.gateway.is_some() && nic.gateway == guest.default_route)?;
        let there = self.view(host).is_none_or(|view| {
            let mut ports = view.ports.values();
            ports.any(|port| port.addresses.iter().any(|net| net.addr() == IpAddr::from(address)))
        });
        if !there {
            return Some(format!(
                "{host}: no link has the floating address {address} of guest {vm}"
            ));
        }
        self.translated_to(host, address)
            .or_else(|| self.forwards(host))
            .or_else(|| self.segment(&nic.network, host, &guest.host))
            .or_else(|| self.guest(vm, guest, nic))
            .or_else(|| self.inside(vm, nic, address, true))
            .or_else(|| self.drops(host, true, address, nic.address.addr()))
    }

    /// Checks the emulated router that has an address, or the host's NIC.
    pub(super) fn owner(&self, address: Ipv4Addr) -> Option<String> {
        for (name, router) in &self.evidence.topology.routers {
            let nics = router.nics.values().filter_map(|nic| nic.address);
            if !nics
                .chain(router.outside.iter().copied())
                .any(|net| net.addr() == address)
            {
                continue;
            }
            let Some(view) = self.view(name) else {
                return Some(format!("{name}: the router, which has {address}, does not exist"));
            };
            let mut ports = view.ports.values();
            if !ports.any(|port| port.addresses.iter().any(|net| net.addr() == IpAddr::from(address))) {
                return Some(format!("{name}: the router lacks its address {address}"));
            }
            let nics = router.nics.keys();
            let of = format!("of router {name}");
            let mut faults = nics.filter_map(|nic| {
                self.port(name, nic.as_str(), None, &of)
                    .or_else(|| self.carrier(name, nic.as_str(), address))
            });
            return faults.next().or_else(|| self.drops(name, true, address, address));
        }
        for (name, host) in &self.evidence.topology.hosts {
            let of_nic = |net: &Ipv4Net| net.addr() == address;
            if let Some((nic, _)) = host
                .nics
                .iter()
                .find(|(_, nic)| nic.address.as_ref().is_some_and(of_nic))
            {
                let there = self.view(name).is_none_or(|view| {
                    let mut ports = view.ports.values();
                    ports.any(|port| port.addresses.iter().any(|net| net.addr() == IpAddr::from(address)))
                });
                return self
                    .host(name)
                    .or_else(|| (!there).then(|| format!("{name}: no link has the address {address} of NIC {nic}")))
                    .or_else(|| self.port(name, nic.as_str(), None, "of the host"))
                    .or_else(|| self.carrier(name, nic.as_str(), address));
            }
        }
        None
    }

    /// Returns a rule that may drop the packets, on a host that bridges or routes them.
    pub(super) fn drops(&self, host: &HostName, routed: bool, from: Ipv4Addr, to: Ipv4Addr) -> Option<String> {
        let view = self.view(host)?;
        let own = format!("netlab-{}", self.evidence.topology.lab);
        let applies = |rule: &&DropRule| {
            let family = match rule.family.as_str() {
                "bridge" | "netdev" => true,
                "ip" | "inet" => routed || view.bridged_rules,
                _ => false,
            };
            family && rule.table != own && names(&rule.rule, from, to)
        };
        let rule = view.drops.iter().find(applies)?;
        let DropRule {
            family,
            table,
            chain,
            rule,
            ..
        } = rule;
        Some(format!(
            "{host}: a rule that is not the lab's drops packets: table {family} {table}, chain {chain}: {rule}"
        ))
    }
}

/// Whether a rule may be about pings between two addresses: it names one of them or none, and no other protocol.
fn names(rule: &str, from: Ipv4Addr, to: Ipv4Addr) -> bool {
    let words = rule.split(|c: char| c.is_whitespace() || ",{}".contains(c));
    let mut addresses = Vec::new();
    for word in words {
        if ["tcp", "udp", "arp", "ip6", "dport", "sport"].contains(&word) {
            return false;
        }
        let net = word.parse::<Ipv4Net>().ok();
        addresses.extend(net.or_else(|| Some(Ipv4Net::from(word.parse::<Ipv4Addr>().ok()?))));
    }
    addresses.is_empty() || addresses.iter().any(|net| net.contains(&from) || net.contains(&to))
}

/// A subnet in words.
fn text(net: Ipv4Net) -> String {
    match net.prefix_len() {
        0 => "everything".to_owned(),
        _ => net.to_string(),
    }
}
