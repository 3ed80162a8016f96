//! The NICs and floating addresses of a lab's guests by their addresses, and the MTU of every address: a matrix has a cell
//! for each pair of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::lab::{ETHERNET_MTU, VmName};
use crate::topology::{Guest, GuestNic, Topology};

/// A guest's NIC.
pub(super) type Nic<'a> = (&'a VmName, &'a Guest, &'a GuestNic);

/// Which guest has which address by the lab.
#[derive(Debug, Clone)]
pub struct Nics<'a> {
    by_address: BTreeMap<IpAddr, Nic<'a>>,
    floating: BTreeMap<Ipv4Addr, (&'a VmName, &'a Guest)>,
    mtus: BTreeMap<IpAddr, u16>,
}

impl<'a> Nics<'a> {
    /// Collects the addresses of all guests. Of several guests with one address the first has it.
    pub fn of(topology: &'a Topology) -> Self {
        let mut all = Self {
            by_address: BTreeMap::new(),
            floating: BTreeMap::new(),
            mtus: mtus(topology),
        };
        for (vm, guest) in &topology.guests {
            for nic in &guest.nics {
                let address = nic.address.addr().into();
                all.by_address.entry(address).or_insert((vm, guest, nic));
            }
            if let Some(floating) = &guest.floating {
                all.floating.entry(floating.address).or_insert((vm, guest));
            }
        }
        all
    }

    /// Returns the NIC that has an address.
    pub(super) fn at(&self, address: IpAddr) -> Option<Nic<'a>> {
        self.by_address.get(&address).copied()
    }

    /// Returns the guest that has a floating address.
    pub(super) fn floating(&self, address: Ipv4Addr) -> Option<(&'a VmName, &'a Guest)> {
        self.floating.get(&address).copied()
    }

    /// Returns the guest that has an address, on a NIC or floating.
    pub(super) fn guest_at(&self, address: Ipv4Addr) -> Option<(&'a VmName, &'a Guest)> {
        let at = self.at(address.into()).map(|(vm, guest, _)| (vm, guest));
        at.or_else(|| self.floating(address))
    }

    /// Returns the MTU in bytes of an address whose path the lab describes: of guests, hosts and emulated routers. The path
    /// to any other address may be smaller, and that is no fault of the lab.
    pub fn mtu(&self, address: IpAddr) -> Option<u16> {
        self.mtus.get(&address).copied()
    }
}

/// Returns the MTU of each address that the lab has: that of its network, of addresses outside of the networks Ethernet's.
fn mtus(topology: &Topology) -> BTreeMap<IpAddr, u16> {
    let mut mtus: BTreeMap<IpAddr, u16> = BTreeMap::new();
    for router in topology.routers.values() {
        let nics = router.nics.values().filter_map(|nic| nic.address);
        let all = nics.chain(router.outside.iter().copied());
        mtus.extend(all.map(|net| (net.addr().into(), ETHERNET_MTU)));
    }
    for host in topology.hosts.values() {
        let nics = host.nics.values().filter_map(|nic| nic.address);
        mtus.extend(nics.map(|net| (net.addr().into(), ETHERNET_MTU)));
        for segment in host.segments.values() {
            let mtu = segment.mtu.unwrap_or(ETHERNET_MTU);
            let addresses = segment.gateway.iter().chain(&segment.address);
            mtus.extend(addresses.map(|address| ((*address).into(), mtu)));
        }
    }
    for guest in topology.guests.values() {
        let mtu = |nic: &GuestNic| nic.mtu.unwrap_or(ETHERNET_MTU);
        mtus.extend(guest.nics.iter().map(|nic| (nic.address.addr().into(), mtu(nic))));
        let mut nics = guest.nics.iter();
        let default = nics.find(|nic| nic.gateway.is_some() && nic.gateway == guest.default_route);
        let mtu = default.map_or(ETHERNET_MTU, mtu).min(ETHERNET_MTU);
        mtus.extend(guest.floating.iter().map(|floating| (floating.address.into(), mtu)));
    }
    mtus
}
