//! Runs a plan to its end, and checks afterwards that the hosts are as planned: a step that succeeded may still have had no
//! effect.

use std::collections::BTreeMap;

use super::rollback::record;
use super::{Aftermath, OpsError, observe};
use crate::lab::{Connect, HostName};
use crate::plan::{Plan, plan};
use crate::run::{Record, Report, Run};
use crate::state::Site;

/// Runs `to_do`, which leads to `desired`; returns the number of steps done and what was observed afterwards.
///
/// A stop that was requested is [`OpsError::Interrupted`], also where it came in or after the last step, so that a caller
/// who asked for it never takes the run for one that went on. Where steps failed, the error is
/// [`OpsError::StepsFailed`], after `then` did what has to be done about it.
pub(super) fn run(
    run: &Run<'_>,
    command: &'static str,
    to_do: &Plan,
    desired: &Site,
    then: impl FnOnce(&Report) -> Result<Aftermath, OpsError>,
) -> Result<(usize, Site), OpsError> {
    let report = run.run(to_do);
    let interrupted = |left| OpsError::Interrupted {
        lab: run.lab.clone(),
        done: report.done,
        left,
    };
    if report.cancelled {
        return Err(interrupted(report.left + report.failed.len()));
    }
    if !report.is_complete() {
        let then = then(&report)?;
        return Err(OpsError::StepsFailed {
            lab: run.lab.clone(),
            failed: report.failed,
            then,
        });
    }
    if run.cancel.is_requested() {
        return Err(interrupted(0));
    }
    let observed = check(run, command, report.done, desired)?;
    if run.cancel.is_requested() {
        return Err(interrupted(0));
    }
    Ok((report.done, observed))
}

/// Records that `run` is over, which `hosts` hold something, and since when they run, as `observed` after it.
pub(super) fn finish(run: &Run<'_>, hosts: BTreeMap<HostName, Connect>, observed: &Site) -> Result<(), OpsError> {
    let boots = observed
        .iter()
        .filter_map(|(host, state)| Some((host.clone(), state.seen.boot.clone()?)));
    let boots = boots.collect();
    Ok(record(&run.journal, &Record::Finished { hosts, boots })?)
}

/// Observes the hosts of `run`, whose `done` steps all succeeded, and returns [`OpsError::NotConverged`] where steps to
/// `desired` are still to do, else what was observed. The journal then records them, for `netlab status`.
fn check(run: &Run<'_>, command: &'static str, done: usize, desired: &Site) -> Result<Site, OpsError> {
    let observed = observe(run.hosts, run.lab)?;
    let remaining = plan(&observed, desired);
    if remaining.is_empty() {
        return Ok(observed);
    }
    for (host, step) in remaining.steps() {
        let first = step.to_string();
        let ended = Record::Ended {
            host: host.clone(),
            steps: 0,
            error: Some(format!("without effect: {first}")),
            first,
        };
        // The error has it as well: a journal that cannot be written does not hide it.
        let _ = record(&run.journal, &ended);
    }
    Err(OpsError::NotConverged {
        lab: run.lab.clone(),
        command,
        done,
        remaining,
    })
}

#[cfg(test)]
mod tests {

    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::event::{Cancel, Events};
    use crate::host::{Host, HostError, NamedHosts, StepError, StepLog, Survey};
    use crate::lab::LabName;
    use crate::plan::{Step, example};
    use crate::run::{Journal, RunEnd};
    use crate::state::HostState;

    /// A host on which every step succeeds and nothing changes.
    struct Unchanged;

    impl Host for Unchanged {
        fn observe(&self, _: &LabName) -> Result<HostState, HostError> {
            Ok(HostState::default())
        }

        fn survey(&self, _: &LabName) -> Result<Survey, HostError> {
            Ok(Survey::default())
        }

        fn apply(&self, _: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>> {
            log.begin(steps).unwrap();
            log.end(steps, Ok(()));
            Ok(())
        }
    }

    #[test]
    fn steps_that_succeed_without_effect_are_an_error_and_the_journal_names_them() {
        let lab = "quick".parse().unwrap();
        let desired = example::up();
        let to_do = plan(&Site::new(), &desired);
        let hosts: NamedHosts = desired
            .keys()
            .map(|name| (name.clone(), Arc::new(Unchanged) as Arc<dyn Host>))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let run = Run {
            lab: &lab,
            hosts: &hosts,
            journal: Mutex::new(Journal::begin(folder.path(), "up", &BTreeMap::new(), None).unwrap()),
            events: Events::none(),
            cancel: Cancel::default(),
        };
        let report = run.run(&to_do);
        assert!(report.is_complete());

        check(&run, "up", report.done, &Site::new()).unwrap();
        let error = check(&run, "up", report.done, &desired).unwrap_err();
        let steps = to_do.steps().count();
        assert_eq!(
            error.to_string(),
            format!("{steps} steps succeeded, but {steps} steps are still to do")
        );
        assert_eq!(error.details().len(), steps);
        let RunEnd::Failed { error, .. } = Journal::read(folder.path()).unwrap().last.unwrap().end else {
            panic!("the journal says nothing of it");
        };
        assert!(error.starts_with("without effect: "), "{error}");
    }
}
