//! Addresses that a host or router should have and has not. Replies may still come: neighbors remember where an address was,
//! and a host forwards whatever is sent to its hardware address.

use std::net::{IpAddr, Ipv4Addr};

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
}
