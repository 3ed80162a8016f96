//! How commands change a lab: traced, with their progress on standard error, and stopped by signals.

use super::error::CommandError;
use super::progress::Progress;
use super::{Context, signals, trace};
use crate::lab::LabName;
use crate::ops::{Env, OpsError};

/// Runs what changes `lab`, and returns its result.
pub fn change<T>(
    context: &mut Context,
    lab: &LabName,
    run: impl FnOnce(&Env) -> Result<T, OpsError>,
) -> Result<T, CommandError> {
    trace::record_in(&context.env.folders, lab);
    signals::listen(context.env.cancel.clone(), Some(lab.clone()))?;
    let (events, progress) = Progress::start(context.quiet);
    context.env.events = events;
    let result = run(&context.env);
    progress.finish();
    result.map_err(|error| signals::caused(error, lab))
}
