//! Verifies a lab: nothing is left to do, guests, hosts and routers reach those they must and no others, and nothing that
//! they saw contradicts it. `settle` waits for spanning tree, `ask` sends the pings, `prove` records who answered. Changes
//! nothing that outlasts it.

mod ask;
mod prove;
mod settle;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Env, Loaded, OpsError, belongs, connect, connects, observe, survey};
use crate::guest::GuestView;
use crate::host::NamedHosts;
use crate::lab::{HostName, LabName, VmName};
use crate::plan::plan;
use crate::state::view::View;
use crate::state::{desired, existing};
use crate::topology::Topology;
use crate::verify::faults::apply;
use crate::verify::{Evidence, FaultReport, Matrix, Places, Traces, Verdict, diagnose, expected, faults, unproved};

/// The pause before cells are asked again: a guest that is not running answers at once, again and again.
const PAUSE: Duration = Duration::from_millis(500);

/// How a lab is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// How long lossy and unknown cells are asked again; zero: each cell is asked once.
    pub wait: Duration,
}

/// The result of verifying a lab.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The lab.
    pub lab: LabName,
    /// There is no drift and no fault, and every cell is a pass.
    pub as_expected: bool,
    /// What `up` would do, one step each; empty: nothing differs from the file.
    pub drift: Vec<String>,
    /// What was waited for before anything was asked.
    pub notes: Vec<String>,
    /// Faults that were observed, the one that concerns the most cells first.
    pub faults: Vec<FaultReport>,
    /// The networks of the guests, for a matrix that is read by people.
    #[serde(skip)]
    pub places: Places,
    /// Who reached whom.
    #[serde(flatten)]
    pub matrix: Matrix,
}

/// Verifies a lab that is up, and finds out where lost packets stop.
pub fn verify(env: &Env, loaded: &Loaded, options: &VerifyOptions) -> Result<VerifyReport, OpsError> {
    let lab = &loaded.topology.lab;
    belongs::check(env, lab)?;
    let hosts = connect(env, lab, &connects(&loaded.topology))?;
    let observed = observe(&hosts, lab)?;
    if observed.is_empty() {
        return Err(OpsError::NotUp {
            lab: lab.clone(),
            file: Some(loaded.file.clone()),
        });
    }
    let topology = &loaded.keeping(env, &existing(&observed, &BTreeMap::new()));
    let expectations = expected(topology);
    let notes = settle::settle(env, topology, &hosts);
    prove::record(topology, &hosts);
    let mut began = Instant::now();
    // QEMU checks only once a second whether a console was opened (chardev/char-pty.c): meanwhile the hosts are
    // surveyed.
    let (answers, surveys) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask::ask(env, topology, &hosts, &observed, &expectations));
        let surveys = survey(&hosts, lab);
        let answers = asking.join();
        (
            answers.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            surveys,
        )
    });
    let mut matrix = Matrix::new(expectations, &answers.replies);
    let mut guests = answers.guests;
    let mut views = views(&hosts, lab);
    let mut since = began.elapsed();
    if let Some(again) = ask_again(env, topology, &hosts, &mut matrix, &mut guests, options.wait) {
        began = again;
        views = self::views(&hosts, lab);
        since = began.elapsed();
    }
    // No preflight: the lab is up, and what would block another one like it is not of interest here.
    let surveys = surveys?;
    let wanted = loaded.keeping(env, &existing(&observed, &surveys));
    let desired = desired(&wanted, &surveys);
    let to_do = plan(&observed, &desired);
    let drift: Vec<String> = to_do.steps().map(|(host, step)| format!("{host}: {step}")).collect();

    let evidence = Evidence {
        topology,
        desired: &desired,
        observed: &observed,
        views: &views,
        guests: &guests,
    };
    refute(&evidence, &mut matrix);
    let traces = Traces {
        topology,
        views: &views,
        guests: &guests,
        since,
    };
    let mut found = faults(&traces);
    found.extend(prove::sources(topology, &prove::recorded(topology, &hosts), &matrix));
    found.extend(prove::floating(topology, &hosts, &matrix));
    let faults = apply(topology, &mut matrix, found);
    for cell in matrix.cells.iter_mut().filter(|cell| cell.cause.is_none()) {
        cell.cause = diagnose(&evidence, cell);
    }
    Ok(VerifyReport {
        lab: lab.clone(),
        as_expected: drift.is_empty() && faults.is_empty() && matrix.is_as_expected(),
        drift,
        notes,
        faults,
        places: Places::of(topology),
        matrix,
    })
}

/// Asks for the lossy and unknown cells again until there are none, or `wait` is over. Returns when it began to ask for
/// the last time.
fn ask_again(
    env: &Env,
    topology: &Topology,
    hosts: &NamedHosts,
    matrix: &mut Matrix,
    guests: &mut BTreeMap<VmName, GuestView>,
    wait: Duration,
) -> Option<Instant> {
    let began = Instant::now();
    let mut last = None;
    loop {
        let unsettled = matrix.unsettled();
        let left = wait.saturating_sub(began.elapsed());
        if unsettled.is_empty() || left.is_zero() || env.cancel.is_requested() {
            return last;
        }
        thread::sleep(PAUSE.min(left));
        // A guest that did not run may run now; hosts that cannot be read now may be read the next time.
        if let Ok(observed) = observe(hosts, &topology.lab) {
            last = Some(Instant::now());
            let answers = ask::ask(env, topology, hosts, &observed, &unsettled);
            matrix.merge(&answers.replies);
            guests.extend(answers.guests);
        }
    }
}

/// Returns what each host, switch and router shows, all read at the same time; one that cannot be read is left out.
fn views(hosts: &NamedHosts, lab: &LabName) -> BTreeMap<HostName, View> {
    thread::scope(|scope| {
        let reading: Vec<_> = hosts.values().map(|host| scope.spawn(|| host.views(lab))).collect();
        reading
            .into_iter()
            .filter_map(|read| {
                read.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                    .ok()
            })
            .flatten()
            .collect()
    })
}

/// Makes the answered cells failures whose replies cannot come from the machine that was asked.
fn refute(evidence: &Evidence<'_>, matrix: &mut Matrix) {
    for cell in &mut matrix.cells {
        if let Some(why) = unproved(evidence, cell) {
            cell.verdict = Verdict::Fail;
            cell.reason = Some("the replies prove nothing".to_owned());
            cell.cause = Some(why);
        }
    }
}
