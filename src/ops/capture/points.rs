//! What a user calls a place at which packets are captured: `vm1`, `vm1:service`, `node1:eth0`, both ends of a cable, or all
//! links on the path between two VMs.

use super::{CaptureError, Point};
use crate::host::HostError;
use crate::lab::{HostName, LabName};
use crate::ops::{DiagnoseOptions, Env, Loaded, OpsError, UpLab, diagnose, up_lab};
use crate::state::{MachineKind, localhost};
use crate::transport::Dialer;

/// How the commands of a machine are run.
#[derive(Debug, Clone)]
pub(super) enum Reach {
    /// A host.
    Host(Dialer),
    /// An emulated switch or router, by a command before the one that is run.
    Device(Vec<String>),
}

impl PartialEq for Reach {
    fn eq(&self, other: &Self) -> bool {
        self.command(&[]) == other.command(&[])
    }
}

impl Eq for Reach {}

impl Reach {
    pub(super) fn command(&self, argv: &[String]) -> Vec<String> {
        match self {
            Self::Host(dialer) => dialer.command(argv),
            Self::Device(before) => before.iter().chain(argv).cloned().collect(),
        }
    }
}

/// Links of a lab that is up.
#[derive(Debug, Clone)]
pub struct Points {
    pub(super) lab: LabName,
    /// Where packets are captured.
    pub points: Vec<Point>,
}

/// Returns the links that `targets` name, or all on the path between two ends; each once.
///
/// `loaded` is needed for a path only.
pub fn points(
    env: &Env,
    lab: &str,
    targets: &[String],
    ends: Option<(&Loaded, &str, &str)>,
) -> Result<Points, OpsError> {
    let up = up_lab(env, lab)?;
    let mut points: Vec<Point> = Vec::new();
    let mut add = |point: Point| {
        if !points
            .iter()
            .any(|other| (&other.machine, &other.link) == (&point.machine, &point.link))
        {
            points.push(point);
        }
    };
    for target in targets.iter().flat_map(|target| target.split(',')) {
        add(one(&up, target.trim())?);
    }
    if let Some((loaded, from, to)) = ends {
        let options = DiagnoseOptions {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        for hop in diagnose(env, loaded, &options)?.hops {
            let Some((machine, link)) = hop.link else { continue };
            let name = tap_name(&up, &machine, &link).unwrap_or_else(|| format!("{machine}:{link}"));
            add(at(&up, &machine, &link, name)?);
        }
    }
    Ok(Points { lab: up.lab, points })
}

/// Returns the network of a guest's NIC.
fn network<'a>(up: &'a UpLab, host: &HostName, bridge: &crate::lab::IfName) -> &'a str {
    let link = up.site.get(host).and_then(|state| state.links.get(bridge));
    link.and_then(|link| link.purpose.split_once("network "))
        .map_or("", |(_, network)| network)
}

/// Returns the name of the guest's NIC that has a tap.
fn tap_name(up: &UpLab, machine: &HostName, link: &str) -> Option<String> {
    up.domains().find_map(|(host, name, domain)| {
        let nic = domain
            .nics
            .iter()
            .find(|nic| nic.tap.as_str() == link && host == machine)?;
        Some(format!("{}:{}", name.vm(), network(up, host, &nic.bridge)))
    })
}

fn one(up: &UpLab, text: &str) -> Result<Point, OpsError> {
    let (name, of) = text.split_once(':').map_or((text, None), |(name, of)| (name, Some(of)));
    let no_link = || {
        let error = CaptureError::NoLink {
            lab: up.lab.clone(),
            text: text.to_owned(),
            known: known(up),
        };
        OpsError::from(error)
    };
    let vm = up.domains().find(|(_, vm, _)| vm.vm().as_str() == name);
    if let Some((host, _, domain)) = vm {
        if !domain.running {
            return Err(OpsError::VmNotRunning {
                vm: name.to_owned(),
                why: None,
            });
        }
        let nics = domain.nics.iter();
        let mut named = nics.filter(|nic| of.is_none_or(|of| network(up, host, &nic.bridge) == of));
        return match (named.next(), named.next()) {
            (Some(nic), None) => at(
                up,
                host,
                nic.tap.as_str(),
                format!("{name}:{}", network(up, host, &nic.bridge)),
            ),
            _ => Err(no_link()),
        };
    }
    let machine = name.parse::<HostName>().ok();
    match (machine, of) {
        (Some(machine), Some(link)) if exists(up, &machine) && !link.is_empty() => {
            at(up, &machine, link, text.to_owned())
        }
        _ => Err(no_link()),
    }
}

fn exists(up: &UpLab, machine: &HostName) -> bool {
    *machine != localhost() && (up.hosts.contains_key(machine) || devices(up).any(|device| device == machine))
}

fn devices(up: &UpLab) -> impl Iterator<Item = &HostName> {
    let machines = up.site.values().flat_map(|state| &state.machines);
    let devices = machines.filter(|(_, machine)| machine.kind != MachineKind::Host);
    devices.map(|(name, _)| name)
}

fn known(up: &UpLab) -> Vec<String> {
    let taps = up.domains().flat_map(|(host, name, domain)| {
        let nics = domain.nics.iter();
        nics.map(move |nic| format!("{}:{}", name.vm(), network(up, host, &nic.bridge)))
    });
    let cables = up.site.values().flat_map(|state| &state.cables);
    let ends = cables.flat_map(|cable| &cable.ends);
    taps.chain(ends.map(|end| format!("{}:{}", end.host, end.nic)))
        .collect()
}

fn at(up: &UpLab, machine: &HostName, link: &str, name: String) -> Result<Point, OpsError> {
    let reach = if devices(up).any(|device| device == machine) {
        let here = localhost();
        let host = up.hosts.get(&here).ok_or(HostError::NotRunning(here))?;
        let mut login = host.login_device(&up.lab, machine)?;
        // The shell and its option.
        login.truncate(login.len().saturating_sub(2));
        Reach::Device(login)
    } else {
        let host = up
            .hosts
            .get(machine)
            .ok_or_else(|| HostError::NotRunning(machine.clone()))?;
        Reach::Host(host.dialer()?)
    };
    Ok(Point {
        name,
        machine: machine.to_string(),
        link: link.to_owned(),
        reach,
    })
}
