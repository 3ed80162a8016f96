//! The desired state: what a topology owns on every host once it is up.
//!
//! ```
//! use std::collections::BTreeMap;
//! use netlab::{state::{Site, desired}, topology::Topology};
//!
//! /// Returns what the lab needs where nothing is known of the hosts.
//! fn of_unknown_hosts(topology: &Topology) -> Site {
//!     desired(topology, &BTreeMap::new())
//! }
//! ```

mod domains;
mod machines;
mod services;
#[cfg(test)]
mod tests;

pub use domains::guest_config;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::forward;
use super::{HostState, Link, LinkKind, Missing, NicConfig, Site, Survey, Sysctl, Uplink, localhost};
use crate::lab::{Class, Connect, HostName, IfName};
use crate::topology::{Topology, TopologyHost, derive};

/// Returns what `topology` owns, in the form in which it is observed once it exists.
///
/// `surveys` have what only the hosts know: what is configured on their NICs and whether KVM works. For an emulated host
/// that does not exist yet, the survey of [`localhost`] is used.
pub fn desired(topology: &Topology, surveys: &BTreeMap<HostName, Survey>) -> Site {
    let localhost = localhost();
    let survey = |host: &HostName| match topology.hosts.get(host)?.connect {
        Connect::Emulated => surveys.get(host).or_else(|| surveys.get(&localhost)),
        Connect::Local | Connect::Ssh(_) => surveys.get(host),
    };

    let machines = machines::machines(topology);
    let mut site = Site::new();
    for (name, host) in &topology.hosts {
        let was = |nic: &IfName| match machines.get(name) {
            // Not surveyed: the machine boots with what the lab gives it, also when it is to be created or recreated.
            Some(machine) => machine.nics.get(nic).map(machines::boot_config),
            None => survey(name).and_then(|survey| survey.nics.get(nic).cloned()),
        };
        // A NIC that does not exist is refused in preflight.
        let mut state = network(host, |nic| was(nic).unwrap_or_default());
        services::add(&mut state, topology, name, host);
        site.insert(name.clone(), state);
    }
    domains::add(&mut site, topology, survey);
    if !machines.is_empty() {
        let cables = topology.cables.iter();
        let cables = cables.filter(|cable| cable.ends.iter().all(|end| machines.contains_key(&end.host)));
        let emulated = HostState {
            cables: cables.cloned().collect(),
            machines,
            ..HostState::default()
        };
        site.insert(localhost, emulated);
    }
    forward::add(&mut site, topology);
    site.retain(|_, state| *state != HostState::default());
    site
}

/// Returns bridges, VLAN devices, uplinks and settings of one host; `was` returns what is configured on a NIC of it.
fn network(host: &TopologyHost, was: impl Fn(&IfName) -> NicConfig) -> HostState {
    let mut state = HostState::default();
    for (network, segment) in &host.segments {
        // `netlab status` reads the class from here: it queries the hosts, not the lab file.
        let purpose = match segment.class {
            Class::Service => format!("network {network}"),
            class => format!("{class} network {network}"),
        };
        // What the bridge takes over from its uplink is not added once more, e.g. where the host is the gateway with its
        // own address.
        let attached = segment.uplink.as_ref().filter(|_| segment.vlan.is_none()).map(&was);
        let moved = attached.into_iter().flat_map(|nic| nic.addresses);
        let moved: BTreeSet<IpAddr> = moved.map(|net| net.addr()).collect();
        let own = segment.gateway.into_iter().chain(segment.address);
        let own = own.filter(|address| !moved.contains(&IpAddr::V4(*address)));
        let own = own.filter_map(|address| Ipv4Net::new(address, segment.subnet.prefix_len()).ok());
        if segment.gateway.is_some() {
            state.sysctls.insert(Sysctl::Ipv4Forward, "1".to_owned());
        }
        let bridge = Link {
            kind: LinkKind::Bridge {
                stp: segment.stp,
                mac: segment.mac,
            },
            master: None,
            addresses: own.map(IpNet::from).collect(),
            mtu: segment.mtu,
            purpose: purpose.clone(),
        };
        state.links.insert(segment.bridge.clone(), bridge);

        match (&segment.uplink, segment.vlan) {
            (None, _) => {}
            (Some(nic), None) => {
                let uplink = Uplink {
                    bridge: segment.bridge.clone(),
                    was: was(nic),
                    missing: Missing::default(),
                };
                state.uplinks.insert(nic.clone(), uplink);
            }
            (Some(nic), Some(id)) => {
                let device = Link {
                    kind: LinkKind::Vlan {
                        parent: nic.clone(),
                        id,
                    },
                    master: Some(segment.bridge.clone()),
                    addresses: BTreeSet::new(),
                    mtu: segment.mtu,
                    purpose,
                };
                state.links.insert(derive::vlan_device(nic, id), device);
            }
        }
    }
    state
}
