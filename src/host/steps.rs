//! Applies steps between their entries in the log: nothing is done that the log has not recorded first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{StepError, StepFailure, StepLog};
use crate::plan::Step;

/// Which step of a batch failed, and why. Those before it are done, those after it not begun.
pub(super) struct Failed {
    /// Its index in the batch.
    pub at: usize,
    /// Why it failed.
    pub cause: Box<StepFailure>,
}

impl Failed {
    /// Creates the failure of the step with index `at`.
    pub fn new(at: usize, cause: impl Into<StepFailure>) -> Self {
        Self {
            at,
            cause: Box::new(cause.into()),
        }
    }
}

/// Applies one step, recorded before and after.
pub(super) fn one<E: Into<StepFailure>>(
    step: &Step,
    log: &dyn StepLog,
    apply: impl FnOnce() -> Result<(), E>,
) -> Option<StepError> {
    batch(std::slice::from_ref(step), log, || {
        apply().map_err(|error| Failed::new(0, error))
    })
}

/// Applies a batch of steps as a whole, recorded before and after.
pub(super) fn batch(
    steps: &[Step],
    log: &dyn StepLog,
    apply: impl FnOnce() -> Result<(), Failed>,
) -> Option<StepError> {
    let first = steps.first()?;
    if let Err(error) = log.begin(steps) {
        return Some(StepError::new(first, StepFailure::Journal(error)));
    }
    let error = apply()
        .err()
        .map(|Failed { at, cause }| StepError::new(steps.get(at).unwrap_or(first), *cause));
    log.end(steps, error.as_ref().map_or(Ok(()), Err));
    error
}

/// Runs `apply` on each item in a few threads: libvirt serves five requests of one connection at a time. Returns the
/// errors in the items' order.
pub(super) fn in_parallel<T: Sync>(items: &[T], apply: impl Fn(&T) -> Option<StepError> + Sync) -> Vec<StepError> {
    const WORKERS: usize = 4;
    let next = AtomicUsize::new(0);
    let errors = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some(item) = items.get(at) else { return };
                    if let Some(error) = apply(item) {
                        errors.lock().unwrap_or_else(PoisonError::into_inner).insert(at, error);
                    }
                }
            });
        }
    });
    errors
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect()
}
