//! Verifies a lab: nothing is left to do, and guests, hosts and routers reach those they must and no others.

mod ask;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Env, Loaded, OpsError, belongs, connect, connects, observe, survey};
use crate::host::NamedHosts;
use crate::lab::{HostName, LabName};
use crate::plan::plan;
use crate::state::{Site, desired, existing};
use crate::topology::Topology;
use crate::verify::{Evidence, Matrix, diagnose, expected};

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
    /// There is no drift, and every cell is a pass.
    pub as_expected: bool,
    /// What `up` would do, one step each; empty: nothing differs from the file.
    pub drift: Vec<String>,
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
    // QEMU checks only once a second whether a console was opened (chardev/char-pty.c): meanwhile the hosts are
    // surveyed.
    let (replies, surveys) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask::ask(env, topology, &hosts, &observed, &expectations));
        let surveys = survey(&hosts, lab);
        let replies = asking.join();
        (
            replies.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            surveys,
        )
    });
    // No preflight: the lab is up, and what would block another one like it is not of interest here.
    let surveys = surveys?;
    let wanted = loaded.keeping(env, &existing(&observed, &surveys));
    let to_do = plan(&observed, &desired(&wanted, &surveys));
    let drift: Vec<String> = to_do.steps().map(|(host, step)| format!("{host}: {step}")).collect();
    let mut matrix = Matrix::new(expectations, &replies);
    ask_again(env, topology, &hosts, &mut matrix, options.wait);
    explain(topology, &hosts, &observed, &mut matrix);
    Ok(VerifyReport {
        lab: lab.clone(),
        as_expected: drift.is_empty() && matrix.is_as_expected(),
        drift,
        matrix,
    })
}

/// Asks for the lossy and unknown cells again until there are none, or `wait` is over.
fn ask_again(env: &Env, topology: &Topology, hosts: &NamedHosts, matrix: &mut Matrix, wait: Duration) {
    let began = Instant::now();
    loop {
        let unsettled = matrix.unsettled();
        let left = wait.saturating_sub(began.elapsed());
        if unsettled.is_empty() || left.is_zero() || env.cancel.is_requested() {
            return;
        }
        thread::sleep(PAUSE.min(left));
        // A guest that did not run may run now; hosts that cannot be read now may be read the next time.
        if let Ok(observed) = observe(hosts, &topology.lab) {
            matrix.merge(&ask::ask(env, topology, hosts, &observed, &unsettled));
        }
    }
}

/// Adds to each failed cell where its packets stop, where the hosts show it.
fn explain(topology: &Topology, hosts: &NamedHosts, observed: &Site, matrix: &mut Matrix) {
    if matrix.is_as_expected() {
        return;
    }
    // A host whose ports cannot be read leaves the others.
    let in_lab = hosts.iter().filter(|(name, _)| topology.hosts.contains_key(*name));
    let ports: BTreeMap<HostName, _> = in_lab
        .filter_map(|(name, host)| Some((name.clone(), host.ports().ok().filter(|ports| !ports.is_empty())?)))
        .collect();
    let evidence = Evidence {
        topology,
        observed,
        ports: &ports,
    };
    for cell in &mut matrix.cells {
        cell.cause = diagnose(&evidence, cell);
    }
}
