//! Emulated switches, routers and cables, and addresses that only an emulated host's NIC can be given.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Obstacle, Severity};
use crate::lab::{Connect, HostName, NetworkName, PortMode};
use crate::state::survey::{BONDING, VLAN_FILTERING};
use crate::state::{Survey, localhost};
use crate::topology::{Topology, derive};

/// Returns what is wrong with the emulated machines; what concerns several of them has `localhost` as its host.
pub(super) fn check(topology: &Topology, surveys: &BTreeMap<HostName, Survey>) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut add = |severity, what: String, help: &str| {
        found.push(Obstacle {
            severity,
            host: localhost(),
            what,
            help: help.to_owned(),
        });
    };

    let devices: Vec<String> = topology
        .switches
        .keys()
        .map(|name| format!("switch `{name}`"))
        .chain(topology.routers.keys().map(|name| format!("router `{name}`")))
        .collect();
    let is_emulated = |host: &HostName| topology.hosts.get(host).is_some_and(|h| h.connect == Connect::Emulated);
    if !devices.is_empty() && !topology.hosts.keys().any(is_emulated) {
        let what = format!("no host is emulated, so no cable can connect {}", devices.join(", "));
        add(
            Severity::Error,
            what,
            "switches and routers are emulated machines: remove them, or remove `connect` from the hosts",
        );
    }

    let lacks_filtering = surveys
        .get(&localhost())
        .is_some_and(|survey| survey.missing_modules.contains(VLAN_FILTERING));
    for (name, switch) in &topology.switches {
        let filters = switch.ports.values().any(|mode| *mode != PortMode::Open);
        if filters && lacks_filtering {
            let what = format!(
                "switch `{name}` has ports with `access` or `trunk`, but the kernel's bridges do not filter VLANs: \
                 BRIDGE_VLAN_FILTERING is missing"
            );
            add(
                Severity::Error,
                what,
                "boot a kernel with it, or remove `access` and `trunk`: the ports then pass all frames",
            );
        }
    }

    let lacks_bonds = surveys
        .get(&localhost())
        .is_some_and(|survey| survey.missing_modules.contains(BONDING));
    for (name, _) in topology.switches.iter().filter(|(_, switch)| !switch.lags.is_empty()) {
        if lacks_bonds {
            let what = format!(
                "switch `{name}` has link aggregations, which are bonds of the kernel's: module {BONDING} is missing"
            );
            add(
                Severity::Error,
                what,
                "boot a kernel with it, remove `lags` and write `mode = \"active-backup\"` for the bond, or connect the hosts \
                 directly",
            );
        }
    }

    let lacks_dnsmasq = surveys
        .get(&localhost())
        .is_some_and(|survey| !survey.programs.contains("dnsmasq"));
    for (name, _) in topology.routers.iter().filter(|(_, router)| !router.names.is_empty()) {
        if lacks_dnsmasq {
            let what = format!("program `dnsmasq` is missing, by which router `{name}` resolves its names");
            add(
                Severity::Error,
                what,
                "install it on this machine: `apt-get install dnsmasq-base`, or remove `names` from the router",
            );
        }
    }

    for (name, _) in topology.routers.iter().filter(|(_, router)| router.to_host) {
        let what = format!(
            "router `{name}` connects the lab to this machine's own network: guests reach what this machine reaches, under \
             its address, and net.ipv4.ip_forward is 1 meanwhile"
        );
        add(
            Severity::Warning,
            what,
            "remove `outside = \"host\"` from the router where the guests are not trusted",
        );
    }

    for (network, (emulated, real)) in mixed(topology) {
        let what = format!(
            "network `{network}` has uplinks on {emulated}, which is emulated, and on {real}, which is not: they \
             are not connected"
        );
        add(
            Severity::Warning,
            what,
            "guests on the two will not reach each other; use hosts of one kind for the network",
        );
    }
    found.extend(links_to_this_machine(topology, surveys));
    found.extend(addresses(topology, surveys));
    found
}

