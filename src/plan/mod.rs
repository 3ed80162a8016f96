//! Compares two [`Site`]s: takes the observed and the desired one, returns the ordered [`Plan`] that turns the first into
//! the second. Pure, total and deterministic. Never decides what is desired and never runs anything.
//!
//! ```
//! use netlab::plan::plan;
//! use netlab::state::Site;
//!
//! assert!(plan(&Site::new(), &Site::new()).is_empty());
//! ```
//!
//! A new kind of network object needs a field of [`HostState`] (its compiler errors lead to the rest), its comparison in
//! `network` or `services`, its [`Step`]s with their texts, and their `ip` lines in [`lines`].

mod domains;
#[cfg(test)]
pub(crate) mod example;
mod forwards;
pub mod lines;
mod machines;
mod network;
mod run_state;
mod services;
mod shaping;
mod step;
#[cfg(test)]
mod tests;
mod text;

pub use domains::same_definition;
pub use run_state::RunState;
pub use step::{Stage, Step};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::lab::HostName;
use crate::state::{Domain, DomainName, HostState, Site, localhost};
use shaping::Fate;

/// Steps by stage and host. Stages run one after the other, the hosts of a stage at the same time, the steps of a
/// host in order (except that guests of one stage may run side by side). Empty stages and hosts do not occur.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The stages, in the order they run.
    pub stages: Vec<(Stage, BTreeMap<HostName, Vec<Step>>)>,
}

impl Plan {
    /// There is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Returns a plan of these steps, in this order of stages; stages and hosts without steps are left out.
    pub fn of(stages: impl IntoIterator<Item = Vec<(HostName, Step)>>) -> Self {
        let stages = stages.into_iter().filter_map(|steps| {
            let stage = steps.first()?.1.stage();
            let mut hosts: BTreeMap<HostName, Vec<Step>> = BTreeMap::new();
            for (host, step) in steps {
                hosts.entry(host).or_default().push(step);
            }
            Some((stage, hosts))
        });
        Self {
            stages: stages.collect(),
        }
    }

    /// Returns every step with its host, in order.
    pub fn steps(&self) -> impl Iterator<Item = (&HostName, &Step)> {
        self.stages
            .iter()
            .flat_map(|(_, hosts)| hosts)
            .flat_map(|(host, steps)| steps.iter().map(move |step| (host, step)))
    }
}

/// Returns the steps that turn `from` into `to`.
///
/// Two things of a [`Site`] are facts and never desired, so a difference in them alone needs no step: what was on an
/// uplink before it was attached, and that a machine is dead. A machine that is dead in `to` is not desired at all.
pub fn plan(from: &Site, to: &Site) -> Plan {
    let nothing = HostState::default();
    let localhost = localhost();
    let emulated = machines::Change::between(
        from.get(&localhost).unwrap_or(&nothing),
        to.get(&localhost).unwrap_or(&nothing),
    );

    // `Stage` is ordered as the stages run, and a host's steps come in the order they run within a stage.
    let mut stages: BTreeMap<Stage, BTreeMap<HostName, Vec<Step>>> = BTreeMap::new();
    let mut add = |host: &HostName, steps: Vec<Step>| {
        let mut by_stage: BTreeMap<Stage, Vec<Step>> = BTreeMap::new();
        for step in steps {
            by_stage.entry(step.stage()).or_default().push(step);
        }
        for (stage, steps) in by_stage {
            let of_stage = stages.entry(stage).or_default();
            of_stage.entry(host.clone()).or_default().extend(steps);
        }
    };

    for host in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
        let from = from.get(host).unwrap_or(&nothing);
        let to = to.get(host).unwrap_or(&nothing);
        match emulated.inside(host) {
            machines::Inside::Stays { replugged } => {
                let steps = changes(from, to, replugged);
                // Those of localhost are links of its machines.
                let shaping = (*host != localhost).then(|| shaped_links(from, to, &steps));
                add(host, steps);
                add(host, shaping.unwrap_or_default());
            }
            machines::Inside::Changes { before, after } => {
                if before {
                    add(host, domains::stop_all(&from.domains));
                }
                let to = if after { to } else { &nothing };
                let steps = changes(&nothing, to, false);
                let shaping = shaped_links(&nothing, to, &steps);
                add(host, steps);
                add(host, shaping);
            }
        }
    }
    let of = |site: &Site| site.get(&localhost).cloned().unwrap_or_default();
    let forwards = forwards::changes(&of(from), &of(to));
    add(&localhost, emulated.steps());
    add(&localhost, forwards);
    add(&localhost, emulated.shaping());
    Plan {
        stages: stages.into_iter().collect(),
    }
}

/// The steps on one host. `replugged`: its NICs are unplugged and plugged again between removal and creation.
fn changes(from: &HostState, to: &HostState, replugged: bool) -> Vec<Step> {
    let (network_from, services_from, guests_from) = parts(from);
    let (network_to, services_to, guests_to) = parts(to);
    let network = network::Change::between(network_from, network_to, replugged);
    let services = services::Change {
        from: services_from,
        to: services_to,
        network: &network,
    };
    let mut steps = services.removal();
    steps.extend(network.removal());
    steps.extend(network.creation());
    steps.extend(services.creation());
    steps.extend(domains::changes(&guests_from, &guests_to, |bridge| {
        network.remains(bridge)
    }));
    steps
}

/// The steps on the limits of a host's links, of which `steps` stop and start guests.
fn shaped_links(from: &HostState, to: &HostState, steps: &[Step]) -> Vec<Step> {
    let starts = |name: &DomainName| {
        steps
            .iter()
            .any(|step| matches!(step, Step::StartDomain(started, _) if started == name))
    };
    shaping::changes(&from.shaped, &to.shaped, |_, link| {
        let has = |domain: &Domain| domain.nics.iter().any(|nic| nic.tap == *link);
        let will = to.domains.iter().find(|(_, domain)| has(domain));
        match will {
            Some((name, will)) if will.running && starts(name) => Fate::Recreated(false),
            Some((_, will)) if will.running => Fate::Stays,
            Some(_) => Fate::Absent(false),
            // A tap is deleted with its guest; anything else is a NIC of the host.
            None if from.domains.values().any(has) => Fate::Absent(false),
            None => Fate::Stays,
        }
    })
}

/// Splits a host's state by the files that plan it.
fn parts(state: &HostState) -> (network::Network<'_>, services::Services<'_>, domains::Guests<'_>) {
    // Destructured exhaustively, so that a new field is an error here.
    let HostState {
        machines: _, // `machines.rs`
        cables: _,
        forwards: _, // `forwards.rs`
        links,
        uplinks,
        floating,
        shaped: _, // `shaping.rs`
        sysctls,
        firewall,
        dhcp,
        volumes,
        disks,
        domains,
        seen,
    } = state;
    let network = network::Network {
        links,
        uplinks,
        sysctls,
        seen,
    };
    let services = services::Services {
        floating,
        firewall: firewall.as_ref(),
        dhcp,
    };
    let guests = domains::Guests {
        volumes,
        disks,
        domains,
    };
    (network, services, guests)
}
