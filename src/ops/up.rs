//! Brings a lab up: observe, preflight and plan, fetch images, run, and observe once more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::connect::{connect_to_change, same_connects};
use super::observe::observe_to_change;
use super::power::{Chosen, only};
use super::{
    Aftermath, Env, Loaded, OpsError, Planned, belongs, breaks, connects, converge, host_keys, moved, passwords,
    preflight_and_plan, roll_back, stop_on_request, stopped,
};
use crate::atomic_file;
use crate::event::Event;
use crate::host::NamedHosts;
use crate::image::{self, Used};
use crate::lab::{Connect, HostName, LabName, VmName};
use crate::plan::{Plan, plan};
use crate::run::{Journal, Lock, Report, Run};
use crate::state::Site;
use crate::topology::Topology;
use crate::transport::ssh::confirm::CONFIRM_WITHIN;

/// How a lab is brought up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpOptions {
    /// After a failure keep what was done, instead of rolling back.
    pub keep: bool,
    /// Change a lab that is up from another file.
    pub replace: bool,
    /// Only these VMs and hosts; everything else stays as it is.
    pub only: Option<Chosen>,
    /// Use images that have no checksum.
    pub allow_unverified: bool,
    /// How long a host behind ssh waits to be reached again after one of its NICs was attached to a bridge, before it
    /// detaches that NIC by itself.
    pub confirm_within: Duration,
}

impl Default for UpOptions {
    fn default() -> Self {
        Self {
            keep: false,
            replace: false,
            only: None,
            allow_unverified: false,
            confirm_within: CONFIRM_WITHIN,
        }
    }
}

/// A lab that is up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpReport {
    /// The lab.
    pub lab: LabName,
    /// Steps that were done; 0: it was up as described.
    pub steps: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its VMs.
    pub vms: Vec<UpVm>,
}

/// A VM of a lab that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpVm {
    /// Its name.
    pub name: VmName,
    /// Its host.
    pub host: HostName,
    /// Its addresses, without prefix lengths, in the order of its NICs.
    pub addresses: Vec<String>,
    /// Its floating address.
    pub floating: Option<String>,
}

/// Brings the lab up. Takes its lock, and rolls back after a failed step unless only guests could not be configured.
///
/// Afterwards the hosts are observed once more: where steps are still to do, the error is
/// [`OpsError::NotConverged`].
pub fn up(env: &Env, loaded: &Loaded, options: &UpOptions) -> Result<UpReport, OpsError> {
    let began = Instant::now();
    let _lock = Lock::take(&env.folders, &loaded.topology.lab, "up")?;
    let (steps, topology) = bring_up(env, loaded, options)?;
    stop_on_request(env, &topology.lab, steps)?;
    let vms = topology.guests.iter().map(|(name, guest)| UpVm {
        name: name.clone(),
        host: guest.host.clone(),
        addresses: guest.nics.iter().map(|nic| nic.address.to_string()).collect(),
        floating: guest.floating.as_ref().map(|floating| floating.address.to_string()),
    });
    Ok(UpReport {
        lab: topology.lab.clone(),
        steps,
        seconds: began.elapsed().as_secs_f64(),
        vms: vms.collect(),
    })
}

/// Does everything behind the lock; returns the number of steps done, and the lab as it is up.
fn bring_up(env: &Env, loaded: &Loaded, options: &UpOptions) -> Result<(usize, Topology), OpsError> {
    let lab = &loaded.topology.lab;
    let folder = env.folders.lab(lab);
    belongs::check(env, lab)?;
    let past = Journal::read(&folder)?;
    let other = belongs::other_file(env, &past, loaded);
    // The lab of another file may be left as it is.
    if other.is_none() || options.replace {
        breaks::heal_before_up(env, lab)?;
    }
    let wanted = connects(&loaded.topology);
    same_connects(lab, &past.hosts, &wanted)?;
    let mut known = past.hosts;
    known.extend(wanted.clone());
    let hosts = connect_to_change(env, lab, &known, options.confirm_within)?;
    let mut before = observe_to_change(&hosts, lab)?;
    passwords::reveal(env, lab, &mut before);
    let replaces = other.is_some();
    if let Some(up) = other.filter(|_| !before.is_empty() && !options.replace) {
        return Err(OpsError::OtherFile {
            lab: lab.clone(),
            up,
            file: loaded.file.clone(),
        });
    }
    for host in belongs::lost(env, lab) {
        env.events.send(Event::Warning(format!(
            "emulated host {host} runs, but its files in {} were removed: it is recreated, with new disks for its guests",
            folder.display()
        )));
    }
    let Planned {
        plan: mut to_do,
        mut desired,
        warnings,
        topology,
        guests,
        ..
    } = preflight_and_plan(env, loaded, &hosts, &before)?;
    if let Some(chosen) = &options.only {
        desired = only(&before, &desired, chosen);
        to_do = plan(&guests.apply(&before), &desired);
    }
    for warning in warnings {
        env.events.send(Event::Warning(warning.message()));
    }
    stop_on_request(env, lab, 0)?;
    let file = loaded.recorded(env);
    if to_do.is_empty() && !past.unfinished && !(replaces && past.file != file) {
        record_images(env, loaded, false)?;
        return Ok((0, topology));
    }
    fetch_images(env, loaded, options, to_do.steps().count())?;
    check_space(&hosts, &to_do)?;
    record_images(env, loaded, true)?;
    passwords::keep(env, lab, [&before, &desired])?;
    let journal = Journal::begin(&folder, "up", &known, file)?;
    keep_text(env, loaded)?;
    belongs::claim(env, lab);
    host_keys::forget(env, lab, &to_do);
    let run = Run {
        lab,
        hosts: &hosts,
        journal: Mutex::new(journal),
        events: env.events.clone(),
        cancel: env.cancel.clone(),
    };
    let (done, now) = converge::run(&run, "up", &to_do, &desired, |report| {
        after_failure(env, loaded, options, &run, report, (&wanted, &before))
    })?;
    moved::announce(&hosts, &before, &now);
    finish(env, loaded, &run, wanted, &now)?;
    started(env, lab, options)?;
    passwords::keep(env, lab, [&desired])?;
    Ok((done, topology))
}

