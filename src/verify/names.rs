//! The lab's name servers: which addresses they have for a name, and what is wrong with one that a guest asks.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::Evidence;
use super::checks::{cause, v4};
use crate::lab::{Asked, DnsName, HostName, Router};
use crate::state::localhost;
use crate::topology::Topology;

/// Returns the addresses that the lab gives a name: of a guest on a network with DHCP, by its name or with the lab's as
/// its domain, or of a router's names. None where the lab does not know it.
pub fn addresses(topology: &Topology, name: &DnsName) -> BTreeSet<Ipv4Addr> {
    let text = name.as_str();
    let domain = topology.lab.as_str().to_ascii_lowercase();
    let plain = text.strip_suffix(&domain).and_then(|text| text.strip_suffix('.'));
    let plain = plain.unwrap_or(text);
    let guests = topology.guests.iter();
    let named = guests.filter(|(vm, _)| vm.as_str().eq_ignore_ascii_case(plain));
    let nics = named.flat_map(|(_, guest)| &guest.nics).filter(|nic| nic.dhcp);
    let routers = topology.routers.values();
    let resolved = routers.filter_map(|router| router.names.get(name)).flatten();
    nics.map(|nic| nic.address.addr()).chain(resolved.copied()).collect()
}

/// Returns what is wrong with the name servers that a guest asks, where that was observed; else which they are.
pub(super) fn fault(evidence: &Evidence<'_>, from: &Asked) -> Option<String> {
    let Asked::Vm(vm) = from else { return None };
    let guest = evidence.topology.guests.get(vm)?;
    let seen = evidence.guests.get(vm).and_then(|view| view.nameservers.as_ref());
    let given = || {
        let own = guest.nameservers.iter().copied();
        let leased = guest.nics.iter().filter(|nic| nic.dhcp).filter_map(|nic| nic.gateway);
        own.chain(leased.map(IpAddr::V4)).collect()
    };
    let list = |servers: &BTreeSet<IpAddr>| -> String {
        let texts: Vec<String> = servers.iter().map(ToString::to_string).collect();
        texts.join(", ")
    };
    let given: BTreeSet<IpAddr> = given();
    let servers: BTreeSet<IpAddr> = seen.cloned().unwrap_or_else(|| given.clone());
    // A resolver on the guest itself has the name servers in its own configuration (systemd-resolved(8)).
    let local = servers.iter().any(IpAddr::is_loopback);
    if let Some(wanted) = given.first().filter(|_| !local && servers.is_disjoint(&given)) {
        let (has, wanted_all) = (list(&servers), list(&given));
        let has = if has.is_empty() {
            "no name server".to_owned()
        } else {
            format!("name server {has}")
        };
        return Some(format!(
            "guest {vm}: /etc/resolv.conf has {has}, not {wanted_all}; shown by `cat /etc/resolv.conf` on guest {vm}; fix: \
             `echo nameserver {wanted} >/etc/resolv.conf` on guest {vm}"
        ));
    }
    if servers.is_empty() {
        return Some(format!("guest {vm} has no name server"));
    }
    let mut known = servers.iter().filter_map(|server| v4(*server));
    if let Some(fault) = known.find_map(|server| of_server(evidence, server)) {
        return Some(fault);
    }
    if let Some(fault) = servers
        .iter()
        .filter_map(|server| v4(*server))
        .find_map(|server| on_path(evidence, from, server))
    {
        return Some(fault);
    }
    Some(format!("guest {vm} asks name server {}", list(&servers)))
}

/// What is wrong on the path to a name server; where nothing is, that a server of the lab's runs and does not answer.
fn on_path(evidence: &Evidence<'_>, from: &Asked, server: Ipv4Addr) -> Option<String> {
    if let Some(cause) = cause::on_path(evidence, from, server, Some(("udp", 53))) {
        return Some(cause);
    }
    let topology = evidence.topology;
    let on_host = topology.hosts.iter().find(|(_, host)| {
        let mut segments = host.segments.values();
        segments.any(|segment| segment.dhcp.is_some() && segment.gateway == Some(server))
    });
    let on_router = || router_at(topology, server).map(|(router, _)| router);
    let machine = on_host.map(|(host, _)| host).or_else(on_router)?;
    Some(format!(
        "{machine}: dnsmasq, the name server at {server}, runs and does not answer; shown by `ps -C dnsmasq -o pid,stat,args` \
         on {machine} (T: it is stopped); fix: `pkill -CONT dnsmasq` on {machine}"
    ))
}

/// The emulated router that has an address.
fn router_at(topology: &Topology, address: Ipv4Addr) -> Option<(&HostName, &Router)> {
    topology.routers.iter().find(|(_, router)| {
        let nics = router.nics.values().filter_map(|nic| nic.address);
        nics.chain(router.outside.iter().copied())
            .any(|net| net.addr() == address)
    })
}

/// What is wrong with a name server of the lab's, or with one that it forwards to.
fn of_server(evidence: &Evidence<'_>, server: Ipv4Addr) -> Option<String> {
    for (host, has) in &evidence.topology.hosts {
        for (network, segment) in &has.segments {
            let Some(dhcp) = segment.dhcp.as_ref().filter(|_| segment.gateway == Some(server)) else {
                continue;
            };
            let runs = evidence.observed.get(host).and_then(|state| state.dhcp.get(network));
            if !runs.is_some_and(|server| server.running) {
                return Some(format!(
                    "{host}: dnsmasq, the DHCP and DNS server of network {network} at {server}, does not run"
                ));
            }
            let behind = dhcp.nameservers.iter().filter_map(|address| v4(*address));
            if let Some(fault) = behind
                .filter(|next| *next != server)
                .find_map(|next| of_router(evidence, next))
            {
                return Some(fault);
            }
        }
    }
    of_router(evidence, server)
}

/// What is wrong with the name server of an emulated router.
fn of_router(evidence: &Evidence<'_>, server: Ipv4Addr) -> Option<String> {
    let (name, router) = router_at(evidence.topology, server)?;
    if router.names.is_empty() {
        return Some(format!(
            "router {name}, which has {server}, resolves no names: it has no `names`"
        ));
    }
    let machine = evidence.observed.get(&localhost())?.machines.get(name)?;
    (machine.names != router.names).then(|| {
        format!("{name}: dnsmasq, the router's DNS server at {server}, does not run, or has other names than the lab's")
    })
}
