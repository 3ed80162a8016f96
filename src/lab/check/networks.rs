//! Networks: their subnets, what carries them, and their gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::Check;
use super::addresses::{Owner, usable};
use super::carried::Carried;
use crate::lab::file::{At, NetworkFile, OnFile, UplinkFile};
use crate::lab::schema::choices::{LEAST_DELAY, LEAST_DELAY_OF_OVS};
use crate::lab::{Gateway, GatewayHosts, HostName, IfName, MacAddr, Network, NetworkName, Uplinks};

/// Subnets of networks by first address and prefix length: of two subnets one contains the other, or they are disjoint.
#[derive(Default)]
struct Subnets<'a>(BTreeMap<(Ipv4Addr, u8), Vec<(Ipv4Net, &'a NetworkName)>>);

impl<'a> Subnets<'a> {
    fn insert(&mut self, subnet: Ipv4Net, name: &'a NetworkName) {
        let key = (subnet.network(), subnet.prefix_len());
        self.0.entry(key).or_default().push((subnet, name));
    }

    /// Those that contain `subnet`, and those in it.
    fn overlapping(&self, subnet: Ipv4Net) -> Vec<(Ipv4Net, &'a NetworkName)> {
        let around = (0..subnet.prefix_len()).filter_map(|length| {
            let wider = Ipv4Net::new(subnet.addr(), length).ok()?;
            self.0.get(&(wider.network(), length))
        });
        let inside = self
            .0
            .range((subnet.network(), subnet.prefix_len())..=(subnet.broadcast(), u8::MAX));
        around
            .chain(inside.map(|(_, found)| found))
            .flatten()
            .copied()
            .collect()
    }
}

