//! Limits a link of a lab that is up, sets it down or up again, and records that as a request.

mod requests;
mod target;

use std::sync::Mutex;

use serde::Serialize;

pub(super) use requests::{LinkAt, Requests};
pub(super) use target::{name_of, resolve};

use super::connect::{connect_to_change, known};
use super::observe::observe_to_change;
use super::{Aftermath, Env, Loaded, OpsError, belongs, converge, survey};
use crate::lab::{Delay, LabName, Loss, Rate, Shaping};
use crate::plan::plan;
use crate::preflight::{Severity, shaping};
use crate::run::{Journal, Lock, Run};
use crate::state::{HostState, Site, desired, existing};
use crate::topology::{LinkShaping, stated};
use crate::transport::ssh::confirm::CONFIRM_WITHIN;

/// What is to change of a link; absent: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Whether it is to be down.
    pub down: Option<bool>,
    /// Bits a second.
    pub rate: Option<Rate>,
    /// How much later frames arrive.
    pub delay: Option<Delay>,
    /// By how much that varies.
    pub jitter: Option<Delay>,
    /// How many frames are dropped.
    pub loss: Option<Loss>,
    /// Nothing but what the lab file states.
    pub clear: bool,
}

impl LinkChange {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of(&self, now: Shaping) -> Shaping {
        Shaping {
            down: self.down.unwrap_or(now.down),
            rate: self.rate.or(now.rate),
            delay: self.delay.or(now.delay),
            jitter: self.jitter.or(now.jitter),
            loss: self.loss.or(now.loss),
        }
    }
}

/// The links that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkReport {
    /// The lab.
    pub lab: LabName,
    /// Each link.
    pub links: Vec<LinkState>,
    /// Steps that were done; 0: they were so already.
    pub steps: usize,
}

/// A link and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkState {
    /// As on the command line, e.g. `vm1:service`, `node1:eth0`.
    pub link: String,
    /// What it does to frames.
    pub shaping: Shaping,
    /// By a request, not by the lab file.
    pub by_request: bool,
    /// Which frames these are.
    pub direction: String,
}

/// Changes the links `targets` of a lab that is up, or only reports them where `change` has nothing. The request is on disk
/// before anything is changed; what the kernel of a host cannot do is [`OpsError::PreflightFailed`] before that.
pub fn link(env: &Env, loaded: &Loaded, targets: &[String], change: &LinkChange) -> Result<LinkReport, OpsError> {
    let lab = &loaded.topology.lab;
    let _lock = Lock::take(&env.folders, lab, "link")?;
    belongs::check(env, lab)?;
    let folder = env.folders.lab(lab);
    let (known, file) = known(env, lab)?;
    let hosts = connect_to_change(env, lab, &known, CONFIRM_WITHIN)?;
    let observed = observe_to_change(&hosts, lab)?;
    if observed.is_empty() {
        return Err(OpsError::NotUp {
            lab: lab.clone(),
            file: Some(loaded.file.clone()),
        });
    }
    let surveys = survey(&hosts, lab)?;
    let mut topology = loaded.keeping(env, &existing(&observed, &surveys));
    let written: LinkShaping = stated(&loaded.lab);
    let mut requests = read(env, lab)?;
    let all = || requests.0.keys().cloned().collect();
    let links: Vec<LinkAt> = if targets.is_empty() {
        all()
    } else {
        resolve(&topology, targets)?
    };
    if !change.is_empty() {
        for link in &links {
            let wanted = change.of(link.of(&topology.shaping));
            if wanted.jitter.is_some() && wanted.delay.is_none() {
                return Err(OpsError::JitterWithoutDelay);
            }
            // What the lab file says by itself needs no request.
            if change.clear || wanted == link.of(&written) {
                requests.0.remove(link);
            } else {
                requests.0.insert(link.clone(), wanted);
            }
        }
        topology.shaping = written;
        requests.apply(&mut topology.shaping);
        let refused = shaping::check(&topology, &surveys);
        let refused: Vec<_> = refused
            .into_iter()
            .filter(|obstacle| obstacle.severity == Severity::Error)
            .collect();
        if !refused.is_empty() {
            return Err(OpsError::PreflightFailed(refused));
        }
    }
    let report = |steps| LinkReport {
        lab: lab.clone(),
        links: links
            .iter()
            .map(|link| LinkState {
                link: name_of(&topology, link),
                shaping: link.of(&topology.shaping),
                by_request: requests.0.contains_key(link),
                direction: target::direction(&topology, link),
            })
            .collect(),
        steps,
    };
    if change.is_empty() {
        return Ok(report(0));
    }
    requests.write(&env.folders, lab).map_err(|source| OpsError::File {
        doing: "write",
        path: folder.join("links.json"),
        source,
    })?;
    let wanted = limited(&observed, &desired(&topology, &surveys));
    let to_do = plan(&observed, &wanted);
    if to_do.is_empty() {
        return Ok(report(0));
    }
    let run = Run {
        lab,
        hosts: &hosts,
        journal: Mutex::new(Journal::begin(&folder, "link", &known, file)?),
        events: env.events.clone(),
        cancel: env.cancel.clone(),
    };
    // What was done before a failure stays.
    let (done, now) = converge::run(&run, "link", &to_do, &wanted, |_| Ok(Aftermath::Kept))?;
    converge::finish(&run, known, &now)?;
    Ok(report(done))
}

/// Reads the requests of a lab.
pub(super) fn read(env: &Env, lab: &LabName) -> Result<Requests, OpsError> {
    Requests::read(&env.folders, lab).map_err(|source| OpsError::File {
        doing: "read",
        path: env.folders.lab(lab).join("links.json"),
        source,
    })
}

/// Returns what was observed with the limits of `desired`.
fn limited(observed: &Site, desired: &Site) -> Site {
    let mut site = observed.clone();
    for (host, state) in &mut site {
        state.shaped = desired.get(host).map(|state| state.shaped.clone()).unwrap_or_default();
    }
    for (host, state) in desired.iter().filter(|(_, state)| !state.shaped.is_empty()) {
        site.entry(host.clone()).or_insert_with(|| HostState {
            shaped: state.shaped.clone(),
            ..HostState::default()
        });
    }
    site
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::{Step, example};

    #[test]
    fn a_change_replaces_only_what_it_names() {
        let rate = LinkChange {
            rate: "1mbit".parse().ok(),
            ..LinkChange::default()
        };
        let down = LinkChange {
            down: Some(true),
            ..LinkChange::default()
        };
        let both = down.of(rate.of(Shaping::default()));
        assert!(both.down && both.rate.is_some());
        let up = LinkChange {
            down: Some(false),
            ..LinkChange::default()
        };
        assert_eq!(up.of(both).to_string(), "rate 1mbit");
    }

    #[test]
    fn a_request_changes_nothing_but_the_link_and_a_plan_with_it_is_empty_afterwards() {
        let observed = example::up();
        let mut topology = example::topology();
        topology.shaping.guests = [((example::vm("vm1"), 0), Shaping::link_down())].into();
        let wanted = desired(&topology, &BTreeMap::new());
        let site = limited(&observed, &wanted);
        let steps = plan(&observed, &site);
        let steps: Vec<_> = steps.steps().map(|(_, step)| step).collect();
        assert!(matches!(steps[..], [Step::Shape(..)]), "{steps:?}");
        assert!(plan(&site, &wanted).is_empty());
    }
}
