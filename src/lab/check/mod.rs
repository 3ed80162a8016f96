//! Resolves references, expands counts and finds contradictions: takes a [`LabFile`], returns a [`Lab`] or every problem
//! of the file at once. Chooses nothing that the user left open.

mod hosts;
mod networks;
mod services;
mod vms;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::file::{At, LabFile};
use super::problem::{Problem, suggest};
use super::{HostName, IfName, ImageName, Lab, LabHost, MacAddr, Network, NetworkName, Router, Switch, Verify};

/// What is known so far, and what is wrong so far.
struct Check<'a> {
    images: &'a BTreeSet<ImageName>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    hosts: BTreeMap<HostName, LabHost>,
    switches: BTreeMap<HostName, Switch>,
    routers: BTreeMap<HostName, Router>,
    networks: BTreeMap<NetworkName, Network>,
    /// Networks by every name in the file, also those left out of `networks` for another problem.
    network_names: BTreeSet<NetworkName>,
    /// Addresses in use, per network, and by whom.
    addresses: BTreeMap<(NetworkName, Ipv4Addr), String>,
    /// Addresses in use on NICs of hosts and routers and as floating ones, and by whom.
    outer: BTreeMap<Ipv4Addr, String>,
    macs: BTreeSet<MacAddr>,
}

/// Checks `file`; returns a lab only if there is no problem, here or in `problems`.
pub(super) fn check(file: &LabFile, images: &BTreeSet<ImageName>, problems: Vec<Problem>) -> Result<Lab, Vec<Problem>> {
    let mut check = Check {
        images,
        problems,
        warnings: Vec::new(),
        hosts: BTreeMap::new(),
        switches: BTreeMap::new(),
        routers: BTreeMap::new(),
        networks: BTreeMap::new(),
        network_names: file.networks.iter().map(|n| n.name.value.clone()).collect(),
        addresses: BTreeMap::new(),
        outer: BTreeMap::new(),
        macs: BTreeSet::new(),
    };
    check.all_hosts(file);
    let cables = check.all_cables(file);
    check.all_networks(&file.networks);
    let nat = check.all_nat(&file.nat);
    let vms = check.all_vms(file);
    check.capacity(file, &vms);
    let pings = check.all_pings(&file.pings, &vms);
    match (&file.name, check.problems.is_empty()) {
        (Some(name), true) => Ok(Lab {
            name: name.clone(),
            hosts: check.hosts,
            switches: check.switches,
            routers: check.routers,
            cables,
            networks: check.networks,
            nat,
            vms,
            verify: Verify {
                outside: file.outside.clone(),
                pings,
            },
            images: BTreeMap::new(), // `parse` has them
            warnings: check.warnings,
        }),
        _ => Err(check.problems),
    }
}

/// How many addresses guests and gateway can have.
fn usable(subnet: Ipv4Net) -> u64 {
    (1_u64 << (32 - u32::from(subnet.prefix_len()))).saturating_sub(2)
}

/// The first or last address of a subnet, which no host can have.
fn is_edge(address: Ipv4Addr, subnet: Ipv4Net) -> bool {
    usable(subnet) > 0 && (address == subnet.network() || address == subnet.broadcast())
}

impl Check<'_> {
    fn add(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(span.clone(), message, help));
    }

    fn warn(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.warnings.push(Problem::new(span.clone(), message, help));
    }

    /// Whether the host exists; reports if not.
    fn host(&mut self, name: &HostName, span: &Range<usize>) -> bool {
        if self.hosts.contains_key(name) {
            return true;
        }
        let help = suggest(name.as_str(), self.hosts.keys().map(HostName::as_str));
        self.add(span, format!("there is no host `{name}`"), help);
        false
    }

    /// Whether the host has the NIC; reports if not.
    fn host_nic(&mut self, host: &HostName, nic: &IfName, span: &Range<usize>) -> bool {
        let Some(found) = self.hosts.get(host) else {
            return self.host(host, span);
        };
        if found.nics.contains_key(nic) {
            return true;
        }
        let help = suggest(nic.as_str(), found.nics.keys().map(IfName::as_str));
        self.add(span, format!("host `{host}` has no NIC `{nic}`"), help);
        false
    }

    /// Assigns an address of a network to `whom`.
    fn address(&mut self, network: &NetworkName, subnet: Ipv4Net, at: &At<Ipv4Addr>, whom: &str) {
        let At { value: address, span } = at;
        if !subnet.contains(address) {
            self.add(
                span,
                format!("{address} is outside `{subnet}`, the subnet of network `{network}`"),
                "",
            );
        } else if is_edge(*address, subnet) {
            self.add(
                span,
                format!("{address} is the network or broadcast address of `{subnet}`"),
                "",
            );
        }
        if let Some(other) = self.addresses.insert((network.clone(), *address), whom.to_owned()) {
            self.add(span, format!("address {address} is used twice: {other} and {whom}"), "");
        }
    }

    /// Assigns an address outside of the lab's networks to `whom`.
    fn outer_address(&mut self, address: Ipv4Addr, span: &Range<usize>, whom: String) {
        if let Some(other) = self.outer.get(&address) {
            let message = format!("address {address} is used twice: {other} and {whom}");
            self.add(span, message, "");
        } else {
            self.outer.insert(address, whom);
        }
    }
}
