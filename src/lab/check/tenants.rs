//! Tenants whose networks are routed to each other.

use std::collections::BTreeSet;

use super::Check;
use crate::lab::TenantName;
use crate::lab::file::{At, LabFile, RouteFile};

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

    fn route(&mut self, file: &LabFile, tenants: &BTreeSet<&TenantName>, route: &RouteFile) -> BTreeSet<TenantName> {
        for At { value, span } in &route.between {
            let is_lost = ["networks", "tenant"].iter().any(|key| self.broken.contains(key));
            if is_lost || tenants.contains(value) {
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
