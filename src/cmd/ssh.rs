//! `netlab ssh`, `ssh-config`, `inventory` and `proxy`: ssh to the guests, by itself and by other programs.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap_complete::engine::ArgValueCompleter;

use super::error::CommandError;
use super::output::print_error;
use super::{Context, VmArgs, complete};
use crate::ops::{self, HostKeys};
use crate::transport::relay;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    vm: VmArgs,
    /// The account in the VM; without it, that of the image's login, else root.
    #[arg(long, short = 'l')]
    user: Option<String>,
    /// The command and its arguments, in place of a shell. A single argument is a script for the VM's shell.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// A lab as the only argument.
#[derive(clap::Args)]
#[group(skip)]
pub struct LabArgs {
    /// The lab's name, its file, or the folder of that.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
}

#[derive(clap::Args)]
pub struct ProxyArgs {
    #[command(flatten)]
    vm: VmArgs,
    /// The TCP port in the VM.
    #[arg(long, default_value_t = 22)]
    port: u16,
}

/// Becomes ssh(1).
pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let vm = args.vm.find(context)?;
    let config = ops::ssh_config(&context.env, &args.vm.lab)?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(&config.file);
    if let Some(user) = &args.user {
        ssh.args(["-l", user]);
    }
    ssh.args(["--", &format!("{}.{}", vm.name.vm(), vm.name.lab())]);
    if !args.command.is_empty() {
        ssh.arg(ops::shell_line(&args.command)?);
    }
    Err(CommandError::Process {
        doing: "run ssh",
        source: ssh.exec(),
    })
}

pub fn config(context: &Context, args: &LabArgs) -> Result<(), CommandError> {
    let config = ops::ssh_config(&context.env, &args.lab)?;
    context.answer_unchanged(&config.text(), &config)
}

pub fn inventory(context: &Context, args: &LabArgs) -> Result<(), CommandError> {
    let config = ops::ssh_config(&context.env, &args.lab)?;
    context.answer_unchanged(&config.inventory(), &config)
}

/// Connects standard input and output to a port of a VM. Before ssh sees a host key, it is read over the console.
pub fn proxy(context: &Context, args: &ProxyArgs) -> Result<(), CommandError> {
    let vm = args.vm.find(context)?;
    let socket = vm.dial(args.port)?;
    if args.port == 22
        && let HostKeys::FirstUse(why) = ops::learn_host_keys(&context.env, &vm)?
        && !context.quiet
    {
        print_error(&format!(
            "host key of VM {}: trusted as it is seen now, because it could not be read over the console: {why}",
            vm.name.vm()
        ));
    }
    let failed = |source| CommandError::Process {
        doing: "pass bytes on to the VM",
        source,
    };
    // Neither is buffered: each byte is passed on as it comes.
    let input = file(io::stdin().as_fd()).map_err(failed)?;
    let output = file(io::stdout().as_fd()).map_err(failed)?;
    match relay(input, output, &socket) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Err(failed(error))
        }
        _ => Ok(()),
    }
}

fn file(standard: impl AsFd) -> io::Result<File> {
    Ok(File::from(standard.as_fd().try_clone_to_owned()?))
}
