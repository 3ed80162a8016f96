//! Verifies a lab: nothing is left to do, guests, hosts and routers reach those they must and no others, and nothing that
//! they saw contradicts it. `settle` waits for spanning tree, `ask` sends the pings, `again` those of unclear cells once more,
//! `prove` records who answered, `dropped` what the lab's rules dropped, `servers` who else answers by DHCP, `follow` where
//! packets are lost. Changes nothing that outlasts it.

mod again;
mod ask;
mod bonds;
pub(super) mod capture;
mod checks;
mod details;
mod dropped;
mod follow;
mod prove;
mod servers;
mod sessions;
mod settle;
mod turns;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::{Env, GuestReport, Loaded, OpsError, belongs, connect, connects, observe, survey};
use crate::causes::chain;
use crate::guest::{GuestView, ProbeOptions};
use crate::host::NamedHosts;
use crate::lab::{HostName, LabName, VmName};
use crate::plan::plan;
use crate::state::view::View;
use crate::state::{Site, desired, existing};
use crate::topology::Topology;
use crate::verify::faults::apply;
use crate::verify::{
    CheckResult, Concerns, Evidence, Expectation, Fault, FaultReport, Matrix, Nics, Places, Services, Traces, Verdict,
    check_results, diagnose, expected, faults, is_proved, number_of_cells, sample, service_questions, unheard_faults,
    unproved,
};
use ask::{Asking, ServiceQuestions};
pub use details::Details;
use sessions::Sessions;

/// The first pings of every cell; late replies are waited for only where some are missing.
const FIRST: ProbeOptions = ProbeOptions {
    count: 2,
    wait: 1,
    at_once: 8,
};
/// How a lab is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// How long lossy and unknown cells are asked again; zero: each cell is asked once.
    pub wait: Duration,
    /// Ask every cell, however large the lab; else those of a sample, where it is large.
    pub full: bool,
    /// Collect what a page for people shows besides the result.
    pub details: bool,
}

/// The source whose own pings took the longest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slowest {
    /// The source.
    pub from: String,
    /// How long its pings and what it shows took, in seconds.
    pub seconds: f64,
}

/// The result of verifying a lab.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The lab.
    pub lab: LabName,
    /// When it began: UTC, as in RFC 3339.
    pub began: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The source whose own pings took the longest.
    pub slowest: Option<Slowest>,
    /// How many cells were asked more than once.
    pub asked_again: usize,
    /// There is no drift and no fault, and every cell and check is a pass.
    pub as_expected: bool,
    /// What `up` would do, one step each; empty: nothing differs from the file.
    pub drift: Vec<String>,
    /// What was waited for before anything was asked, how many cells were asked again, and what was proved besides
    /// the cells.
    pub notes: Vec<String>,
    /// Faults that were observed, the one that concerns the most cells first.
    pub faults: Vec<FaultReport>,
    /// Questions about services and paths.
    pub checks: Vec<CheckResult>,
    /// What a page for people shows besides the result, where it was asked for.
    #[serde(skip)]
    pub details: Option<Details>,
    /// The networks of the guests, for a matrix that is read by people.
    #[serde(skip)]
    pub places: Places,
    /// Who reached whom.
    #[serde(flatten)]
    pub matrix: Matrix,
}

/// Verifies a lab that is up, and finds out where lost packets stop.
pub fn verify(env: &Env, loaded: &Loaded, options: &VerifyOptions) -> Result<VerifyReport, OpsError> {
    let (started, clock) = (utc_now(), Instant::now());
    let mut answered = answer(env, loaded, options, &|_| true, |topology| {
        let sample = if options.full { None } else { sample(topology) };
        let sample_of = sample.as_ref().map(|_| number_of_cells(topology));
        Ok(Questions {
            expectations: sample.unwrap_or_else(|| expected(topology)),
            sample_of,
            services: service_questions(topology),
        })
    })?;
    let evidence = answered.evidence();
    let cells = answered.matrix.cells.iter();
    let causes: Vec<_> = cells.map(|cell| diagnose(&evidence, cell)).collect();
    for (cell, cause) in answered.matrix.cells.iter_mut().zip(causes) {
        cell.cause = cell.cause.take().or(cause);
    }
    follow::follow(env, &mut answered);
    let details = answered.lengths.as_ref().map(|lengths| {
        let asking = Asking {
            env,
            topology: &answered.topology,
            hosts: &answered.hosts,
            observed: &answered.observed,
        };
        details::details(asking, &answered.views, &answered.matrix, lengths)
    });
    let gone = |vm: &VmName| ask::can_be_asked(&answered.topology, &answered.observed, vm).err();
    let checks = check_results(&answered.evidence(), &answered.services, &gone);
    let Answered {
        topology,
        slowest,
        drift,
        notes,
        faults,
        matrix,
        ..
    } = answered;
    Ok(VerifyReport {
        lab: loaded.topology.lab.clone(),
        began: started,
        seconds: clock.elapsed().as_secs_f64(),
        slowest,
        asked_again: matrix.cells.iter().filter(|cell| cell.asked > 1).count(),
        as_expected: drift.is_empty() && faults.is_empty() && is_proved(&matrix, &checks),
        drift,
        notes,
        faults,
        checks,
        details,
        places: Places::of(&topology),
        matrix,
    })
}

