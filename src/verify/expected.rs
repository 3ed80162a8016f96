//! Which addresses each guest must reach, and which it must not, from the topology alone.

#[cfg(test)]
pub(super) mod tests;

use std::net::{IpAddr, Ipv4Addr};

use crate::lab::{Asked, HostName, IfName, NetworkName, Ping, VmName};
use crate::topology::{Guest, GuestNic, Segment, Topology};

/// One question and its expected answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Expectation {
    /// The source; in JSON its name, which is unique in a checked lab.
    #[serde(serialize_with = "name")]
    pub from: Asked,
    /// The target: a guest, `guest/network` if it has several NICs, `gw network`, or the address.
    pub to: String,
    /// The address to ping.
    pub address: IpAddr,
    /// Whether it must answer; false: it must not.
    pub reach: bool,
}

fn name<S: serde::Serializer>(asked: &Asked, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(asked)
}

/// Returns the questions of every guest about every address of every other guest, its own gateways and the addresses
/// outside; then those that the lab file adds.
pub fn expected(topology: &Topology) -> Vec<Expectation> {
    let mut all = Vec::new();
    for (from, guest) in &topology.guests {
        for (to, other) in topology.guests.iter().filter(|(name, _)| *name != from) {
            let nics = other.nics.iter();
            all.extend(nics.map(|nic| about_guest(topology, (from, guest), (to, other), nic)));
        }
        all.extend(about_gateways(topology, from, guest));
        all.extend(about_outside(topology, from));
    }
    all.extend(of_the_file(topology));
    all
}

/// Returns how many questions [`expected`] returns.
pub fn number_of_cells(topology: &Topology) -> usize {
    let nics: usize = topology.guests.values().map(|guest| guest.nics.len()).sum();
    let of_guest = |guest: &Guest| {
        let gateways = guest.nics.iter().filter(|nic| nic.gateway.is_some()).count();
        nics - guest.nics.len() + gateways + topology.outside.len()
    };
    let guests: usize = topology.guests.values().map(of_guest).sum();
    guests + topology.pings.iter().map(|ping| ping.from.len()).sum::<usize>()
}

/// Returns the question of a guest about one NIC of another.
pub(super) fn about_guest(
    topology: &Topology,
    (from, guest): (&VmName, &Guest),
    (to, other): (&VmName, &Guest),
    nic: &GuestNic,
) -> Expectation {
    let to = if other.nics.len() == 1 {
        to.to_string()
    } else {
        format!("{to}/{}", nic.network)
    };
    Expectation {
        from: Asked::Vm(from.clone()),
        to,
        address: nic.address.addr().into(),
        reach: reaches(topology, guest, other, nic),
    }
}

/// Returns the questions of a guest about its gateways.
pub(super) fn about_gateways(topology: &Topology, from: &VmName, guest: &Guest) -> Vec<Expectation> {
    let with_gateway = guest.nics.iter().filter_map(|nic| Some((nic, nic.gateway?)));
    let question = |(nic, gateway): (&GuestNic, Ipv4Addr)| Expectation {
        from: Asked::Vm(from.clone()),
        to: format!("gw {}", nic.network),
        address: gateway.into(),
        reach: router(topology, &nic.network, gateway, &guest.host).is_some(),
    };
    with_gateway.map(question).collect()
}

/// Returns the questions of a guest about the addresses outside.
pub(super) fn about_outside(topology: &Topology, from: &VmName) -> Vec<Expectation> {
    let question = |address: &IpAddr| Expectation {
        from: Asked::Vm(from.clone()),
        to: address.to_string(),
        address: *address,
        reach: true,
    };
    topology.outside.iter().map(question).collect()
}

/// Returns the questions that the lab file adds.
pub(super) fn of_the_file(topology: &Topology) -> Vec<Expectation> {
    let mut all = Vec::new();
    for ping in &topology.pings {
        all.extend(ping.from.iter().map(|from| Expectation {
            from: from.clone(),
            to: ping.to.to_string(),
            address: ping.to,
            reach: ping.reach,
        }));
    }
    all
}

/// Whether `from` should reach `nic` of `to`: the request needs a route to it, and the reply a route to the NIC by which
/// the request left.
///
/// Hosts route between the networks of which they are the gateway, unless these belong to different tenants; no other
/// router is assumed, so two networks whose gateways are on different hosts must not reach each other.
fn reaches(topology: &Topology, from: &Guest, to: &Guest, nic: &GuestNic) -> bool {
    leaves_by(topology, from, to, nic).is_some_and(|source| leaves_by(topology, to, from, source).is_some())
}

