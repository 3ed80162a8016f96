//! Asks cells again whose replies were late, lost or unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::super::{count, observe};
use super::FIRST;
use super::ask::{self, Asking};
use super::dropped::{self, Counted};
use super::sessions::Sessions;
use crate::guest::{GuestView, ProbeOptions};
use crate::lab::VmName;
use crate::verify::{Matrix, Services, unheard};

/// The pause before cells are asked again: a guest that is not running answers at once, again and again.
const PAUSE: Duration = Duration::from_millis(500);

/// The pings of a cell that was not clear: more of them, so that a network that loses every second packet is not taken for
/// one that was late, and a longer wait.
const AGAIN: ProbeOptions = ProbeOptions {
    count: 5,
    wait: 3,
    at_once: 8,
};

/// Asks once more, and waits longer, where replies may only have been late. Cells of guests that do not run are left out.
/// Returns what was asked again, in words.
pub(super) fn ask_unclear(
    asking: Asking<'_>,
    matrix: &mut Matrix,
    guests: &mut BTreeMap<VmName, GuestView>,
) -> Option<String> {
    let (topology, observed) = (asking.topology, asking.observed);
    let stopped = topology.guests.iter();
    let stopped = stopped.filter(|(vm, _)| ask::can_be_asked(topology, observed, vm).is_err());
    let stopped: BTreeSet<IpAddr> = stopped
        .flat_map(|(_, guest)| &guest.nics)
        .map(|nic| nic.address.addr().into())
        .collect();
    let mut unclear = matrix.unclear();
    unclear.extend(unheard(topology, guests, matrix));
    unclear.retain(|one| !stopped.contains(&one.address));
    if unclear.is_empty() || asking.env.cancel.is_requested() {
        return None;
    }
    let before = matrix.passed();
    let answers = asking.ask(&unclear, &BTreeMap::new(), &AGAIN, &Sessions::default());
    matrix.merge(&unclear, &answers.replies);
    guests.extend(answers.guests);
    let passed = matrix.passed().saturating_sub(before);
    let cells = count(unclear.len(), "cell");
    Some(format!(
        "{cells} asked again, because replies were late or lost: now {passed} as expected"
    ))
}

/// Asks once more for the cells between tenants, some of whose pings were not dropped where they must be: one may have been
/// lost before that, e.g. sent to where a gateway was until just now. Returns what was dropped meanwhile, and what was asked
/// again in words.
pub(super) fn ask_apart(asking: Asking<'_>, matrix: &mut Matrix) -> (Counted, String) {
    let (topology, hosts) = (asking.topology, asking.hosts);
    let apart = dropped::apart(topology, matrix);
    let before = dropped::count(topology, hosts);
    let answers = asking.ask(&apart, &BTreeMap::new(), &FIRST, &Sessions::default());
    matrix.merge(&apart, &answers.replies);
    let dropped = dropped::since(&before, &dropped::count(topology, hosts));
    let cells = count(apart.len(), "cell");
    let note = format!("{cells} between tenants asked again, because not all pings were dropped where they must be");
    (dropped, note)
}

/// Asks for the lossy and unknown cells and checks again until there are none, or `wait` is over. Returns when it began
/// to ask for the last time.
pub(super) fn ask_again(
    asking: Asking<'_>,
    (matrix, services, guests): (&mut Matrix, &mut Services, &mut BTreeMap<VmName, GuestView>),
    wait: Duration,
) -> Option<Instant> {
    let Asking {
        env, topology, hosts, ..
    } = asking;
    let began = Instant::now();
    let mut last = None;
    loop {
        let unsettled = matrix.unsettled();
        let unsettled_services = services.unsettled(topology);
        let left = wait.saturating_sub(began.elapsed());
        if (unsettled.is_empty() && unsettled_services.is_empty()) || left.is_zero() || env.cancel.is_requested() {
            return last;
        }
        thread::sleep(PAUSE.min(left));
        // A guest that did not run may run now; hosts that cannot be read now may be read the next time.
        if let Ok(observed) = observe(hosts, &topology.lab) {
            last = Some(Instant::now());
            let asking = Asking {
                observed: &observed,
                ..asking
            };
            let answers = asking.ask(&unsettled, &unsettled_services, &FIRST, &Sessions::default());
            matrix.merge(&unsettled, &answers.replies);
            services.take(&unsettled_services, answers.services);
            guests.extend(answers.guests);
        }
    }
}
