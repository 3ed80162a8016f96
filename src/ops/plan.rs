//! Preflight and plan: what `up` would do, once nothing blocks it.

use std::collections::{BTreeMap, BTreeSet};

use super::connect::same_connects;
use super::{
    Env, GuestReport, Loaded, OpsError, belongs, connect, connects, inspect_guests, observe, passwords, survey,
};
use crate::causes::chain;
use crate::emulated;
use crate::host::NamedHosts;
use crate::lab::{Connect, HostName};
use crate::plan::{self, Plan, Step};
use crate::preflight::{Obstacle, Severity, preflight};
use crate::run::Journal;
use crate::ssh_key;
use crate::state::{DomainName, Site, desired, existing, localhost};
use crate::topology::{Existing, Topology};

/// The result of planning.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The steps from what was observed to what is desired.
    pub plan: Plan,
    /// What was observed.
    pub observed: Site,
    /// What is desired.
    pub desired: Site,
    /// Preflight's warnings.
    pub warnings: Vec<Obstacle>,
    /// The lab with every choice made; guests that exist keep what they have.
    pub topology: Topology,
    /// The addresses that guests had, where they get others.
    pub previous: BTreeMap<DomainName, String>,
    /// The guests that are no longer configured as recorded.
    pub guests: GuestReport,
}

impl Planned {
    /// Returns the steps as text, each with its host, in order.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.steps().into_iter().map(|(host, step)| format!("{host}: {step}"));
        lines.collect()
    }

    /// Returns each step's host and text, in order; a guest that gets other addresses is shown with those it had, and one
    /// that was changed with what differs.
    pub fn steps(&self) -> Vec<(&HostName, String)> {
        let text = |step: &Step| {
            let Step::ConfigureGuest(name, _) = step else {
                return step.to_string();
            };
            let previous = self.previous.get(name).map(|addresses| format!("was {addresses}"));
            let differs = self.guests.deviations.get(name).map(|found| found.join("; "));
            match previous.or(differs) {
                Some(why) => format!("{step} ({why})"),
                None => step.to_string(),
            }
        };
        self.plan.steps().map(|(host, step)| (host, text(step))).collect()
    }
}

/// Returns the warning for a guest that could not be inspected.
fn not_inspected(observed: &Site, name: &DomainName, why: &str) -> Obstacle {
    let host = observed.iter().find(|(_, state)| state.domains.contains_key(name));
    Obstacle {
        host: host.map_or_else(localhost, |(host, _)| host.clone()),
        severity: Severity::Warning,
        what: format!("VM {} was not inspected: {why}", name.vm()),
        help: if is_halted(observed, name) {
            "remove the cause, then run `netlab up`".to_owned()
        } else {
            "close its console, then run again".to_owned()
        },
    }
}

/// Returns a warning for each guest that was given the SSH keys of another caller and keeps them: giving it others takes a
/// restart, which the lab file has to ask for.
fn others_keys(loaded: &Loaded, existing: &Existing) -> Vec<Obstacle> {
    let identities = |keys: &[String]| -> BTreeSet<_> { keys.iter().map(|key| ssh_key::identity(key)).collect() };
    let mine = identities(&loaded.keys);
    let others = loaded.with_callers_keys().filter_map(|vm| {
        let given = existing.ssh_keys.get(vm)?;
        (!mine.is_empty() && identities(given).is_disjoint(&mine)).then_some((vm, given.len()))
    });
    let others = others.filter_map(|(vm, count)| {
        let keys = match count {
            0 => "no SSH key".to_owned(),
            1 => "the SSH key of another user".to_owned(),
            count => format!("{count} SSH keys of another user"),
        };
        Some(Obstacle {
            severity: Severity::Warning,
            host: loaded.lab.vms.get(vm)?.host.clone(),
            what: format!("VM {vm} was given {keys}, none of yours"),
            help: "it keeps them; to give it others, write `ssh_keys` in the lab file, which restarts it".to_owned(),
        })
    });
    others.collect()
}

/// Returns a warning where guests do not get a proxy of the caller's.
fn withheld_proxies(env: &Env, topology: &Topology) -> Option<Obstacle> {
    let leads = topology.routers.values().any(|router| router.to_host);
    let withheld = env.caller.proxies.withheld();
    (leads && !withheld.is_empty()).then(|| Obstacle {
        severity: Severity::Warning,
        host: localhost(),
        what: format!("guests do not get {} of the environment", withheld.join(" and ")),
        help:
            "a proxy on this machine's loopback device cannot be reached from guests, and one with a password would be \
               readable in them: write another one in `run`"
                .to_owned(),
    })
}

/// Returns whether it is known of a guest that it does not run, although libvirt counts it as running.
fn is_halted(observed: &Site, name: &DomainName) -> bool {
    let mut seen = observed.values().filter_map(|state| state.seen.domains.get(name));
    seen.any(|seen| seen.halted.is_some())
}

