//! Reads one lab of one state folder.

use std::collections::BTreeSet;

use super::super::belongs::lost;
use super::super::connect::emulated;
use super::super::found::marked;
use super::super::link::{LinkAt, Requests};
use super::super::load::load_recorded;
use super::super::observe::observe_all;
use super::super::stopped;
use super::super::{Deviations, Env, LoadOptions, OpsError, connect, inspect_guests, passwords};
use super::report::{
    BondStatus, ForwardStatus, HostStatus, LabState, LabStatus, LinkStatus, NetworkStatus, RunOutcome, RunStatus,
};
use super::vms::vms;
use crate::host::forward;
use crate::lab::{CableEnd, Class, Connect, HostName, IfName, LabName};
use crate::run::{self, Journal, LabFile, LastRun, Rollback, RunEnd};
use crate::state::{HostState, LinkKind, MachineKind, Site, localhost};

/// Reads a lab of this state folder, or of none; the guests are asked over their consoles only where that is wanted.
pub(super) fn read(env: &Env, lab: &LabName, ask_guests: bool) -> Result<LabStatus, OpsError> {
    let past = Journal::read(&env.folders.lab(lab))?;
    let by_marks = past.hosts.is_empty();
    let mut connects = past.hosts;
    connects.extend(emulated(env, lab)?);
    if connects.is_empty() && marked().local.contains(lab) {
        connects.insert(this_machine(), Connect::Local);
    }
    let hosts = connect(env, lab, &connects)?;
    let mut site = observe_all(&hosts, lab)?;
    let rebooted: BTreeSet<HostName> = site
        .iter()
        .filter(|(name, state)| {
            past.boots
                .get(*name)
                .is_some_and(|was| state.seen.boot.as_ref() != Some(was))
        })
        .map(|(name, _)| name.clone())
        .collect();
    site.retain(|_, state| *state != HostState::default());

    passwords::reveal(env, lab, &mut site);
    let lost = lost(env, lab);
    let deviations = if ask_guests {
        inspect_guests(env, &hosts, &site, &site).deviations
    } else {
        Deviations::new()
    };

    let dead = |name: &_| {
        let mut machines = site.values().flat_map(|state| &state.machines);
        machines.any(|(machine, made)| machine == name && !made.alive)
    };
    let state = |name: &HostName| match () {
        () if lost.contains(name) => "lost",
        () if dead(name) => "dead",
        () if rebooted.contains(name) => "rebooted",
        () => "up",
    };
    let mut hosts: Vec<HostStatus> = connects
        .iter()
        .filter(|(name, _)| {
            site.contains_key(*name)
                || rebooted.contains(*name)
                || site.values().any(|state| state.machines.contains_key(*name))
        })
        .map(|(name, connect)| HostStatus {
            name: name.to_string(),
            connect: connect.to_string(),
            kind: "host".to_owned(),
            state: state(name),
        })
        .collect();
    hosts.extend(stopped_on_request(env, lab, &hosts));
    let machines = site.values().flat_map(|state| &state.machines);
    let devices = machines.filter(|(_, machine)| machine.kind != MachineKind::Host);
    hosts.extend(devices.map(|(name, machine)| HostStatus {
        name: name.to_string(),
        connect: format!("emulated {}", machine.kind),
        kind: machine.kind.to_string(),
        state: state(name),
    }));
    let vms = vms(env, &site, &connects, &deviations);
    let forwards: Vec<ForwardStatus> = forward::recorded(&env.folders, lab)
        .into_iter()
        .map(|(port, (forward, runs))| ForwardStatus {
            listen: format!("127.0.0.1:{port}"),
            vm: forward.vm.to_string(),
            port: forward.to.port(),
            via: forward.via.to_string(),
            state: if runs { "up" } else { "dead" },
        })
        .collect();
    let networks = networks(&site);
    let requests = Requests::read(&env.folders, lab).unwrap_or_default();
    let whole = forwards.iter().all(|forward| forward.state == "up")
        && !past.unfinished
        && hosts.iter().all(|host| host.state == "up")
        && vms.iter().all(|vm| vm.state == "running");
    Ok(LabStatus {
        lab: lab.clone(),
        last_run: past.last.map(|run| last_run(env, lab, run)),
        state: match (site.is_empty() && rebooted.is_empty(), whole) {
            (true, _) => LabState::Down,
            (false, true) => LabState::Up,
            (false, false) => LabState::Partly,
        },
        folder: None,
        by_marks: by_marks && !site.is_empty(),
        hosts,
        unused_networks: if site.is_empty() {
            Vec::new()
        } else {
            unused(env, past.file.as_ref(), &networks)
        },
        networks,
        bonds: bonds(&site),
        vms,
        forwards,
        links: links(&site, &requests),
    })
}

/// Returns the links that are limited or down, as observed.
fn links(site: &Site, requests: &Requests) -> Vec<LinkStatus> {
    let mut found = Vec::new();
    for (owner, state) in site {
        let shaped = state.shaped.iter();
        for (machine, link, shaping) in
            shaped.flat_map(|(machine, links)| links.iter().map(move |(l, s)| (machine, l, s)))
        {
            let of_guest = state.domains.iter().find_map(|(name, domain)| {
                let at = domain
                    .nics
                    .iter()
                    .position(|nic| nic.tap == *link)
                    .filter(|_| machine == owner)?;
                let bridge = state.links.get(&domain.nics[at].bridge)?;
                let network = bridge.purpose.split_once("network ").map_or("", |(_, network)| network);
                Some((LinkAt::Guest(name.vm().clone(), at), format!("{}:{network}", name.vm())))
            });
            let (at, name) = of_guest.unwrap_or_else(|| {
                let (host, nic) = (machine.clone(), link.clone());
                (LinkAt::End(CableEnd { host, nic }), format!("{machine}:{link}"))
            });
            found.push(LinkStatus {
                link: name,
                state: shaping.to_string(),
                shaping: *shaping,
                by_request: requests.0.contains_key(&at),
            });
        }
    }
    found.sort_by(|a, b| a.link.cmp(&b.link));
    found
}

