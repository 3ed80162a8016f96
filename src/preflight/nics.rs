//! NICs, names of links and subnets that a lab needs on a host and does not have, or that belong to others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

use super::{Finding, finding, services};
use crate::lab::{Connect, HostName, IfName, VmName};
use crate::state::{Site, Survey, datapath};
use crate::topology::{Guest, OnHost, Segment, SegmentTunnel, TopologyHost, derive};

/// Uplinks that do not exist, or belong to others.
pub(super) fn uplinks(host: &TopologyHost, on_host: &OnHost<'_>, survey: Option<&Survey>) -> Vec<Finding> {
    let bonds = host
        .nics
        .iter()
        .filter(|(_, nic)| nic.bond.is_some())
        .map(|(name, _)| name);
    let (nics, help): (BTreeSet<&IfName>, _) = match host.connect {
        // It will have the NICs of the lab, regardless of those that it has now.
        Connect::Emulated => (
            host.nics.keys().chain(on_host.plugged.iter().copied()).collect(),
            "give the host such a NIC under `nics`, or plug a cable into it",
        ),
        Connect::Local | Connect::Ssh(_) => match survey {
            // A bond that does not exist is created.
            Some(survey) => (
                survey.nics.keys().chain(bonds).collect(),
                "use one of these as the network's uplink",
            ),
            None => return Vec::new(),
        },
    };
    let mut missing: BTreeMap<&IfName, Vec<String>> = BTreeMap::new();
    for (network, segment) in &host.segments {
        if let Some(nic) = segment.uplink.as_ref().filter(|nic| !nics.contains(nic)) {
            missing.entry(nic).or_default().push(format!("`{network}`"));
        }
    }
    let attached = host.segments.iter().filter_map(|(network, segment)| {
        // A tagged network does not attach the NIC.
        let nic = segment.attached(datapath(segment.switch, survey))?;
        let owner = survey?.foreign_links.get(nic.as_str())?;
        let help = match owner.strip_prefix("lab ") {
            Some(lab) => format!("run `netlab down {lab}` first, or choose another uplink for the network"),
            None => "choose another uplink for the network, or detach that NIC first".to_owned(),
        };
        Some(finding(
            format!("NIC {nic}, the uplink of network `{network}`, already belongs to {owner}"),
            help,
        ))
    });
    let existing = match nics.len() {
        0 => "none".to_owned(),
        _ => nics.iter().map(|nic| nic.as_str()).collect::<Vec<_>>().join(", "),
    };
    let uplinks = missing.iter().map(|(nic, networks)| {
        let networks = networks.join(", ");
        finding(
            format!("NIC {nic}, the uplink of network {networks}, does not exist; the host has: {existing}"),
            help,
        )
    });
    let outside: BTreeSet<&IfName> = services::outside(host, on_host)
        .filter(|nic| !nics.contains(nic) && !missing.contains_key(nic))
        .collect();
    let leading = outside.into_iter().map(|nic| {
        finding(
            format!("NIC {nic}, which leads outside, does not exist; the host has: {existing}"),
            "use one of these for address translation and floating addresses",
        )
    });
    uplinks.chain(attached).chain(leading).collect()
}

/// NICs to be attached over which a real host is reached, where the lab does not allow it.
pub(super) fn takeovers(name: &HostName, host: &TopologyHost, survey: &Survey, observed: &Site) -> Vec<Finding> {
    if host.connect == Connect::Emulated {
        return Vec::new();
    }
    let is_attached = |nic: &IfName| observed.get(name).is_some_and(|state| state.uplinks.contains_key(nic));
    let mut findings = Vec::new();
    for (network, segment) in &host.segments {
        // Below a VLAN device the NIC itself is unchanged.
        let Some(nic) = segment.attached(datapath(segment.switch, Some(survey))) else {
            continue;
        };
        let Some(config) = survey.nics.get(nic) else { continue };
        if is_attached(nic) || host.nics.get(nic).is_some_and(|written| written.takeover) {
            continue;
        }
        let reached = config.addresses.iter().any(|net| Some(net.addr()) == survey.reached_at);
        let carries = match (reached, config.routes.iter().any(|route| route.to.prefix_len() == 0)) {
            (true, _) => "the ssh session",
            (false, true) => "the default route",
            (false, false) => continue,
        };
        findings.push(finding(
            format!("NIC {nic}, the uplink of network `{network}`, carries {carries}: attaching it to a bridge could cut the connection to the host"),
            format!(
                "choose another uplink, give the network a `vlan`, or write `nics.{nic}.takeover = true` under the host: \
                 a host behind ssh then restores the NIC by itself unless netlab reaches it again"
            ),
        ));
    }
    findings
}

