//! Where the time of a run went: per stage, and the slowest steps.

use std::time::Duration;

use crate::cmd::output::table;
use crate::lab::HostName;
use crate::plan::{Stage, Step};

/// Slowest steps kept.
pub(super) const SLOWEST: usize = 5;

/// Where the time of a run went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    /// Wall time per stage, in the order they ran.
    pub stages: Vec<(Stage, Duration)>,
    /// The slowest steps, slowest first: host, step, time.
    pub slowest: Vec<(HostName, String, Duration)>,
}

impl Timings {
    /// Both as aligned text.
    pub fn table(&self) -> String {
        let stage = |(stage, took): &(Stage, Duration)| vec![stage_name(*stage).to_owned(), span(*took)];
        let step = |(host, step, took): &(HostName, String, Duration)| vec![span(*took), format!("{host}: {step}")];
        let mut out = table(&self.stages.iter().map(stage).collect::<Vec<_>>());
        if !self.slowest.is_empty() {
            out.push_str("slowest steps:\n");
            out.push_str(&table(&self.slowest.iter().map(step).collect::<Vec<_>>()));
        }
        out
    }

    pub(super) fn step(&mut self, host: &HostName, step: &Step, took: Duration) {
        let at = self.slowest.partition_point(|(_, _, other)| *other >= took);
        if at < SLOWEST {
            self.slowest.insert(at, (host.clone(), step.to_string(), took));
            self.slowest.truncate(SLOWEST);
        }
    }
}

/// Returns a stage's name for a user.
fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::RemoveShaping => "remove limits of links",
        Stage::RemoveGuests => "remove guests",
        Stage::RemoveVolumes => "remove volumes",
        Stage::RemoveNetwork => "remove network",
        Stage::RemoveMachines => "remove emulated machines",
        Stage::Machines => "emulated machines",
        Stage::Network => "network",
        Stage::Volumes => "volumes",
        Stage::Define => "define",
        Stage::Guests => "guests",
        Stage::Shaping => "limits of links",
    }
}

/// Returns a time as a user reads it.
pub fn span(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}
