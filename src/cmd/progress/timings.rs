//! Where the time of a run went: per stage, and the slowest steps.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cmd::output::table;
use crate::lab::{HostName, VmName};
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
    /// Guests that were started, and whether from a saved state.
    pub started: BTreeMap<(HostName, VmName), bool>,
}

impl Timings {
    /// All of it as aligned text.
    pub fn table(&self) -> String {
        let stage = |(stage, took): &(Stage, Duration)| vec![stage_name(*stage).to_owned(), span(*took)];
        let step = |(host, step, took): &(HostName, String, Duration)| vec![span(*took), format!("{host}: {step}")];
        let mut out = table(&self.stages.iter().map(stage).collect::<Vec<_>>());
        if !self.started.is_empty() {
            out.push_str("guests:\n");
            let guest = |((host, vm), restored): (&(HostName, VmName), &bool)| {
                let how = if *restored { "restored" } else { "booted" };
                vec![how.to_owned(), format!("{host}: {vm}")]
            };
            out.push_str(&table(&self.started.iter().map(guest).collect::<Vec<_>>()));
        }
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
        Stage::RemoveSaved => "delete saved states",
        Stage::Pause => "pause",
        Stage::Save => "save",
        Stage::CheckSaved => "check saved states",
        Stage::Restore => "restore",
        Stage::Resume => "resume",
        Stage::Clock => "set clocks",
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
