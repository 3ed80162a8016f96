//! Which networks share an uplink.

use std::collections::BTreeMap;

use crate::lab::{HostName, IfName, NetworkName, Uplinks};

/// The networks that NICs carry, by a part `K` of what distinguishes them there. Networks that name one NIC for all hosts
/// are apart from the others: with thousands of networks and hosts there are millions of pairs.
pub(super) struct Carried<'a, K> {
    everywhere: BTreeMap<(IfName, K), &'a NetworkName>,
    on: BTreeMap<(IfName, K), BTreeMap<HostName, &'a NetworkName>>,
}

impl<K> Default for Carried<'_, K> {
    fn default() -> Self {
        Self {
            everywhere: BTreeMap::new(),
            on: BTreeMap::new(),
        }
    }
}

impl<'a, K: Ord + Copy> Carried<'a, K> {
    /// Returns the networks of `key` that share a NIC with `uplinks`, each with the first of those NICs. `first` returns the
    /// first host that has a NIC.
    pub(super) fn sharing(
        &self,
        uplinks: &Uplinks,
        key: K,
        first: impl Fn(&IfName) -> Option<HostName>,
    ) -> BTreeMap<&'a NetworkName, (HostName, IfName)> {
        let mut found = BTreeMap::new();
        let mut add = |network: &'a NetworkName, host: &HostName, nic: &IfName| {
            found.entry(network).or_insert_with(|| (host.clone(), nic.clone()));
        };
        match uplinks {
            Uplinks::None => {}
            Uplinks::Everywhere(nic) => {
                let at = (nic.clone(), key);
                if let (Some(network), Some(host)) = (self.everywhere.get(&at), first(nic)) {
                    add(network, &host, nic);
                }
                for (host, network) in self.on.get(&at).into_iter().flatten() {
                    add(network, host, nic);
                }
            }
            Uplinks::On(nics) => {
                for (host, nic) in nics {
                    let at = (nic.clone(), key);
                    let on = self.on.get(&at).and_then(|on| on.get(host));
                    for network in on.into_iter().chain(self.everywhere.get(&at)) {
                        add(network, host, nic);
                    }
                }
            }
        }
        found
    }

    /// Adds a network, where it is the first one.
    pub(super) fn insert(&mut self, uplinks: &Uplinks, key: K, network: &'a NetworkName) {
        match uplinks {
            Uplinks::None => {}
            Uplinks::Everywhere(nic) => _ = self.everywhere.entry((nic.clone(), key)).or_insert(network),
            Uplinks::On(nics) => {
                for (host, nic) in nics {
                    let on = self.on.entry((nic.clone(), key)).or_default();
                    on.entry(host.clone()).or_insert(network);
                }
            }
        }
    }
}
