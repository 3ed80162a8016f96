//! What prevents a lab from being brought up: takes a [`Topology`], the hosts' [`Survey`]s and what the lab owns already,
//! returns every [`Obstacle`] at once, before anything is changed. Pure: asks no host and changes nothing.
//!
//! Each check is one function of a topology and a survey, in the file of its subject:
//!
//! | file | checks |
//! |---|---|
//! | `bonds` | the kernel, or Open vSwitch, has the bonds' modes; their NICs are free |
//! | `nics` | uplinks exist, are free and may be attached; names of links are free; subnets do not overlap |
//! | `software` | programs, kernel modules, QEMU's architectures |
//! | `services` | what address translation, DHCP and floating addresses need; firewalls of others; MTUs |
//! | `guests` | names and MAC addresses of domains; memory; KVM |
//! | `machines` | emulated switches and routers |
//!
//! ```
//! use std::collections::{BTreeMap, BTreeSet};
//! use netlab::{preflight::preflight, state::Site, topology::Topology};
//!
//! /// Returns whether the lab can be brought up on hosts that were not surveyed.
//! fn is_possible(topology: &Topology) -> bool {
//!     preflight(topology, &BTreeMap::new(), &Site::new()).is_empty()
//! }
//! ```

mod bonds;
mod forwards;
mod guests;
mod machines;
mod nics;
mod services;
pub mod shaping;
mod software;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::lab::{HostName, MacAddr, NetworkName, VmName};
use crate::state::{Site, Survey};
use crate::topology::Topology;
pub use guests::{USELESS_KVM_HELP, useless_kvm};

/// One thing that prevents a lab from being brought up, or from working well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// Whether the lab can be brought up all the same.
    pub severity: Severity,
    /// Where; `localhost` for what all its hosts share.
    pub host: HostName,
    /// What is wrong: the object with its kind, and its owner.
    pub what: String,
    /// What the user can do.
    pub help: String,
}

/// How severe an [`Obstacle`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The lab must not be brought up.
    Error,
    /// The lab works, but not as well as it could.
    Warning,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, what, help, .. } = self;
        write!(f, "{host}: {what} (help: {help})")
    }
}

impl Obstacle {
    /// Returns it as a message of two lines, what is wrong and what helps, without its severity.
    pub fn message(&self) -> String {
        let Self { host, what, help, .. } = self;
        format!("{host}: {what}\n  help: {help}")
    }
}

/// Returns every obstacle to `topology`, host by host. `observed` is what the lab owns already. Of a host without a
/// survey, as an emulated one that does not exist yet, only what the lab itself says is checked.
pub fn preflight(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, observed: &Site) -> Vec<Obstacle> {
    let by_host = topology.by_host();
    let routes = topology.tenants.by_tenant();
    let inhabited: BTreeSet<&NetworkName> = topology
        .guests
        .values()
        .flat_map(|guest| guest.nics.iter().map(|nic| &nic.network))
        .collect();
    let macs: BTreeMap<MacAddr, &VmName> = topology
        .guests
        .iter()
        .flat_map(|(vm, guest)| guest.nics.iter().map(move |nic| (nic.mac, vm)))
        .collect();

    let mut obstacles = Vec::new();
    for (name, host) in &topology.hosts {
        let survey = surveys.get(name);
        let on_host = &by_host[name];
        let guests = on_host.guests.as_slice();
        let mut errors = nics::uplinks(host, on_host, survey);
        errors.extend(guests::without_cloud_init(guests));
        errors.extend(guests::too_many_disks(topology, guests));
        errors.extend(guests::unclear_disks(guests));
        let mut warnings = Vec::new();
        if let Some(survey) = survey {
            errors.extend(nics::names(host, guests, survey));
            errors.extend(nics::keys(host, survey));
            errors.extend(nics::takeovers(name, host, survey, observed));
            errors.extend(bonds::check(name, host, survey, observed));
            errors.extend(nics::subnets(host, survey));
            errors.extend(guests::domains(topology, guests, &macs, survey));
            errors.extend(software::missing(topology, host, guests, survey));
            errors.extend(services::small_uplinks(&inhabited, host, survey, true));
            errors.extend(services::errors(topology, &routes, host, on_host, survey));
            warnings.extend(services::warnings(&inhabited, host, survey));
        }
        for (severity, findings) in [(Severity::Error, errors), (Severity::Warning, warnings)] {
            obstacles.extend(findings.into_iter().map(|Finding { what, help }| Obstacle {
                severity,
                host: name.clone(),
                what,
                help,
            }));
        }
    }
    obstacles.extend(guests::memory(topology, surveys, observed));
    obstacles.extend(guests::disk_space(topology, surveys, observed));
    obstacles.extend(guests::disk_program(topology, surveys));
    obstacles.extend(guests::kvm(topology, surveys, observed));
    obstacles.extend(machines::check(topology, surveys));
    obstacles.extend(shaping::check(topology, surveys));
    obstacles.extend(forwards::check(topology, surveys, observed));
    obstacles
}

/// An obstacle whose host and severity its caller knows.
struct Finding {
    what: String,
    help: String,
}

fn finding(what: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding {
        what: what.into(),
        help: help.into(),
    }
}
