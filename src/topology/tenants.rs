//! Whose networks are whose, and which tenants are kept apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::lab::{NetworkName, TenantName};

/// The tenants of a lab's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenants {
    /// The tenant of each network that has one.
    pub of: BTreeMap<NetworkName, TenantName>,
    /// Tenants whose networks are routed to each other.
    pub routes: Vec<BTreeSet<TenantName>>,
}

impl Tenants {
    /// Returns whether no host may route from one of the two networks to the other.
    pub fn are_apart(&self, a: &NetworkName, b: &NetworkName) -> bool {
        let (Some(a), Some(b)) = (self.of.get(a), self.of.get(b)) else {
            return false;
        };
        let routed = |tenants: &BTreeSet<TenantName>| tenants.contains(a) && tenants.contains(b);
        a != b && !self.routes.iter().any(routed)
    }

    /// Returns the routes by tenant, for a caller that asks for many: to ask each route for each tenant takes the square of
    /// the lab's size.
    pub fn by_tenant(&self) -> RoutesByTenant<'_> {
        let mut routes: BTreeMap<&TenantName, Vec<&BTreeSet<TenantName>>> = BTreeMap::new();
        for route in &self.routes {
            for tenant in route {
                routes.entry(tenant).or_default().push(route);
            }
        }
        RoutesByTenant(routes)
    }
}

/// The routes that each tenant is a part of.
#[derive(Debug, Clone)]
pub struct RoutesByTenant<'a>(BTreeMap<&'a TenantName, Vec<&'a BTreeSet<TenantName>>>);

impl<'a> RoutesByTenant<'a> {
    /// Returns the tenants whose networks are routed to those of `tenant`, itself among them.
    pub fn routed(&self, tenant: &'a TenantName) -> BTreeSet<&'a TenantName> {
        let routes = self.0.get(tenant).into_iter().flatten().copied();
        routes.flatten().chain([tenant]).collect()
    }
}
