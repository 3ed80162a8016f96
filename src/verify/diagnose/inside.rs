//! A guest: whether it runs, and what it shows of its NICs, routes and rules.

use std::net::Ipv4Addr;

use super::hop::{Finding, Hop};
use super::{Path, guest_hop};
use crate::guest::{GuestLink, GuestRoute, GuestView};
use crate::lab::{ETHERNET_MTU, VmName};
use crate::state::DomainName;
use crate::topology::{Guest, GuestNic};

impl Path<'_> {
    /// Adds a guest that sends: itself, its NIC, its route to `to`, its tap.
    pub(super) fn sender(&mut self, vm: &VmName, guest: &Guest, nic: &GuestNic, to: Ipv4Addr, via: Option<Ipv4Addr>) {
        self.runs(vm, guest);
        self.nic(vm, nic);
        let finding = self.leaves(vm, nic, to, via);
        let shows = self.evidence.guests.get(vm).and_then(|view| route(view, to).map(text));
        let hop = Hop::new(format!("guest {vm}"), format!("route to {to}"));
        self.hops.push(hop.shows(shows).found(finding));
        self.tap(vm, guest, nic);
    }

    /// Adds a guest that is asked: its tap, itself, its NIC, what it does with requests, and its route back.
    pub(super) fn receiver(
        &mut self,
        vm: &VmName,
        guest: &Guest,
        nic: &GuestNic,
        from: Ipv4Addr,
        via: Option<Ipv4Addr>,
    ) {
        self.tap(vm, guest, nic);
        self.runs(vm, guest);
        self.nic(vm, nic);
        let finding = self.accepts(vm, nic, from);
        let seen = self.evidence.guests.get(vm);
        let hop = Hop::new(format!("guest {vm}"), "settings and rules for echo requests");
        let shows = seen.map(|_| "nothing prevents an answer".to_owned());
        self.hops.push(hop.shows(shows).found(finding));
        let finding = self.leaves(vm, nic, from, via);
        let hop = Hop::new(format!("guest {vm}"), format!("route back to {from}"));
        let shows = seen.and_then(|view| route(view, from).map(text));
        self.hops.push(hop.shows(shows).found(finding).back());
    }

    /// Adds a guest itself.
    fn runs(&mut self, vm: &VmName, guest: &Guest) {
        let finding = self.guest(vm, guest);
        let known = self.state(&guest.host).is_some();
        let hop = Hop::new(&guest.host, guest_hop(vm));
        self.hops
            .push(hop.shows(known.then(|| "runs, configured".to_owned())).found(finding));
    }

    /// Adds the tap of a guest's NIC; not of a guest that does not run, whose tap does not exist.
    fn tap(&mut self, vm: &VmName, guest: &Guest, nic: &GuestNic) {
        if self.is_off(vm, guest) {
            return;
        }
        let (of, bridge) = (format!("of guest {vm}"), Some(nic.bridge.as_str()));
        self.link(&guest.host, nic.tap.as_str(), bridge, &of);
    }

    /// Whether a guest is known not to run.
    pub(super) fn is_off(&self, vm: &VmName, guest: &Guest) -> bool {
        let name = DomainName::new(&self.evidence.topology.lab, vm);
        self.state(&guest.host).is_some_and(|state| {
            let domain = state.domains.get(&name);
            domain.is_none_or(|domain| !domain.running)
        })
    }

    /// Checks a guest.
    pub(super) fn guest(&self, vm: &VmName, guest: &Guest) -> Option<Finding> {
        let host = &guest.host;
        let name = DomainName::new(&self.evidence.topology.lab, vm);
        let fault = |text: String| Some(Finding::new(text).shown(host, "virsh list --all"));
        if let Some(finding) = self.host(host) {
            return Some(finding);
        }
        let state = self.state(host);
        let Some(domain) = state.and_then(|state| state.domains.get(&name)) else {
            return fault(format!("{host}: guest {vm} does not exist")).map(Finding::fixed_by_up);
        };
        let seen = state.and_then(|state| state.seen.domains.get(&name));
        if let Some(why) = seen.and_then(|seen| seen.halted.as_ref()) {
            let paused = fault(format!("{host}: guest {vm} does not run: {why}"))?;
            return Some(if why.contains("`kill -CONT") {
                paused
            } else {
                paused.resumed(&name)
            });
        }
        if !domain.running {
            return fault(format!("{host}: guest {vm} is not running")).map(Finding::fixed_by_up);
        }
        let unconfigured = || Finding::new(format!("{host}: guest {vm} is not configured")).fixed_by_up();
        domain.configured.is_none().then(unconfigured)
    }

    /// Adds the NIC as the guest shows it.
    fn nic(&mut self, vm: &VmName, nic: &GuestNic) {
        let finding = self.nic_fault(vm, nic);
        let view = self.evidence.guests.get(vm);
        let found = view.and_then(|view| view.links.iter().find(|(_, link)| link.mac == nic.mac));
        let name = found.map_or_else(|| nic.mac.to_string(), |(name, _)| name.clone());
        let shows = found.map(|(_, link)| format!("up, {}, MTU {}", nic.address, link.mtu));
        let hop = Hop::new(format!("guest {vm}"), format!("NIC {name}"));
        self.hops.push(hop.shows(shows).found(finding));
    }

    /// Checks what a guest shows of its NIC.
    fn nic_fault(&self, vm: &VmName, nic: &GuestNic) -> Option<Finding> {
        let view = self.evidence.guests.get(vm)?;
        let at = format!("guest {vm}");
        // On a screen only addresses are read.
        let Some((name, link)) = named(view, nic) else {
            let text = format!("guest {vm}: it has no NIC with the MAC address {}", nic.mac);
            return (!view.links.is_empty()).then(|| Finding::new(text).shown(&at, "ip link"));
        };
        let show = format!("ip addr show dev {name}");
        let fault = |text: String| Finding::new(format!("guest {vm}: NIC {name} {text}")).shown(&at, &show);
        let set = |what: &str| format!("ip link set dev {name} {what}");
        if !link.up {
            return Some(fault("is down".to_owned()).fixed_by_up());
        }
        if !link.carrier {
            return Some(fault("has no carrier".to_owned()));
        }
        if link.noarp {
            let text = "does not use ARP: it asks for no neighbor and answers none".to_owned();
            return Some(fault(text).fixed(&at, &set("arp on")));
        }
        if !view.addresses.contains(&nic.address.addr()) {
            return Some(fault(format!("lacks its address {}", nic.address)).fixed_by_up());
        }
        let wanted = u32::from(nic.mtu.unwrap_or(ETHERNET_MTU));
        let small = self.needed.is_some_and(|needed| link.mtu < u32::from(needed));
        small
            .then(|| fault(format!("has an MTU of only {} bytes", link.mtu)).fixed(&at, &set(&format!("mtu {wanted}"))))
    }

    /// Checks a guest's route to `to`, which has to leave by `nic` and the next hop `via`.
    fn leaves(&self, vm: &VmName, nic: &GuestNic, to: Ipv4Addr, via: Option<Ipv4Addr>) -> Option<Finding> {
        let view = self.evidence.guests.get(vm)?;
        let (name, _) = named(view, nic)?;
        let at = format!("guest {vm}");
        let fault = |text: String| Finding::new(format!("guest {vm}: {text}")).shown(&at, "ip route");
        let Some(route) = route(view, to) else {
            let default = via.map_or_else(String::new, |gateway| format!(", and none by default via {gateway}"));
            return Some(fault(format!("it has no route to {to}{default}")).fixed_by_up());
        };
        if route.rejects {
            let delete = format!("ip route del {}", route.to);
            return Some(fault(format!("its route to {} refuses packets", route.to)).fixed(&at, &delete));
        }
        let by = |via: Option<Ipv4Addr>| via.map_or_else(|| "on the link".to_owned(), |via| format!("via {via}"));
        if route.via != via {
            let text = format!("its route to {to} is {}, not {}", by(route.via), by(via));
            let fault = fault(text);
            return Some(if route.to.prefix_len() == 0 {
                fault.fixed_by_up()
            } else {
                fault
            });
        }
        // By another NIC the packets arrive elsewhere.
        if route.link != name && via.is_none() {
            return Some(fault(format!("its route to {to} is by {}, not by {name}", route.link)));
        }
        let next = route.via.unwrap_or(to);
        let mac = view.arp.get(&next).filter(|mac| !self.may_have(next.into(), **mac))?;
        let text = format!("guest {vm}: its neighbor table has {mac} for {next}, which is not that machine's");
        let forget = format!("arp -d {next}");
        Some(Finding::new(text).shown(&at, "cat /proc/net/arp").fixed(&at, &forget))
    }

    /// Checks whether a guest takes echo requests and answers them.
    fn accepts(&self, vm: &VmName, nic: &GuestNic, from: Ipv4Addr) -> Option<Finding> {
        let view = self.evidence.guests.get(vm)?;
        let (name, _) = named(view, nic)?;
        let at = format!("guest {vm}");
        let setting = |key: &str| view.settings.get(key).copied().unwrap_or(0);
        if setting("icmp_echo_ignore_all") == 1 {
            let text = "it ignores echo requests: net.ipv4.icmp_echo_ignore_all is 1";
            let fault = Finding::new(format!("guest {vm}: {text}"));
            return Some(
                fault
                    .shown(&at, "sysctl net.ipv4.icmp_echo_ignore_all")
                    .fixed(&at, "sysctl -w net.ipv4.icmp_echo_ignore_all=0"),
            );
        }
        // "Do not reply for all local addresses" (ip-sysctl, arp_ignore); the larger of both values counts.
        if setting("conf/all/arp_ignore").max(setting(&format!("conf/{name}/arp_ignore"))) == 8 {
            let keys = ["all", name].map(|link| format!("net.ipv4.conf.{link}.arp_ignore"));
            let text = format!("guest {vm}: NIC {name} answers no ARP requests: arp_ignore is 8");
            let fix = format!("sysctl -w {}=0 {}=0", keys[0], keys[1]);
            return Some(
                Finding::new(text)
                    .shown(&at, &format!("sysctl {}", keys.join(" ")))
                    .fixed(&at, &fix),
            );
        }
        // Source validation by RFC 3704 (ip-sysctl, rp_filter): the larger of both values counts.
        let strict = setting("conf/all/rp_filter").max(setting(&format!("conf/{name}/rp_filter"))) == 1;
        if let Some(back) = route(view, from).filter(|back| strict && back.link != name) {
            let text = format!(
                "guest {vm}: NIC {name} drops packets from {from}: rp_filter is 1, and its route back is by {}",
                back.link
            );
            let fix = format!("sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{name}.rp_filter=2");
            let show = format!("sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.{name}.rp_filter");
            return Some(Finding::new(text).shown(&at, &show).fixed(&at, &fix));
        }
        let drop = view.drops.iter().find(|rule| {
            !["tcp", "udp"]
                .iter()
                .any(|other| rule.split_whitespace().any(|word| word == *other))
        })?;
        let text = format!("guest {vm}: a rule of its own firewall may drop packets: {drop}");
        Some(Finding::new(text).shown(&at, "nft list ruleset").possible())
    }
}

fn named<'v>(view: &'v GuestView, nic: &GuestNic) -> Option<(&'v str, &'v GuestLink)> {
    let mut links = view.links.iter();
    let (name, link) = links.find(|(_, link)| link.mac == nic.mac)?;
    Some((name, link))
}

/// The route that a guest takes: the longest prefix, of those the lowest metric.
fn route(view: &GuestView, to: Ipv4Addr) -> Option<&GuestRoute> {
    let routes = view.routes.iter().filter(|route| route.to.contains(&to));
    routes.max_by_key(|route| (route.to.prefix_len(), u32::MAX - route.metric))
}

fn text(route: &GuestRoute) -> String {
    match route.via {
        Some(via) => format!("{} via {via} by {}", route.to, route.link),
        None => format!("{} on {}", route.to, route.link),
    }
}