/// Routers whose link to this machine has a subnet that the lab or this machine has already.
fn links_to_this_machine(topology: &Topology, surveys: &BTreeMap<HostName, Survey>) -> Vec<Obstacle> {
    let routers = topology.routers.iter().filter(|(_, router)| router.to_host);
    let found = routers.filter_map(|(router, _)| {
        let subnet = IpNet::from(derive::router_end(&topology.lab, router).trunc());
        let overlaps = |other: &IpNet| other.prefix_len() > 0 && (other.contains(&subnet) || subnet.contains(other));
        let mut segments = topology.hosts.values().flat_map(|host| &host.segments);
        let network = segments.find(|(_, segment)| overlaps(&segment.subnet.into()));
        let network = network.map(|(name, segment)| format!("{} of network `{name}`", segment.subnet));
        let other = network.or_else(|| {
            let mut subnets = surveys.get(&localhost())?.subnets.iter();
            let (other, link) = subnets.find(|(other, _)| overlaps(other))?;
            Some(format!("{other}, which this machine reaches by {link}"))
        })?;
        Some(Obstacle {
            severity: Severity::Error,
            host: localhost(),
            what: format!(
                "the link of router `{router}` to this machine's own network has the subnet {subnet}, which overlaps {other}"
            ),
            help: "rename the lab or the router, from whose names that subnet is derived, or remove `outside = \"host\"`"
                .to_owned(),
        })
    });
    found.collect()
}

/// NICs of real hosts with another address than that of the lab file, which only emulated hosts are given.
fn addresses(topology: &Topology, surveys: &BTreeMap<HostName, Survey>) -> Vec<Obstacle> {
    let mut found = Vec::new();
    for (name, host) in topology.hosts.iter().filter(|(_, h)| h.connect != Connect::Emulated) {
        for (nic, wanted) in &host.nics {
            let there = surveys.get(name).and_then(|survey| survey.nics.get(nic));
            let (Some(address), Some(there)) = (wanted.address, there) else {
                continue;
            };
            if !there.addresses.contains(&address.into()) {
                found.push(Obstacle {
                    severity: Severity::Warning,
                    host: name.clone(),
                    what: format!("NIC {nic} does not have address {address} of the lab file"),
                    help: "netlab configures NICs of emulated hosts only: add the address on the host, or correct the lab file"
                        .to_owned(),
                });
            }
        }
    }
    found
}

