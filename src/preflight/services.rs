//! What address translation, floating addresses, tenants, port security and DHCP need, and firewalls and MTUs that drop forwarded packets.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Finding, finding};
use crate::lab::{Connect, ETHERNET_MTU, IfName, NetworkName};
use crate::state::Survey;
use crate::state::survey::ForwardDrop;
use crate::topology::{OnHost, RoutesByTenant, Segment, Topology, TopologyHost};

/// Returns the NICs on which a host translates addresses.
pub(super) fn outside<'a>(host: &'a TopologyHost, on_host: &'a OnHost<'_>) -> impl Iterator<Item = &'a IfName> {
    let nat = host.nat.iter().map(|rule| &rule.out);
    nat.chain(on_host.floating.iter().map(|(_, _, floating)| &floating.nic))
}

/// Returns what makes the lab impossible on a host.
pub(super) fn errors(
    topology: &Topology,
    routes: &RoutesByTenant<'_>,
    host: &TopologyHost,
    on_host: &OnHost<'_>,
    survey: &Survey,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let local = host
        .segments
        .values()
        .any(|segment| segment.gateway_everywhere && segment.is_connected() && !segment.switch.is_ovs());
    let translates = !host.nat.is_empty() || !on_host.floating.is_empty();
    let serves = host.segments.values().any(|segment| segment.dhcp.is_some());
    let tenants: BTreeSet<_> = host
        .segments
        .keys()
        .filter_map(|network| topology.tenants.of.get(network))
        .collect();
    let apart = tenants.iter().any(|tenant| {
        let routed = routes.routed(tenant);
        tenants.iter().any(|other| !routed.contains(other))
    });
    let mut nics = on_host.guests.iter().flat_map(|(_, guest)| &guest.nics);
    let of_bridge = |network| {
        host.segments
            .get(network)
            .is_none_or(|segment| !segment.switch.is_ovs())
    };
    let secured = nics.any(|nic| nic.port_security && of_bridge(&nic.network));
    // What needs rules, the first of which is named.
    let rules = [
        (translates, "address translation"),
        (local, "a gateway on every host"),
        (apart, "keeping tenants apart"),
        (secured, "port security"),
    ];
    let rules = rules
        .into_iter()
        .find(|(needed, _)| *needed)
        .map(|(_, purpose)| purpose);
    for (program, package, purpose, needed) in [
        ("nft", "nftables", rules.unwrap_or_default(), rules.is_some()),
        ("dnsmasq", "dnsmasq-base", "DHCP", serves),
    ] {
        if needed && !survey.programs.contains(program) {
            findings.push(finding(
                format!("program `{program}` is missing, which {purpose} needs"),
                format!("install it on the host: `apt-get install {package}`"),
            ));
        }
    }
    for (module, purpose, needed) in [
        ("nft_masq", "address translation", translates),
        ("nft_bridge", "a gateway on every host", local),
        ("nft_bridge", "port security", secured && !local),
    ] {
        if needed && survey.missing_modules.contains(module) {
            let what = match module {
                "nft_bridge" => "nftables rules for bridges: CONFIG_NF_TABLES_BRIDGE is missing".to_owned(),
                _ => format!("address translation by nftables: module {module} is missing"),
            };
            findings.push(finding(
                format!("the kernel does not support {what}, which {purpose} needs"),
                "boot a kernel with it, e.g. that of the distribution",
            ));
        }
    }
    for table in survey.foreign_tables.iter().filter(|_| rules.is_some()) {
        findings.push(finding(
            format!("nftables table `{table}` exists already, and netlab did not create it"),
            "rename the lab, or delete that table",
        ));
    }
    for (vm, _, floating) in &on_host.floating {
        let address = floating.address;
        if let Some(link) = survey.addresses.get(&IpAddr::V4(address)) {
            findings.push(finding(
                format!("floating address {address} of vm `{vm}` is already on link {link} of the host"),
                "choose another address, or remove it from that link",
            ));
        }
    }
    findings
}

/// Returns what makes the lab work worse than it could.
pub(super) fn warnings(inhabited: &BTreeSet<&NetworkName>, host: &TopologyHost, survey: &Survey) -> Vec<Finding> {
    let mut findings: Vec<Finding> = survey
        .forward_drops
        .iter()
        .filter_map(|chain| forwarding(host, survey, chain))
        .collect();
    findings.extend(small_uplinks(inhabited, host, survey, false));
    findings
}

/// Returns the uplinks whose MTU is smaller than that of their network, one that the network states or the usual one.
/// `inhabited` are the networks with guests. Not of emulated hosts: their NICs have the largest MTU of the lab.
pub(super) fn small_uplinks(
    inhabited: &BTreeSet<&NetworkName>,
    host: &TopologyHost,
    survey: &Survey,
    stated: bool,
) -> Vec<Finding> {
    if host.connect == Connect::Emulated {
        return Vec::new();
    }
    let too_small = |(network, segment): (&NetworkName, &Segment)| {
        let nic = segment.uplink.as_ref()?;
        let has = *survey.mtus.get(nic)?;
        let wanted = segment.mtu.unwrap_or(ETHERNET_MTU);
        let counts = segment.mtu.is_some() == stated && (stated || inhabited.contains(network));
        (counts && u32::from(wanted) > has).then(|| {
            finding(
                format!(
                    "NIC {nic}, the uplink of network `{network}`, has an MTU of {has} bytes, the network one of {wanted}: \
                     larger packets are dropped"
                ),
                format!("set `mtu = {has}` for the network, or raise the MTU of {nic}: `ip link set {nic} mtu {wanted}`"),
            )
        })
    };
    host.segments.iter().filter_map(too_small).collect()
}

/// A chain of others that drops what the host forwards for the lab.
///
/// An accept in a chain of the lab's own would not help: a packet passes only if every chain accepts it. It takes a rule
/// in that chain, and netlab does not change what it did not create. A warning, no error, since the chain may have
/// rules which are not evaluated here and accept the packets.
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
    let mut help = "accept them on the host: ".to_owned();
    for (at, (_, segment)) in dropped.iter().enumerate() {
        let bridge = &segment.bridge;
        let comma = if at == 0 { "" } else { ", " };
        let rule = |option: &str, direction: &str| {
            if chain.by_iptables {
                format!("iptables -I FORWARD {option} {bridge} -j ACCEPT")
            } else {
                format!("nft insert rule {} {direction} {bridge} accept", chain.chain)
            }
        };
        // Writing to a `String` cannot fail.
        let _ = write!(help, "{comma}`{}; {}`", rule("-i", "iifname"), rule("-o", "oifname"));
    }
    Some(finding(
        format!(
            "firewall chain `{}` drops packets that the host forwards{bridged}, so also those of network {networks}",
            chain.chain
        ),
        help,
    ))
}
