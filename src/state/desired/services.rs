//! Rules, servers and floating addresses of one host.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net};

use crate::lab::{IfName, TenantName};
use crate::state::{Dhcp, Firewall, Floating, HostState, Lease, LinkKind, LocalGateway, Nat, PortSecurity, Sysctl};
use crate::topology::{OnHost, RoutesByTenant, Segment, Topology, TopologyHost};

/// Adds to `state`, which has the links already, what `host` with `on_host` does for its networks besides bridging.
pub(super) fn add<'a>(
    state: &mut HostState,
    topology: &'a Topology,
    routes: &RoutesByTenant<'a>,
    host: &TopologyHost,
    on_host: &OnHost<'_>,
) {
    let mut firewall = Firewall::default();
    for rule in &host.nat {
        let out = effective_link(state, &rule.out);
        let rules = rule.from.iter().map(|from| Nat {
            from: *from,
            out: out.clone(),
            source: rule.source,
        });
        firewall.nat.extend(rules);
    }
    for (_, guest, floating) in &on_host.floating {
        let Some(nic) = guest.nics.first() else {
            continue;
        };
        let out = effective_link(state, &floating.nic);
        firewall.floating.insert(Floating {
            public: floating.address,
            private: nic.address.addr(),
            out: out.clone(),
        });
        match state.links.get_mut(&out) {
            Some(bridge) => _ = bridge.addresses.insert(IpNet::from(Ipv4Net::from(floating.address))),
            None => _ = state.floating.insert(floating.address, out),
        }
    }
    for (network, segment) in &host.segments {
        if let (Some(address), true) = (segment.gateway, segment.gateway_everywhere) {
            let ports = segment.ports().into_iter();
            let gateways = ports.flat_map(|port| interfaces(state, port));
            keep_off(
                &mut firewall,
                segment,
                gateways.map(|port| LocalGateway { port, address }),
            );
        }
        if let (Some(gateway), Some(dhcp)) = (segment.gateway, &segment.dhcp) {
            let leases = dhcp.leases.iter().map(|(mac, (vm, address))| {
                let lease = Lease {
                    vm: vm.clone(),
                    address: *address,
                };
                (*mac, lease)
            });
            let served = Dhcp {
                bridge: segment.bridge.clone(),
                subnet: segment.subnet,
                gateway,
                domain: topology.lab.clone(),
                leases: leases.collect(),
                nameservers: dhcp.nameservers.clone(),
                mtu: dhcp.mtu,
                lease: dhcp.lease,
                running: true,
            };
            state.dhcp.insert(network.clone(), served);
        }
    }
    firewall.together = together(topology, routes, host);
    let nics = on_host.guests.iter().flat_map(|(_, guest)| &guest.nics);
    for nic in nics.filter(|nic| nic.port_security) {
        let is_ovs = host
            .segments
            .get(&nic.network)
            .is_some_and(|segment| segment.switch.is_ovs());
        let ports = if is_ovs {
            firewall.flows.entry(nic.bridge.clone()).or_default()
        } else {
            &mut firewall.ports
        };
        let security = PortSecurity {
            mac: nic.mac,
            address: nic.address.addr(),
        };
        ports.insert(nic.tap.clone(), security);
    }
    // Address translation needs forwarding.
    if !firewall.nat.is_empty() || !firewall.floating.is_empty() {
        state.sysctls.insert(Sysctl::Ipv4Forward, "1".to_owned());
    }
    state.firewall = (firewall != Firewall::default()).then_some(firewall);
}

/// Returns the bridges that are kept apart from others, each with those that it is routed to. With thousands of tenants
/// there are millions of pairs that are apart: what is routed is listed.
fn together<'a>(
    topology: &'a Topology,
    routes: &RoutesByTenant<'a>,
    host: &TopologyHost,
) -> BTreeMap<IfName, BTreeSet<IfName>> {
    let mut bridges: BTreeMap<&'a TenantName, BTreeSet<IfName>> = BTreeMap::new();
    for (network, segment) in &host.segments {
        if let Some(tenant) = topology.tenants.of.get(network) {
            bridges.entry(tenant).or_default().insert(segment.bridge.clone());
        }
    }
    let mut together = BTreeMap::new();
    for (tenant, own) in &bridges {
        let with = routes.routed(tenant);
        if bridges.keys().all(|other| with.contains(other)) {
            continue;
        }
        let reached = with.iter().filter_map(|other| bridges.get(other)).flatten();
        let reached: BTreeSet<IfName> = reached.cloned().collect();
        together.extend(own.iter().map(|bridge| (bridge.clone(), reached.clone())));
    }
    together
}

/// Keeps a gateway's address off the ports that lead to the other hosts that have it.
fn keep_off(firewall: &mut Firewall, segment: &Segment, gateways: impl Iterator<Item = LocalGateway>) {
    let gateways: BTreeSet<LocalGateway> = gateways.collect();
    if !segment.switch.is_ovs() {
        firewall.local_gateways.extend(gateways);
    } else if !gateways.is_empty() {
        firewall.gateway_flows.insert(segment.bridge.clone(), gateways);
    }
}

/// Returns a port as packets enter by it: by the members of a bond of Open vSwitch's.
fn interfaces(state: &HostState, port: IfName) -> Vec<IfName> {
    match state.links.get(&port).map(|link| &link.kind) {
        Some(LinkKind::OvsBond { members, .. }) => members.iter().cloned().collect(),
        _ => vec![port],
    }
}

/// Returns the link that the host's own traffic of a NIC uses: the bridge that it is attached to, else the NIC itself.
fn effective_link(state: &HostState, nic: &IfName) -> IfName {
    if let Some(uplink) = state.uplinks.get(nic) {
        return uplink.bridge.clone();
    }
    let bond = state.links.get(nic).and_then(|link| link.master.as_ref());
    bond.unwrap_or(nic).clone()
}
