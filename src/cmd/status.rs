//! `netlab status`: what is there, read from the hosts themselves.

use std::path::PathBuf;

use serde::Serialize;

use super::error::Failure;
use super::output::{table, without_empty_columns};
use super::{Context, sight};
use crate::lab::{Class, LabName};
use crate::run::Journal;
use crate::state::{Domain, DomainName, DomainSeen, HostState, LinkKind, MachineKind, Site};

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, or its file; without one, all labs are listed.
    lab: Option<String>,
}

#[derive(Serialize)]
struct Labs {
    labs: Vec<LabLine>,
}

/// One lab in the list of all.
#[derive(Serialize)]
struct LabLine {
    lab: String,
    state: LabState,
    hosts: usize,
    vms: usize,
    running: usize,
    /// Why nothing can be said of it.
    error: Option<String>,
}

/// How much of a lab is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum LabState {
    /// The last `up` came to its end and everything that it made runs.
    Up,
    /// A run was cut short, or something has stopped since.
    Partly,
    /// Nothing is there.
    Down,
    /// A host cannot be looked at.
    Unknown,
}

impl LabState {
    fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Partly => "partly",
            Self::Down => "down",
            Self::Unknown => "?",
        }
    }
}

/// One lab in full.
#[derive(Serialize)]
struct Status {
    lab: LabName,
    state: LabState,
    hosts: Vec<Host>,
    networks: Vec<Network>,
    vms: Vec<Vm>,
}

#[derive(Serialize)]
struct Host {
    name: String,
    /// How it is reached, as in lab.toml; `emulated switch` and `emulated router` are reached through this machine.
    connect: String,
    /// `up`, or `dead` for an emulated machine that died.
    state: &'static str,
}

#[derive(Serialize)]
struct Network {
    name: String,
    /// `service`, `public`, `management` or `storage`.
    class: String,
    host: String,
    bridge: String,
    /// The lab's own addresses on the bridge, with prefix lengths.
    addresses: Vec<String>,
    /// The NIC, or the VLAN device, that carries it off the host.
    uplink: Option<String>,
}

#[derive(Serialize)]
struct Vm {
    name: String,
    host: String,
    /// `running`, `running, not configured`, or why it does not run, e.g. `crashed`.
    state: String,
    /// With prefix lengths, in the order of its NICs.
    addresses: Vec<String>,
    macs: Vec<String>,
    /// The domain's name in libvirt.
    domain: String,
    /// Where its screen can be seen on its host, e.g. `127.0.0.1:5900`; only while it runs.
    vnc: Option<String>,
    /// The file on its host in which its serial console is logged.
    console_log: Option<PathBuf>,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let Some(lab) = &args.lab else {
        return list(context);
    };
    let lab = look(context, sight::lab_name(lab)?)?;
    context.answer(&text(&lab), &lab)
}

/// Every lab that has a folder here.
fn list(context: &Context) -> Result<(), Failure> {
    let entries = std::fs::read_dir(context.folders.state.join("labs"));
    let names = entries.into_iter().flatten().flatten();
    let mut names: Vec<LabName> = names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    names.sort();
    let labs: Vec<LabLine> = names
        .into_iter()
        .map(|name| match look(context, name.clone()) {
            Ok(lab) => LabLine {
                lab: name.to_string(),
                state: lab.state,
                hosts: lab.hosts.len(),
                vms: lab.vms.len(),
                running: lab.vms.iter().filter(|vm| vm.state.starts_with("running")).count(),
                error: None,
            },
            Err(failure) => LabLine {
                lab: name.to_string(),
                state: LabState::Unknown,
                hosts: 0,
                vms: 0,
                running: 0,
                error: Some(failure.to_string()),
            },
        })
        .collect();
    let mut rows = vec![row(["LAB", "STATE", "HOSTS", "VMS", ""])];
    for lab in &labs {
        let (hosts, vms) = (lab.hosts.to_string(), format!("{} of {} running", lab.running, lab.vms));
        rows.push(match &lab.error {
            None => row([&lab.lab, lab.state.word(), &hosts, &vms, ""]),
            Some(error) => row([
                &lab.lab,
                lab.state.word(),
                "",
                "",
                error.lines().next().unwrap_or_default(),
            ]),
        });
    }
    let text = if labs.is_empty() {
        "no lab is up\n".to_owned()
    } else {
        table(&without_empty_columns(rows))
    };
    context.answer(&text, &Labs { labs })
}