/// What a lab is asked.
pub(super) struct Questions {
    /// The cells.
    pub expectations: Vec<Expectation>,
    /// Of how many cells they are a sample, where they are one.
    pub sample_of: Option<usize>,
    /// About services and paths, by source.
    pub services: ServiceQuestions,
}

/// What was asked, answered and observed.
pub(super) struct Answered {
    pub topology: Topology,
    pub hosts: NamedHosts,
    pub desired: Site,
    pub observed: Site,
    pub views: BTreeMap<HostName, View>,
    pub guests: BTreeMap<VmName, GuestView>,
    pub slowest: Option<Slowest>,
    pub drift: Vec<String>,
    pub notes: Vec<String>,
    pub faults: Vec<FaultReport>,
    pub matrix: Matrix,
    pub services: Services,
    /// The lengths of the transcripts before, where details are wanted.
    lengths: Option<BTreeMap<VmName, u64>>,
}

impl Answered {
    pub(super) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            topology: &self.topology,
            nics: Nics::of(&self.topology),
            desired: &self.desired,
            observed: &self.observed,
            views: &self.views,
            guests: &self.guests,
        }
    }
}

/// Has the sources of `questions`, of which `sources` are the guests, ping and ask services, observes everything, and
/// applies the faults that were observed.
pub(super) fn answer(
    env: &Env,
    loaded: &Loaded,
    options: &VerifyOptions,
    sources: &dyn Fn(&VmName) -> bool,
    questions: impl FnOnce(&Topology) -> Result<Questions, OpsError>,
) -> Result<Answered, OpsError> {
    let lab = &loaded.topology.lab;
    belongs::check(env, lab)?;
    let hosts = connect(env, lab, &connects(&loaded.topology))?;
    // QEMU checks only once a second whether a console was opened (chardev/char-pty.c): meanwhile the hosts are observed.
    let sessions = &Sessions::begin(env, &loaded.topology, &hosts, sources);
    let observed = observe(&hosts, lab)?;
    if observed.is_empty() {
        return Err(OpsError::NotUp {
            lab: lab.clone(),
            file: Some(loaded.file.clone()),
        });
    }
    let topology = &loaded.keeping(env, &existing(&observed, &BTreeMap::new()));
    let Questions {
        expectations,
        sample_of,
        services: about_services,
    } = questions(topology)?;
    let mut notes = settle::settle(env, topology, &hosts);
    let before = dropped::count(topology, &hosts);
    prove::record(topology, &hosts);
    let mut began = Instant::now();
    let asking = Asking {
        env,
        topology,
        hosts: &hosts,
        observed: &observed,
    };
    let lengths = options.details.then(|| details::lengths(env, topology));
    let (answers, surveys, strangers) = thread::scope(|scope| {
        let answers = scope.spawn(|| asking.ask(&expectations, &about_services, &FIRST, sessions));
        let strangers = scope.spawn(|| servers::strangers(topology, &hosts));
        let surveys = survey(&hosts, lab);
        (joined(answers), surveys, joined(strangers))
    });
    let mut matrix = Matrix::new(expectations, &answers.replies);
    matrix.sample_of = sample_of;
    let mut services = Services::default();
    services.take(&about_services, answers.services);
    let mut guests = answers.guests;
    notes.extend(again::ask_unclear(asking, &mut matrix, &mut guests));
    let (mut views, mut unread) = views(&hosts, lab);
    let mut since = began.elapsed();
    if let Some(again) = again::ask_again(asking, (&mut matrix, &mut services, &mut guests), options.wait) {
        began = again;
        (views, unread) = self::views(&hosts, lab);
        since = began.elapsed();
    }
    // No preflight: the lab is up, and what would block another one like it is not of interest here.
    let surveys = surveys?;
    let wanted = loaded.keeping(env, &existing(&observed, &surveys));
    let desired = desired(&wanted, &surveys);
    let changed = GuestReport::of(lab, &guests, &desired);
    let to_do = plan(&changed.apply(&observed), &desired);
    let drift = bonds::drift(topology, &observed, &to_do);
    notes.extend(bonds::degraded(&observed));

    let evidence = Evidence {
        topology,
        nics: Nics::of(topology),
        desired: &desired,
        observed: &observed,
        views: &views,
        guests: &guests,
    };
    let traces = Traces {
        topology,
        views: &views,
        guests: &guests,
        since,
    };
    let mut found = faults(&traces);
    found.extend(unread);
    found.extend(strangers);
    found.extend(unproved_answers(&evidence, &hosts, &matrix));
    refute(&evidence, &mut matrix);
    for proved in drops(asking, &before, &mut matrix, &guests) {
        found.extend(proved.faults);
        notes.extend(proved.notes);
    }
    let faults = apply(topology, &mut matrix, found);
    Ok(Answered {
        slowest: answers.slowest.map(|(from, took)| Slowest {
            from: from.to_string(),
            seconds: took.as_secs_f64(),
        }),
        topology: topology.clone(),
        hosts,
        desired,
        observed,
        views,
        guests,
        drift,
        notes,
        faults,
        matrix,
        services,
        lengths,
    })
}

