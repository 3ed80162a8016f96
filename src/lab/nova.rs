//! nova-network's three managers: takes a `[nova]` table, returns the plain networks and the address translation that
//! the manager of that name builds. What each builds is described in OpenStack's administration guide of that time
//! ("Networking with nova-network"); the defaults are those of `nova/network/manager.py` and `linux_net.py`.
//!
//! | manager | networks | gateway, DHCP | to the outside |
//! |---|---|---|---|
//! | flat | one, untagged, on a bridge that the administrator makes | none | none |
//! | flat-dhcp | one, untagged | the network host, or every host | SNAT on it |
//! | vlan | one a tenant, each with a VLAN of its own | the network host, or every host | SNAT on it |
//!
//! Ports have what nova's nwfilter rules did (`nova/virt/firewall.py`: no-mac-spoofing, no-ip-spoofing, no-arp-spoofing),
//! and may serve no DHCP.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::Class;
use super::file::{At, GatewayFile, LabFile, Manager, NatFile, NatFrom, NetworkFile, NovaFile, OnFile, UplinkFile};
use super::names::{HostName, IfName, NetworkName, TenantName, VlanId};
use super::problem::Problem;

/// Defaults of `fixed_range` and `network_size`.
const FIXED_RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8);
const NETWORK_SIZE: u32 = 256;
/// `vlan_start`.
const VLAN_START: i64 = 100;
/// The only network of the flat managers, and the only tenant of the third, where none is named.
const TENANT: &str = "private";
/// `flat_network_bridge`.
const BRIDGE: &str = "br100";

/// Adds to `file` what its `[nova]` table describes; problems are added to `problems`.
pub(super) fn expand(file: &mut LabFile, problems: &mut Vec<Problem>) {
    let Some(nova) = file.nova.take() else { return };
    let mut expansion = Expansion {
        nova: &nova,
        problems,
        hosts: file.hosts.iter().map(|host| host.name.value.clone()).collect(),
    };
    let networks = expansion.networks();
    let nat = expansion.nat(&networks);
    let mut names: BTreeSet<NetworkName> = file.networks.iter().map(|network| network.name.value.clone()).collect();
    for network in networks {
        if names.insert(network.name.value.clone()) {
            file.networks.push(network);
        } else {
            let message = format!("network `{}` is also created by `[nova]`", network.name.value);
            expansion.add(&nova.span, message, "rename the tenant or the network");
        }
    }
    file.nat.extend(nat);
}

struct Expansion<'a> {
    nova: &'a NovaFile,
    problems: &'a mut Vec<Problem>,
    hosts: Vec<HostName>,
}

