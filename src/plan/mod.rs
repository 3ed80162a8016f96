//! The one pure function: takes two [`Site`]s, gives the ordered [`Plan`] that turns the first into the second.
//! Synchronous, total, deterministic, without I/O. Never decides what is wanted and never runs anything.

mod step;

pub use step::{Stage, Step};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lab::HostName;

/// Steps by stage and host. Stages run one after the other, the hosts of a stage at the same time, the steps of a
/// host in order (except that guests of one stage may run side by side). Empty stages and hosts do not occur.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The stages, in the order they run.
    pub stages: Vec<(Stage, BTreeMap<HostName, Vec<Step>>)>,
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Every step with its host, in order.
    pub fn steps(&self) -> impl Iterator<Item = (&HostName, &Step)> {
        self.stages
            .iter()
            .flat_map(|(_, hosts)| hosts)
            .flat_map(|(host, steps)| steps.iter().map(move |step| (host, step)))
    }
}
