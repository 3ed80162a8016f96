//! Preflight and plan: what `up` would do, once nothing blocks it.

use super::connect::same_connects;
use super::{Env, Loaded, OpsError, connect, connects, observe, survey};
use crate::host::NamedHosts;
use crate::plan::{self, Plan};
use crate::preflight::{Obstacle, Severity, preflight};
use crate::run::Journal;
use crate::state::{Site, desired};
use crate::topology::Topology;

/// The result of planning.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The steps from what was observed to what is desired.
    pub plan: Plan,
    /// What is desired.
    pub desired: Site,
    /// Preflight's warnings.
    pub warnings: Vec<Obstacle>,
}

impl Planned {
    /// Returns the steps as text, each with its host, in order.
    pub fn lines(&self) -> Vec<String> {
        self.plan
            .steps()
            .map(|(host, step)| format!("{host}: {step}"))
            .collect()
    }
}

/// Observes the hosts of a lab and returns what `up` would do; changes nothing.
pub fn plan(env: &Env, loaded: &Loaded) -> Result<Planned, OpsError> {
    let topology = &loaded.topology;
    let lab = &topology.lab;
    let past = Journal::read(&env.folders.lab(lab))?;
    let wanted = connects(topology);
    same_connects(lab, &past.hosts, &wanted)?;
    let mut known = past.hosts;
    known.extend(wanted);
    let hosts = connect(env, lab, &known)?;
    let observed = observe(&hosts, lab)?;
    preflight_and_plan(topology, &hosts, &observed)
}

/// Returns what is desired and the plan for it, or [`OpsError::PreflightFailed`] where something blocks the lab.
pub fn preflight_and_plan(topology: &Topology, hosts: &NamedHosts, observed: &Site) -> Result<Planned, OpsError> {
    let surveys = survey(hosts, &topology.lab)?;
    let (errors, warnings): (Vec<_>, Vec<_>) = preflight(topology, &surveys, observed)
        .into_iter()
        .partition(|found| found.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(OpsError::PreflightFailed(errors));
    }
    let desired = desired(topology, &surveys);
    Ok(Planned {
        plan: plan::plan(observed, &desired),
        desired,
        warnings,
    })
}
