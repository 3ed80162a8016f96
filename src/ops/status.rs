//! Reads from the hosts themselves what of a lab is there, and from its journal how its last run ended.

use std::path::PathBuf;

use serde::Serialize;

use super::connect::emulated;
use super::{Deviations, Env, OpsError, connect, inspect_guests, observe};
use crate::lab::{Class, LabName};
use crate::run::{Journal, LastRun, Rollback, RunEnd, chain};
use crate::state::{Domain, DomainName, DomainSeen, HostState, LinkKind, MachineKind, Site};

/// One lab in the list of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabSummary {
    /// Its name.
    pub lab: LabName,
    /// How much of it is there.
    pub state: LabState,
    /// How many hosts hold something of it.
    pub hosts: usize,
    /// How many VMs are defined.
    pub vms: usize,
    /// How many VMs run.
    pub running: usize,
    /// Why nothing is known of it.
    pub error: Option<String>,
}

/// How much of a lab is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabState {
    /// The last `up` reached its end, and everything that it made runs.
    Up,
    /// A run was interrupted or failed, or something has stopped since.
    Partly,
    /// Nothing is there.
    Down,
    /// A host cannot be read.
    Unknown,
}

/// One lab in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabStatus {
    /// Its name.
    pub lab: LabName,
    /// How much of it is there.
    pub state: LabState,
    /// The last run on it, if one is recorded.
    pub last_run: Option<RunStatus>,
    /// Hosts that hold something of it, and emulated switches and routers.
    pub hosts: Vec<HostStatus>,
    /// Its networks, once per host.
    pub networks: Vec<NetworkStatus>,
    /// Its VMs.
    pub vms: Vec<VmStatus>,
}

/// The last run on a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunStatus {
    /// Its command: `up` or `down`.
    pub command: String,
    /// When it began, in UTC, e.g. `2026-11-26 13:05`.
    pub began: Option<String>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Where it failed or was interrupted.
    pub host: Option<String>,
    /// What failed and why, or which step was in progress.
    pub step: Option<String>,
    /// Whether every host was restored afterwards; none: no rollback was begun.
    pub rolled_back: Option<bool>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// It did everything.
    Finished,
    /// A step failed.
    Failed,
    /// It was killed or stopped by a signal during a step.
    InterruptedDuring,
    /// It was killed or stopped by a signal behind a step.
    InterruptedAfter,
}

/// A host that holds something of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// How it is connected, as in lab.toml, or `emulated switch` or `emulated router`.
    pub connect: String,
    /// `up`, or `dead` for an emulated machine that died.
    pub state: &'static str,
}

/// A network on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkStatus {
    /// Its name.
    pub name: String,
    /// `service`, `public`, `management` or `storage`.
    pub class: String,
    /// The host.
    pub host: String,
    /// Its bridge there.
    pub bridge: String,
    /// The lab's own addresses on the bridge, with prefix lengths.
    pub addresses: Vec<String>,
    /// The NIC, or the VLAN device, that connects it to the other hosts.
    pub uplink: Option<String>,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmStatus {
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// `running`, `running, changed`, `running, not configured`, or why it does not run, e.g. `crashed` or
    /// `halted: somebody paused it`.
    pub state: String,
    /// How it differs from what it was given.
    pub deviations: Vec<String>,
    /// With prefix lengths, in the order of its NICs.
    pub addresses: Vec<String>,
    /// In the order of its NICs.
    pub macs: Vec<String>,
    /// The domain's name in libvirt.
    pub domain: String,
    /// Where its screen can be seen on its host, e.g. `127.0.0.1:5900`; only while it runs.
    pub vnc: Option<String>,
    /// The file on its host in which its serial console is logged.
    pub console_log: Option<PathBuf>,
}

/// Returns every lab that has a folder here, by name.
pub fn statuses(env: &Env) -> Vec<LabSummary> {
    let entries = std::fs::read_dir(env.folders.state.join("labs"));
    let names = entries.into_iter().flatten().flatten();
    let mut names: Vec<LabName> = names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| match read(env, &name, false) {
            Ok(lab) => LabSummary {
                lab: name,
                state: lab.state,
                hosts: lab.hosts.len(),
                vms: lab.vms.len(),
                running: lab.vms.iter().filter(|vm| vm.state.starts_with("running")).count(),
                error: None,
            },
            Err(error) => LabSummary {
                lab: name,
                state: LabState::Unknown,
                hosts: 0,
                vms: 0,
                running: 0,
                error: Some(match error.details().first() {
                    Some(cause) => format!("{}: {}", cause.host, cause.message),
                    None => chain(&error),
                }),
            },
        })
        .collect()
}

/// Reads one lab's hosts, its guests and its journal.
pub fn status(env: &Env, lab: &LabName) -> Result<LabStatus, OpsError> {
    read(env, lab, true)
}

