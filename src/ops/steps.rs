//! The steps of a plan as a user reads them: what each adds, changes or removes, what was there before, and what asks for
//! it.

use serde::Serialize;
use serde_json::Value;

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

/// Most differences of one step that are listed, and most characters of a value.
const MOST: usize = 4;
const LONGEST: usize = 40;

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
    let mut found = Vec::new();
    compare("", &old, &new, &mut found);
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

/// Adds each value that differs.
fn compare(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let inside = |key: &str| {
        if at.is_empty() {
            key.to_owned()
        } else {
            format!("{at}.{key}")
        }
    };
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(was), Value::Object(now)) => {
            let keys: std::collections::BTreeSet<&String> = was.keys().chain(now.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&inside(key), &of(was), &of(now), found);
            }
        }
        (Value::Array(was), Value::Array(now)) if was.len() == now.len() => {
            for (index, (was, now)) in was.iter().zip(now).enumerate() {
                compare(&inside(&index.to_string()), was, now, found);
            }
        }
        // Digests at best, and else secrets.
        _ if at.contains("password") || at.contains("user_data") => found.push(format!("{at} changed")),
        _ if at.is_empty() => found.push(format!("{} → {}", short(old), short(new))),
        _ => found.push(format!("{at}: {} → {}", short(old), short(new))),
    }
}

/// Returns a value as a few characters.
fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_value_that_differs_is_named_with_what_it_was_and_is() {
        let (old, new) = (
            json!({"mtu": 1500, "kind": {"stp": null}, "same": [1]}),
            json!({"mtu": 1400, "kind": {"stp": 2}, "same": [1], "password": "x"}),
        );
        let mut found = Vec::new();
        compare("", &old, &new, &mut found);
        assert_eq!(found, ["kind.stp: none → 2", "mtu: 1500 → 1400", "password changed"]);
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(short(&json!("x".repeat(60))).chars().count(), LONGEST + 1);
        assert_eq!(short(&json!(["a", "b"])), "a, b");
    }
}
