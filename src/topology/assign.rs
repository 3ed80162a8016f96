//! What each NIC of a guest is given: the value in the lab file, else what the guest has already, else a free one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::{Existing, ExistingNic, derive};
use crate::lab::{IfName, Lab, MacAddr, Nic, Vm};

/// What one NIC is given.
pub(super) struct Assigned {
    pub address: Ipv4Addr,
    pub mac: MacAddr,
    pub tap: IfName,
}

/// A NIC of the lab: its position in its VM, what the lab file says of it, and its network's subnet.
type Asked<'a> = (usize, &'a Nic, Ipv4Net);

/// Returns what the NICs are given, in the order of the VMs and of their NICs on networks of the lab. `reserved` are names of
/// links that no tap can have.
///
/// What exists is assigned first, so that nothing new can take it; then the rest, in the order of the VMs. An existing
/// address that the network cannot have any more, or that the lab file now gives to somebody else, is given up.
pub(super) fn assign(lab: &Lab, existing: &Existing, reserved: BTreeSet<IfName>) -> Vec<Assigned> {
    let mut free = Free {
        taken: addresses(lab),
        avoided: &existing.hosts,
        next: BTreeMap::new(),
        macs: lab
            .vms
            .values()
            .flat_map(|vm| &vm.nics)
            .filter_map(|nic| nic.mac)
            .collect(),
        taps: reserved,
    };
    let mut kept = BTreeMap::new();
    for (name, vm) in &lab.vms {
        let before = existing.guests.get(name).map_or(&[][..], Vec::as_slice);
        if before.is_empty() {
            continue;
        }
        for ((at, nic, subnet), before) in pair(asked(lab, vm).collect(), before) {
            kept.insert((name, at), free.keep(nic, subnet, before));
        }
    }
    let mut assigned = Vec::new();
    for (name, vm) in &lab.vms {
        for (at, nic, subnet) in asked(lab, vm) {
            let Kept { address, mac, tap } = kept.remove(&(name, at)).unwrap_or_default();
            let chosen = Assigned {
                address: nic.address.or(address).unwrap_or_else(|| free.address(subnet)),
                mac: nic
                    .mac
                    .or(mac)
                    .unwrap_or_else(|| derive::guest_mac(&lab.name, name, at, |mac| free.macs.insert(mac))),
                tap: tap.unwrap_or_else(|| derive::tap(&lab.name, name, at, |tap| !free.taps.contains(tap))),
            };
            free.taps.insert(chosen.tap.clone());
            assigned.push(chosen);
        }
    }
    assigned
}

/// Returns the NICs of a VM; a checked lab names only networks that it has.
fn asked<'a>(lab: &'a Lab, vm: &'a Vm) -> impl Iterator<Item = Asked<'a>> {
    let nics = vm.nics.iter().enumerate();
    nics.filter_map(|(at, nic)| Some((at, nic, lab.networks.get(&nic.network)?.subnet)))
}

/// Pairs the NICs of a VM with those that it has: by position where the address still fits the network, else with the
/// one whose address does, else by position. So a NIC keeps its address when another is put before it.
fn pair<'n, 'b>(mut open: Vec<Asked<'n>>, before: &'b [ExistingNic]) -> Vec<(Asked<'n>, &'b ExistingNic)> {
    let fits = |subnet: Ipv4Net, nic: &ExistingNic| nic.address.is_some_and(|address| subnet.contains(&address));
    let mut left: BTreeMap<usize, &ExistingNic> = before.iter().enumerate().collect();
    let mut pairs = Vec::new();
    for round in 0..3 {
        open.retain(|&(at, nic, subnet)| {
            let same = left.get(&at).copied();
            let found = match round {
                0 => same.filter(|one| fits(subnet, one)).map(|_| at),
                1 => left.iter().find(|(_, one)| fits(subnet, one)).map(|(at, _)| *at),
                _ => same.map(|_| at),
            };
            let found = found.and_then(|at| left.remove(&at));
            pairs.extend(found.map(|one| ((at, nic, subnet), one)));
            found.is_none()
        });
    }
    pairs
}