/// Networks with an uplink on an emulated host and one on a real host: the first of each.
fn mixed(topology: &Topology) -> BTreeMap<&NetworkName, (&HostName, &HostName)> {
    let mut carried: BTreeMap<&NetworkName, [Option<&HostName>; 2]> = BTreeMap::new();
    for (name, host) in &topology.hosts {
        for (network, segment) in &host.segments {
            if segment.uplink.is_some() {
                let [emulated, real] = carried.entry(network).or_default();
                let place = if host.connect == Connect::Emulated {
                    emulated
                } else {
                    real
                };
                place.get_or_insert(name);
            }
        }
    }
    carried
        .into_iter()
        .filter_map(|(network, [emulated, real])| Some((network, (emulated?, real?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Router, Switch};
    use crate::plan::example::{host, link, topology};

    use crate::state::{LOCALHOST, Site};

    /// Returns the obstacles of the machine that the emulated ones run on.
    fn on_localhost(topology: &Topology, survey: Survey) -> Vec<Obstacle> {
        let surveys = [(host(LOCALHOST), survey)].into();
        let mut found = crate::preflight::preflight(topology, &surveys, &Site::new());
        found.retain(|obstacle| obstacle.host == host(LOCALHOST));
        found
    }

    fn with_switch(mut topology: Topology, mode: PortMode) -> Topology {
        let ports = [(link("p1"), mode)].into();
        topology.switches.insert(
            host("rack"),
            Switch {
                ports,
                ..Switch::default()
            },
        );
        topology
    }

    #[test]
    fn a_switch_with_vlan_ports_needs_a_kernel_with_vlan_filtering() {
        let lacking = || Survey {
            missing_modules: [VLAN_FILTERING.to_owned()].into(),
            ..Survey::default()
        };
        let access = PortMode::Access(10.try_into().unwrap());
        let found = on_localhost(&with_switch(topology(), access.clone()), lacking());
        let messages: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(
            matches!(&messages[..], [one] if one.contains("switch `rack`") && one.contains("BRIDGE_VLAN_FILTERING")),
            "{messages:#?}"
        );
        assert_eq!(found[0].severity, Severity::Error);
        assert_eq!(on_localhost(&with_switch(topology(), PortMode::Open), lacking()), []);
        assert_eq!(on_localhost(&with_switch(topology(), access), Survey::default()), []);
    }

    #[test]
    fn a_switch_without_an_emulated_host_is_an_error() {
        let mut topology = with_switch(topology(), PortMode::Open);
        topology.cables.clear();
        topology
            .hosts
            .values_mut()
            .for_each(|host| host.connect = Connect::Local);
        let found = on_localhost(&topology, Survey::default());
        assert!(
            matches!(&found[..], [one] if one.severity == Severity::Error && one.what.contains("switch `rack`")),
            "{found:#?}"
        );
    }

    #[test]
    fn a_network_between_an_emulated_and_a_real_host_is_a_warning() {
        assert_eq!(on_localhost(&topology(), Survey::default()), []);
        let mut mixed = topology();
        mixed.hosts.get_mut(&host("node1")).unwrap().connect = Connect::Local;
        let found = on_localhost(&mixed, Survey::default());
        assert!(
            matches!(&found[..], [one] if one.severity == Severity::Warning
                && one.what.contains("`service`") && one.what.contains("node2") && one.what.contains("node1")),
            "{found:#?}"
        );
    }

    #[test]
    fn the_link_of_a_router_to_this_machine_overlaps_no_subnet_of_this_machine_or_the_lab() {
        let mut topology = topology();
        let router = Router {
            to_host: true,
            ..Router::default()
        };
        topology.routers.insert(host("home"), router);
        let errors = |topology: &Topology, subnet: &str| -> Vec<String> {
            let survey = Survey {
                subnets: vec![(subnet.parse().unwrap(), "wg0".to_owned())],
                ..Survey::default()
            };
            let mut found = on_localhost(topology, survey);
            found.retain(|obstacle| obstacle.severity == Severity::Error);
            found.into_iter().map(|obstacle| obstacle.what).collect()
        };
        assert_eq!(errors(&topology, "0.0.0.0/0"), [""; 0]);
        let found = errors(&topology, "198.18.0.0/15");
        assert!(found[0].contains("which this machine reaches by wg0"), "{found:?}");
        let segments = topology.hosts.values_mut().flat_map(|host| host.segments.values_mut());
        segments.for_each(|segment| segment.subnet = "198.18.0.0/15".parse().unwrap());
        let found = errors(&topology, "10.0.0.0/8");
        assert!(found[0].contains("198.18.0.0/15 of network `"), "{found:?}");
    }

    #[test]
    fn an_address_that_a_real_hosts_nic_does_not_have_is_a_warning() {
        let mut topology = topology();
        topology.cables.clear();
        let hosts = topology.hosts.values_mut();
        hosts.for_each(|host| host.connect = Connect::Local);
        let mut survey = crate::plan::example::survey();
        let mut checked = |addresses: &[&str]| {
            let eth0 = survey.nics.get_mut(&link("eth0")).unwrap();
            eth0.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            check(&topology, &[(host("node1"), survey.clone())].into())
        };
        assert_eq!(checked(&["192.0.2.7/24", "172.16.99.1/24"]), []);
        let found = checked(&["172.16.99.1/16"]);
        assert!(
            matches!(&found[..], [one] if one.severity == Severity::Warning && one.host == host("node1")
                && one.what.contains("172.16.99.1/24")),
            "{found:#?}"
        );
    }
}
