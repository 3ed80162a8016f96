//! `netlab up`: the straight line from lab.toml to a running lab.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;

use super::error::Failure;
use super::output::{table, without_empty_columns};
use super::progress::Progress;
use super::sight::Entries;
use super::{Context, plan as plan_verb, sight, signals};
use crate::event::Events;
use crate::image::{self, Used};
use crate::lab::ImageName;
use crate::plan::plan;
use crate::run::{Journal, Lock, Record, Report, Run, chain};
use crate::state::Site;
use crate::topology::Topology;

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "every one is a flag of the command line")]
pub struct Args {
    /// The lab file.
    #[arg(default_value = "lab.toml")]
    file: PathBuf,
    /// Emulate every host on this machine, whatever `connect` says; cables are the lab's.
    #[arg(long)]
    emulate: bool,
    /// After a failure leave everything as it is, instead of going back to where the run began.
    #[arg(long)]
    keep: bool,
    /// Run with this image in the place of the lab's `image`; VMs that name their own keep it. `verify` remembers it.
    #[arg(long)]
    image: Option<ImageName>,
    /// Use images that have no checksum, as the server sends them.
    #[arg(long)]
    allow_unverified: bool,
    /// How many seconds a host behind ssh waits to be reached again after one of its NICs was taken, before it puts
    /// that NIC back by itself.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=600))]
    confirm_timeout: u16,
    /// Say where the time went.
    #[arg(long)]
    timings: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    lab: &'a crate::lab::LabName,
    steps: usize,
    vms: Vec<Vm>,
}

#[derive(Serialize)]
struct Vm {
    name: String,
    host: String,
    addresses: Vec<String>,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let (mut topology, entries) = sight::load(&context.folders, &args.file, args.image.as_ref())?;
    if args.emulate {
        topology.emulate();
    }
    signals::listen()?;
    let _lock = Lock::take(&context.folders, &topology.lab, "up").map_err(|error| sight::failed(error.to_string()))?;
    let (events, progress) = Progress::start(context.quiet);
    let result = bring_up(context, args, &topology, &entries, &events);
    drop(events);
    let timings = progress.finish();
    if args.timings {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), timings.table().as_bytes());
    }
    let steps = result?;
    let vms: Vec<Vm> = topology
        .guests
        .iter()
        .map(|(vm, guest)| Vm {
            name: vm.to_string(),
            host: guest.host.to_string(),
            addresses: guest.nics.iter().map(|nic| nic.address.to_string()).collect(),
        })
        .collect();
    let mut rows = vec![vec!["VM".to_owned(), "HOST".to_owned(), "ADDRESS".to_owned()]];
    rows.extend(
        vms.iter()
            .map(|vm| vec![vm.name.clone(), vm.host.clone(), vm.addresses.join(" ")]),
    );
    let mut text = match steps {
        0 => format!("lab {} is up as described: nothing to do\n", topology.lab),
        1 => format!("lab {} is up: 1 step\n", topology.lab),
        _ => format!("lab {} is up: {steps} steps\n", topology.lab),
    };
    if !vms.is_empty() {
        text.push_str(&table(&without_empty_columns(rows)));
    }
    context.answer(
        &text,
        &Answer {
            lab: &topology.lab,
            steps,
            vms,
        },
    )
}

