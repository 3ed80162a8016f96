//! Resolves references, expands counts and finds contradictions: takes a [`LabFile`], returns a [`Lab`] or every problem
//! of the file at once. Chooses nothing that the user left open.

mod addresses;
mod bonds;
mod connected;
mod hosts;
mod loops;
mod networks;
mod services;
mod setup;
mod switching;
mod tenants;
mod tunnels;
mod unplugged;
mod verify;
mod vms;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;

use self::addresses::Owner;
use super::file::LabFile;
use super::problem::{MOST_SHOWN, Problem, suggest};
use super::{HostName, IfName, ImageName, Lab, LabHost, MacAddr, Network, NetworkName, Router, Switch, Verify, VmName};

/// What is known so far, and what is wrong so far.
struct Check<'a> {
    images: &'a BTreeSet<ImageName>,
    /// Where files are that the lab file names.
    folder: &'a Path,
    /// Tables of names of which something could not be read.
    broken: &'a BTreeSet<&'static str>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    hosts: BTreeMap<HostName, LabHost>,
    switches: BTreeMap<HostName, Switch>,
    routers: BTreeMap<HostName, Router>,
    networks: BTreeMap<NetworkName, Network>,
    /// Networks by every name in the file, also those left out of `networks` for another problem.
    network_names: BTreeSet<NetworkName>,
    /// Networks with a gateway that is wrong, and reported.
    wrong_gateways: BTreeSet<NetworkName>,
    /// Addresses in use, and by whom.
    owners: BTreeMap<Ipv4Addr, Owner>,
    /// Further addresses that the file mentions as somebody's, e.g. of name servers.
    mentioned: BTreeSet<Ipv4Addr>,
    macs: BTreeSet<MacAddr>,
    /// VMs by their names in lower case.
    vm_names: BTreeMap<String, VmName>,
    /// Ports that lead to a VM.
    forwards: BTreeMap<u16, VmName>,
    /// VMs that are left out for another problem.
    lost: BTreeSet<VmName>,
    /// The VMs of each table, by its place in the file; also those that are left out for another problem.
    made: Vec<Vec<VmName>>,
}

/// Checks `file`; returns a lab only if there is no problem, here or in `problems`.
pub(super) fn check(
    file: &LabFile,
    images: &BTreeSet<ImageName>,
    folder: &Path,
    problems: Vec<Problem>,
) -> Result<Lab, Vec<Problem>> {
    let mut check = Check {
        images,
        folder,
        broken: &file.broken,
        wrong_gateways: BTreeSet::new(),
        problems,
        warnings: Vec::new(),
        hosts: BTreeMap::new(),
        switches: BTreeMap::new(),
        routers: BTreeMap::new(),
        networks: BTreeMap::new(),
        network_names: file.networks.iter().map(|n| n.name.value.clone()).collect(),
        owners: BTreeMap::new(),
        mentioned: addresses::mentioned(file),
        macs: BTreeSet::new(),
        vm_names: BTreeMap::new(),
        forwards: BTreeMap::new(),
        lost: BTreeSet::new(),
        made: Vec::new(),
    };
    check.all_hosts(file);
    let (cables, cable_shaping) = check.all_cables(file);
    check.aggregated(file, &cables);
    check.all_networks(&file.networks);
    let routes = check.all_routes(file);
    let nat = check.all_nat(&file.nat);
    let mut vms = check.all_vms(file);
    let setup = check.setups(file, &mut vms);
    check.shared_subnets(file, &vms);
    check.capacity(file, &vms);
    check.switching(&file.networks);
    check.tunnels(&file.networks, &vms);
    check.connected(&file.networks, &cables, &vms);
    check.unplugged(file, &cables);
    let pings = check.all_pings(&file.pings, &vms);
    let checks = check.all_checks(&file.checks, &vms);
    match (&file.name, check.problems.is_empty()) {
        (Some(name), true) => Ok(Lab {
            name: name.clone(),
            hosts: check.hosts,
            switches: check.switches,
            routers: check.routers,
            cables,
            cable_shaping,
            networks: check.networks,
            routes,
            nat,
            vms,
            verify: Verify {
                outside: file.outside.clone(),
                outside_names: file.outside_names.clone(),
                pings,
                checks,
            },
            setup,
            images: BTreeMap::new(), // `parse` has them
            warnings: check.warnings,
        }),
        _ => Err(check.problems),
    }
}

impl Check<'_> {
    fn add(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(span.clone(), message, help));
    }

    fn warn(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.warnings.push(Problem::new(span.clone(), message, help));
    }

    /// Returns what was probably meant; nothing once there are more problems than are shown.
    fn suggest<'a>(&self, wrong: &str, existing: impl IntoIterator<Item = &'a str>) -> String {
        if self.problems.len() < MOST_SHOWN {
            suggest(wrong, existing)
        } else {
            String::new()
        }
    }

    /// Whether the host exists; reports if not.
    fn host(&mut self, name: &HostName, span: &Range<usize>) -> bool {
        if self.hosts.contains_key(name) {
            return true;
        }
        if self.broken.contains("hosts") {
            return false;
        }
        let help = self.suggest(name.as_str(), self.hosts.keys().map(HostName::as_str));
        self.add(span, format!("there is no host `{name}`"), help);
        false
    }

    /// Whether the host has the NIC, and it is in no bond; reports if not.
    fn free_nic(&mut self, host: &HostName, nic: &IfName, span: &Range<usize>) -> bool {
        if let Some(bond) = self.bond_of(host, nic).cloned() {
            let message = format!("NIC `{nic}` of `{host}` is in bond `{bond}`");
            self.add(span, message, format!("write `{bond}`"));
            return false;
        }
        self.host_nic(host, nic, span)
    }

    /// Whether the host has the NIC; reports if not.
    fn host_nic(&mut self, host: &HostName, nic: &IfName, span: &Range<usize>) -> bool {
        let Some(found) = self.hosts.get(host) else {
            return self.host(host, span);
        };
        if found.nics.contains_key(nic) {
            return true;
        }
        if self.broken.contains("nics") {
            return false;
        }
        let help = self.suggest(nic.as_str(), found.nics.keys().map(IfName::as_str));
        self.add(span, format!("host `{host}` has no NIC `{nic}`"), help);
        false
    }
}
