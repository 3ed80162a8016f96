//! What stands in the way of address translation, floating addresses, DHCP, and of packets on their way through a host.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Finding, finding};
use crate::lab::{HostName, IfName, NetworkName, VmName};
use crate::state::Survey;
use crate::state::survey::ForwardDrop;
use crate::topology::{Guest, GuestFloating, Topology, TopologyHost};

/// Ethernet's MTU in bytes (RFC 894), which a network has that does not say another.
const USUAL_MTU: u16 = 1500;

/// Guests whose floating address a host has.
fn floating<'a>(topology: &'a Topology, name: &'a HostName) -> impl Iterator<Item = (&'a VmName, &'a GuestFloating)> {
    let of = |(vm, guest): (&'a VmName, &'a Guest)| Some((vm, guest.floating.as_ref()?));
    topology
        .guests
        .iter()
        .filter_map(of)
        .filter(move |(_, floating)| floating.host == *name)
}

/// The NICs by which a host translates addresses.
pub(super) fn outside<'a>(
    topology: &'a Topology,
    name: &'a HostName,
    host: &'a TopologyHost,
) -> impl Iterator<Item = &'a IfName> {
    let nat = host.nat.iter().map(|rule| &rule.out);
    nat.chain(floating(topology, name).map(|(_, floating)| &floating.nic))
}

/// What makes the lab impossible on a host.
pub(super) fn errors(topology: &Topology, name: &HostName, host: &TopologyHost, survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    let local = host
        .segments
        .values()
        .any(|segment| segment.gateway_everywhere && segment.uplink.is_some());
    let translates = !host.nat.is_empty() || floating(topology, name).next().is_some();
    let serves = host.segments.values().any(|segment| segment.dhcp.is_some());
    for (program, package, purpose, needed) in [
        ("nft", "nftables", "address translation", translates),
        ("nft", "nftables", "a gateway on every host", local && !translates),
        ("dnsmasq", "dnsmasq-base", "DHCP", serves),
    ] {
        if needed && !survey.programs.contains(program) {
            findings.push(finding(
                format!("the program `{program}` is missing, which {purpose} needs"),
                format!("install it there: `apt-get install {package}`"),
            ));
        }
    }
    for (module, purpose, needed) in [
        ("nft_masq", "address translation", translates),
        ("nft_bridge", "a gateway on every host", local),
    ] {
        if needed && survey.missing_modules.contains(module) {
            let what = match module {
                "nft_bridge" => "nftables for bridges (CONFIG_NF_TABLES_BRIDGE)".to_owned(),
                _ => format!("address translation by nftables: module {module} is missing"),
            };
            findings.push(finding(
                format!("the kernel has no {what}; {purpose} needs it"),
                "boot a kernel that has it, as every distribution's has",
            ));
        }
    }
    for table in survey.foreign_tables.iter().filter(|_| translates || local) {
        findings.push(finding(
            format!("there is already an nftables table `{table}`, which netlab did not make"),
            "rename the lab, or delete that table",
        ));
    }
    for (vm, floating) in floating(topology, name) {
        let address = floating.address;
        if let Some(link) = survey.addresses.get(&IpAddr::V4(address)) {
            findings.push(finding(
                format!("the floating address {address} of vm `{vm}` is already on {link} of the host"),
                "choose another address, or take it off there",
            ));
        }
    }
    findings
}

/// What makes the lab work worse than it could.
pub(super) fn warnings(topology: &Topology, host: &TopologyHost, survey: &Survey) -> Vec<Finding> {
    let mut findings: Vec<Finding> = survey
        .forward_drops
        .iter()
        .filter_map(|chain| forwarding(host, survey, chain))
        .collect();
    for (network, segment) in &host.segments {
        let Some((nic, has)) = segment
            .uplink
            .as_ref()
            .and_then(|nic| Some((nic, *survey.mtus.get(nic)?)))
        else {
            continue;
        };
        let Some(wanted) = mtu(topology, network).filter(|mtu| u32::from(*mtu) > has) else {
            continue;
        };
        findings.push(finding(
            format!(
                "NIC {nic}, which carries network `{network}`, takes packets of {has} bytes, and the network's have \
                 up to {wanted}: large packets will vanish"
            ),
            format!(
                "write `mtu = {has}` for the network, or give {nic} the larger MTU: `ip link set {nic} mtu {wanted}`"
            ),
        ));
    }
    findings
}

/// The MTU of a network's guests; None: it has none.
fn mtu(topology: &Topology, network: &NetworkName) -> Option<u16> {
    let nics = topology.guests.values().flat_map(|guest| &guest.nics);
    let mut of_network = nics.filter(|nic| nic.network == *network);
    of_network.next().map(|nic| nic.mtu.unwrap_or(USUAL_MTU))
}

/// A chain of somebody else that drops what the lab has the host forward.
///
/// An accept in a chain of netlab's own would not help: a packet passes only if every chain lets it pass. The one thing
/// that does is a rule in that very chain, and what netlab did not make it does not change; so it is said, and the lab
/// comes up all the same, since rules that are not understood here may let its packets through.
fn forwarding(host: &TopologyHost, survey: &Survey, chain: &ForwardDrop) -> Option<Finding> {
    let passes =
        |bridge: &IfName| chain.accepts_from.contains(bridge.as_str()) && chain.accepts_to.contains(bridge.as_str());
    let dropped: Vec<_> = host
        .segments
        .iter()
        .filter(|(_, segment)| (segment.gateway.is_some() || survey.bridge_nf) && !passes(&segment.bridge))
        .collect();
    if dropped.is_empty() {
        return None;
    }
    let networks: Vec<String> = dropped.iter().map(|(network, _)| format!("`{network}`")).collect();
    let networks = networks.join(", ");
    let bridged = if survey.bridge_nf {
        ", even bridged ones (net.bridge.bridge-nf-call-iptables is 1)"
    } else {
        ""
    };
    let mut help = "let them through there: ".to_owned();
    for (at, (_, segment)) in dropped.iter().enumerate() {
        let bridge = &segment.bridge;
        let comma = if at == 0 { "" } else { ", " };
        let rule = |link: &str, way: &str| {
            if chain.by_iptables {
                format!("iptables -I FORWARD {link} {bridge} -j ACCEPT")
            } else {
                format!("nft insert rule {} {way} {bridge} accept", chain.chain)
            }
        };
        // Writing to a `String` cannot fail.
        let _ = write!(help, "{comma}`{}; {}`", rule("-i", "iifname"), rule("-o", "oifname"));
    }
    Some(finding(
        format!(
            "the firewall chain `{}` drops packets that the host forwards{bridged}; it will drop those of network {networks}",
            chain.chain
        ),
        help,
    ))
}
