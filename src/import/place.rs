//! The NICs of each host with their addresses, and the cables between hosts.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Wrong;
use super::comments::Comments;
use super::conf::Conf;
use super::hosts::{Machine, own_address};
use super::networks::{Manager, Networks, Nic};
use super::source::{Source, quoted};
use super::value::Value;
use crate::lab::IfName;

/// The prefix lengths of a host's address, the likely one first: nova.conf has none.
const PREFIXES: [u8; 23] = [
    24, 25, 26, 27, 28, 29, 30, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8,
];

/// A NIC of a host.
#[derive(Debug, Clone)]
pub(super) struct HostNic {
    pub nic: Nic,
    /// Its address, with the option that it is from.
    pub address: Option<(Ipv4Net, Option<Value>)>,
}

/// Where everything is.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// The NICs of each machine.
    pub hosts: Vec<Vec<HostNic>>,
    /// The NIC by which the hosts reach each other, where it is not the inner one.
    management: Option<IfName>,
    /// `routing_source_ip`.
    pub source: Option<Value>,
}

/// Gives each host its NICs. `routing_source_ip` is an address of the public NIC, or no replies would arrive; its default
/// is `my_ip`, which is then on the public NIC, and else on the inner one.
pub(super) fn place(
    conf: &Conf,
    networks: &Networks,
    machines: &[Machine],
    comments: &mut Comments,
) -> Result<Placed, Wrong> {
    let source = source(conf, networks, comments)?;
    let router = machines.iter().find(|machine| machine.routes);
    let own = router
        .and_then(|router| router.address.as_ref())
        .map(|(address, _)| *address);
    // An address of the public NIC besides the one that other hosts know.
    let outer = source.clone().filter(|(address, _)| Some(*address) != own);
    let inner = networks.inner.as_ref();
    let public = networks.public.as_ref();
    let public = public.filter(|_| networks.is_routed() || inner.is_none());
    let management = match (inner, public) {
        (Some(inner), Some(_)) if outer.is_some() => &inner.name,
        (_, Some(public)) => &public.name,
        (Some(inner), None) => &inner.name,
        (None, None) => {
            return Ok(Placed {
                hosts: machines.iter().map(|_| Vec::new()).collect(),
                ..Placed::default()
            });
        }
    };
    // The bridge of an untagged network has the addresses of its uplink: they may be in its subnet.
    let is_inner = |nic: &IfName| inner.is_some_and(|inner| inner.name == *nic);
    let is_uplink = |nic: &IfName| networks.manager != Manager::Vlan && is_inner(nic);
    let apart = |nic: &IfName| networks.first().filter(|_| !is_uplink(nic));
    let all: Vec<Ipv4Addr> = machines
        .iter()
        .filter_map(|machine| Some(machine.address.as_ref()?.0))
        .collect();
    let length = prefix(&all, apart(management));
    let nics = inner.into_iter().chain(public);
    let nics: Vec<&Nic> = match (inner, public) {
        (Some(inner), Some(public)) if inner.name == public.name => vec![inner],
        _ => nics.collect(),
    };
    let mut hosts = Vec::new();
    for machine in machines {
        let own = machine.address.as_ref();
        let at = |nic: &Nic| {
            let is_public = public.is_some_and(|public| public.name == nic.name);
            if let Some((address, from)) = outer.as_ref().filter(|_| is_public && machine.routes) {
                let net = Ipv4Net::new(*address, prefix(&[*address], apart(&nic.name)));
                return Some((net.ok()?, Some(from.clone())));
            }
            let (address, from) = own.filter(|_| nic.name == *management)?;
            Some((Ipv4Net::new(*address, length).ok()?, from.clone()))
        };
        // Only who routes needs the NIC to the outside.
        let routes = machine.routes || networks.multi_host;
        let wanted = |nic: &&&Nic| routes || nic.name == *management || is_inner(&nic.name);
        let placed: Vec<HostNic> = nics
            .iter()
            .filter(wanted)
            .map(|nic| HostNic {
                nic: (*nic).clone(),
                address: at(nic),
            })
            .collect();
        if let Some((address, Some(from))) = own
            && !placed
                .iter()
                .any(|nic| nic.address.as_ref().is_some_and(|(net, _)| net.addr() == *address))
        {
            comments.drop(from, "a NIC has one address, and this one has routing_source_ip");
        }
        hosts.push(placed);
    }
    let found = hosts.iter().flatten().filter_map(|nic| nic.address.as_ref());
    for length in found.map(|(net, _)| net.prefix_len()).collect::<BTreeSet<_>>() {
        comments.assume(&format!(
            "/{length} as the prefix length of hosts' addresses, which is not in the file"
        ));
    }
    let is_other = all.len() > 1 && inner.is_none_or(|inner| inner.name != *management);
    Ok(Placed {
        hosts,
        management: is_other.then(|| management.clone()),
        source: source.map(|(_, value)| value),
    })
}

