//! Simulated hosts, in memory: they apply steps to a [`HostState`] as strictly as a kernel and libvirt would, and fail
//! where a test injects a failure.

mod effect;
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netlab::host::{CmdError, Host, HostError, StepError, StepFailure, StepLog};
use netlab::lab::{HostName, LabName};
use netlab::plan::Step;
use netlab::state::{HostState, Site, Survey, localhost};

use effect::SimulatedError;

/// Simulated hosts that share one world: emulated hosts run in the machines of [`localhost`]. A clone is another handle
/// on the same world.
#[derive(Debug, Clone, Default)]
pub struct SimulatedSite(Arc<Mutex<World>>);

/// One host of a [`SimulatedSite`].
#[derive(Debug, Clone)]
pub struct SimulatedHost {
    site: SimulatedSite,
    name: HostName,
}

/// Whether an injected failure comes before or after a step's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The step fails without an effect.
    Before,
    /// The step has its effect and is reported as failed, as when the connection is lost before the answer.
    After,
}

#[derive(Debug, Default)]
struct World {
    site: Site,
    emulated: BTreeSet<HostName>,
    /// Steps still to go until the failure.
    fault: Option<(usize, When)>,
    /// The last interface index assigned.
    index: u32,
}

impl SimulatedSite {
    /// Hosts in the state of `site`. Those of `emulated` exist only as long as [`localhost`] has a machine for them.
    pub fn new(site: Site, emulated: BTreeSet<HostName>) -> Self {
        Self(Arc::new(Mutex::new(World {
            site,
            emulated,
            ..World::default()
        })))
    }

    /// Returns the host `name`.
    pub fn host(&self, name: &HostName) -> SimulatedHost {
        SimulatedHost {
            site: self.clone(),
            name: name.clone(),
        }
    }

    /// Returns what the lab owns on all hosts, as observing each of them gives it.
    pub fn observe(&self) -> Site {
        let world = self.world();
        let mut site = world.site.clone();
        site.retain(|host, state| world.can_be_reached(host) && *state != HostState::default());
        site
    }

    /// Makes one step fail, once: the one after `steps` more steps, counted over all hosts.
    pub fn fail_after(&self, steps: usize, when: When) {
        self.world().fault = Some((steps, when));
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // A panic in another test does not affect this world.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Returns whether the host is a real one, or an emulated one whose machine is alive.
    fn can_be_reached(&self, host: &HostName) -> bool {
        let machine = || self.site.get(&localhost())?.machines.get(host);
        !self.emulated.contains(host) || machine().is_some_and(|machine| machine.alive)
    }

    fn apply(&mut self, host: &HostName, step: &Step) -> Result<(), SimulatedError> {
        let injected = match &mut self.fault {
            Some((0, when)) => Some(*when),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        if injected.is_some() {
            self.fault = None;
        }
        if injected == Some(When::Before) {
            return Err(SimulatedError::Injected);
        }
        self.effect(host, step)?;
        match injected {
            Some(_) => Err(SimulatedError::Injected),
            None => Ok(()),
        }
    }
}

impl Host for SimulatedHost {
    fn observe(&self, _lab: &LabName) -> Result<HostState, HostError> {
        let world = self.site.world();
        let state = world.site.get(&self.name).filter(|_| world.can_be_reached(&self.name));
        Ok(state.cloned().unwrap_or_default())
    }

    fn survey(&self, _lab: &LabName) -> Result<Survey, HostError> {
        Ok(Survey::default())
    }

    fn apply(&self, _lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>> {
        let mut errors = Vec::new();
        for step in steps {
            if log.cancelled() {
                break;
            }
            let batch = std::slice::from_ref(step);
            // What is not on record must not happen, removal or not.
            if let Err(error) = log.begin(batch) {
                errors.push(StepError::new(step, StepFailure::Journal(error)));
                break;
            }
            // The lock is held for the step alone: the log may observe the world.
            let result = self.site.world().apply(&self.name, step);
            let result = result.map_err(|error| StepError::new(step, refused(step, &error)));
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
}

/// Returns the error that a real host would have: a command that exits with an error.
fn refused(step: &Step, error: &SimulatedError) -> StepFailure {
    StepFailure::from(CmdError::Failed {
        command: step.to_string(),
        status: 1,
        stderr: error.to_string(),
    })
}