/// Returns the emulated hosts whose libvirt could not be connected to, because the state folder's path is too long.
pub(super) fn unreachable_sockets(env: &Env, topology: &Topology) -> Vec<Obstacle> {
    let emulated = topology
        .hosts
        .iter()
        .filter(|(_, host)| host.connect == Connect::Emulated);
    emulated
        .filter_map(|(name, _)| {
            let error = emulated::libvirt_uri(&env.folders, &topology.lab, name).err()?;
            Some(Obstacle {
                severity: Severity::Error,
                host: name.clone(),
                what: chain(&error),
                help: error.help().unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

/// Returns the addresses of running guests that have others in `topology`.
fn previous(observed: &Site, topology: &Topology) -> BTreeMap<DomainName, String> {
    let mut previous = BTreeMap::new();
    for (name, domain) in observed.values().flat_map(|state| &state.domains) {
        let (Some(config), Some(guest)) = (&domain.configured, topology.guests.get(name.vm())) else {
            continue;
        };
        let had: Vec<_> = config.nics.iter().map(|nic| nic.address).collect();
        if had != guest.nics.iter().map(|nic| nic.address).collect::<Vec<_>>() {
            let had: Vec<String> = had.iter().map(ToString::to_string).collect();
            previous.insert(name.clone(), had.join(", "));
        }
    }
    previous
}

/// Observes the hosts of a lab and returns what `up` would do; changes nothing.
pub fn plan(env: &Env, loaded: &Loaded) -> Result<Planned, OpsError> {
    let topology = &loaded.topology;
    let lab = &topology.lab;
    belongs::check(env, lab)?;
    let past = Journal::read(&env.folders.lab(lab))?;
    let wanted = connects(topology);
    same_connects(lab, &past.hosts, &wanted)?;
    let other = belongs::other_file(env, &past, loaded);
    let mut known = past.hosts;
    known.extend(wanted);
    let hosts = connect(env, lab, &known)?;
    let mut observed = observe(&hosts, lab)?;
    passwords::reveal(env, lab, &mut observed);
    let mut planned = preflight_and_plan(env, loaded, &hosts, &observed)?;
    if let Some(up) = other.filter(|_| !observed.is_empty()) {
        planned.warnings.push(Obstacle {
            severity: Severity::Warning,
            host: localhost(),
            what: format!("lab {lab} is up from {}, and this is another file", up.display()),
            help: "`netlab up` refuses it unless `--replace` is given".to_owned(),
        });
    }
    Ok(planned)
}

/// Returns what `up` would do on hosts that have nothing of the lab; asks no host, so what preflight checks there is taken
/// for granted.
pub fn plan_offline(loaded: &Loaded) -> Result<Planned, OpsError> {
    let topology = loaded.topology.clone();
    let (nothing, surveys) = (Site::new(), BTreeMap::new());
    let (errors, warnings): (Vec<_>, Vec<_>) = preflight(&topology, &surveys, &nothing)
        .into_iter()
        .partition(|found| found.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(OpsError::PreflightFailed(errors));
    }
    let desired = desired(&topology, &surveys);
    Ok(Planned {
        plan: plan::plan(&nothing, &desired),
        observed: nothing,
        desired,
        warnings,
        topology,
        previous: BTreeMap::new(),
        guests: GuestReport::default(),
    })
}

/// Returns what is desired and the plan for it, or [`OpsError::PreflightFailed`] where something blocks the lab. Guests
/// that were observed keep what they have.
pub fn preflight_and_plan(
    env: &Env,
    loaded: &Loaded,
    hosts: &NamedHosts,
    observed: &Site,
) -> Result<Planned, OpsError> {
    let surveys = survey(hosts, &loaded.topology.lab)?;
    let existing = existing(observed, &surveys);
    let topology = loaded.keeping(env, &existing);
    let (errors, mut warnings): (Vec<_>, Vec<_>) = unreachable_sockets(env, &topology)
        .into_iter()
        .chain(preflight(&topology, &surveys, observed))
        .partition(|found| found.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(OpsError::PreflightFailed(errors));
    }
    warnings.extend(others_keys(loaded, &existing));
    warnings.extend(withheld_proxies(env, &topology));
    let desired = desired(&topology, &surveys);
    let guests = inspect_guests(env, hosts, observed, &desired);
    warnings.extend(
        guests
            .unread
            .iter()
            .map(|(name, why)| not_inspected(observed, name, why)),
    );
    Ok(Planned {
        plan: plan::plan(&guests.apply(observed), &desired),
        observed: observed.clone(),
        desired,
        warnings,
        previous: previous(observed, &topology),
        topology,
        guests,
    })
}
