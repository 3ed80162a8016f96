//! What connects networks to others: address translation, floating addresses and classes.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Check;
use super::addresses::{Owner, is_edge};
use crate::lab::file::{At, NatFile, NatFrom, VmFile};
use crate::lab::{Class, GatewayHosts, HostName, IfName, NatRule, NetworkName, VmName};

impl Check<'_> {
    pub(super) fn all_nat(&mut self, rules: &[NatFile]) -> Vec<NatRule> {
        rules.iter().filter_map(|rule| self.nat(rule)).collect()
    }

    fn nat(&mut self, rule: &NatFile) -> Option<NatRule> {
        let mut from = Vec::new();
        for At { value, span } in &rule.from {
            match value {
                NatFrom::Subnet(subnet) => from.push(subnet.trunc()),
                NatFrom::Network(name) => match self.networks.get(name) {
                    Some(network) => from.push(network.subnet),
                    None if self.network_names.contains(name) || self.broken.contains("networks") => {}
                    None => {
                        let help = self.suggest(name.as_str(), self.network_names.iter().map(NetworkName::as_str));
                        self.add(span, format!("there is no network `{name}`"), help);
                    }
                },
            }
        }
        let on = match &rule.on {
            Some(At { value, span }) => self.host(value, span).then(|| value.clone())?,
            None if self.hosts.len() == 1 => self.hosts.keys().next()?.clone(),
            None if self.broken.contains("hosts") => return None,
            None => {
                self.add(&rule.span, "a nat rule needs a host", "add `on = \"<host>\"`");
                return None;
            }
        };
        let out = rule.out.as_ref()?;
        if !self.free_nic(&on, &out.value, &out.span) {
            return None;
        }
        if let Some(At { value: source, span }) = &rule.source
            && let Some(own) = self.nic_subnet(&on, &out.value)
            && !own.contains(source)
        {
            let message = format!(
                "source {source} is outside `{}`, where `{on}:{}` leads",
                own.trunc(),
                out.value
            );
            self.add(span, message, "replies to it would not be routed back");
        } else if let (Some(At { value, span }), Some(own)) = (&rule.source, self.nic_subnet(&on, &out.value)) {
            self.no_edge(*value, own, span);
        }
        Some(NatRule {
            on,
            from,
            out: out.value.clone(),
            source: rule.source.as_ref().map(|at| at.value),
        })
    }

    fn nic_subnet(&self, host: &HostName, nic: &IfName) -> Option<Ipv4Net> {
        self.hosts.get(host)?.nics.get(nic)?.address
    }

    /// A vm's floating address: some host that routes its first network must have a NIC towards it.
    pub(super) fn floating(&mut self, vm: &VmFile, hosts: &[HostName], count: u32) -> Option<Ipv4Addr> {
        let At { value: address, span } = vm.floating.as_ref()?;
        self.own(*address, span, Owner::other(format!("vm `{}`", vm.name.value)));
        if count > 1 {
            let message = format!("one floating address for {count} vms");
            self.add(span, message, "give each vm a table of its own");
            return None;
        }
        let first = vm.nics.first().map(|nic| &nic.network.value);
        // Where the network or its gateway is wrong, that is the mistake.
        let is_wrong = |name: &NetworkName| !self.networks.contains_key(name) || self.wrong_gateways.contains(name);
        if first.is_some_and(is_wrong) || self.broken.contains("network") {
            return None;
        }
        let network = first.and_then(|name| self.networks.get(name));
        let Some(gateway) = network.and_then(|network| network.gateway.as_ref()) else {
            let message = format!("vm `{}` has a floating address and no gateway", vm.name.value);
            self.add(span, message, "give the network of its first NIC a `gateway`");
            return None;
        };
        let routers: Vec<&HostName> = match &gateway.on {
            GatewayHosts::One(host) => vec![host],
            GatewayHosts::Every => hosts.iter().collect(),
        };
        let leads = |host: &HostName| {
            let nics = self.hosts.get(host).map(|host| host.nics.values());
            let mut subnets = nics.into_iter().flatten().filter_map(|nic| nic.address);
            subnets.any(|subnet| subnet.contains(address)) || self.broken.contains("address")
        };
        if let Some(host) = routers.into_iter().find(|host| !leads(host)) {
            let message = format!(
                "no NIC of host `{host}`, which routes for vm `{}`, leads to {address}",
                vm.name.value
            );
            let help = format!("give it one, e.g. `hosts.{host}.nics.eth1.address = \"...\"` around that address");
            self.add(span, message, help);
        } else {
            let around = (0..=32).filter_map(|length| Some(Ipv4Net::new(*address, length).ok()?.trunc()));
            let mut around = around.filter(|subnet| self.behind.contains(subnet));
            if let Some(subnet) = around.find(|subnet| is_edge(*address, *subnet)) {
                self.no_edge(*address, subnet, span);
            }
        }
        Some(*address)
    }

    /// A guest on a network of the hosts' own is allowed, with a warning.
    pub(super) fn guest_on(&mut self, network: &At<NetworkName>, vm: &VmName) {
        let class = self.networks.get(&network.value).map(|network| network.class);
        let word = match class {
            Some(Class::Management) => "management",
            Some(Class::Storage) => "storage",
            Some(Class::Public | Class::Service) | None => return,
        };
        let message = format!(
            "vm `{vm}` is on `{}`, a {word} network: it can reach the hosts there",
            network.value
        );
        self.warn(&network.span, message, "guests belong on a network of class `service`");
    }
}