/// Returns the name of the machine that netlab runs on, for a lab whose own name for it is lost.
fn this_machine() -> HostName {
    let name = rustix::system::uname()
        .nodename()
        .to_str()
        .ok()
        .and_then(|name| name.parse().ok());
    name.or_else(|| "this-machine".parse().ok()).unwrap_or_else(localhost)
}

fn bonds(site: &Site) -> Vec<BondStatus> {
    let bonds = site.iter().flat_map(|(host, state)| {
        state.seen.bonds.iter().map(move |(name, bond)| {
            let without = bond.members.iter().filter(|(_, carrier)| !**carrier);
            let without_carrier: Vec<String> = without.map(|(nic, _)| nic.to_string()).collect();
            BondStatus {
                name: name.to_string(),
                host: host.to_string(),
                mode: bond.mode.map_or_else(|| "unknown".to_owned(), |mode| mode.to_string()),
                state: match without_carrier.len() {
                    count if count == bond.members.len() => "down",
                    0 => "up",
                    _ => "degraded",
                },
                active: bond.active.as_ref().map(ToString::to_string),
                nics: bond.members.keys().map(ToString::to_string).collect(),
                without_carrier,
            }
        })
    });
    bonds.collect()
}

fn networks(site: &Site) -> Vec<NetworkStatus> {
    let bridges = site.iter().flat_map(|(host, state)| {
        let bridges = state
            .links
            .iter()
            .filter(|(_, link)| matches!(link.kind, LinkKind::Bridge { .. } | LinkKind::OvsBridge { .. }))
            // Not the bridge that only has a NIC as its port.
            .filter(|(_, link)| link.purpose.contains("network "));
        bridges.map(move |(name, link)| {
            // As `state::desired` writes it.
            let (class, network) = link.purpose.split_once("network ").unwrap_or(("", &link.purpose));
            NetworkStatus {
                name: network.to_owned(),
                class: match class.trim() {
                    "" => Class::Service.to_string(),
                    class => class.to_owned(),
                },
                host: host.to_string(),
                bridge: name.to_string(),
                addresses: link.addresses.iter().map(ToString::to_string).collect(),
                uplink: uplink(state, name),
            }
        })
    });
    let mut networks: Vec<NetworkStatus> = bridges.collect();
    networks.sort_by(|a, b| (&a.name, &a.host).cmp(&(&b.name, &b.host)));
    networks
}

/// Returns the networks of the lab's file that are on no host; none where the file is another one now.
fn unused(env: &Env, file: Option<&LabFile>, found: &[NetworkStatus]) -> Vec<String> {
    let same = file.filter(|file| LabFile::read(&file.path).is_ok_and(|now| now.digest == file.digest));
    let lab = same.and_then(|file| load_recorded(env, file, &LoadOptions::default()).ok());
    let names = lab.iter().flat_map(|loaded| loaded.lab.networks.keys());
    names
        .map(ToString::to_string)
        .filter(|name| !found.iter().any(|network| network.name == *name))
        .collect()
}

/// Returns what connects a bridge's network to the other hosts.
fn uplink(state: &HostState, bridge: &IfName) -> Option<String> {
    let mut nics = state.uplinks.iter().filter(|(_, uplink)| uplink.bridge == *bridge);
    let mut devices = state
        .links
        .iter()
        .filter(|(_, link)| link.master.as_ref() == Some(bridge));
    let nic = nics.next().map(|(nic, _)| nic);
    nic.or_else(|| devices.next().map(|(name, _)| name))
        .map(ToString::to_string)
}

fn last_run(env: &Env, lab: &LabName, run: LastRun) -> RunStatus {
    let running = run::lock::is_held_by(&env.folders, lab, &run.command);
    let (outcome, host, step) = match run.end {
        RunEnd::Finished => (RunOutcome::Finished, None, None),
        RunEnd::Failed { host, error } => (RunOutcome::Failed, Some(host), Some(error)),
        RunEnd::Interrupted { during, .. } if running => {
            let (host, step) = during.into_iter().next().unzip();
            (RunOutcome::Running, host, step.map(|step| step.to_string()))
        }
        RunEnd::Interrupted { during, after } => match (during.into_iter().next(), after) {
            (Some((host, step)), _) => (RunOutcome::InterruptedDuring, Some(host), Some(step.to_string())),
            (None, Some((host, step))) => (RunOutcome::InterruptedAfter, Some(host), Some(step.to_string())),
            (None, None) => (RunOutcome::InterruptedAfter, None, None),
        },
    };
    let began = run.began.and_then(|seconds| {
        let time = chrono::DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)?;
        Some(time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
    });
    RunStatus {
        command: run.command,
        began,
        outcome,
        host: host.map(|host| host.to_string()),
        step,
        rolled_back: run.rollback.map(|rollback| rollback == Rollback::Complete),
    }
}

/// Returns the emulated hosts that were stopped on request and are not among `hosts`.
fn stopped_on_request(env: &Env, lab: &LabName, hosts: &[HostStatus]) -> Vec<HostStatus> {
    let stopped = stopped::stopped(env, lab).into_iter();
    let missing = stopped.filter(|name| hosts.iter().all(|host| host.name != name.as_str()));
    let missing = missing.map(|name| HostStatus {
        name: name.to_string(),
        connect: Connect::Emulated.to_string(),
        kind: "host".to_owned(),
        state: "stopped by request",
    });
    missing.collect()
}
