//! Rolls a failed run back: observes the hosts again and plans to what was observed before.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::observe;
use crate::plan::plan;
use crate::run::{Journal, JournalError, ROLLBACK, Record, Run};
use crate::state::Site;

/// Restores `before`, the state that the hosts had before `run`; returns whether everything was restored.
pub fn roll_back(run: &Run<'_>, before: &Site) -> bool {
    let Ok(now) = observe(run.hosts, run.lab) else {
        return false;
    };
    // What cannot be recorded is restored all the same: the run's own record still names every host.
    let began = Record::Began {
        what: ROLLBACK.to_owned(),
        hosts: BTreeMap::new(),
        at: None,
        file: None,
    };
    let _ = record(&run.journal, &began);
    let report = run.run(&plan(&now, before));
    if report.is_complete() {
        let _ = record(&run.journal, &Record::nothing_left());
    }
    report.is_complete()
}

/// Adds a record to the journal of a run.
pub(super) fn record(journal: &Mutex<Journal>, record: &Record) -> Result<(), JournalError> {
    journal.lock().unwrap_or_else(PoisonError::into_inner).add(record)
}