impl Check<'_> {
    pub(super) fn all_networks(&mut self, networks: &[NetworkFile]) {
        let mut subnets = Subnets::default();
        let mut bridges = BTreeSet::new();
        let mut carried = Carried::default();
        for network in networks {
            let name = &network.name.value;
            if let Some(At { value: subnet, span }) = &network.subnet {
                if *subnet != subnet.trunc() {
                    let help = format!("write `{}`", subnet.trunc());
                    self.add(span, format!("`{subnet}` has host bits set"), help);
                }
                if usable(*subnet) < 1 {
                    self.add(
                        span,
                        format!("subnet `{subnet}` is too small"),
                        "a network needs /30 or wider",
                    );
                }
                for (other, whose) in subnets.overlapping(*subnet) {
                    let message = format!("subnet `{subnet}` overlaps `{other}` of network `{whose}`");
                    self.add(span, message, "give each network a subnet of its own");
                }
                subnets.insert(*subnet, name);
            }
            self.bridge(network, &mut bridges);
            let (uplinks, span) = self.uplinks(network);
            if let (Some(vlan), None) = (&network.vlan, &network.uplink) {
                self.add(
                    &vlan.span,
                    format!("network `{name}` has a vlan and no uplink"),
                    "add `uplink`",
                );
            }
            let vlan = network.vlan.as_ref().map(|at| at.value);
            for (other, (host, nic)) in carried.sharing(&uplinks, vlan, |nic| self.first_having(nic)) {
                let message = match vlan {
                    Some(vlan) => format!("vlan {vlan} on `{host}:{nic}` is already network `{other}`"),
                    None => format!("`{host}:{nic}` already carries network `{other}` untagged"),
                };
                let span = network.vlan.as_ref().map_or(&span, |at| &at.span);
                self.add(span, message, "give each network on an uplink a `vlan` of its own");
            }
            carried.insert(&uplinks, vlan, name);
            self.forward_delay(network);
            let tunnel = self.tunnel(network);
            let switch = self.switch(network);
            let gateway = self.gateway(network);
            if gateway.is_none() && (network.gateway.is_some() || network.wrong_gateway) {
                self.wrong_gateways.insert(name.clone());
            }
            let addresses = self.host_addresses(network);
            let bridge_mac = self.bridge_macs(network);
            if let (Some(span), None) = (&network.dhcp, &network.gateway) {
                let message = format!("network `{name}` has DHCP and no gateway");
                self.add(
                    span,
                    message,
                    "the gateway's host serves it: add `gateway = { address = \"...\" }`",
                );
            }
            if let Some(subnet) = &network.subnet {
                self.networks.insert(
                    name.clone(),
                    Network {
                        class: network.class,
                        subnet: subnet.value,
                        uplinks,
                        vlan,
                        bridge: network.bridge.as_ref().map(|at| at.value.clone()),
                        bridge_mac,
                        stp: network.stp,
                        isolated: network.isolated.is_some(),
                        forward_delay: network.forward_delay.as_ref().map(|at| at.value),
                        mtu: network.mtu,
                        switch,
                        tunnel,
                        addresses,
                        gateway,
                        dhcp: network.dhcp.is_some(),
                        dhcp_lease: network.dhcp_lease,
                        nameservers: network.nameservers.clone(),
                        tenant: network.tenant.as_ref().map(|at| at.value.clone()),
                        port_security: network.port_security,
                        shaping: network.shaping,
                    },
                );
            }
        }
    }

    /// A bridge's name is used once.
    fn bridge(&mut self, network: &NetworkFile, bridges: &mut BTreeSet<IfName>) {
        let Some(At { value: bridge, span }) = &network.bridge else {
            return;
        };
        if !bridges.insert(bridge.clone()) {
            self.add(span, format!("bridge `{bridge}` is used by two networks"), "");
        }
        if self.nics.contains_key(bridge) {
            self.add(
                span,
                format!("bridge `{bridge}` has the name of a host's NIC"),
                "choose another name",
            );
        }
    }

    /// Bridges take no delay below some seconds with spanning tree, and without it there is nothing to wait for.
    fn forward_delay(&mut self, network: &NetworkFile) {
        let Some(At { value: delay, span }) = &network.forward_delay else {
            return;
        };
        let (least, whose) = if network.ovs {
            (LEAST_DELAY_OF_OVS, " of Open vSwitch")
        } else {
            (LEAST_DELAY, "")
        };
        if network.stp && *delay < least {
            let message = format!("forward_delay is at least {least} with spanning tree{whose}");
            self.add(span, message, "write a longer delay, or remove `stp = true`");
        } else if !network.stp && *delay > 0 {
            let message = "forward_delay is 0 without spanning tree";
            self.add(span, message, "remove it, or add `stp = true`");
        }
    }

    /// Returns the first host that has a NIC of this name.
    pub(super) fn first_having(&self, nic: &IfName) -> Option<HostName> {
        self.nics.get(nic).map(|having| having.first.clone())
    }

    fn uplinks(&mut self, network: &NetworkFile) -> (Uplinks, Range<usize>) {
        match &network.uplink {
            None => (Uplinks::None, network.name.span.clone()),
            Some(UplinkFile::Everywhere(At { value: nic, span })) => {
                let Some(having) = self.nics.get(nic) else {
                    let all = self.nics.keys().map(IfName::as_str);
                    let help = self.suggest(nic.as_str(), all);
                    self.add(span, format!("no host has a NIC `{nic}`"), help);
                    return (Uplinks::None, span.clone());
                };
                if let Some((host, bond)) = having.bonded.clone() {
                    let message = format!("NIC `{nic}` of `{host}` is in bond `{bond}`");
                    self.add(span, message, format!("write `{bond}`"));
                }
                (Uplinks::Everywhere(nic.clone()), span.clone())
            }
            Some(UplinkFile::PerHost(ends)) => {
                let mut found = BTreeMap::new();
                let mut place = network.name.span.clone();
                for (host, nic) in ends {
                    place = nic.span.clone();
                    if self.host(&host.value, &host.span) && self.free_nic(&host.value, &nic.value, &nic.span) {
                        found.insert(host.value.clone(), nic.value.clone());
                    }
                }
                (self.shortest(found), place)
            }
        }
    }

    /// Returns uplinks in one form only: one name where that means the same.
    fn shortest(&self, nics: BTreeMap<HostName, IfName>) -> Uplinks {
        let Some(first) = nics.values().next() else {
            return Uplinks::None;
        };
        let count = self.nics.get(first).map(|having| having.count);
        if count == Some(nics.len()) && nics.values().all(|nic| nic == first) {
            return Uplinks::Everywhere(first.clone());
        }
        Uplinks::On(nics)
    }

    /// Addresses that hosts have besides the gateway's.
    fn host_addresses(&mut self, network: &NetworkFile) -> BTreeMap<HostName, Ipv4Addr> {
        let mut found = BTreeMap::new();
        for (host, address) in &network.addresses {
            self.address_of_host(network, address, &host.value, format!("host `{}`", host.value));
            if self.host(&host.value, &host.span) {
                found.insert(host.value.clone(), address.value);
            }
        }
        found
    }

    fn bridge_macs(&mut self, network: &NetworkFile) -> BTreeMap<HostName, MacAddr> {
        let mut found = BTreeMap::new();
        for (host, mac) in &network.bridge_mac {
            if !self.macs.insert(mac.value) {
                let message = format!("MAC address {} is used twice", mac.value);
                self.add(&mac.span, message, "remove it to derive one");
            }
            if self.host(&host.value, &host.span) {
                found.insert(host.value.clone(), mac.value);
            }
        }
        found
    }

    fn gateway(&mut self, network: &NetworkFile) -> Option<Gateway> {
        let gateway = network.gateway.as_ref()?;
        if let (OnFile::Every | OnFile::Wrong, Some(subnet)) = (&gateway.on, &network.subnet) {
            let owner = Owner::other("the gateway");
            self.address(&network.name.value, subnet.value, &gateway.address, owner);
        }
        let on = match &gateway.on {
            OnFile::Wrong => return None,
            OnFile::Every => GatewayHosts::Every,
            OnFile::One(At { value, span }) => GatewayHosts::One(self.host(value, span).then(|| value.clone())?),
            OnFile::Absent if self.hosts.len() == 1 => GatewayHosts::One(self.hosts.keys().next()?.clone()),
            OnFile::Absent if self.broken.contains("hosts") => return None,
            OnFile::Absent => {
                let message = format!("the gateway of `{}` needs a host", network.name.value);
                self.add(
                    &gateway.address.span,
                    message,
                    "add `on = \"<host>\"` or `on = \"every-host\"`",
                );
                return None;
            }
        };
        if let GatewayHosts::One(host) = &on {
            self.address_of_host(network, &gateway.address, host, "the gateway".to_owned());
        }
        Some(Gateway {
            address: gateway.address.value,
            on,
        })
    }
}
