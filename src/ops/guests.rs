//! Inspects the running guests of a lab over their consoles, all at the same time: whether each still has what it was
//! given.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::Env;
use crate::causes::chain;
use crate::guest::{GuestView, Session, SessionError, SessionFault, Transcript, inspect};
use crate::host::{Host, NamedHosts};
use crate::lab::{ImageConsole, LabName, Login, VmName};
use crate::state::{DomainName, GuestConfig, Site};

/// How long a guest's shell is waited for. It was configured, so it has booted before: one that boots again takes
/// longer, and that it does so is what is wanted to be known.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// How a guest differs from its configuration.
pub type Deviations = BTreeMap<DomainName, Vec<String>>;

/// What was read of the guests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestReport {
    /// The guests that differ from their configuration, and how.
    pub deviations: Deviations,
    /// The guests that could not be read, and why: somebody else uses their console.
    pub unread: BTreeMap<DomainName, String>,
}

impl GuestReport {
    /// Compares what guests showed with what they were given, as `wanted` has it.
    pub(super) fn of(lab: &LabName, views: &BTreeMap<VmName, GuestView>, wanted: &Site) -> Self {
        let mut report = Self::default();
        for (vm, view) in views {
            let name = DomainName::new(lab, vm);
            let mut domains = wanted.values().filter_map(|state| state.domains.get(&name));
            let config = domains.find_map(|domain| domain.configured.as_ref());
            let deviations = config.map(|config| view.deviations(config)).unwrap_or_default();
            if !deviations.is_empty() {
                let texts = deviations.iter().map(ToString::to_string).collect();
                report.deviations.insert(name, texts);
            }
        }
        report
    }

    /// Returns `observed` with those guests not configured that differ from their configuration, which is how a plan
    /// configures them again.
    pub fn apply(&self, observed: &Site) -> Site {
        let mut observed = observed.clone();
        for (name, domain) in observed.values_mut().flat_map(|state| &mut state.domains) {
            if self.deviations.contains_key(name) {
                domain.configured = None;
                // Without a disk it has lost the rest as well, if it has booted again.
                if domain.boot.disk().is_none() {
                    domain.tasks.clear();
                }
            }
        }
        observed
    }
}

/// Reads every running guest that is configured as in `wanted`. What a guest's record says differently is known to be
/// a difference without asking it.
pub fn inspect_guests(env: &Env, hosts: &NamedHosts, observed: &Site, wanted: &Site) -> GuestReport {
    let guests: Vec<_> = observed
        .iter()
        .flat_map(|(host, state)| state.domains.iter().map(move |(name, domain)| (host, name, domain)))
        .filter_map(|(host, name, domain)| {
            let config = domain.configured.as_ref().filter(|_| domain.running)?;
            let will = wanted.get(host)?.domains.get(name)?;
            (will.configured.as_ref() == Some(config)).then_some(())?;
            // Equal to what is recorded, and with its password, of which the record has the digest.
            Some((hosts.get(host)?, name, will.configured.as_ref()?))
        })
        .collect();
    let mut report = GuestReport::default();
    // What is known not to run is not waited for.
    let (halted, guests): (Vec<_>, Vec<_>) = guests
        .into_iter()
        .map(|(host, name, config)| (halted(observed, name), (host, name, config)))
        .partition(|(halted, _)| halted.is_some());
    let halted = halted
        .into_iter()
        .filter_map(|(why, (_, name, _))| Some((name.clone(), why?)));
    report.unread.extend(halted);
    let guests: Vec<_> = guests.into_iter().map(|(_, guest)| guest).collect();
    thread::scope(|scope| {
        let reading: Vec<_> = guests
            .iter()
            .map(|(host, name, config)| scope.spawn(move || read(env, host.as_ref(), name, config)))
            .collect();
        for ((_, name, _), found) in guests.iter().zip(reading) {
            match found.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(deviations) if deviations.is_empty() => {}
                Ok(deviations) => _ = report.deviations.insert((*name).clone(), deviations),
                Err(why) => _ = report.unread.insert((*name).clone(), why),
            }
        }
    });
    report
}

/// Returns why a guest does not run although libvirt counts it as running.
fn halted(observed: &Site, name: &DomainName) -> Option<String> {
    let mut seen = observed.values().filter_map(|state| state.seen.domains.get(name));
    let why = seen.find_map(|seen| seen.halted.as_ref())?;
    Some(format!("it does not run: {why}"))
}

/// Returns how a guest differs from `config`, or why it cannot be read. A guest that does not answer differs.
fn read(env: &Env, host: &dyn Host, name: &DomainName, config: &GuestConfig) -> Result<Vec<String>, String> {
    let console = host
        .open_console(name, config.console.kind)
        .map_err(|error| chain(&error))?;
    let transcript = env.folders.transcript(name.lab(), name.vm());
    let transcript = Transcript::append(&transcript).map_err(|error| error.to_string())?;
    let mut image = config.console.clone();
    image.boot_seconds = image.boot_seconds.min(ANSWERS_WITHIN.as_secs());
    let began = Instant::now();
    let found = Session::open(console, &image, transcript, &mut |_| ())
        .and_then(|mut session| inspect(&mut session, image.kind));
    match found {
        Ok(Some(view)) => {
            let deviations = view.deviations(config);
            Ok(deviations.iter().map(ToString::to_string).collect())
        }
        Ok(None) => Err("its answer was cut".to_owned()),
        Err(error) if matches!(error.fault, SessionFault::Console(_) | SessionFault::Transcript(_)) => {
            Err(chain(&error))
        }
        Err(SessionError {
            fault: SessionFault::PasswordAsked { user },
            ..
        }) if knows_digest_only(&image) => Err(format!("the password of {user} is not known here")),
        Err(error) => Ok(vec![format!(
            "it does not answer on its console ({} after {} s)",
            error.fault,
            began.elapsed().as_secs()
        )]),
    }
}

fn knows_digest_only(console: &ImageConsole) -> bool {
    console.login.as_ref().is_some_and(Login::lacks_passwords)
}