/// Does what the options ask for after steps failed. `was`: the hosts of the lab, and what was observed before the run.
fn after_failure(
    env: &Env,
    loaded: &Loaded,
    options: &UpOptions,
    run: &Run<'_>,
    report: &Report,
    (hosts, before): (&BTreeMap<HostName, Connect>, &Site),
) -> Result<Aftermath, OpsError> {
    if report.only_guests_failed() {
        finish(env, loaded, run, hosts.clone(), before)?;
        return Ok(Aftermath::GuestsOnly {
            transcripts: env.folders.lab(run.lab).join("transcripts"),
        });
    }
    if options.keep {
        finish(env, loaded, run, hosts.clone(), before)?;
        return Ok(Aftermath::Kept);
    }
    if !roll_back(run, before) {
        return Ok(Aftermath::RollbackFailed);
    }
    if before.is_empty() {
        belongs::release(run.lab);
    }
    Ok(Aftermath::RolledBack)
}

/// Keeps the text of a lab that is in no file, for later commands that name the lab.
fn keep_text(env: &Env, loaded: &Loaded) -> Result<(), OpsError> {
    let (Some(text), Some(file)) = (&loaded.text, loaded.recorded(env)) else {
        return Ok(());
    };
    let written = atomic_file::replace(&file.path, 0o600, text.as_bytes());
    written.map(drop).map_err(|source| OpsError::File {
        doing: "write",
        path: file.path,
        source,
    })
}

/// Forgets that hosts were stopped on request which are up again.
fn started(env: &Env, lab: &LabName, options: &UpOptions) -> Result<(), OpsError> {
    let mut left = stopped::stopped(env, lab);
    match &options.only {
        Some(chosen) => left.retain(|host| !chosen.hosts.contains(host)),
        None => left.clear(),
    }
    stopped::record(env, lab, &left)
}

/// Provides every image of the lab in the cache. `steps`: how many are not begun where this is interrupted.
fn fetch_images(env: &Env, loaded: &Loaded, options: &UpOptions, steps: usize) -> Result<(), OpsError> {
    let options = image::Options {
        allow_unverified: options.allow_unverified,
        cancel: env.cancel.clone(),
        ..image::Options::default()
    };
    for (name, entry) in loaded.needed() {
        if let Err(error) = image::obtain(name, entry, &env.folders, &options, &env.events) {
            return Err(if error.is_stop() {
                OpsError::Interrupted {
                    lab: loaded.topology.lab.clone(),
                    done: 0,
                    left: steps,
                }
            } else {
                error.into()
            });
        }
    }
    Ok(())
}

/// Returns an error where a host has too little space for the files that the plan copies to it.
fn check_space(hosts: &NamedHosts, to_do: &Plan) -> Result<(), OpsError> {
    let mut files: BTreeMap<&HostName, BTreeSet<PathBuf>> = BTreeMap::new();
    for (host, step) in to_do.steps() {
        files.entry(host).or_default().extend(step.files());
    }
    let mut short = Vec::new();
    for (name, files) in files.into_iter().filter(|(_, files)| !files.is_empty()) {
        if let Some(host) = hosts.get(name)
            && let Err(error) = host.check_space(&files)
        {
            short.push((name.clone(), error));
        }
    }
    if short.is_empty() {
        Ok(())
    } else {
        Err(OpsError::NoSpace(short))
    }
}

/// Records which images the lab uses; with `also`, those it used before as well, whose guests may still be there.
fn record_images(env: &Env, loaded: &Loaded, also: bool) -> Result<(), OpsError> {
    let lab = &loaded.topology.lab;
    let failed = |source| OpsError::File {
        doing: "record which images are used in",
        path: env.folders.lab(lab),
        source,
    };
    let before = Used::read(&env.folders, lab).map_err(failed)?;
    let mut used = Used {
        image: loaded.image.clone(),
        folders: image::keys(loaded.needed()),
    };
    if also {
        used.folders.extend(before.folders.iter().cloned());
        used.image.clone_from(&before.image);
    }
    if used == before {
        return Ok(());
    }
    used.write(&env.folders, lab).map_err(failed)
}

/// Records that the run is over, which hosts hold something, since when they run, and which images are used.
fn finish(
    env: &Env,
    loaded: &Loaded,
    run: &Run<'_>,
    hosts: BTreeMap<HostName, Connect>,
    observed: &Site,
) -> Result<(), OpsError> {
    converge::finish(run, hosts, observed)?;
    record_images(env, loaded, false)
}
