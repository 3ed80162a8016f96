//! `netlab status`: prints what of a lab is there and how its last run ended, or lists the labs.

use std::time::{Duration, Instant};

use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::error::CommandError;
use super::output::{one_line, table, without_empty_columns};
use super::{Context, complete, print_line, signals, terminal, trace};
use crate::ops::{self, LabElsewhere, LabList, LabState, LabStatus, LabSummary, RunOutcome, RunStatus, VmStatus};

/// How long `--watch` sleeps before it checks whether it must stop.
const TICK: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, its file, or the folder of that; without one, all labs are listed.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: Option<String>,
    /// Print again and again, this many seconds after each time, until Ctrl-C. With --json, one line each time.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", require_equals = true)]
    watch: Option<u32>,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let Some(seconds) = args.watch else {
        return once(context, args, "");
    };
    let cancel = context.env.cancel.clone();
    signals::listen(cancel.clone(), None)?;
    let clear = if terminal::color() { "\x1b[H\x1b[2J\x1b[3J" } else { "" };
    while !cancel.is_requested() {
        match once(context, args, clear) {
            // A lab that is not up may come up.
            Err(error @ CommandError::NotAsDescribed { .. }) => error.print(),
            done => done?,
        }
        let until = Instant::now() + Duration::from_secs(seconds.into());
        while Instant::now() < until && !cancel.is_requested() {
            if !terminal::is_read() {
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
    }
    Err(CommandError::Stopped {
        signal: signals::received(),
    })
}

/// Prints the answer after `clear`.
fn once(context: &Context, args: &Args, clear: &str) -> Result<(), CommandError> {
    let Some(lab) = &args.lab else {
        let list = ops::statuses(&context.env);
        print(context, args, &format!("{clear}{}", text_of(&list)), &list)?;
        return match &list.unseen[..] {
            [] => Ok(()),
            unseen => Err(CommandError::NotAsDescribed {
                message: format!("labs may be missing in this list: {}", unseen.join("; ")),
                help: Some("run netlab as root, who may read everything of a lab".to_owned()),
            }),
        };
    };
    let lab = ops::lab_name(lab)?;
    trace::record_in(&context.env.folders, &lab);
    let status = ops::status(&context.env, &lab)?;
    print(context, args, &format!("{clear}{}", text(&status)), &status)?;
    if status.state == LabState::Down && status.last_run.is_none() {
        return Err(CommandError::NotAsDescribed {
            message: format!("lab {lab} is not up"),
            help: Some("`netlab status` lists the labs that are".to_owned()),
        });
    }
    Ok(())
}

fn print(context: &Context, args: &Args, text: &str, value: &impl Serialize) -> Result<(), CommandError> {
    if context.json && args.watch.is_some() {
        return print_line(value);
    }
    context.answer(text, value)
}

fn text_of(list: &LabList) -> String {
    let mut text = match (&list.labs[..], &list.unseen[..]) {
        ([], []) => "no lab is up\n".to_owned(),
        ([], _) => "no lab is visible\n".to_owned(),
        (labs, _) => table_of(labs),
    };
    for LabElsewhere { lab, folder } in &list.elsewhere {
        let folder = one_line(&folder.display().to_string());
        text.extend(["lab ", lab.as_str(), " belongs to state folder ", &folder, "\n"]);
    }
    text
}

fn table_of(labs: &[LabSummary]) -> String {
    let mut rows = vec![row(["LAB", "STATE", "HOSTS", "VMS", ""])];
    for lab in labs {
        let state = match lab.state {
            LabState::Up => "up",
            LabState::Partly => "partly",
            LabState::Down => "down",
            LabState::Unknown => "?",
        };
        let (hosts, vms) = (lab.hosts.to_string(), format!("{} of {} running", lab.running, lab.vms));
        rows.push(match &lab.error {
            None => row([lab.lab.as_str(), state, &hosts, &vms, ""]),
            Some(error) => row([
                lab.lab.as_str(),
                state,
                "",
                "",
                error.lines().next().unwrap_or_default(),
            ]),
        });
    }
    table(&without_empty_columns(rows))
}

/// The last run in one line, e.g. `last run: up, 2026-11-26 13:05 UTC, interrupted at node1: define domain lab.vm1`.
fn last_run(run: &RunStatus) -> String {
    let mut text = format!("last run: {}", run.command);
    if let Some(began) = &run.began {
        let minute = began.get(..16).unwrap_or(began);
        text.extend([", ", &minute.replace('T', " "), " UTC"]);
    }
    text.push_str(match run.outcome {
        RunOutcome::Finished => ", finished",
        RunOutcome::Failed => ", failed at",
        RunOutcome::Running => ", in progress:",
        RunOutcome::InterruptedDuring => ", interrupted at",
        RunOutcome::InterruptedAfter => ", interrupted after",
    });
    match (run.outcome, &run.host, &run.step) {
        (RunOutcome::Finished, ..) | (RunOutcome::Running, None, _) => {}
        (_, Some(host), Some(step)) => text.extend([" ", host, ": ", &one_line(step)]),
        _ => text.push_str(" 0 steps"),
    }
    match run.rolled_back {
        Some(true) => text.push_str("; rolled back"),
        Some(false) => text.push_str("; the rollback is not complete"),
        None => {}
    }
    text + "\n"
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

fn text(lab: &LabStatus) -> String {
    let last_run = lab.last_run.as_ref().map(last_run).unwrap_or_default();
    if lab.state == LabState::Down {
        let up = if lab.last_run.is_some() {
            format!("lab {} is not up\n", lab.lab)
        } else {
            String::new()
        };
        return up + &last_run;
    }
    let mut hosts = vec![row(["HOST", "CONNECT", "STATE"])];
    hosts.extend(
        lab.hosts
            .iter()
            .map(|host| row([&host.name, &host.connect, host.state])),
    );
    let mut networks = vec![row(["NETWORK", "CLASS", "HOST", "BRIDGE", "ADDRESS", "UPLINK"])];
    networks.extend(lab.networks.iter().map(|network| {
        let uplink = network.uplink.as_deref().unwrap_or_default();
        row([
            &network.name,
            &network.class,
            &network.host,
            &network.bridge,
            &network.addresses.join(" "),
            uplink,
        ])
    }));
    let mut bonds = vec![row(["BOND", "HOST", "MODE", "STATE", "ACTIVE", "NICS", "NO CARRIER"])];
    bonds.extend(lab.bonds.iter().map(|bond| {
        row([
            &bond.name,
            &bond.host,
            &bond.mode,
            bond.state,
            bond.active.as_deref().unwrap_or_default(),
            &bond.nics.join(" "),
            &bond.without_carrier.join(" "),
        ])
    }));
    let mut vms = vec![row(["VM", "HOST", "STATE", "ADDRESS", "FLOATING", "MAC"])];
    vms.extend(lab.vms.iter().map(|vm| {
        row([
            &vm.name,
            &vm.host,
            &vm.state,
            &vm.addresses.join(" "),
            vm.floating.as_deref().unwrap_or_default(),
            &vm.macs.join(" "),
        ])
    }));
    let belongs = match &lab.folder {
        Some(folder) => format!(
            "it belongs to state folder {}\n",
            one_line(&folder.display().to_string())
        ),
        None if lab.by_marks => "it was found by its marks: no journal knows it\n".to_owned(),
        None => String::new(),
    };
    let head = format!(
        "lab {} is {}\n{belongs}{last_run}",
        lab.lab,
        if lab.state == LabState::Up { "up" } else { "partly up" }
    );
    let mut forwards = vec![row(["PORT", "VM", "TO", "VIA", "STATE"])];
    forwards.extend(lab.forwards.iter().map(|forward| {
        let port = forward.port.to_string();
        row([&forward.listen, &forward.vm, &port, &forward.via, forward.state])
    }));
    let mut links = vec![row(["LINK", "STATE", "BY"])];
    links.extend(lab.links.iter().map(|link| {
        let by = if link.by_request { "request" } else { "lab file" };
        row([&link.link, &link.state, by])
    }));
    let tables = [hosts, networks, bonds, vms, forwards, links]
        .into_iter()
        .filter(|rows| rows.len() > 1);
    let tables: Vec<String> = tables.map(|rows| table(&without_empty_columns(rows))).collect();
    let changed = lab.vms.iter().filter(|vm| !vm.deviations.is_empty());
    let changed = changed.map(|vm| format!("VM {} was changed: {}\n", vm.name, one_line(&vm.deviations.join("; "))));
    let changed = changed.collect::<Vec<_>>().concat();
    let unused = lab.unused_networks.iter();
    let unused = unused.map(|name| format!("network {name} is on no host: no VM, gateway or address is in it\n"));
    let notes = changed + &unused.collect::<String>();
    let separator = if notes.is_empty() { "" } else { "\n" };
    format!("{head}\n{}{separator}{notes}{}", tables.join("\n"), commands(lab))
}

/// The commands that show console logs and screens, each on a line that can be copied.
fn commands(lab: &LabStatus) -> String {
    let of = |command: fn(&VmStatus) -> Option<&String>| lab.vms.iter().filter_map(command).map(|line| one_line(line));
    let mut out = String::new();
    for (title, lines) in [
        ("console logs", of(|vm| vm.follow.as_ref()).collect::<Vec<_>>()),
        ("screens", of(|vm| vm.screen.as_ref()).collect()),
    ] {
        if !lines.is_empty() {
            out.extend(["\n", title, ":\n  ", &lines.join("\n  "), "\n"]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunStatus {
        RunStatus {
            command: "up".to_owned(),
            began: Some("2026-11-26T13:05:09Z".to_owned()),
            outcome: RunOutcome::InterruptedDuring,
            host: Some("node1".to_owned()),
            step: Some("define domain lab.vm1".to_owned()),
            rolled_back: None,
        }
    }

    #[test]
    fn the_last_run_is_one_line_with_its_command_time_and_end() {
        assert_eq!(
            last_run(&run()),
            "last run: up, 2026-11-26 13:05 UTC, interrupted at node1: define domain lab.vm1\n"
        );
        let failed = RunStatus {
            outcome: RunOutcome::Failed,
            step: Some("define domain lab.vm1: no\nspace".to_owned()),
            rolled_back: Some(true),
            ..run()
        };
        assert_eq!(
            last_run(&failed),
            "last run: up, 2026-11-26 13:05 UTC, failed at node1: define domain lab.vm1: no space; rolled back\n"
        );
        let running = RunStatus {
            outcome: RunOutcome::Running,
            ..run()
        };
        assert_eq!(
            last_run(&running),
            "last run: up, 2026-11-26 13:05 UTC, in progress: node1: define domain lab.vm1\n"
        );
        let finished = RunStatus {
            outcome: RunOutcome::Finished,
            host: None,
            step: None,
            ..run()
        };
        assert_eq!(last_run(&finished), "last run: up, 2026-11-26 13:05 UTC, finished\n");
    }
}