/// Names of links that are in use already.
pub(super) fn names(host: &TopologyHost, guests: &[(&VmName, &Guest)], survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut check = |name: &IfName, role: fmt::Arguments, help: &str| {
        let owner = match survey.foreign_links.get(name.as_str()) {
            Some(owner) => owner.as_str(),
            None if survey.nics.contains_key(name) => "a NIC of the host",
            None => return,
        };
        findings.push(finding(
            format!("the name {name} of {role} already belongs to {owner}"),
            help,
        ));
    };
    for (network, segment) in &host.segments {
        let help = "choose another name with the network's `bridge`";
        check(&segment.bridge, format_args!("the bridge of network `{network}`"), help);
        if let Some(tunnel) = &segment.tunnel {
            let role = format_args!("the tunnel device of network `{network}`");
            let ports = segment.ports();
            let devices = if segment.switch.is_ovs() {
                &ports[..]
            } else {
                std::slice::from_ref(&tunnel.device)
            };
            for device in devices {
                check(device, role, "rename the network, or remove that link");
            }
        }
        if let Some(nic) = segment.attached(datapath(segment.switch, Some(survey)))
            && (segment.vlan.is_some() || segment.tunnel.is_some())
        {
            let role = format_args!("the bridge of NIC {nic} for network `{network}`");
            check(&derive::provider_bridge(nic), role, "rename that link");
        }
        if let Some((nic, id)) = segment.uplink.as_ref().zip(segment.vlan) {
            let role = format_args!("the VLAN device of network `{network}`");
            let help = "choose another VLAN id or uplink for the network, or remove that device";
            check(&derive::vlan_device(nic, id), role, help);
        }
    }
    for (vm, guest) in guests {
        for nic in &guest.nics {
            let role = format_args!("the tap of vm `{vm}` on network `{}`", nic.network);
            check(&nic.tap, role, "rename the vm, or remove that link");
        }
    }
    findings
}

/// Keys of tunnels that other devices of the host have.
pub(super) fn keys(host: &TopologyHost, survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (network, segment) in &host.segments {
        let Some(SegmentTunnel { kind, key, .. }) = &segment.tunnel else {
            continue;
        };
        if let Some(link) = survey.foreign_keys.get(&(*kind, *key)) {
            findings.push(finding(
                format!(
                    "key {key} of the {kind} tunnels of network `{network}` already belongs to link {link} of the host"
                ),
                "give the network another `key`",
            ));
        }
    }
    findings
}

/// Subnets that the host already reaches by another link.
pub(super) fn subnets(host: &TopologyHost, survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (network, segment) in &host.segments {
        let subnet = IpNet::V4(segment.subnet);
        for (other, link) in &survey.subnets {
            let overlaps = other.contains(&subnet) || subnet.contains(other);
            // A default route includes every subnet and conflicts with none.
            if !overlaps || other.prefix_len() == 0 || joins(segment, link) {
                continue;
            }
            let owner = survey
                .foreign_links
                .get(link)
                .map_or("a NIC of the host", String::as_str);
            let network = format_args!("subnet {subnet} of network `{network}`");
            findings.push(finding(
                format!("{network} overlaps {other}, which the host reaches by {link} ({owner})"),
                "choose another subnet for the network",
            ));
        }
    }
    findings
}

/// `link` itself is attached to the network's bridge: the subnet behind that NIC is the network's own.
fn joins(segment: &Segment, link: &str) -> bool {
    segment.vlan.is_none() && segment.uplink.as_ref().is_some_and(|nic| nic.as_str() == link)
}
