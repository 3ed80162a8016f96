//! Limits of the links of emulated machines: the ends of cables.

use std::collections::{BTreeMap, BTreeSet};

use super::Emulator;
use super::error::EmulatedError;
use super::links::Link;
use super::namespace::{links, name};
use crate::lab::{HostName, IfName, LabName, Shaping};
use crate::linux::tc;
use crate::plan::Step;
use crate::transport::NamespaceShell;

/// The disciplines that netlab sets, as `ip link` prints them.
const KINDS: [&str; 3] = ["tbf", "netem", "pfifo"];

/// Returns the limits that the lab has set on the ends of cables among `links`, those of one machine. No command where
/// there can be none. Those of taps are their guests'.
pub(super) fn observe(
    lab: &LabName,
    machine: &HostName,
    links: &[Link],
) -> Result<BTreeMap<IfName, Shaping>, EmulatedError> {
    let shaped =
        |link: &&Link| link.kind() == Some("veth") && link.qdisc.as_deref().is_some_and(|kind| KINDS.contains(&kind));
    let named: BTreeSet<&str> = links.iter().filter(shaped).map(|link| link.ifname.as_str()).collect();
    if named.is_empty() {
        return Ok(BTreeMap::new());
    }
    let shell = NamespaceShell::of_network(&name(lab, machine));
    let mut found = tc::observe(&shell, lab)?;
    found.retain(|link, _| named.contains(link.as_str()));
    Ok(found)
}

/// Returns the links of a machine that are down by request.
pub(super) fn held_down(lab: &LabName, machine: &HostName, links: &[Link]) -> Result<BTreeSet<IfName>, EmulatedError> {
    let found = observe(lab, machine, links)?;
    Ok(found
        .into_iter()
        .filter(|(_, shaping)| shaping.down)
        .map(|(link, _)| link)
        .collect())
}

impl Emulator {
    /// Carries out a step on the limits of a link of `machine`, after checking that the machine is the lab's.
    pub(crate) fn shape(&self, lab: &LabName, machine: &HostName, step: &Step) -> Result<(), EmulatedError> {
        links(&self.shell, lab, machine)?;
        let shell = NamespaceShell::of_network(&name(lab, machine));
        tc::apply(&shell, lab, std::slice::from_ref(step)).map_err(|failed| failed.cause.into())
    }
}
