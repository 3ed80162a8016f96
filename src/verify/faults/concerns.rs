//! Which cells a fault makes worthless.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::{Concerns, Fault};
use crate::lab::{Asked, VmName};
use crate::topology::{Guest, Topology};
use crate::verify::parts::{Part, part};
use crate::verify::{Expectation, Matrix, Verdict};

/// A fault in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultReport {
    /// What is wrong and where.
    pub text: String,
    /// How many cells it makes worthless.
    pub cells: usize,
}

/// Makes each cell that a fault concerns a failure with the fault as its cause. Returns the faults, the one that concerns
/// the most cells first.
pub fn apply(topology: &Topology, matrix: &mut Matrix, faults: Vec<Fault>) -> Vec<FaultReport> {
    let members = Members::of(topology);
    let mut reports: Vec<FaultReport> = Vec::new();
    for Fault { text, concerns } in faults {
        let mut cells = 0;
        let concerned = matrix.cells.iter_mut();
        for cell in concerned.filter(|cell| members.is_concerned(&concerns, &cell.expectation)) {
            cells += 1;
            if cell.verdict == Verdict::Pass {
                cell.verdict = Verdict::Fail;
                let reason = if cell.expectation.reach {
                    "the replies prove nothing"
                } else {
                    "no reply, which proves nothing"
                };
                cell.reason = Some(reason.to_owned());
            }
            if cell.verdict != Verdict::Unknown && cell.cause.is_none() {
                cell.cause = Some(text.clone());
            }
        }
        reports.push(FaultReport { text, cells });
    }
    reports.sort_by_key(|fault| std::cmp::Reverse(fault.cells));
    reports
}

/// The guests of a lab with their segments, by name and by address: each cell is compared with each fault.
struct Members<'a> {
    guests: BTreeMap<&'a VmName, (&'a Guest, Vec<Part>)>,
    addresses: BTreeMap<IpAddr, (&'a VmName, Part)>,
    /// The subnets of all networks.
    inside: Vec<Ipv4Net>,
}

impl<'a> Members<'a> {
    fn of(topology: &'a Topology) -> Self {
        let mut guests = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for (vm, guest) in &topology.guests {
            let parts: Vec<Part> = guest
                .nics
                .iter()
                .map(|nic| part(topology, &nic.network, &guest.host))
                .collect();
            for (nic, part) in guest.nics.iter().zip(&parts) {
                let address = nic.address.addr().into();
                addresses.entry(address).or_insert_with(|| (vm, part.clone()));
            }
            guests.insert(vm, (guest, parts));
        }
        let segments = topology.hosts.values().flat_map(|host| host.segments.values());
        let inside: BTreeSet<Ipv4Net> = segments.map(|segment| segment.subnet).collect();
        Self {
            guests,
            addresses,
            inside: inside.into_iter().collect(),
        }
    }

    /// The segments of the source; none of a host or router.
    fn parts(&self, from: &Asked) -> &[Part] {
        match from {
            Asked::Vm(vm) => self.guests.get(vm).map_or(&[], |(_, parts)| parts),
            Asked::Host(_) | Asked::Router(_) => &[],
        }
    }

    fn is_concerned(&self, concerns: &Concerns, asked: &Expectation) -> bool {
        let target = self.addresses.get(&asked.address);
        let from = self.parts(&asked.from);
        match concerns {
            Concerns::Between(a, b) => target.is_some_and(|(_, to)| {
                (from.contains(a) && !from.contains(b) && to == b) || (from.contains(b) && !from.contains(a) && to == a)
            }),
            Concerns::NoPing => false,
            Concerns::To(address) => asked.reach && asked.address == *address,
            Concerns::Guest(vm) => {
                asked.reach && (asked.from == Asked::Vm(vm.clone()) || target.is_some_and(|(to, _)| *to == vm))
            }
            Concerns::DefaultRoute(vm) => {
                let Some((guest, parts)) = self.guests.get(vm).filter(|_| asked.reach) else {
                    return false;
                };
                let on_link = match asked.address {
                    IpAddr::V4(to) => guest.nics.iter().any(|nic| nic.address.contains(&to)),
                    IpAddr::V6(_) => true,
                };
                // A host or router may ask from an address of the guest's network.
                let from_elsewhere =
                    || matches!(asked.from, Asked::Vm(_)) && !from.iter().any(|one| parts.contains(one));
                let is_gateway = guest.default_route.map(IpAddr::from) == Some(asked.address);
                let asks = asked.from == Asked::Vm(vm.clone()) && (!on_link || is_gateway);
                asks || (target.is_some_and(|(to, _)| *to == vm) && from_elsewhere())
            }
            Concerns::Apart(within) => !asked.reach && from.contains(within),
            Concerns::Within(within) => {
                asked.reach && (from.contains(within) || target.is_some_and(|(_, to)| to == within))
            }
            Concerns::Routed(within, address) => {
                let own = || {
                    let Asked::Vm(vm) = &asked.from else { return false };
                    let guest = self.guests.get(vm);
                    guest.is_some_and(|(guest, _)| {
                        let mut nics = guest.nics.iter();
                        nics.any(|nic| IpAddr::from(nic.address.addr()) == *address)
                    })
                };
                let inside = target.is_some_and(|(_, to)| to == within);
                asked.reach && ((asked.address == *address && !from.contains(within)) || (own() && !inside))
            }
            Concerns::Gateway(within, gateway, only) => {
                let Asked::Vm(vm) = &asked.from else {
                    return asked.reach && asked.address == *gateway && only.is_none();
                };
                let Some((guest, _)) = self.guests.get(vm).filter(|_| asked.reach && from.contains(within)) else {
                    return false;
                };
                let on_link = match asked.address {
                    IpAddr::V4(to) => guest.nics.iter().any(|nic| nic.address.contains(&to)),
                    IpAddr::V6(_) => true,
                };
                let routed = guest.default_route == Some(*gateway) && !on_link;
                only.as_ref().is_none_or(|host| guest.host == *host) && (asked.address == *gateway || routed)
            }
            Concerns::Floating(vm, address) => {
                let outside = match asked.address {
                    IpAddr::V4(to) => !self.inside.iter().any(|net| net.contains(&to)),
                    IpAddr::V6(_) => false,
                };
                let leaves = asked.from == Asked::Vm(vm.clone()) && outside;
                asked.reach && (asked.address == *address || leaves)
            }
            Concerns::One(from, address) => asked.from == *from && asked.address == *address,
        }
    }
}
