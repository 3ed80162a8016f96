//! The steps of a plan as a user reads them: what each adds, changes or removes, what was there before, and what asks for
//! it.

use serde::Serialize;
use serde_json::Value;

use super::differences::changes;
use super::reason::{Reason, Reasons};
use super::{Loaded, Planned};
use crate::lab::{HostName, Places};
use crate::plan::Step;
use crate::state::{Domain, HostState, Site};

/// What a step does to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Something is there that was not.
    Add,
    /// Something is different.
    Change,
    /// Something is there no longer.
    Remove,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Where.
    pub host: HostName,
    /// What it does.
    pub effect: Effect,
    /// The step as text.
    pub text: String,
    /// What differs, each as `what: old → new`.
    pub differences: Vec<String>,
    /// What asks for it; none where nothing does any more.
    pub reason: Option<Reason>,
}

/// Most differences of one step that are listed.
const MOST: usize = 4;

impl Planned {
    /// Returns the steps, in the order they run, with the lines of the lab file `loaded` that ask for them, where it is given.
    pub fn described(&self, loaded: Option<&Loaded>) -> Vec<PlannedStep> {
        let text = loaded.map(Loaded::source).unwrap_or_default();
        let file = Places::new(&text);
        let reasons = loaded.map(|loaded| Reasons::new(&file, &loaded.lab, &self.topology, &self.desired));
        let described = self.plan.steps().zip(self.steps()).map(|((host, step), (_, text))| {
            let differences = differences(&self.observed, host, step);
            PlannedStep {
                host: host.clone(),
                effect: effect(step, &differences),
                text,
                differences,
                reason: reasons.as_ref().and_then(|reasons| reasons.of(host, step)),
            }
        });
        described.collect()
    }
}

fn effect(step: &Step, differences: &[String]) -> Effect {
    if step.is_removal() {
        return Effect::Remove;
    }
    match step {
        Step::ChangeLink(..) | Step::GrowVolume(..) | Step::SetSysctl(..) => Effect::Change,
        Step::AttachUplink(_, uplink) if !uplink.missing.is_empty() => Effect::Change,
        _ if !differences.is_empty() => Effect::Change,
        _ => Effect::Add,
    }
}

/// Returns what the object of a step that is there already has now and will have.
fn differences(observed: &Site, host: &HostName, step: &Step) -> Vec<String> {
    let nothing = HostState::default();
    let state = observed.get(host).unwrap_or(&nothing);
    let found = match step {
        Step::ChangeLink(name, link) => both(state.links.get(name), link),
        Step::LoadRuleset(rules) => both(state.firewall.as_ref(), rules),
        Step::StartDhcp(network, server) => both(state.dhcp.get(network), server),
        Step::DefineDomain(name, domain) => {
            let definition = |domain: &Domain| {
                let mut domain = domain.clone();
                (domain.running, domain.configured) = (false, None);
                domain.tasks.clear();
                domain
            };
            let was = state.domains.get(name);
            was.and_then(|was| both(Some(&definition(was)), &definition(domain)))
        }
        Step::ConfigureGuest(name, config) => {
            let was = state.domains.get(name).and_then(|domain| domain.configured.as_ref());
            both(was, config)
        }
        Step::ConfigureMachine(name, machine) => {
            both(observed.values().find_map(|state| state.machines.get(name)), machine)
        }
        Step::SetSysctl(key, value) => both(state.sysctls.get(key), value),
        _ => None,
    };
    let Some((old, new)) = found else {
        return Vec::new();
    };
    let mut found = changes(&old, &new);
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    if more > 0 {
        found.push(format!("{more} more"));
    }
    found
}

/// Returns what was and what will be, to be compared; none for what was not there.
fn both<T: Serialize>(was: Option<&T>, will: &T) -> Option<(Value, Value)> {
    let json = |value| serde_json::to_value(value).ok();
    Some((json(was?)?, json(will)?))
}
