//! `netlab exec`: one command in a VM; its output and exit status become netlab's.

use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use super::error::CommandError;
use super::progress::Progress;
use super::{Context, VmArgs};
use crate::guest::{SessionError, SessionFault};
use crate::ops::{self, Env, ExecOptions, OpsError};

/// Exit statuses of netlab's own, like those of timeout(1) and env(1): all others are the command's.
const DEADLINE: u8 = 124;
const NOT_RUN: u8 = 125;
/// Bytes of standard input that are passed on at most.
const MOST_INPUT: u64 = 1 << 20;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    vm: VmArgs,
    /// How long the command may take, in seconds; waiting for the VM's shell is included.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    within: u64,
    /// Do not read standard input. Without this option it is passed on to the command.
    #[arg(long, short = 'n')]
    no_stdin: bool,
    /// The command and its arguments. A single argument is a script for the VM's shell.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the command; returns its exit status, 124 after the deadline, or 125 where netlab failed.
pub fn main(context: &Context, args: &Args) -> ExitCode {
    match run(context, args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let status = match &error {
                CommandError::Ops(OpsError::Guest(SessionError {
                    fault: SessionFault::Deadline { .. } | SessionFault::NotReady { .. },
                    ..
                })) => DEADLINE,
                _ => NOT_RUN,
            };
            error.print();
            ExitCode::from(status)
        }
    }
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
    let options = ExecOptions {
        lab: args.vm.lab.clone(),
        vm: args.vm.vm.clone(),
        within: Duration::from_secs(args.within),
        command: args.command.clone(),
        stdin: if args.no_stdin { Vec::new() } else { standard_input()? },
    };
    let (events, progress) = Progress::start(true);
    let env = Env {
        events,
        ..context.env.clone()
    };
    let report = ops::exec(&env, &options)?;
    progress.finish();
    context.answer_unchanged(&report.output, &report)?;
    Ok(u8::try_from(report.status).unwrap_or(NOT_RUN))
}
