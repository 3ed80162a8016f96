//! What the bonds of a host need: the kernel's module, or Open vSwitch, and NICs that are free.

use super::{Finding, finding};
use crate::lab::{BondMode, Connect, HostName, IfName, LabBond};
use crate::state::survey::BONDING;
use crate::state::{Site, Survey, datapath};
use crate::topology::TopologyHost;

/// Returns what a host lacks for its bonds. One that a real host has already is used, and needs nothing.
pub(super) fn check(name: &HostName, host: &TopologyHost, survey: &Survey, observed: &Site) -> Vec<Finding> {
    let emulated = host.connect == Connect::Emulated;
    let mut findings = Vec::new();
    for (bond, described) in host
        .nics
        .iter()
        .filter_map(|(nic, has)| Some((nic, has.bond.as_ref()?)))
    {
        if !emulated && survey.nics.contains_key(bond) {
            continue;
        }
        findings.extend(module(host, survey, bond, described));
        for nic in described.nics.iter().filter(|_| !emulated) {
            findings.extend(member(name, survey, observed, bond, nic));
        }
    }
    findings
}

fn module(host: &TopologyHost, survey: &Survey, bond: &IfName, described: &LabBond) -> Option<Finding> {
    if !survey.missing_modules.contains(BONDING) {
        return None;
    }
    let mode = described.bond.mode;
    let in_ovs = host.segments.values().any(|segment| {
        let datapath = datapath(segment.switch, Some(survey));
        datapath.is_some() && segment.attached(datapath) == Some(bond)
    });
    if !in_ovs {
        return Some(finding(
            format!("the kernel does not support bonds, as `{bond}` is one: module {BONDING} is missing"),
            format!(
                "run `modprobe {BONDING}` on the host, or write `switch = \"ovs\"` under the networks on {bond}: Open vSwitch \
                 has bonds of its own"
            ),
        ));
    }
    (!mode.is_of_ovs()).then(|| {
        finding(
            format!("Open vSwitch has no bonds of mode {mode}, as `{bond}` is one, and the kernel's module {BONDING} is missing"),
            format!(
                "run `modprobe {BONDING}` on the host, or write `mode = \"{}\"` or `mode = \"{}\"`",
                BondMode::ActiveBackup,
                BondMode::Lacp
            ),
        )
    })
}

fn member(name: &HostName, survey: &Survey, observed: &Site, bond: &IfName, nic: &IfName) -> Option<Finding> {
    let Some(config) = survey.nics.get(nic) else {
        let nics: Vec<&str> = survey.nics.keys().map(IfName::as_str).collect();
        return Some(finding(
            format!(
                "NIC {nic} of bond {bond} does not exist; the host has: {}",
                nics.join(", ")
            ),
            "name NICs that the host has",
        ));
    };
    if observed.get(name).is_some_and(|state| state.uplinks.contains_key(nic)) {
        return None;
    }
    if let Some(owner) = survey.foreign_links.get(nic.as_str()) {
        return Some(finding(
            format!("NIC {nic} of bond {bond} already belongs to {owner}"),
            "name another NIC, or detach that one first",
        ));
    }
    (!config.addresses.is_empty() || !config.routes.is_empty()).then(|| {
        finding(
            format!("NIC {nic} of bond {bond} has addresses or routes, which it would lose in a bond"),
            "configure the bond on the host, then netlab uses it as it is; or remove the addresses from the NIC",
        )
    })
}
