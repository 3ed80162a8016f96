//! Tenants whose networks are routed to each other, and where ports can be secured.

use std::collections::BTreeSet;

use super::Check;
use crate::lab::file::{At, LabFile, RouteFile};
use crate::lab::{NetworkName, TenantName};

impl Check<'_> {
    pub(super) fn all_routes(&mut self, file: &LabFile) -> Vec<BTreeSet<TenantName>> {
        let networks = file.networks.iter();
        let tenants: BTreeSet<&TenantName> = networks
            .filter_map(|network| network.tenant.as_ref())
            .map(|at| &at.value)
            .collect();
        let routes = file.routes.iter();
        routes.map(|route| self.route(file, &tenants, route)).collect()
    }

    /// The rules of port security are for Linux bridges: Open vSwitch forwards past them.
    pub(super) fn secured_ports(&mut self, file: &LabFile) {
        let ovs = |name: &NetworkName| {
            let mut networks = file.networks.iter();
            networks.any(|network| network.ovs && network.name.value == *name)
        };
        let networks = file.networks.iter().filter(|network| network.port_security);
        let nics = file.vms.iter().flat_map(|vm| &vm.nics);
        let nics = nics.filter(|nic| nic.port_security == Some(true));
        let names = networks
            .map(|network| &network.name)
            .chain(nics.map(|nic| &nic.network));
        for At { value, span } in names.filter(|at| ovs(&at.value)) {
            let message = format!("network `{value}`: port_security is not available on Open vSwitch networks yet");
            self.add(span, message, "remove `port_security`, or `switch = \"ovs\"`");
        }
    }

    fn route(&mut self, file: &LabFile, tenants: &BTreeSet<&TenantName>, route: &RouteFile) -> BTreeSet<TenantName> {
        for At { value, span } in &route.between {
            if tenants.contains(value) || self.broken.contains("networks") {
                continue;
            }
            let mut networks = file.networks.iter();
            let help = if networks.any(|network| network.name.value.as_str() == value.as_str()) {
                format!("`{value}` is a network: give it a `tenant`, and write that")
            } else {
                self.suggest(value.as_str(), tenants.iter().map(|tenant| tenant.as_str()))
            };
            self.add(span, format!("there is no tenant `{value}`"), help);
        }
        let between: BTreeSet<TenantName> = route.between.iter().map(|at| at.value.clone()).collect();
        if between.len() < 2 && !route.between.is_empty() {
            let message = "a route is between two tenants or more";
            self.add(
                &route.span,
                message,
                "networks of one tenant are routed to each other anyway",
            );
        }
        between
    }
}
