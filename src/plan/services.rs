//! Rules, DHCP servers and floating addresses of one host. They depend on the links: removed before these, created after
//! them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Step, network};
use crate::lab::{IfName, NetworkName};
use crate::state::{Dhcp, Firewall};

/// The services' part of a host's state.
#[derive(Clone, Copy)]
pub(super) struct Services<'a> {
    pub floating: &'a BTreeMap<Ipv4Addr, IfName>,
    pub firewall: Option<&'a Firewall>,
    pub dhcp: &'a BTreeMap<NetworkName, Dhcp>,
}

/// From some services to others, on a network that changes in the same plan.
pub(super) struct Change<'a> {
    pub from: Services<'a>,
    pub to: Services<'a>,
    pub network: &'a network::Change<'a>,
}

impl Change<'_> {
    pub(super) fn removal(&self) -> Vec<Step> {
        let servers = self.from.dhcp.keys().filter(|network| !self.serves_on(network));
        let mut steps: Vec<Step> = servers.map(|network| Step::StopDhcp(network.clone())).collect();
        if self.from.firewall.is_some() && self.to.firewall.is_none() {
            steps.push(Step::DeleteRuleset);
        }
        let addresses = self.from.floating.iter().filter(|at| !self.floats_on(at));
        steps.extend(addresses.map(|(address, nic)| Step::DeleteFloating(*address, nic.clone())));
        steps
    }

    pub(super) fn creation(&self) -> Vec<Step> {
        let addresses = self.to.floating.iter().filter(|at| !self.floats_on(at));
        let mut steps: Vec<Step> = addresses
            .map(|(address, nic)| Step::AddFloating(*address, nic.clone()))
            .collect();
        if let Some(rules) = self.to.firewall
            && (self.from.firewall != Some(rules) || !self.keeps_flows(rules))
        {
            steps.push(Step::LoadRuleset(Box::new(rules.clone())));
        }
        let servers = self.to.dhcp.iter().filter(|(network, _)| !self.serves_on(network));
        steps.extend(servers.map(|(network, dhcp)| Step::StartDhcp(network.clone(), Box::new(dhcp.clone()))));
        steps
    }

    /// The network's server is unchanged: a server on a bridge that is recreated would receive nothing.
    fn serves_on(&self, network: &NetworkName) -> bool {
        let was = self.from.dhcp.get(network);
        was.is_some_and(|was| self.to.dhcp.get(network) == Some(was) && self.network.remains(&was.bridge))
    }

    /// The bridges that have the firewall's flows remain with their ports, which have the numbers by which flows know them.
    fn keeps_flows(&self, rules: &Firewall) -> bool {
        let with_gateways = rules.gateway_flows.iter();
        let mut ports = with_gateways.flat_map(|(_, gateways)| gateways.iter().map(|gateway| &gateway.port));
        let mut bridges = rules.flows.keys().chain(rules.gateway_flows.keys());
        bridges.all(|bridge| self.network.remains(bridge)) && ports.all(|port| self.network.keeps_port(port))
    }

    /// The address is unchanged; one on a NIC that is plugged again is removed with the old NIC.
    fn floats_on(&self, (address, nic): &(&Ipv4Addr, &IfName)) -> bool {
        let both = self.from.floating.get(address) == Some(nic) && self.to.floating.get(address) == Some(nic);
        both && !self.network.is_replugged()
    }
}
