//! Addresses that a host or router should have and has not, or has and should not. Replies may still come: neighbors
//! remember where an address was, and a host forwards whatever is sent to its hardware address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::Concerns;
use super::found::Found;
use crate::lab::HostName;
use crate::state::view::View;
use crate::verify::parts::part;

impl Found<'_> {
    /// Checks the addresses of a host or an emulated router. One of a NIC may be on the bridge that the NIC is a port of.
    pub(super) fn addresses(&mut self, machine: &HostName, view: &View) {
        let topology = self.traces.topology;
        if view.ports.is_empty() {
            return;
        }
        self.taken(machine, view);
        let has = |address: Ipv4Addr| {
            let mut ports = view.ports.values();
            ports.any(|port| port.addresses.iter().any(|net| net.addr() == IpAddr::from(address)))
        };
        let up = format!("; shown by `ip addr` on {machine}; fix: `netlab up`");
        if let Some(router) = topology.routers.get(machine) {
            let nics = router.nics.values().filter_map(|nic| nic.address);
            let all = nics.chain(router.outside.iter().copied()).map(|net| net.addr());
            for address in all.filter(|address| !has(*address)) {
                let text = format!("{machine}: the router lacks its address {address}{up}");
                self.fault(Concerns::To(address.into()), text);
            }
        }
        let Some(here) = topology.hosts.get(machine) else {
            return;
        };
        for (network, segment) in &here.segments {
            let bridge = &segment.bridge;
            if let Some(gateway) = segment.gateway.filter(|gateway| !has(*gateway)) {
                let text = format!(
                    "{machine}: bridge {bridge} of network {network} lacks the gateway address {gateway}; shown by `ip addr \
                     show dev {bridge}` on {machine}; fix: `ip addr add {gateway}/{} dev {bridge}` on {machine}",
                    segment.subnet.prefix_len()
                );
                let own = part(topology, network, machine);
                let only = segment.gateway_everywhere.then(|| machine.clone());
                self.fault(Concerns::Gateway(own, gateway, only), text);
            }
            if let Some(address) = segment.address.filter(|address| !has(*address)) {
                let text = format!("{machine}: bridge {bridge} of network {network} lacks its address {address}{up}");
                self.fault(Concerns::To(address.into()), text);
            }
        }
        for (nic, config) in &here.nics {
            if let Some(address) = config.address.map(|net| net.addr()).filter(|address| !has(*address)) {
                let text = format!("{machine}: no link has the address {address} of NIC {nic}{up}");
                self.fault(Concerns::To(address.into()), text);
            }
        }
        for (vm, guest) in &topology.guests {
            let floating = guest.floating.as_ref().filter(|one| one.host == *machine);
            if let Some(floating) = floating.filter(|one| !has(one.address)) {
                let address = floating.address;
                let text = format!("{machine}: no link has the floating address {address} of guest {vm}{up}");
                self.fault(Concerns::Floating(vm.clone(), address.into()), text);
            }
        }
    }

    /// Checks that a host or router has no address of another machine: it would take packets for itself.
    fn taken(&mut self, machine: &HostName, view: &View) {
        let topology = self.traces.topology;
        let mut own: BTreeSet<Ipv4Addr> = BTreeSet::new();
        if let Some(router) = topology.routers.get(machine) {
            let nics = router.nics.values().filter_map(|nic| nic.address);
            own.extend(nics.chain(router.outside.iter().copied()).map(|net| net.addr()));
        }
        if let Some(here) = topology.hosts.get(machine) {
            let segments = here.segments.values();
            own.extend(segments.flat_map(|segment| segment.gateway.into_iter().chain(segment.address)));
            own.extend(here.nics.values().filter_map(|nic| Some(nic.address?.addr())));
            let floating = topology.guests.values().filter_map(|guest| guest.floating.as_ref());
            own.extend(floating.filter(|one| one.host == *machine).map(|one| one.address));
        }
        for (link, port) in &view.ports {
            for address in port.addresses.iter().map(IpNet::addr) {
                let IpAddr::V4(v4) = address else { continue };
                let Some(owner) = self.owners.of_any(address).filter(|_| !own.contains(&v4)) else {
                    continue;
                };
                let text = format!(
                    "{machine}: link {link} has the address {address} of {}; shown by `ip addr show dev {link}` on {machine}; \
                     fix: `ip addr del {address} dev {link}` on {machine}",
                    owner.text
                );
                let concerns = match &owner.guest {
                    Some(vm) => Concerns::Guest(vm.clone()),
                    None => Concerns::To(address),
                };
                self.fault(concerns, text);
            }
        }
    }
}