/// Looks at one lab's hosts.
fn look(context: &Context, lab: LabName) -> Result<Status, Failure> {
    let past = Journal::read(&context.folders.lab(&lab)).map_err(|error| sight::failed(error.to_string()))?;
    let mut connects = past.hosts;
    connects.extend(sight::machines(&context.folders, &lab)?);
    let hosts = sight::reach(&context.folders, &lab, &connects)?;
    let site = sight::observe(&hosts, &lab)?;

    let dead = |name: &_| {
        let mut machines = site.values().flat_map(|state| &state.machines);
        machines.any(|(machine, made)| machine == name && !made.alive)
    };
    let state = |name: &_| if dead(name) { "dead" } else { "up" };
    let mut hosts: Vec<Host> = connects
        .iter()
        .filter(|(name, _)| site.contains_key(*name) || site.values().any(|state| state.machines.contains_key(*name)))
        .map(|(name, connect)| Host {
            name: name.to_string(),
            connect: sight::connect_word(connect),
            state: state(name),
        })
        .collect();
    let machines = site.values().flat_map(|state| &state.machines);
    let devices = machines.filter(|(_, machine)| machine.kind != MachineKind::Host);
    hosts.extend(devices.map(|(name, machine)| Host {
        name: name.to_string(),
        connect: format!("emulated {}", machine.kind),
        state: state(name),
    }));
    let vms: Vec<Vm> = site
        .iter()
        .flat_map(|(host, state)| {
            let seen = &state.seen.domains;
            let domains = state.domains.iter();
            domains.map(move |(name, domain)| vm(host.as_str(), name, domain, seen.get(name)))
        })
        .collect();
    let whole =
        !past.unfinished && hosts.iter().all(|host| host.state == "up") && vms.iter().all(|vm| vm.state == "running");
    Ok(Status {
        lab,
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

fn networks(site: &Site) -> Vec<Network> {
    let bridges = site.iter().flat_map(|(host, state)| {
        let bridges = state
            .links
            .iter()
            .filter(|(_, link)| matches!(link.kind, LinkKind::Bridge { .. }));
        bridges.map(move |(name, link)| {
            // As `state::desired` writes it.
            let (class, network) = link.purpose.split_once("network ").unwrap_or(("", &link.purpose));
            Network {
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
    let mut networks: Vec<Network> = bridges.collect();
    networks.sort_by(|a, b| (&a.name, &a.host).cmp(&(&b.name, &b.host)));
    networks
}

/// What carries a bridge's network off the host.
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

fn vm(host: &str, name: &DomainName, domain: &Domain, seen: Option<&DomainSeen>) -> Vm {
    let state = match (domain.running, &domain.configured, seen) {
        (true, Some(_), _) => "running".to_owned(),
        (true, None, _) => "running, not configured".to_owned(),
        (false, _, Some(seen)) => seen.condition.to_string(),
        (false, _, None) => "not running".to_owned(),
    };
    let told = domain.configured.iter().flat_map(|config| &config.nics);
    Vm {
        name: name.vm().to_string(),
        host: host.to_owned(),
        state,
        addresses: told.map(|nic| nic.address.to_string()).collect(),
        macs: domain.nics.iter().map(|nic| nic.mac.to_string()).collect(),
        domain: name.to_string(),
        vnc: seen.and_then(|seen| seen.screen.clone()),
        console_log: seen.and_then(|seen| seen.console_log.clone()),
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

fn text(lab: &Status) -> String {
    if lab.state == LabState::Down {
        return format!("lab {} is not up\n", lab.lab);
    }
    let mut hosts = vec![row(["HOST", "CONNECT", "STATE"])];
    hosts.extend(
        lab.hosts
            .iter()
            .map(|host| row([&host.name, &host.connect, host.state])),
    );
    let mut networks = vec![row(["NETWORK", "CLASS", "HOST", "BRIDGE", "ADDRESS", "UPLINK"])];
    networks.extend(lab.networks.iter().map(|network| {
        let uplink = network.uplink.as_deref().unwrap_or_default();
        row([
            &network.name,
            &network.class,
            &network.host,
            &network.bridge,
            &network.addresses.join(" "),
            uplink,
        ])
    }));
    let mut vms = vec![row(["VM", "HOST", "STATE", "ADDRESS", "MAC", "VNC", "CONSOLE LOG"])];
    vms.extend(lab.vms.iter().map(|vm| {
        let log = vm.console_log.as_ref().map(|log| log.display().to_string());
        row([
            &vm.name,
            &vm.host,
            &vm.state,
            &vm.addresses.join(" "),
            &vm.macs.join(" "),
            vm.vnc.as_deref().unwrap_or_default(),
            &log.unwrap_or_default(),
        ])
    }));
    let head = format!(
        "lab {} is {}\n",
        lab.lab,
        if lab.state == LabState::Up { "up" } else { "partly up" }
    );
    let tables = [hosts, networks, vms].into_iter().filter(|rows| rows.len() > 1);
    let tables: Vec<String> = tables.map(|rows| table(&without_empty_columns(rows))).collect();
    format!("{head}\n{}", tables.join("\n"))
}