/// What an existing NIC keeps.
#[derive(Default)]
struct Kept {
    address: Option<Ipv4Addr>,
    mac: Option<MacAddr>,
    tap: Option<IfName>,
}

/// What can still be given.
struct Free<'a> {
    /// Addresses that somebody has.
    taken: BTreeSet<Ipv4Addr>,
    /// Addresses that are given to nobody new.
    avoided: &'a BTreeSet<Ipv4Addr>,
    /// Below this, no address of the subnet is free.
    next: BTreeMap<Ipv4Net, u32>,
    /// MAC addresses that some NIC has.
    macs: BTreeSet<MacAddr>,
    /// Names that some link has.
    taps: BTreeSet<IfName>,
}

impl Free<'_> {
    /// Returns what of an existing NIC its successor keeps. The file's own values come first.
    fn keep(&mut self, nic: &Nic, subnet: Ipv4Net, before: &ExistingNic) -> Kept {
        let address = before.address.filter(|_| nic.address.is_none());
        let address = address.filter(|address| usable(subnet).contains(&u32::from(*address)));
        Kept {
            address: address.filter(|address| self.taken.insert(*address)),
            mac: Some(before.mac).filter(|mac| nic.mac.is_none() && self.macs.insert(*mac)),
            tap: Some(before.tap.clone()).filter(|tap| self.taps.insert(tap.clone())),
        }
    }

    /// Takes the lowest free address of `subnet`. One that a host has is the last resort.
    fn address(&mut self, subnet: Ipv4Net) -> Ipv4Addr {
        let from = self.next.get(&subnet).copied().unwrap_or_default();
        let free = |from: u32| {
            let usable = usable(subnet);
            let rest = usable.start.max(from)..usable.end;
            rest.map(Ipv4Addr::from).filter(|one| !self.taken.contains(one))
        };
        let unused = free(from).find(|one| !self.avoided.contains(one));
        // A checked lab has enough addresses; the broadcast address keeps the function total.
        let chosen = unused.or_else(|| free(0).next()).unwrap_or_else(|| subnet.broadcast());
        self.next.insert(subnet, u32::from(chosen));
        self.taken.insert(chosen);
        chosen
    }
}

/// The addresses that machines of `subnet` can have.
fn usable(subnet: Ipv4Net) -> std::ops::Range<u32> {
    u32::from(subnet.network()).saturating_add(1)..u32::from(subnet.broadcast())
}

/// Every address that the lab file mentions as somebody's: of VMs, hosts, routers, gateways, name servers and what is
/// outside. No guest is given one of them by itself.
fn addresses(lab: &Lab) -> BTreeSet<Ipv4Addr> {
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    };
    let mut taken = BTreeSet::new();
    for vm in lab.vms.values() {
        taken.extend(vm.nics.iter().filter_map(|nic| nic.address).chain(vm.floating));
    }
    for network in lab.networks.values() {
        taken.extend(network.gateway.iter().map(|gateway| gateway.address));
        taken.extend(network.addresses.values());
        taken.extend(network.nameservers.iter().filter_map(v4));
    }
    let hosts = lab.hosts.values().flat_map(|host| host.nics.values());
    let routers = lab.routers.values().flat_map(|router| router.nics.values());
    for nic in hosts.chain(routers) {
        taken.extend(nic.address.map(|address| address.addr()));
        taken.extend(nic.gateway);
    }
    taken.extend(
        lab.routers
            .values()
            .flat_map(|router| &router.outside)
            .map(Ipv4Net::addr),
    );
    taken.extend(lab.nat.iter().filter_map(|rule| rule.source));
    taken.extend(lab.verify.outside.iter().filter_map(v4));
    taken
}

#[cfg(test)]
mod tests;
