//! The NICs and floating addresses of a lab's guests by their addresses: a matrix has a cell for each pair of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::lab::VmName;
use crate::topology::{Guest, GuestNic, Topology};

/// A guest's NIC.
pub(super) type Nic<'a> = (&'a VmName, &'a Guest, &'a GuestNic);

/// Which guest has which address by the lab.
#[derive(Debug, Clone)]
pub struct Nics<'a> {
    nics: BTreeMap<IpAddr, Nic<'a>>,
    floating: BTreeMap<Ipv4Addr, (&'a VmName, &'a Guest)>,
}

impl<'a> Nics<'a> {
    /// Collects the addresses of all guests. Of several guests with one address the first has it.
    pub fn of(topology: &'a Topology) -> Self {
        let mut all = Self {
            nics: BTreeMap::new(),
            floating: BTreeMap::new(),
        };
        for (vm, guest) in &topology.guests {
            for nic in &guest.nics {
                let address = nic.address.addr().into();
                all.nics.entry(address).or_insert((vm, guest, nic));
            }
            if let Some(floating) = &guest.floating {
                all.floating.entry(floating.address).or_insert((vm, guest));
            }
        }
        all
    }

    /// Returns the NIC that has an address.
    pub(super) fn at(&self, address: IpAddr) -> Option<Nic<'a>> {
        self.nics.get(&address).copied()
    }

    /// Returns the guest that has a floating address.
    pub(super) fn floating(&self, address: Ipv4Addr) -> Option<(&'a VmName, &'a Guest)> {
        self.floating.get(&address).copied()
    }
}