/// Everything between the lock and the answer; gives the number of steps done.
fn bring_up(
    context: &Context,
    args: &Args,
    topology: &Topology,
    entries: &Entries,
    events: &Events,
) -> Result<usize, Failure> {
    let (folders, lab) = (&context.folders, &topology.lab);
    let folder = folders.lab(lab);
    let past = Journal::read(&folder).map_err(|error| sight::failed(error.to_string()))?;
    let wanted_hosts = sight::connects(topology);
    sight::same_ways(lab, &past.hosts, &wanted_hosts)?;
    let mut connects = past.hosts;
    connects.extend(wanted_hosts.clone());
    let within = Duration::from_secs(args.confirm_timeout.into());
    let hosts = sight::reach_confirming(folders, lab, &connects, within)?;
    let before = sight::observe_to_change(&hosts, lab)?;
    let (to_do, _) = plan_verb::judge(topology, &hosts, &before, events)?;
    if to_do.is_empty() && !past.unfinished {
        note_images(context, args, topology, entries, false)?;
        return Ok(0);
    }
    let options = image::Options {
        allow_unverified: args.allow_unverified,
        cancel: Some(&signals::CANCEL),
        ..image::Options::default()
    };
    for (name, entry) in entries.iter().filter(|(name, _)| topology.images.contains_key(*name)) {
        if let Err(error) = image::obtain(name, entry, folders, &options, events) {
            return Err(if error.is_stop() {
                signals::interrupted(lab, 0, to_do.steps().count())
            } else {
                Failure::Failed {
                    message: chain(&error),
                    help: Some(error.help().to_owned()),
                }
            });
        }
    }
    note_images(context, args, topology, entries, true)?;
    let journal = Journal::begin(&folder, "up", &connects).map_err(|error| sight::failed(error.to_string()))?;
    let run = Run {
        lab,
        hosts: &hosts,
        journal: Mutex::new(journal),
        events: events.clone(),
        cancel: &signals::CANCEL,
    };
    let report = run.run(&to_do);
    if report.cancelled {
        return Err(signals::interrupted(
            lab,
            report.done,
            report.left + report.failed.len(),
        ));
    }
    if !report.is_complete() && !report.only_guests_failed() && !args.keep {
        return Err(roll_back(&run, &before, &report));
    }
    finish(&run, &wanted_hosts)?;
    note_images(context, args, topology, entries, false)?;
    if report.is_complete() {
        return Ok(report.done);
    }
    Err(Failure::Failed {
        message: failures(&report),
        help: Some(format!(
            "the rest of the lab is up; `netlab up` tries again, `netlab down {lab}` takes everything away; whole \
             transcripts are under {}",
            folder.join("transcripts").display()
        )),
    })
}

/// Notes which images the lab uses; `also` those it used before, whose guests may still be there.
fn note_images(
    context: &Context,
    args: &Args,
    topology: &Topology,
    entries: &Entries,
    also: bool,
) -> Result<(), Failure> {
    let lab = &topology.lab;
    let wrong = |error: std::io::Error| sight::failed(format!("cannot note the images of lab {lab}: {error}"));
    let before = Used::read(&context.folders, lab).map_err(wrong)?;
    let in_use = entries.iter().filter(|(name, _)| topology.images.contains_key(*name));
    let mut used = Used {
        image: args.image.clone(),
        folders: image::keys(in_use),
    };
    if also {
        used.folders.extend(before.folders.iter().cloned());
        used.image.clone_from(&before.image);
    }
    if used == before {
        return Ok(());
    }
    used.write(&context.folders, lab).map_err(wrong)
}

/// Notes in the journal that the run is over and which hosts hold something.
pub fn finish(
    run: &Run<'_>,
    hosts: &std::collections::BTreeMap<crate::lab::HostName, crate::lab::Connect>,
) -> Result<(), Failure> {
    let mut journal = run.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    journal
        .add(&Record::Finished { hosts: hosts.clone() })
        .map_err(|error| sight::failed(error.to_string()))
}

/// What failed, a line a step.
pub fn failures(report: &Report) -> String {
    let lines: Vec<String> = report
        .failed
        .iter()
        .map(|(host, error)| format!("{host}: {}", chain(error)))
        .collect();
    lines.join("\n")
}

/// Goes back to what was observed before the run, as far as that can be done.
fn roll_back(run: &Run<'_>, before: &Site, report: &Report) -> Failure {
    let message = failures(report);
    let help = match sight::observe(run.hosts, run.lab) {
        Err(_) => None,
        Ok(now) => {
            let back = run.run(&plan(&now, before));
            back.is_complete()
                .then(|| "every host is as it was before this run".to_owned())
        }
    };
    let help = help.unwrap_or_else(|| {
        format!(
            "going back did not work everywhere, either: `netlab down {}` takes away what is left",
            run.lab
        )
    });
    Failure::Failed {
        message,
        help: Some(help),
    }
}
