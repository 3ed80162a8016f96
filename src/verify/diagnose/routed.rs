//! Layer 3: gateways, forwarding, routes, and the machines that have an address.

use std::net::{IpAddr, Ipv4Addr};

use super::Path;
use super::hop::{Finding, Hop};
use super::lookup::{Decision, decide};
use crate::lab::{HostName, MacAddr, NetworkName};
use crate::state::Sysctl;
use crate::state::view::{View, ViewRoute};

impl Path<'_> {
    /// Adds the gateway address on the router's bridge.
    pub(super) fn gateway(&mut self, router: &HostName, network: &NetworkName, gateway: Ipv4Addr) {
        let Some(segment) = self.part(router, network) else {
            return;
        };
        let bridge = &segment.bridge;
        let link = self.state(router).and_then(|state| state.links.get(bridge));
        let there = link.is_some_and(|link| link.addresses.iter().any(|at| at.addr() == gateway));
        let text = format!("{router}: bridge {bridge} of network {network} lacks the gateway address {gateway}");
        let finding = || {
            let add = format!("ip addr add {gateway}/{} dev {bridge}", segment.subnet.prefix_len());
            Finding::new(text)
                .shown(router, &format!("ip addr show dev {bridge}"))
                .fixed(router, &add)
        };
        let hop = Hop::on_link(
            router,
            bridge.as_str(),
            format!("gateway address {gateway} on {bridge}"),
        );
        let found = (!there)
            .then(finding)
            .or_else(|| self.ignores_arp(router, bridge.as_str()));
        self.hops.push(hop.shows(Some("present".to_owned())).found(found));
    }

    /// Checks that a machine answers ARP requests that come in by a link: of arp_ignore the larger value of a link's and
    /// that of all counts, and 8 is "do not reply for all local addresses" (ip-sysctl).
    fn ignores_arp(&self, machine: &HostName, link: &str) -> Option<Finding> {
        let value = |link: &str| self.setting(machine, &format!("ipv4/conf/{link}/arp_ignore"));
        let ignores = value("all").max(value(link)) == Some(8);
        let (all, own) = (
            "net.ipv4.conf.all.arp_ignore",
            format!("net.ipv4.conf.{link}.arp_ignore"),
        );
        ignores.then(|| {
            Finding::new(format!("{machine}: {link} answers no ARP requests: arp_ignore is 8"))
                .shown(machine, &format!("sysctl {all} {own}"))
                .fixed(machine, &format!("sysctl -w {all}=0 {own}=0"))
        })
    }

    /// Adds that a machine forwards from `source` to `to` what comes in by `link`.
    pub(super) fn forwarding(&mut self, router: &HostName, link: &str, source: Ipv4Addr, to: Ipv4Addr) {
        let finding = self
            .forwards(router)
            .or_else(|| self.of_link(router, link))
            .or_else(|| self.reverse_path(router, link, source, to))
            .or_else(|| self.connections(router));
        let shows = self.view(router).map(|_| "on".to_owned());
        let hop = Hop::new(router, format!("forwarding from {link}"));
        self.hops.push(hop.shows(shows).found(finding));
    }

    /// Checks that a machine forwards.
    pub(super) fn forwards(&self, router: &HostName) -> Option<Finding> {
        let value = self.state(router)?.sysctls.get(&Sysctl::Ipv4Forward);
        let key = Sysctl::Ipv4Forward.to_string();
        (value.map(String::as_str) != Some("1")).then(|| {
            Finding::new(format!("{router}: {key} is not 1"))
                .shown(router, &format!("sysctl {key}"))
                .fixed(router, &format!("sysctl -w {key}=1"))
        })
    }

    /// Checks that a machine forwards what comes in by a link.
    fn of_link(&self, router: &HostName, link: &str) -> Option<Finding> {
        let off = self.setting(router, &format!("ipv4/conf/{link}/forwarding"))? == 0;
        let key = format!("net.ipv4.conf.{link}.forwarding");
        off.then(|| {
            Finding::new(format!(
                "{router}: {key} is 0: nothing that comes in by {link} is forwarded"
            ))
            .shown(router, &format!("sysctl {key}"))
            .fixed(router, &format!("sysctl -w {key}=1"))
        })
    }

    /// Checks source validation (RFC 3704): the larger value of a link's rp_filter and that of all counts.
    fn reverse_path(&self, router: &HostName, link: &str, source: Ipv4Addr, to: Ipv4Addr) -> Option<Finding> {
        let view = self.view(router)?;
        let value = |link: &str| {
            self.setting(router, &format!("ipv4/conf/{link}/rp_filter"))
                .unwrap_or(0)
        };
        if value("all").max(value(link)) != 1 {
            return None;
        }
        let back = match decide(view, Some(to), source, None) {
            Decision::Route(route) if route.link.as_deref() == Some(link) => return None,
            Decision::Route(route) => format!("its route back is {}", words(route)),
            Decision::Dropped(_) | Decision::None => "it has no route back".to_owned(),
        };
        let keys = format!("net.ipv4.conf.all.rp_filter net.ipv4.conf.{link}.rp_filter");
        let text = format!("{router}: {link} drops packets from {source}: rp_filter is 1, and {back}");
        Some(Finding::new(text).shown(router, &format!("sysctl {keys}")))
    }

    /// Checks that the table of tracked connections is not full: new ones are dropped then.
    fn connections(&self, router: &HostName) -> Option<Finding> {
        let count = self.setting(router, "netfilter/nf_conntrack_count")?;
        let most = self.setting(router, "netfilter/nf_conntrack_max")?;
        let text = format!("{router}: its table of tracked connections is full: {count} of {most}");
        (most > 0 && count >= most).then(|| {
            Finding::new(text)
                .shown(
                    router,
                    "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
                )
                .fixed(
                    router,
                    &format!("sysctl -w net.netfilter.nf_conntrack_max={}", most.saturating_mul(2)),
                )
        })
    }

    fn setting(&self, machine: &HostName, key: &str) -> Option<u64> {
        self.view(machine)?.settings.get(key).copied()
    }

    /// Adds a machine's route to `to`, and the link that it leads to. `iif` is the link that the packets came in by, and
    /// `wanted` the link that they should leave by, where the lab decides that.
    pub(super) fn route(
        &mut self,
        machine: &HostName,
        from: Option<Ipv4Addr>,
        to: Ipv4Addr,
        iif: Option<&str>,
        wanted: Option<&str>,
    ) {
        // Without any route nothing was observed: every kernel has those of its loopback device.
        let view = self.view(machine).filter(|view| !view.routes.is_empty());
        let Some(view) = view.filter(|_| !self.has(machine, to)) else {
            return;
        };
        let decision = decide(view, from, to, iif);
        let finding = self.route_fault(machine, decision, to, wanted);
        let shows = match decision {
            Decision::Route(route) => Some(words(route)),
            Decision::Dropped(_) | Decision::None => None,
        };
        let hop = Hop::new(machine, format!("route to {to}"));
        self.hops.push(hop.shows(shows).found(finding));
        let Decision::Route(route) = decision else { return };
        let Some(link) = route.link.as_deref() else { return };
        let towards = format!("towards {to}");
        let finding = self
            .port(machine, link, None, &towards)
            .or_else(|| self.carrier(machine, link, &towards))
            .or_else(|| self.small_bridge(machine, link, &towards))
            .or_else(|| self.neighbor(machine, link, route.via.unwrap_or_else(|| to.into()), to));
        let hop = Hop::on_link(machine, link, format!("link {link} {towards}"));
        self.hops.push(hop.shows(self.shows(machine, link)).found(finding));
    }

    /// Checks the MTU of a bridge by which packets are routed, which is that of its smallest port unless it was set.
    fn small_bridge(&self, machine: &HostName, bridge: &str, of: &str) -> Option<Finding> {
        let ports = &self.view(machine)?.ports;
        let mtu = ports.get(bridge)?.mtu?;
        let mut members = ports.values().filter(|port| port.master.as_deref() == Some(bridge));
        let needed = self.needed.filter(|needed| mtu < u32::from(*needed))?;
        let is_set = members.clone().next().is_some() && members.all(|port| port.mtu.is_none_or(|own| own > mtu));
        is_set.then(|| {
            Finding::new(format!(
                "{machine}: bridge {bridge} {of} has an MTU of only {mtu} bytes"
            ))
            .shown(machine, &format!("ip link show dev {bridge}"))
            .fixed(machine, &format!("ip link set dev {bridge} mtu {needed}"))
        })
    }

    fn route_fault(
        &self,
        machine: &HostName,
        decision: Decision<'_>,
        to: Ipv4Addr,
        wanted: Option<&str>,
    ) -> Option<Finding> {
        let fault = |text: String| Finding::new(format!("{machine}: {text}"));
        let get = format!("ip route get {to}");
        match decision {
            Decision::None => {
                let down = wanted.and_then(|link| self.port(machine, link, None, &format!("towards {to}")));
                Some(down.unwrap_or_else(|| self.no_route(machine, to, wanted.is_some()).shown(machine, &get)))
            }
            Decision::Dropped(rule) => {
                let priority = rule.text.split(':').next().unwrap_or_default();
                Some(
                    fault(format!(
                        "its rule of policy routing `{}` drops packets to {to}",
                        rule.text
                    ))
                    .shown(machine, "ip rule")
                    .fixed(machine, &format!("ip rule del priority {priority}")),
                )
            }
            Decision::Route(route) if !["unicast", "local"].contains(&route.kind.as_str()) => Some(
                fault(format!("its route to {} is {}: it drops packets", route.to, route.kind))
                    .shown(machine, "ip route show table all")
                    .fixed(
                        machine,
                        &format!("ip route del {} {}{}", route.kind, route.to, table(route)),
                    ),
            ),
            Decision::Route(route) => {
                let (link, wanted) = (route.link.as_deref()?, wanted?);
                let on_link = self
                    .segments(machine)
                    .any(|segment| segment.bridge.as_str() == wanted && segment.subnet.contains(&to));
                let detour = on_link && route.via.is_some();
                let not = if link == wanted {
                    "on the link".to_owned()
                } else {
                    format!("by {wanted}")
                };
                let text = format!("its route to {to} is {}, not {not}", words(route));
                let delete = format!("ip route del {}{}", words(route), table(route));
                (link != wanted || detour).then(|| {
                    fault(text)
                        .shown(machine, &format!("{get}; ip rule"))
                        .fixed(machine, &delete)
                })
            }
        }
    }

    /// Returns that a machine has no route. `netlab up` restores one that the lab gives it: `of_lab`, or one that follows
    /// from an address or a gateway of the machine; a router has none to the networks.
    fn no_route(&self, machine: &HostName, to: Ipv4Addr, of_lab: bool) -> Finding {
        let topology = self.evidence.topology;
        let mut networks = topology.hosts.values().flat_map(|host| host.segments.values());
        let mut nics = self.nics_of(machine).into_iter().flat_map(|nics| nics.values());
        let given = nics.any(|nic| nic.gateway.is_some() || nic.address.is_some_and(|net| net.contains(&to)))
            || self.segments(machine).any(|segment| segment.subnet.contains(&to));
        if topology.routers.contains_key(machine) && !given && networks.any(|segment| segment.subnet.contains(&to)) {
            let guest = self
                .evidence
                .nics
                .at(to.into())
                .map(|(vm, guest, _)| (vm, &guest.floating));
            let floating = match guest {
                Some((vm, Some(floating))) => format!(": that of guest {vm} is {}", floating.address),
                Some((vm, None)) => format!(", and guest {vm} has none"),
                None => String::new(),
            };
            return Finding::new(format!(
                "{machine}: it has no route to {to}: by the lab a router has none to the networks, whose guests are reached \
                 from there at floating addresses only{floating}"
            ));
        }
        let finding = Finding::new(format!("{machine}: it has no route to {to}, and no default route"));
        if of_lab || given {
            finding.fixed_by_up()
        } else {
            finding
        }
    }

    /// Checks the neighbor that packets are sent to.
    fn neighbor(&self, machine: &HostName, link: &str, next: IpAddr, to: Ipv4Addr) -> Option<Finding> {
        let mut neighbors = self.view(machine)?.neighbors.iter();
        let by_hand = neighbors.clone().find_map(|one| {
            let wrong = one.permanent && one.address == next && one.link == link;
            one.mac.filter(|mac| wrong && !self.may_have(next, *mac))
        });
        if let Some(mac) = by_hand {
            let text = format!(
                "{machine}: its neighbor table on {link} has {mac} for {next}, set by hand, which is not that machine's"
            );
            return Some(
                Finding::new(text)
                    .shown(machine, &format!("ip neigh show dev {link}"))
                    .fixed(machine, &format!("ip neigh del {next} dev {link}")),
            );
        }
        let silent = neighbors.any(|one| one.address == next && one.link == link && one.mac.is_none());
        // That nobody answers is the effect of a fault further on, if there is one.
        silent.then(|| {
            Finding::new(format!(
                "{machine}: {next}, the next hop to {to} by {link}, does not answer ARP requests"
            ))
            .shown(machine, &format!("ip neigh show dev {link}"))
            .possible()
        })
    }

    /// Whether a hardware address can be that of the machine which has an address: not that of another one.
    pub(super) fn may_have(&self, address: IpAddr, mac: MacAddr) -> bool {
        if let Some((_, _, nic)) = self.evidence.nics.at(address) {
            return nic.mac == mac;
        }
        let has = |view: &&View| {
            let mut ports = view.ports.values();
            ports.any(|port| port.addresses.iter().any(|net| net.addr() == address))
        };
        // Every host may have a gateway's.
        let mut owners = self.evidence.views.values().filter(has).peekable();
        owners.peek().is_none() || owners.any(|view| view.ports.values().any(|port| port.mac == Some(mac)))
    }

    /// Whether one of a machine's links has an address.
    pub(super) fn has(&self, machine: &HostName, address: Ipv4Addr) -> bool {
        self.view(machine).is_some_and(|view| {
            let mut ports = view.ports.values();
            ports.any(|port| port.addresses.iter().any(|net| net.addr() == IpAddr::from(address)))
        })
    }

    /// Adds that a machine answers for an address of its own.
    pub(super) fn answers(&mut self, machine: &HostName, ends: [Ipv4Addr; 2]) {
        let ignores = self.setting(machine, "ipv4/icmp_echo_ignore_all") == Some(1);
        let key = "net.ipv4.icmp_echo_ignore_all";
        let finding = ignores.then(|| {
            Finding::new(format!("{machine}: it ignores echo requests: {key} is 1"))
                .shown(machine, &format!("sysctl {key}"))
                .fixed(machine, &format!("sysctl -w {key}=0"))
        });
        let shows = self.view(machine).map(|_| "nothing prevents an answer".to_owned());
        let hop = Hop::new(machine, "settings and rules for echo requests");
        self.hops.push(hop.shows(shows).found(finding));
        self.rules(machine, true, ends);
    }

    /// Adds a machine's route back to the source of requests, of replies that come from `from`.
    pub(super) fn back(&mut self, machine: &HostName, from: Option<Ipv4Addr>, to: Ipv4Addr, wanted: Option<&str>) {
        let view = self.view(machine).filter(|view| !view.routes.is_empty());
        let Some(view) = view.filter(|_| !self.has(machine, to)) else {
            return;
        };
        let decision = decide(view, from, to, None);
        let finding = self
            .route_fault(machine, decision, to, wanted)
            .or_else(|| match decision {
                Decision::Route(route) => {
                    let next = route.via.unwrap_or_else(|| to.into());
                    self.neighbor(machine, route.link.as_deref()?, next, to)
                }
                Decision::Dropped(_) | Decision::None => None,
            });
        let shows = match decision {
            Decision::Route(route) => Some(words(route)),
            Decision::Dropped(_) | Decision::None => None,
        };
        let hop = Hop::new(machine, format!("route back to {to}"));
        self.hops.push(hop.shows(shows).found(finding).back());
    }
}

/// A route as ip-route(8) takes it.
fn words(route: &ViewRoute) -> String {
    let to = match route.to.prefix_len() {
        0 => "default".to_owned(),
        _ => route.to.to_string(),
    };
    let via = route.via.map_or_else(String::new, |via| format!(" via {via}"));
    let dev = route
        .link
        .as_ref()
        .map_or_else(String::new, |link| format!(" dev {link}"));
    format!("{to}{via}{dev}")
}

fn table(route: &ViewRoute) -> String {
    let table = route.table.as_ref().filter(|table| *table != "main");
    table.map_or_else(String::new, |table| format!(" table {table}"))
}
