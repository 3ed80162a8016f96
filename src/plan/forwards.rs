//! Ports of the machine that netlab runs on that lead to guests.

use super::Step;
use crate::state::HostState;

/// Returns the steps on localhost.
pub(super) fn changes(from: &HostState, to: &HostState) -> Vec<Step> {
    let stops = from
        .forwards
        .iter()
        .filter(|(port, was)| to.forwards.get(port) != Some(was));
    let starts = to
        .forwards
        .iter()
        .filter(|(port, will)| from.forwards.get(port) != Some(will));
    stops
        .map(|(port, _)| Step::StopForward(*port))
        .chain(starts.map(|(port, forward)| Step::StartForward(*port, forward.clone())))
        .collect()
}
