//! Hosts in memory, for tests: they apply steps to a [`HostState`] as strictly as a kernel and libvirt would, and
//! fail where they are told to.

mod effect;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::guest::{Answer, Console};
use crate::host::{Host, HostError, StepError, StepLog};
use crate::lab::{Asked, ConsoleKind, HostName, LabName};
use crate::plan::Step;
use crate::state::{DomainName, HostState, Site, Survey, localhost};

pub use effect::SimError;

/// Simulated hosts that share one world: emulated hosts live in the machines of [`localhost`]. A clone is another
/// handle on the same world.
#[derive(Debug, Clone, Default)]
pub struct SimSite(Arc<Mutex<World>>);

/// One host of a [`SimSite`].
#[derive(Debug, Clone)]
pub struct SimHost {
    site: SimSite,
    name: HostName,
}

/// On which side of a step's effect an injected failure strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The step fails and nothing has happened.
    Before,
    /// The step has happened and is reported as failed, as when the connection breaks before the answer.
    After,
}

#[derive(Debug, Default)]
struct World {
    site: Site,
    emulated: BTreeSet<HostName>,
    surveys: BTreeMap<HostName, Survey>,
    /// Steps still to go until the failure.
    fault: Option<(usize, When)>,
    /// The last interface index given out.
    index: u32,
}

impl SimSite {
    /// Hosts in the state of `site`. Those of `emulated` exist only as long as [`localhost`] has a machine for them.
    pub fn new(site: Site, emulated: BTreeSet<HostName>) -> Self {
        Self(Arc::new(Mutex::new(World {
            site,
            emulated,
            ..World::default()
        })))
    }

    /// The host `name`.
    pub fn host(&self, name: &HostName) -> SimHost {
        SimHost {
            site: self.clone(),
            name: name.clone(),
        }
    }

    /// What all hosts own: what observing each of them gives.
    pub fn observe(&self) -> Site {
        let world = self.world();
        let mut site = world.site.clone();
        site.retain(|host, state| world.can_be_reached(host) && *state != HostState::default());
        site
    }

    /// What `host`'s survey will say.
    pub fn set_survey(&self, host: HostName, survey: Survey) {
        self.world().surveys.insert(host, survey);
    }

    /// Lets one step fail, once: the one after `steps` more steps, counted over all hosts.
    pub fn fail_after(&self, steps: usize, when: When) {
        self.world().fault = Some((steps, when));
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // A test that panicked elsewhere has nothing to do with this world's soundness.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// A host of its own, or an emulated one whose machine lives.
    fn can_be_reached(&self, host: &HostName) -> bool {
        let machine = || self.site.get(&localhost())?.machines.get(host);
        !self.emulated.contains(host) || machine().is_some_and(|machine| machine.alive)
    }

    fn apply(&mut self, host: &HostName, step: &Step) -> Result<(), SimError> {
        let strikes = match &mut self.fault {
            Some((0, when)) => Some(*when),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        if strikes.is_some() {
            self.fault = None;
        }
        if strikes == Some(When::Before) {
            return Err(SimError::Injected);
        }
        self.effect(host, step)?;
        match strikes {
            Some(_) => Err(SimError::Injected),
            None => Ok(()),
        }
    }
}

impl Host for SimHost {
    fn observe(&self, _lab: &LabName) -> Result<HostState, HostError> {
        let world = self.site.world();
        let state = world.site.get(&self.name).filter(|_| world.can_be_reached(&self.name));
        Ok(state.cloned().unwrap_or_default())
    }

    fn survey(&self, _lab: &LabName) -> Result<Survey, HostError> {
        Ok(self.site.world().surveys.get(&self.name).cloned().unwrap_or_default())
    }

    fn apply(&self, _lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>> {
        let mut errors = Vec::new();
        for step in steps {
            if log.cancelled() {
                break;
            }
            let batch = std::slice::from_ref(step);
            let failed = |source: Box<dyn std::error::Error + Send + Sync>| StepError {
                step: step.clone(),
                source,
            };
            // What is not on record must not happen, removal or not.
            if let Err(error) = log.begin(batch) {
                errors.push(failed(error.into()));
                break;
            }
            // The lock is held for the step alone: the log may look at the world.
            let result = self.site.world().apply(&self.name, step);
            let result = result.map_err(|error| failed(error.into()));
            log.end(batch, result.as_ref().copied());
            if let Err(error) = result {
                errors.push(error);
                if !step.is_removal() {
                    break;
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn open_console(&self, domain: &DomainName, _: ConsoleKind) -> Result<Box<dyn Console>, HostError> {
        Err(HostError::Other {
            doing: format!("opening the console of {domain}"),
            message: "a simulated host has no guests".to_owned(),
        })
    }

    fn ping(&self, _lab: &LabName, from: &Asked, _targets: &[IpAddr]) -> Result<BTreeMap<IpAddr, Answer>, HostError> {
        Err(HostError::Other {
            doing: format!("having {from} ping"),
            message: "a simulated host sends nothing".to_owned(),
        })
    }
}
