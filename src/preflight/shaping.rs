//! Limits of links that a host cannot set.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Obstacle, Severity, finding};
use crate::lab::{Connect, HostName, Shaping};
use crate::state::Survey;
use crate::state::survey::NETEM;
use crate::topology::Topology;

/// Returns what is wrong with the limits of a topology's links, host by host.
pub fn check(topology: &Topology, surveys: &BTreeMap<HostName, Survey>) -> Vec<Obstacle> {
    let shaping = &topology.shaping;
    let ends = shaping.ends.iter().map(|(end, shaping)| {
        let link = format!("{}:{}", end.host, end.nic);
        (&end.host, link, shaping)
    });
    let guests = shaping.guests.iter().filter_map(|((vm, at), shaping)| {
        let guest = topology.guests.get(vm)?;
        let network = &guest.nics.get(*at)?.network;
        Some((&guest.host, format!("{vm}:{network}"), shaping))
    });
    let mut obstacles: Vec<Obstacle> = Vec::new();
    let mut lacking: BTreeSet<(&HostName, String)> = BTreeSet::new();
    for (machine, link, shaping) in ends.chain(guests).filter(|(.., shaping)| !shaping.is_none()) {
        let is_real = topology
            .hosts
            .get(machine)
            .is_some_and(|host| host.connect != Connect::Emulated);
        let is_own_nic = link.starts_with(&format!("{machine}:"));
        // A switch or router has the kernel of the emulated hosts.
        let emulated = || {
            topology
                .hosts
                .iter()
                .find(|(_, host)| host.connect == Connect::Emulated)
        };
        let survey = surveys.get(machine).filter(|_| topology.hosts.contains_key(machine));
        let survey = survey.or_else(|| surveys.get(emulated()?.0));
        let found = survey.and_then(|survey| missing(&link, shaping, survey));
        let found = found.or_else(|| {
            (is_real && is_own_nic && shaping.down).then(|| {
                finding(
                    format!("NIC {link} cannot be set down: {machine} is not emulated, and netlab may reach it through that NIC"),
                    "set a guest's NIC down, or emulate the lab: `netlab up --emulate`",
                )
            })
        });
        if let Some(Finding { what, help }) = found
            && lacking.insert((machine, what.clone()))
        {
            obstacles.push(Obstacle {
                severity: Severity::Error,
                host: machine.clone(),
                what,
                help,
            });
        }
    }
    obstacles
}

/// What a host lacks for the limits of one link.
fn missing(link: &str, shaping: &Shaping, survey: &Survey) -> Option<Finding> {
    if !survey.programs.contains("tc") {
        return Some(finding(
            "program `tc` is missing, which limits links",
            "install it on the host: `apt-get install iproute2`, or `dnf install iproute-tc`",
        ));
    }
    (shaping.needs_netem() && survey.missing_modules.contains(NETEM)).then(|| {
        finding(
            format!("the kernel cannot delay or drop frames of {link} ({shaping}): module {NETEM} is missing"),
            format!(
                "run `modprobe {NETEM}` on the host, or boot a kernel that has it; this kernel can limit the rate alone, and \
                 set links down"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example;

    #[test]
    fn delays_are_refused_where_the_kernel_has_no_netem_and_rates_are_not() {
        let mut topology = example::topology();
        let mut survey = example::survey();
        survey.programs.insert("tc".to_owned());
        survey.missing_modules.insert(NETEM.to_owned());
        let surveys = [(example::host("node1"), survey)].into();
        let mut shape = |shaping: Shaping| {
            topology.shaping.guests = [((example::vm("vm1"), 0), shaping)].into();
            check(&topology, &surveys)
        };
        let rate = Shaping {
            rate: "1mbit".parse().ok(),
            ..Shaping::default()
        };
        assert!(shape(rate).is_empty());
        assert!(shape(Shaping::link_down()).is_empty());
        let refused = shape(Shaping {
            delay: "50ms".parse().ok(),
            ..rate
        });
        let message = refused[0].message();
        assert!(
            message.contains("vm1:service (rate 1mbit, delay 50ms): module sch_netem is missing"),
            "{message}"
        );
    }

    #[test]
    fn the_nic_of_a_real_host_is_not_set_down() {
        let mut topology = example::topology();
        let mut survey = example::survey();
        survey.programs.insert("tc".to_owned());
        let surveys = [(example::host("node1"), survey)].into();
        let end = topology.cables[0].ends[0].clone();
        topology.shaping.ends = [(end, Shaping::link_down())].into();
        assert!(check(&topology, &surveys).is_empty(), "it is emulated");
        topology.hosts.get_mut(&example::host("node1")).unwrap().connect = Connect::Local;
        assert!(check(&topology, &surveys)[0].what.contains("cannot be set down"));
    }
}
