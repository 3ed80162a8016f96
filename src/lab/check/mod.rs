//! Resolves references, expands counts and finds contradictions: takes a [`LabFile`], returns a [`Lab`] or every problem
//! of the file at once. Chooses nothing that the user left open.

mod addresses;
mod bonds;
mod carried;
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
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;

use ipnet::Ipv4Net;

use self::addresses::Owner;
use self::connected::Placed;
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
    /// The hosts' NICs by name.
    nics: BTreeMap<IfName, Having>,
    /// The subnets behind them.
    behind: BTreeSet<Ipv4Net>,
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

/// The hosts that have a NIC of one name.
struct Having {
    first: HostName,
    count: usize,
    /// One on which that NIC is in a bond, and that bond.
    bonded: Option<(HostName, IfName)>,
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
        nics: BTreeMap::new(),
        behind: BTreeSet::new(),
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
    check.nics = check.having();
    let nics = check.hosts.values().flat_map(|host| host.nics.values());
    check.behind = nics.filter_map(|nic| Some(nic.address?.trunc())).collect();
    let (cables, cable_shaping) = check.all_cables(file);
    check.aggregated(file, &cables);
    check.all_networks(&file.networks);
    let routes = check.all_routes(file);
    let nat = check.all_nat(&file.nat);
    let mut vms = check.all_vms(file);
    let setup = check.setups(file, &mut vms);
    let placed = Placed::of(&vms);
    check.shared_subnets(file, &placed);
    check.capacity(file, &vms);
    check.switching(&file.networks);
    check.tunnels(&file.networks, &placed);
    check.connected(&file.networks, &cables, &placed);
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

    /// Returns the hosts' NICs by name: to ask each host for each network takes the square of the lab's size.
    fn having(&self) -> BTreeMap<IfName, Having> {
        let mut nics: BTreeMap<IfName, Having> = BTreeMap::new();
        for (host, described) in &self.hosts {
            for nic in described.nics.keys() {
                let having = nics.entry(nic.clone()).or_insert_with(|| Having {
                    first: host.clone(),
                    count: 0,
                    bonded: None,
                });
                having.count += 1;
                if having.bonded.is_none() {
                    having.bonded = self.bond_of(host, nic).map(|bond| (host.clone(), bond.clone()));
                }
            }
        }
        nics
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