/// `routing_source_ip`, where there is translation with it.
fn source(conf: &Conf, networks: &Networks, comments: &mut Comments) -> Result<Option<(Ipv4Addr, Value)>, Wrong> {
    let Some((address, Some(value))) = own_address(conf, "routing_source_ip", comments)? else {
        return Ok(None);
    };
    let why = if !networks.is_routed() {
        "FlatManager translates no addresses"
    } else if networks.multi_host {
        "with multi_host each host translates to an address of its own, that of its NIC"
    } else if networks.public.is_none() {
        "no NIC leads to the outside"
    } else {
        return Ok(Some((address, value)));
    };
    comments.drop(&value, why);
    Ok(None)
}

/// The first likely prefix length with which all addresses are in one subnet, and that subnet is not in `apart`.
fn prefix(addresses: &[Ipv4Addr], apart: Option<Ipv4Net>) -> u8 {
    let fits = |length: &u8| {
        let nets: Vec<Ipv4Net> = addresses
            .iter()
            .filter_map(|address| Ipv4Net::new(*address, *length).ok())
            .collect();
        nets.iter().all(|net| {
            let together = nets.iter().all(|other| other.trunc() == net.trunc());
            let is_edge = net.addr() == net.network() || net.addr() == net.broadcast();
            let overlaps = apart.is_some_and(|apart| apart.contains(&net.network()) || net.contains(&apart.network()));
            together && !is_edge && !overlaps
        })
    };
    PREFIXES.into_iter().find(fits).unwrap_or(PREFIXES[0])
}

/// Connects the hosts by the NICs that lead from one to another: two by a cable, more by a switch.
pub(super) fn cables(networks: &Networks, machines: &[Machine], placed: &Placed, source: &mut Source) {
    if machines.len() < 2 {
        return;
    }
    let used: BTreeSet<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
    let mut names = (1..).map(|number| format!("switch{number}"));
    let carrying = networks.inner.iter().map(|nic| &nic.name).chain(&placed.management);
    for nic in carrying {
        let ends = machines.iter().map(|machine| format!("{}:{nic}", machine.name));
        let ends: Vec<String> = ends.map(quoted).collect();
        if let [a, b] = ends.as_slice() {
            source.line(format_args!("[[cables]]\nends = [{a}, {b}]"));
            continue;
        }
        let switch = names.find(|name| !used.contains(name.as_str())).unwrap_or_default();
        source.line(format_args!("[switches.{switch}]"));
        for end in ends {
            source.line(format_args!("[[cables]]\nends = [{end}, {}]", quoted(&switch)));
        }
    }
}

/// The subnets that the public NICs of the hosts that route are in; none where one of them is not known.
pub(super) fn public_subnets(networks: &Networks, machines: &[Machine], placed: &Placed) -> Vec<Ipv4Net> {
    let Some(public) = &networks.public else {
        return Vec::new();
    };
    let machines = machines.iter().zip(&placed.hosts);
    let routing = machines.filter(|(machine, _)| machine.routes || networks.multi_host);
    let subnets = routing.map(|(_, nics)| {
        let nic = nics.iter().find(|nic| nic.nic.name == public.name)?;
        Some(nic.address.as_ref()?.0.trunc())
    });
    subnets.collect::<Option<Vec<_>>>().unwrap_or_default()
}
