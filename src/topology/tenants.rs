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

    /// Returns the tenants whose networks are routed to those of `tenant`, itself among them.
    pub fn routed<'a>(&'a self, tenant: &'a TenantName) -> BTreeSet<&'a TenantName> {
        let routes = self.routes.iter().filter(|route| route.contains(tenant));
        routes.flatten().chain([tenant]).collect()
    }
}
