//! Reads from the hosts themselves what of a lab is there, and from its journal how its last run ended.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::Serialize;

use super::belongs::{elsewhere, lost, with_state};
use super::connect::emulated;
use super::found::{Marked, marked};
use super::link::{LinkAt, Requests};
use super::observe::observe_all;
use super::{Deviations, Env, OpsError, connect, inspect_guests, passwords};
use crate::host::forward;
use crate::lab::{CableEnd, Class, Connect, HostName, LabName, Shaping};
use crate::run::{Journal, LastRun, Rollback, RunEnd, chain};
use crate::state::{Domain, DomainName, DomainSeen, HostState, LinkKind, MachineKind, Site, localhost};

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

/// Every lab that is visible.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LabList {
    /// Those of this state folder, and those that belong to none, by name.
    pub labs: Vec<LabSummary>,
    /// Those of other state folders of this machine, by name.
    pub elsewhere: Vec<LabElsewhere>,
    /// What could not be searched for labs, and why: where there is anything, labs may be missing in the list.
    pub unseen: Vec<String>,
}

/// A lab of another state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabElsewhere {
    /// Its name.
    pub lab: LabName,
    /// The state folder.
    pub folder: PathBuf,
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
    /// The state folder that it belongs to, where that is not this one.
    pub folder: Option<PathBuf>,
    /// No state folder knows it: it was found by the marks on its objects.
    pub by_marks: bool,
    /// The last run on it, if one is recorded.
    pub last_run: Option<RunStatus>,
    /// Hosts that hold something of it, and emulated switches and routers.
    pub hosts: Vec<HostStatus>,
    /// Its networks, once per host.
    pub networks: Vec<NetworkStatus>,
    /// Its VMs.
    pub vms: Vec<VmStatus>,
    /// Ports of this machine that lead to them.
    pub forwards: Vec<ForwardStatus>,
    /// Links that are limited or down.
    pub links: Vec<LinkStatus>,
}

/// A link that is limited or down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// As for `netlab link`, e.g. `vm1:service`, `node1:eth0`.
    pub link: String,
    /// `down`, or its limits.
    pub state: String,
    /// Its limits.
    pub shaping: Shaping,
    /// By a request of `netlab link`, not by the lab file.
    pub by_request: bool,
}

/// A port of this machine that leads to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForwardStatus {
    /// Where netlab listens, e.g. `127.0.0.1:8080`.
    pub listen: String,
    /// The VM.
    pub vm: String,
    /// Its port.
    pub port: u16,
    /// The host that makes the connections.
    pub via: String,
    /// `up`, or `dead`: nothing listens any more; `netlab up` starts it again.
    pub state: &'static str,
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
    /// `up`; `rebooted` since the last `up`; of an emulated machine also `dead`, or `lost`: it runs, but its files in the state folder were removed.
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

/// Returns the labs of this state folder, and those whose marks are on objects of this machine.
pub fn statuses(env: &Env) -> LabList {
    let Marked {
        emulated,
        local,
        mut unseen,
    } = marked();
    let mut names: BTreeSet<LabName> = emulated.into_iter().chain(local).collect();
    let labs = env.folders.state.join("labs");
    let mut in_folder = BTreeSet::new();
    match std::fs::read_dir(&labs) {
        Ok(entries) => {
            let entries = entries.flatten();
            in_folder.extend(entries.filter_map(|entry| entry.file_name().to_str()?.parse::<LabName>().ok()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => unseen.push(format!("cannot list {}: {error}", labs.display())),
    }
    names.extend(in_folder.iter().cloned());
    let mut others = Vec::new();
    names.retain(|lab| match elsewhere(env, lab) {
        Some(folder) => {
            let lab = lab.clone();
            others.push(LabElsewhere { lab, folder });
            false
        }
        None => true,
    });
    let summaries = names.into_iter().map(|name| match status_here(env, &name, false) {
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
    });
    LabList {
        // A stranger's namespace may have a name like one of netlab's.
        labs: summaries
            .filter(|lab| lab.state != LabState::Down || in_folder.contains(&lab.lab))
            .collect(),
        elsewhere: others,
        unseen,
    }
}

/// Reads one lab's hosts, its guests and its journal. A lab of another state folder is read from there.
pub fn status(env: &Env, lab: &LabName) -> Result<LabStatus, OpsError> {
    match elsewhere(env, lab) {
        None => status_here(env, lab, true),
        Some(folder) => Ok(LabStatus {
            folder: Some(folder.clone()),
            ..status_here(&with_state(env, &folder), lab, true)?
        }),
    }
}

/// Reads a lab of this state folder, or of none; the guests are asked over their consoles only where that is wanted.
fn status_here(env: &Env, lab: &LabName, ask_guests: bool) -> Result<LabStatus, OpsError> {
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
    let requests = Requests::read(&env.folders, lab).unwrap_or_default();
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
    let whole = forwards.iter().all(|forward| forward.state == "up")
        && !past.unfinished
        && hosts.iter().all(|host| host.state == "up")
        && vms.iter().all(|vm| vm.state == "running");
    Ok(LabStatus {
        lab: lab.clone(),
        last_run: past.last.map(last_run),
        state: match (site.is_empty() && rebooted.is_empty(), whole) {
            (true, _) => LabState::Down,
            (false, true) => LabState::Up,
            (false, false) => LabState::Partly,
        },
        folder: None,
        by_marks: by_marks && !site.is_empty(),
        hosts,
        networks: networks(&site),
        vms,
        forwards,
        links: links(&site, &requests),
    })
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

/// Returns the links that are limited or down, as they were observed.
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
