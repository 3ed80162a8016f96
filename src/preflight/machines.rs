//! What stands in the way of emulated switches and routers, and what only emulated hosts can be given: NICs with
//! addresses, and cables.

use std::collections::BTreeMap;

use super::{Obstacle, Severity};
use crate::lab::{Connect, HostName, NetworkName, PortMode};
use crate::state::survey::VLAN_FILTERING;
use crate::state::{Survey, localhost};
use crate::topology::Topology;

/// What is about several machines is said of the one that the rig is on.
pub(super) fn rig(topology: &Topology, surveys: &BTreeMap<HostName, Survey>) -> Vec<Obstacle> {
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
        let what = format!(
            "no host is emulated, so nothing can be plugged into {}",
            devices.join(", ")
        );
        add(
            Severity::Error,
            what,
            "switches and routers are part of the emulation: remove them, or leave `connect` out of the hosts",
        );
    }

    let lacks_filtering = surveys
        .get(&localhost())
        .is_some_and(|survey| survey.missing_modules.contains(VLAN_FILTERING));
    for (name, switch) in &topology.switches {
        let sorts = switch.ports.values().any(|mode| *mode != PortMode::Open);
        if sorts && lacks_filtering {
            let what = format!(
                "switch `{name}` has ports with `access` or `trunk`, and this kernel's bridges cannot sort frames by \
                 VLAN: BRIDGE_VLAN_FILTERING is missing"
            );
            add(
                Severity::Error,
                what,
                "boot a kernel that has it, or leave `access` and `trunk` out: the ports then pass all frames",
            );
        }
    }

    for (network, (emulated, real)) in mixed(topology) {
        let what = format!(
            "network `{network}` has uplinks on {emulated}, which is emulated, and on {real}, which is not: netlab \
             plugs no cable between the two"
        );
        add(
            Severity::Warning,
            what,
            "guests on both will not reach each other; put the network on hosts of one kind",
        );
    }
    found.extend(addresses(topology, surveys));
    found
}

/// NICs of real hosts with another address than the lab says: an emulated host would be given it.
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
                    what: format!("{nic} does not have the address {address}, as the lab says"),
                    help: "netlab gives addresses to NICs of emulated hosts only: set it on the host, or mend the lab"
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
    use crate::lab::Switch;
    use crate::plan::example::{host, link, topology};

    use crate::state::{LOCALHOST, Site};

    /// What is said of the machine that the rig is on.
    fn of_the_rig(topology: &Topology, survey: Survey) -> Vec<Obstacle> {
        let surveys = [(host(LOCALHOST), survey)].into();
        let mut found = crate::preflight::preflight(topology, &surveys, &Site::new());
        found.retain(|obstacle| obstacle.host == host(LOCALHOST));
        found
    }

    fn with_switch(mut topology: Topology, mode: PortMode) -> Topology {
        let ports = [(link("p1"), mode)].into();
        topology.switches.insert(host("rack"), Switch { ports });
        topology
    }

    #[test]
    fn a_switch_that_sorts_by_vlan_needs_a_kernel_that_can() {
        let lacking = || Survey {
            missing_modules: [VLAN_FILTERING.to_owned()].into(),
            ..Survey::default()
        };
        let access = PortMode::Access(10.try_into().unwrap());
        let found = of_the_rig(&with_switch(topology(), access.clone()), lacking());
        let said: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(
            matches!(&said[..], [said] if said.contains("switch `rack`") && said.contains("BRIDGE_VLAN_FILTERING")),
            "{said:#?}"
        );
        assert_eq!(found[0].severity, Severity::Error);
        assert_eq!(of_the_rig(&with_switch(topology(), PortMode::Open), lacking()), []);
        assert_eq!(of_the_rig(&with_switch(topology(), access), Survey::default()), []);
    }

    #[test]
    fn a_switch_without_an_emulated_host_has_nothing_to_be_plugged_into() {
        let mut topology = with_switch(topology(), PortMode::Open);
        topology.cables.clear();
        topology
            .hosts
            .values_mut()
            .for_each(|host| host.connect = Connect::Local);
        let found = of_the_rig(&topology, Survey::default());
        assert!(
            matches!(&found[..], [one] if one.severity == Severity::Error && one.what.contains("switch `rack`")),
            "{found:#?}"
        );
    }

    #[test]
    fn a_network_between_an_emulated_and_a_real_host_is_worth_a_warning() {
        assert_eq!(of_the_rig(&topology(), Survey::default()), []);
        let mut mixed = topology();
        mixed.hosts.get_mut(&host("node1")).unwrap().connect = Connect::Local;
        let found = of_the_rig(&mixed, Survey::default());
        assert!(
            matches!(&found[..], [one] if one.severity == Severity::Warning
                && one.what.contains("`service`") && one.what.contains("node2") && one.what.contains("node1")),
            "{found:#?}"
        );
    }

    #[test]
    fn an_address_that_a_real_hosts_nic_does_not_have_is_worth_a_warning() {
        let mut topology = topology();
        topology.cables.clear();
        let hosts = topology.hosts.values_mut();
        hosts.for_each(|host| host.connect = Connect::Local);
        let mut survey = crate::plan::example::survey();
        let mut said = |addresses: &[&str]| {
            let eth0 = survey.nics.get_mut(&link("eth0")).unwrap();
            eth0.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            rig(&topology, &[(host("node1"), survey.clone())].into())
        };
        assert_eq!(said(&["192.0.2.7/24", "172.16.99.1/24"]), []);
        let found = said(&["172.16.99.1/16"]);
        assert!(
            matches!(&found[..], [one] if one.severity == Severity::Warning && one.host == host("node1")
                && one.what.contains("172.16.99.1/24")),
            "{found:#?}"
        );
    }
}