/// Like [`status`]; the guests are asked over their consoles only where that is wanted.
fn read(env: &Env, lab: &LabName, ask_guests: bool) -> Result<LabStatus, OpsError> {
    let past = Journal::read(&env.folders.lab(lab))?;
    let mut connects = past.hosts;
    connects.extend(emulated(env, lab)?);
    let hosts = connect(env, lab, &connects)?;
    let site = observe(&hosts, lab)?;

    let deviations = if ask_guests {
        inspect_guests(env, &hosts, &site, &site).deviations
    } else {
        Deviations::new()
    };

    let dead = |name: &_| {
        let mut machines = site.values().flat_map(|state| &state.machines);
        machines.any(|(machine, made)| machine == name && !made.alive)
    };
    let state = |name: &_| if dead(name) { "dead" } else { "up" };
    let mut hosts: Vec<HostStatus> = connects
        .iter()
        .filter(|(name, _)| site.contains_key(*name) || site.values().any(|state| state.machines.contains_key(*name)))
        .map(|(name, connect)| HostStatus {
            name: name.to_string(),
            connect: connect.to_string(),
            state: state(name),
        })
        .collect();
    let machines = site.values().flat_map(|state| &state.machines);
    let devices = machines.filter(|(_, machine)| machine.kind != MachineKind::Host);
    hosts.extend(devices.map(|(name, machine)| HostStatus {
        name: name.to_string(),
        connect: format!("emulated {}", machine.kind),
        state: state(name),
    }));
    let vms: Vec<VmStatus> = site
        .iter()
        .flat_map(|(host, state)| {
            let seen = &state.seen.domains;
            let domains = state.domains.iter();
            let deviations = &deviations;
            domains.map(move |(name, domain)| vm(host.as_str(), name, domain, seen.get(name), deviations))
        })
        .collect();
    let whole =
        !past.unfinished && hosts.iter().all(|host| host.state == "up") && vms.iter().all(|vm| vm.state == "running");
    Ok(LabStatus {
        lab: lab.clone(),
        last_run: past.last.map(last_run),
        state: match (site.is_empty(), whole) {
            (true, _) => LabState::Down,
            (false, true) => LabState::Up,
            (false, false) => LabState::Partly,
        },
        hosts,
        networks: networks(&site),
        vms,
    })
}

fn networks(site: &Site) -> Vec<NetworkStatus> {
    let bridges = site.iter().flat_map(|(host, state)| {
        let bridges = state
            .links
            .iter()
            .filter(|(_, link)| matches!(link.kind, LinkKind::Bridge { .. }));
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

/// Returns what connects a bridge's network to the other hosts.
fn uplink(state: &HostState, bridge: &crate::lab::IfName) -> Option<String> {
    let mut nics = state.uplinks.iter().filter(|(_, uplink)| uplink.bridge == *bridge);
    let mut devices = state
        .links
        .iter()
        .filter(|(_, link)| link.master.as_ref() == Some(bridge));
    let nic = nics.next().map(|(nic, _)| nic);
    nic.or_else(|| devices.next().map(|(name, _)| name))
        .map(ToString::to_string)
}

fn vm(host: &str, name: &DomainName, domain: &Domain, seen: Option<&DomainSeen>, deviations: &Deviations) -> VmStatus {
    let deviations = deviations.get(name).cloned().unwrap_or_default();
    let state = match (domain.running, &domain.configured, seen) {
        (.., Some(DomainSeen { halted: Some(why), .. })) => format!("halted: {why}"),
        (true, Some(_), _) if !deviations.is_empty() => "running, changed".to_owned(),
        (true, Some(_), _) => "running".to_owned(),
        (true, None, _) => "running, not configured".to_owned(),
        (false, _, Some(seen)) => seen.condition.to_string(),
        (false, _, None) => "not running".to_owned(),
    };
    let configured = domain.configured.iter().flat_map(|config| &config.nics);
    VmStatus {
        name: name.vm().to_string(),
        host: host.to_owned(),
        state,
        deviations,
        addresses: configured.map(|nic| nic.address.to_string()).collect(),
        macs: domain.nics.iter().map(|nic| nic.mac.to_string()).collect(),
        domain: name.to_string(),
        vnc: seen.and_then(|seen| seen.screen.clone()),
        console_log: seen.and_then(|seen| seen.console_log.clone()),
    }
}

fn last_run(run: LastRun) -> RunStatus {
    let (outcome, host, step) = match run.end {
        RunEnd::Finished => (RunOutcome::Finished, None, None),
        RunEnd::Failed { host, error } => (RunOutcome::Failed, Some(host), Some(error)),
        RunEnd::Interrupted { during, after } => match (during.into_iter().next(), after) {
            (Some((host, step)), _) => (RunOutcome::InterruptedDuring, Some(host), Some(step.to_string())),
            (None, Some((host, step))) => (RunOutcome::InterruptedAfter, Some(host), Some(step.to_string())),
            (None, None) => (RunOutcome::InterruptedAfter, None, None),
        },
    };
    let began = run.began.and_then(|seconds| {
        let time = chrono::DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)?;
        Some(time.format("%Y-%m-%d %H:%M").to_string())
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
