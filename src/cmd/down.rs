//! `netlab down`: plan(observed, empty), run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;

use super::error::Failure;
use super::progress::Progress;
use super::{Context, sight, signals, up};
use crate::event::{Event, Events};
use crate::lab::{Connect, HostName, LabName};
use crate::plan::plan;
use crate::run::{Journal, Lock, Run};
use crate::state::Site;

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, or its file.
    #[arg(default_value = "lab.toml")]
    lab: String,
    /// How many seconds a host behind ssh waits to be reached again after one of its NICs was given back, before it
    /// puts that NIC into its bridge again by itself.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=600))]
    confirm_timeout: u16,
}

#[derive(Serialize)]
struct Answer<'a> {
    lab: &'a LabName,
    steps: usize,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let lab = sight::lab_name(&args.lab)?;
    let hint = sight::hint(&context.folders, &args.lab);
    signals::listen()?;
    let _lock = Lock::take(&context.folders, &lab, "down").map_err(|error| sight::failed(error.to_string()))?;
    let (events, progress) = Progress::start(context.quiet);
    let result = take_away(context, &lab, hint.as_ref(), args.confirm_timeout, &events);
    drop(events);
    progress.finish();
    let steps = result?;
    let text = if steps == 0 {
        format!("lab {lab} is not up: nothing to do\n")
    } else {
        format!("lab {lab} is gone: {steps} steps\n")
    };
    context.answer(&text, &Answer { lab: &lab, steps })
}

/// `hint`: the hosts by the lab file, where one was given.
fn take_away(
    context: &Context,
    lab: &LabName,
    hint: Option<&BTreeMap<HostName, Connect>>,
    confirm_timeout: u16,
    events: &Events,
) -> Result<usize, Failure> {
    let folder = context.folders.lab(lab);
    let past = Journal::read(&folder).map_err(|error| sight::failed(error.to_string()))?;
    let mut connects = past.hosts;
    let machines = sight::machines(&context.folders, lab)?;
    // Emulated hosts are found by their marks. Of others only the journal tells, or the file.
    match hint {
        Some(hint) => hint.iter().for_each(|(host, connect)| {
            connects.entry(host.clone()).or_insert_with(|| connect.clone());
        }),
        None if past.damaged || connects.is_empty() => events.send(Event::Warning(format!(
            "there is no whole record of lab {lab}: only emulated hosts were looked for. If it was on other hosts, \
             too, give its lab file: netlab down FILE"
        ))),
        None => {}
    }
    connects.extend(machines);
    let within = Duration::from_secs(confirm_timeout.into());
    let hosts = sight::reach_confirming(&context.folders, lab, &connects, within)?;
    let observed = sight::observe_to_change(&hosts, lab)?;
    let to_do = plan(&observed, &Site::new());
    let mut done = 0;
    if !to_do.is_empty() {
        let journal = Journal::begin(&folder, "down", &connects).map_err(|error| sight::failed(error.to_string()))?;
        let journal = Mutex::new(journal);
        let run = Run {
            lab,
            hosts: &hosts,
            journal,
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
        if !report.is_complete() {
            return Err(Failure::Failed {
                message: up::failures(&report),
                help: Some(format!(
                    "all the rest is gone; `netlab down {lab}` tries what is left again"
                )),
            });
        }
        up::finish(&run, &BTreeMap::new())?;
        done = report.done;
    }
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(sight::failed(format!("cannot remove {}: {error}", folder.display())))
        }
        _ => Ok(done),
    }
}
