//! The steps of a plan as a user reads them: what each adds, changes or removes, what was there before, and what asks for
//! it.

use serde::Serialize;
use serde_json::Value;

use super::differences::changes;
use super::reason::{Reason, Reasons};
use super::{Loaded, Planned};
use crate::lab::{HostName, Places};
use crate::plan::Step;
use crate::state::{HostState, Site};

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
    /// Returns the steps, in the order they run.
    pub fn described(&self, loaded: &Loaded) -> Vec<PlannedStep> {
        let text = loaded.source();
        let file = Places::new(&text);
        let reasons = Reasons {
            file: &file,
            lab: &loaded.lab,
            topology: &self.topology,
            desired: &self.desired,
        };
        let described = self.plan.steps().zip(self.steps()).map(|((host, step), (_, text))| {
            let differences = differences(&self.observed, host, step);
            PlannedStep {
                host: host.clone(),
                effect: effect(step, &differences),
                text,
                differences,
                reason: reasons.of(host, step),
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
    let (old, new) = match step {
        Step::ChangeLink(name, link) => (json(state.links.get(name)), json(Some(link))),
        Step::LoadRuleset(rules) => (json(state.firewall.as_ref()), json(Some(rules))),
        Step::StartDhcp(network, server) => (json(state.dhcp.get(network)), json(Some(server))),
        Step::DefineDomain(name, domain) => {
            let definition = |domain: &crate::state::Domain| {
                let mut domain = domain.clone();
                (domain.running, domain.configured) = (false, None);
                domain.tasks.clear();
                domain
            };
            (
                json(state.domains.get(name).map(definition).as_ref()),
                json(Some(&definition(domain))),
            )
        }
        Step::ConfigureGuest(name, config) => {
            let was = state.domains.get(name).and_then(|domain| domain.configured.as_ref());
            (json(was), json(Some(config)))
        }
        Step::ConfigureMachine(name, machine) => {
            let old = observed.values().find_map(|state| state.machines.get(name));
            (json(old), json(Some(machine)))
        }
        Step::SetSysctl(key, value) => (json(state.sysctls.get(key)), json(Some(value))),
        _ => (Value::Null, Value::Null),
    };
    if old.is_null() {
        return Vec::new();
    }
    let mut found = changes(&old, &new);
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    if more > 0 {
        found.push(format!("{more} more"));
    }
    found
}

fn json(value: Option<&impl Serialize>) -> Value {
    value
        .and_then(|value| serde_json::to_value(value).ok())
        .unwrap_or_default()
}