/// Returns what is proved of what the lab's rules have dropped since `before`. Where that is not all between tenants, their
/// cells are asked once more.
fn drops(
    asking: Asking<'_>,
    before: &dropped::Counted,
    matrix: &mut Matrix,
    guests: &BTreeMap<VmName, GuestView>,
) -> [dropped::Proved; 2] {
    let topology = asking.topology;
    let counted = dropped::since(before, &dropped::count(topology, asking.hosts));
    let forged = dropped::forged(topology, &counted, guests);
    let mut apart = dropped::between_tenants(topology, &counted, matrix);
    if !apart.faults.is_empty() && !asking.env.cancel.is_requested() {
        let (counted, note) = again::ask_apart(asking, matrix);
        apart = dropped::between_tenants(topology, &counted, matrix);
        apart.notes.insert(0, note);
    }
    [apart, forged]
}

/// Returns the result of a thread; a panic there is one here.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Returns what each host, switch and router shows, all read at the same time; and a fault for each host that cannot be
/// read: what nobody saw there is not proved.
fn views(hosts: &NamedHosts, lab: &LabName) -> (BTreeMap<HostName, View>, Vec<Fault>) {
    let read = thread::scope(|scope| {
        let reading = hosts.iter().map(|(name, host)| (name, scope.spawn(|| host.views(lab))));
        let reading: Vec<_> = reading.collect();
        let read = reading.into_iter();
        read.map(|(name, read)| (name, joined(read))).collect::<Vec<_>>()
    });
    let (mut views, mut unread) = (BTreeMap::new(), Vec::new());
    for (name, read) in read {
        match read {
            Ok(read) => views.extend(read),
            Err(error) => unread.push(Fault {
                text: format!(
                    "{name}: what it shows cannot be read, so that nothing is proved there: {}",
                    chain(&error)
                ),
                concerns: Concerns::NoPing,
            }),
        }
    }
    (views, unread)
}

/// Returns a fault for each answered cell of which nothing proves who answered, or that it will be answered.
fn unproved_answers(evidence: &Evidence<'_>, hosts: &NamedHosts, matrix: &Matrix) -> Vec<Fault> {
    let topology = evidence.topology;
    let mut found = unheard_faults(evidence, matrix);
    found.extend(prove::blind(topology, evidence.guests, matrix));
    found.extend(prove::sources(topology, &prove::recorded(topology, hosts), matrix));
    found.extend(prove::floating(topology, hosts, matrix));
    found
}

/// Makes the answered cells failures whose replies cannot come from the machine that was asked, or prove less than they seem
/// to.
fn refute(evidence: &Evidence<'_>, matrix: &mut Matrix) {
    for (vm, view) in evidence.guests {
        matrix.fragmented(vm, &view.fragmented);
    }
    for cell in &mut matrix.cells {
        if let Some(why) = unproved(evidence, cell) {
            cell.verdict = Verdict::Fail;
            cell.reason = Some("the replies prove nothing".to_owned());
            cell.cause = Some(why);
        }
    }
}

/// Returns the time of day in UTC, as in RFC 3339.
#[expect(
    clippy::disallowed_methods,
    reason = "the time of day is for people; durations are measured by Instant"
)]
fn utc_now() -> String {
    chrono::DateTime::<chrono::Utc>::from(SystemTime::now()).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