impl Expansion<'_> {
    fn add(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(span.clone(), message, help));
    }

    /// One network a tenant, each with its part of the fixed range.
    fn networks(&mut self) -> Vec<NetworkFile> {
        let nova = self.nova;
        let mut tenants = nova.tenants.clone();
        if tenants.is_empty()
            && let Ok(value) = NetworkName::new(TENANT)
        {
            let span = nova.span.clone();
            tenants.push(At { value, span });
        }
        if let (Manager::Flat | Manager::FlatDhcp, Some(second)) = (nova.manager, tenants.get(1)) {
            let message = "a flat manager has one network for all tenants";
            self.add(&second.span, message, "name one, or use `manager = \"vlan\"`");
            tenants.truncate(1);
        }
        let range = nova.or(nova.fixed_range.as_ref(), FIXED_RANGE);
        let size = nova.or(nova.network_size.as_ref(), NETWORK_SIZE);
        if !size.value.is_power_of_two() || size.value < 4 {
            let message = format!("network_size {} is not the size of a subnet", size.value);
            self.add(&size.span, message, "write a power of two, at least 4: 256 is a /24");
            return Vec::new();
        }
        let Some(prefix) = u8::try_from(32 - size.value.ilog2())
            .ok()
            .filter(|p| *p >= range.value.prefix_len())
        else {
            let message = format!(
                "network_size {} is larger than fixed_range `{}`",
                size.value, range.value
            );
            self.add(&size.span, message, "make the network smaller or the range wider");
            return Vec::new();
        };
        // The prefix is not shorter than the range's, so there are subnets.
        let mut subnets = range.value.trunc().subnets(prefix).into_iter().flatten();
        let mut networks = Vec::new();
        for (number, tenant) in tenants.iter().enumerate() {
            let Some(subnet) = subnets.next() else {
                let message = format!("fixed_range `{}` is too small for `{}`", range.value, tenant.value);
                self.add(&tenant.span, message, "make network_size smaller or fixed_range wider");
                break;
            };
            networks.extend(self.network(number, tenant, subnet, &range.span));
        }
        if let Some(At { value, span }) = &nova.gateway
            && !networks
                .iter()
                .filter_map(|network| network.subnet.as_ref())
                .any(|subnet| subnet.value.contains(value))
        {
            let message = format!("gateway {value} is in none of the networks");
            self.add(
                span,
                message,
                "remove it: the first address of each network is its gateway",
            );
        }
        networks
    }

    fn network(
        &mut self,
        number: usize,
        tenant: &At<NetworkName>,
        subnet: Ipv4Net,
        span: &Range<usize>,
    ) -> Option<NetworkFile> {
        let nova = self.nova;
        let (vlan, uplink) = match nova.manager {
            Manager::Flat | Manager::FlatDhcp => (None, nova.flat_interface.clone()),
            Manager::Vlan => {
                if nova.vlan_interface.is_none() {
                    let help = "write `vlan_interface = \"eth0\"`";
                    self.add(&nova.span, "the vlan manager needs a `vlan_interface`", help);
                }
                (Some(self.vlan(number, tenant)?), nova.vlan_interface.clone())
            }
        };
        // VlanManager names its bridges after their VLAN.
        let bridge = match (&vlan, &nova.flat_network_bridge) {
            (Some(vlan), _) => At {
                value: IfName::new(&format!("br{}", vlan.value)).ok()?,
                span: vlan.span.clone(),
            },
            (None, Some(bridge)) => bridge.clone(),
            (None, None) => nova.or(None, IfName::new(BRIDGE).ok()?),
        };
        let routed = nova.manager != Manager::Flat;
        // "The first address of the network is its gateway."
        let first = At {
            value: Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1)),
            span: span.clone(),
        };
        let written = nova.gateway.clone().filter(|at| subnet.contains(&at.value));
        let address = written.unwrap_or(first);
        Some(NetworkFile {
            name: tenant.clone(),
            class: Class::Service,
            subnet: Some(At {
                value: subnet,
                span: span.clone(),
            }),
            uplink: uplink.map(UplinkFile::Everywhere),
            vlan,
            bridge: Some(bridge),
            bridge_mac: Vec::new(),
            stp: false,
            isolated: None,
            forward_delay: None,
            mtu: nova.network_device_mtu,
            ovs: false,
            datapath: None,
            tunnel: None,
            key: None,
            underlay: None,
            addresses: Vec::new(),
            gateway: routed.then(|| GatewayFile { address, on: self.on() }),
            wrong_gateway: false,
            dhcp: routed.then(|| nova.span.clone()),
            dhcp_lease: None,
            nameservers: nova.dns.clone(),
            tenant: self.owner(tenant),
            port_security: nova.port_security,
            shaping: None,
        })
    }

    /// VlanManager's networks are their tenants' own; the network of the flat managers is all tenants'.
    fn owner(&self, tenant: &At<NetworkName>) -> Option<At<TenantName>> {
        let At { value, span } = tenant;
        let value = TenantName::new(value.as_str()).ok()?;
        let span = span.clone();
        (self.nova.manager == Manager::Vlan).then_some(At { value, span })
    }

    fn vlan(&mut self, number: usize, tenant: &At<NetworkName>) -> Option<At<VlanId>> {
        let first = self
            .nova
            .vlan_start
            .as_ref()
            .map_or(VLAN_START, |at| i64::from(at.value.get()));
        let id = i64::try_from(number).ok().and_then(|number| first.checked_add(number));
        let Some(value) = id.and_then(|id| VlanId::try_from(id).ok()) else {
            let message = format!("no VLAN id is left for `{}`: the last one is 4094", tenant.value);
            self.add(&tenant.span, message, "start at a lower `vlan_start`");
            return None;
        };
        let span = self.nova.vlan_start.as_ref().map_or(&self.nova.span, |at| &at.span);
        let span = span.clone();
        Some(At { value, span })
    }

    fn on(&mut self) -> OnFile {
        match (&self.nova.network_host, &self.nova.multi_host) {
            (_, Some(_)) => OnFile::Every,
            (Some(host), None) => OnFile::One(host.clone()),
            (None, None) if self.hosts.len() == 1 => OnFile::Absent,
            (None, None) => {
                let help = "write `network_host = \"<host>\"` or `multi_host = true`";
                self.add(&self.nova.span.clone(), "nova needs a `network_host`", help);
                OnFile::Wrong
            }
        }
    }

    /// SNAT of the fixed range on the hosts that route (`linux_net.add_snat_rule`).
    fn nat(&mut self, networks: &[NetworkFile]) -> Vec<NatFile> {
        let nova = self.nova;
        let (Some(out), true) = (&nova.public_interface, nova.manager != Manager::Flat) else {
            return Vec::new();
        };
        if let (Some(_), Some(source)) = (&nova.multi_host, &nova.routing_source_ip) {
            let message = "one routing_source_ip for every host";
            self.add(&source.span, message, "remove it: each host then uses its own address");
        }
        let from: Vec<At<NatFrom>> = networks
            .iter()
            .filter_map(|network| network.subnet.as_ref())
            .map(|subnet| At {
                value: NatFrom::Subnet(subnet.value),
                span: subnet.span.clone(),
            })
            .collect();
        let span = nova.span.clone();
        let rule = |on: Option<At<HostName>>| NatFile {
            span: span.clone(),
            on,
            from: from.clone(),
            out: Some(out.clone()),
            source: nova.routing_source_ip.clone(),
        };
        match (&nova.multi_host, &nova.network_host) {
            (Some(at), _) => {
                let every = self.hosts.iter().map(|host| At {
                    value: host.clone(),
                    span: at.clone(),
                });
                every.map(|host| rule(Some(host))).collect()
            }
            (None, host) => vec![rule(host.clone())],
        }
    }
}
