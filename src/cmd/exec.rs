//! `netlab exec`: one command in a VM; its output and exit status become netlab's.

use std::process::ExitCode;
use std::time::Duration;

use super::error::CommandError;
use super::{Context, VmArgs};
use crate::guest::{SessionError, SessionFault};
use crate::ops::{self, ExecOptions, OpsError};

/// Exit statuses of netlab's own, like those of timeout(1) and env(1): all others are the command's.
const DEADLINE: u8 = 124;
const NOT_RUN: u8 = 125;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    vm: VmArgs,
    /// How long the command may take, in seconds; waiting for the VM's shell is included.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    within: u64,
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

fn run(context: &Context, args: &Args) -> Result<u8, CommandError> {
    let options = ExecOptions {
        lab: args.vm.lab.clone(),
        vm: args.vm.vm.clone(),
        within: Duration::from_secs(args.within),
        command: args.command.clone(),
    };
    let report = ops::exec(&context.env, &options)?;
    context.answer(&report.output, &report)?;
    Ok(u8::try_from(report.status).unwrap_or(NOT_RUN))
}