/// Returns the NIC by which `from` reaches `nic` of `to`, if it does: the one on the same network, else that of its
/// default route, if the router is reachable, has an address in the target's network, and reaches the target there.
fn leaves_by<'a>(topology: &'a Topology, from: &'a Guest, to: &Guest, nic: &GuestNic) -> Option<&'a GuestNic> {
    if let Some(own) = from.nics.iter().find(|own| own.network == nic.network) {
        return linked(topology, &nic.network, &from.host, &to.host).then_some(own);
    }
    let (own, router, target) = routed(topology, from, nic)?;
    if topology.tenants.are_apart(&own.network, &nic.network) {
        return None;
    }
    if target.gateway_everywhere {
        // A host sends its ARP requests from that gateway address, and such ARP does not leave the host.
        return (*router == to.host && target.gateway.is_some()).then_some(own);
    }
    // The reply chooses its own router; only the request is considered here.
    linked(topology, &nic.network, router, &to.host).then_some(own)
}

/// Returns the NIC and the router by which `from` sends to a network that it is not on, and the router's part of that
/// network, in which it has an address.
fn routed<'a>(
    topology: &'a Topology,
    from: &'a Guest,
    nic: &GuestNic,
) -> Option<(&'a GuestNic, &'a HostName, &'a Segment)> {
    let gateway = from.default_route?;
    let own = from.nics.iter().find(|own| own.gateway == Some(gateway))?;
    let router = router(topology, &own.network, gateway, &from.host)?;
    let target = segment(topology, &nic.network, router)?;
    let has_address = target.gateway.is_some() || target.address.is_some();
    has_address.then_some((own, router, target))
}

/// Returns where a question must be dropped because its source and its target belong to different tenants: the host that
/// would route it, and the bridge by which it arrives there. `None` where no host would route it anyway.
pub fn kept_apart<'a>(topology: &'a Topology, asked: &Expectation) -> Option<(&'a HostName, &'a IfName)> {
    let Asked::Vm(from) = &asked.from else { return None };
    let from = topology.guests.get(from)?;
    let mut nics = topology.guests.values().flat_map(|guest| &guest.nics);
    let nic = nics.find(|nic| IpAddr::from(nic.address.addr()) == asked.address)?;
    if from.nics.iter().any(|own| own.network == nic.network) {
        return None;
    }
    let (own, router, _) = routed(topology, from, nic)?;
    let bridge = &segment(topology, &own.network, router)?.bridge;
    topology
        .tenants
        .are_apart(&own.network, &nic.network)
        .then_some((router, bridge))
}

/// Returns by what the lab keeps a source and a target apart, in words: a rule for tenants and the command that shows it,
/// the lab file, or that nothing leads from one to the other. Only of a question that must not be answered.
pub fn apart_by(topology: &Topology, asked: &Expectation) -> String {
    if let Some((host, bridge)) = kept_apart(topology, asked) {
        let lab = &topology.lab;
        return format!(
            "{host} drops what comes in by {bridge} for networks of other tenants, by a rule of table ip netlab-{lab}, chain \
             forward; shown by `nft list table ip netlab-{lab}` on {host}"
        );
    }
    let nothing = "the lab describes nothing that leads from one to the other".to_owned();
    let of_file = |ping: &Ping| !ping.reach && ping.to == asked.address && ping.from.contains(&asked.from);
    if topology.pings.iter().any(of_file) {
        return "the lab file says so: `[[verify.ping]]` with `reach = false`".to_owned();
    }
    let Asked::Vm(from) = &asked.from else { return nothing };
    let has = |nic: &&GuestNic| IpAddr::from(nic.address.addr()) == asked.address;
    let target = |guest: &'_ Guest| guest.nics.iter().find(has).map(|nic| nic.network.clone());
    let mut guests = topology.guests.values();
    let target = guests.find_map(|guest| Some((target(guest)?, &guest.host)));
    let (Some(from), Some((network, host))) = (topology.guests.get(from), target) else {
        return nothing;
    };
    if from.nics.iter().any(|own| own.network == network) {
        return format!(
            "neither an uplink nor a tunnel connects the parts of network {network} on {} and {host}",
            from.host
        );
    }
    let own: Vec<&str> = from.nics.iter().map(|nic| nic.network.as_str()).collect();
    format!("no host routes from {} to {network} and back", own.join(" or "))
}

/// Returns the host that answers for a network's gateway address to guests on `near`: their own, if every host has it.
fn router<'a>(
    topology: &'a Topology,
    network: &NetworkName,
    gateway: Ipv4Addr,
    near: &HostName,
) -> Option<&'a HostName> {
    let mut having = topology.hosts.iter().filter(|(_, host)| {
        let segment = host.segments.get(network);
        segment.is_some_and(|segment| segment.gateway == Some(gateway))
    });
    having.find_map(|(name, host)| {
        let shared = host.segments.get(network)?.gateway_everywhere;
        let answers = name == near || (!shared && linked(topology, network, near, name));
        answers.then_some(name)
    })
}

fn segment<'a>(topology: &'a Topology, network: &NetworkName, host: &HostName) -> Option<&'a Segment> {
    topology.hosts.get(host)?.segments.get(network)
}

/// Whether the network's segments on two hosts are connected: the same host, or an uplink or a tunnel on both.
fn linked(topology: &Topology, network: &NetworkName, a: &HostName, b: &HostName) -> bool {
    let leaves = |host| segment(topology, network, host).is_some_and(Segment::is_connected);
    a == b || (leaves(a) && leaves(b))
}
