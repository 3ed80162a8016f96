//! `netlab exec`: one command in a VM or on a host; its output and exit status become netlab's.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::error::CommandError;
use super::output::{harmless, print_error};
use super::progress::Progress;
use super::{Context, complete, print, trace};
use crate::causes::chain;
use crate::guest::{SessionError, SessionFault};
use crate::ops::{self, Env, ExecOptions, ExecReport, OpsError, Targets};

/// Exit statuses of netlab's own, like those of timeout(1) and env(1): all others are the command's.
const DEADLINE: u8 = 124;
const NOT_RUN: u8 = 125;
/// Bytes of standard input that are passed on at most.
const MOST_INPUT: u64 = 1 << 20;
/// How long a command may take by default, and how many bytes of its input a second more is for: consoles of busy hosts
/// pass a third of what others do.
const SECONDS: u64 = 60;
const INPUT_PER_SECOND: u64 = 10_000;

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, its file, or the folder of that.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// The VM, host, emulated switch or router.
    #[arg(
        required_unless_present_any = ["all", "on"], conflicts_with_all = ["all", "on"],
        add = ArgValueCompleter::new(complete::machines)
    )]
    name: Option<String>,
    /// In every VM at the same time. Each line of output begins with the VM's name.
    #[arg(long, conflicts_with = "on")]
    all: bool,
    /// In all VMs, hosts, switches and routers with such a name at the same time, e.g. `web-*`.
    #[arg(long, value_name = "PATTERN")]
    on: Option<String>,
    /// How long the command may take, in seconds; waiting for the VM's shell and passing standard input on are included.
    /// Default: 60, and one more for each 10 kB of standard input.
    #[arg(long, alias = "within", value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Do not read standard input. Without this option it is passed on to the command.
    #[arg(long, short = 'n')]
    no_stdin: bool,
    /// The command and its arguments. A single argument is a script for the shell there.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What one of several commands came to.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Ended(ExecReport),
    Failed { error: String },
}

/// Runs the command; returns its exit status, 124 after the deadline, or 125 where netlab failed. Of several, the
/// greatest.
pub fn main(context: &Context, args: &Args) -> ExitCode {
    match run(context, args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let status = status_of(&error);
            error.print();
            ExitCode::from(status)
        }
    }
}

fn status_of(error: &CommandError) -> u8 {
    match error {
        CommandError::Ops(error) => status_of_failed(error),
        _ => NOT_RUN,
    }
}

fn status_of_failed(error: &OpsError) -> u8 {
    match error {
        OpsError::Guest(SessionError {
            fault: SessionFault::Deadline { .. } | SessionFault::UploadDeadline { .. } | SessionFault::NotReady { .. },
            ..
        }) => DEADLINE,
        _ => NOT_RUN,
    }
}

/// Returns the default limit, in seconds, of a command with `input` bytes of standard input.
fn seconds_for(input: usize) -> u64 {
    SECONDS + u64::try_from(input).unwrap_or(u64::MAX) / INPUT_PER_SECOND
}

/// Reads standard input to its end, unless it is a terminal.
fn standard_input() -> Result<Vec<u8>, CommandError> {
    let input = std::io::stdin();
    let mut content = Vec::new();
    if input.is_terminal() {
        return Ok(content);
    }
    let read = input.lock().take(MOST_INPUT + 1).read_to_end(&mut content);
    match read {
        // Standard input is closed.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => Ok(Vec::new()),
        Err(source) => Err(CommandError::Process {
            doing: "read standard input",
            source,
        }),
        Ok(size) if u64::try_from(size).is_ok_and(|size| size > MOST_INPUT) => Err(CommandError::Usage {
            message: format!("standard input has more than {MOST_INPUT} bytes"),
            help: "a console passes some 30 kB a second: send less, or leave it out with --no-stdin",
        }),
        Ok(_) => Ok(content),
    }
}

fn run(context: &Context, args: &Args) -> Result<u8, CommandError> {
    trace::record_in(&context.env.folders, &ops::lab_name(&args.lab)?);
    let on = match (&args.name, &args.on) {
        (Some(name), _) => Targets::One(name.clone()),
        (None, Some(pattern)) => Targets::Matching(pattern.clone()),
        (None, None) => Targets::AllVms,
    };
    let stdin = if args.no_stdin { Vec::new() } else { standard_input()? };
    let options = ExecOptions {
        lab: args.lab.clone(),
        on,
        within: Duration::from_secs(args.timeout.unwrap_or_else(|| seconds_for(stdin.len()))),
        command: args.command.clone(),
        stdin,
    };
    let (events, progress) = Progress::start(true);
    let env = Env {
        events,
        ..context.env.clone()
    };
    let Targets::One(name) = &options.on else {
        let status = each(context, &env, &options);
        progress.finish();
        return status;
    };
    let report = ops::exec(&env, &options, name)?;
    progress.finish();
    if !context.json && !report.errors.is_empty() {
        print_error(&harmless(&report.errors));
    }
    context.answer_unchanged(&report.output, &report)?;
    Ok(u8::try_from(report.status).unwrap_or(NOT_RUN))
}

/// Runs it in several places; the output of each is printed once it has ended.
fn each(context: &Context, env: &Env, options: &ExecOptions) -> Result<u8, CommandError> {
    let mut printed = Ok(());
    let results = ops::exec_each(env, options, |name, result| match result {
        _ if context.json => {}
        Ok(report) => {
            let lines = report.output.lines().map(|line| format!("{name}: {line}\n"));
            let lines: Vec<String> = lines.collect();
            let errors = report.errors.lines().map(|line| format!("{name}: {line}\n"));
            let errors = harmless(&errors.collect::<Vec<_>>().concat());
            if !errors.is_empty() {
                print_error(&errors);
            }
            let done = print(lines.concat().as_bytes());
            if printed.is_ok() {
                printed = done;
            }
        }
        Err(error) => print_error(&format!("{name}: error: {}", harmless(&chain(error)))),
    })?;
    printed?;
    let status = |result: &Result<ExecReport, OpsError>| match result {
        Ok(report) => u8::try_from(report.status).unwrap_or(NOT_RUN),
        Err(error) => status_of_failed(error),
    };
    let (count, greatest) = (results.len(), results.values().map(status).max().unwrap_or(0));
    let failed = results.iter().filter(|(_, result)| status(result) != 0);
    let failed: Vec<String> = failed
        .map(|(name, result)| format!("{name} ({})", status(result)))
        .collect();
    if !failed.is_empty() {
        print_error(&format!("{} of {count} failed: {}", failed.len(), failed.join(", ")));
    }
    if context.json {
        let answers = results.into_iter().map(|(name, result)| {
            let answer = match result {
                Ok(report) => Answer::Ended(report),
                Err(error) => Answer::Failed { error: chain(&error) },
            };
            (name, answer)
        });
        context.answer("", &answers.collect::<BTreeMap<_, _>>())?;
    }
    Ok(greatest)
}
