//! The command line, one file per command: turns arguments into options of [`ops`], and reports into text or JSON.
//! The only place that prints: stdout carries the answer, stderr the progress.

mod breaks;
mod capture;
mod changing;
mod checkpoint;
mod complete;
mod console;
mod cp;
mod diagnose;
mod doctor;
mod down;
mod error;
mod exec;
mod graph;
#[cfg(test)]
mod growth;
mod hint;
mod image;
mod import;
mod init;
mod internal;
mod link;
mod manual;
mod output;
mod pause;
mod plan;
mod power;
mod progress;
mod schema;
mod screenshot;
mod script;
mod signals;
mod ssh;
mod status;
mod target;
mod terminal;
mod trace;
mod up;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::CompleteEnv;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use crate::folders::Folders;
use crate::lab::masked;
use crate::ops::{self, Caller, Env};
use error::CommandError;
use output::readable_json;

const EXAMPLES: &str = "Examples:
  netlab init             write a lab.toml
  netlab up               bring it up
  netlab verify           prove who reaches whom
  netlab exec quickstart vm1 -- ping -c1 10.0.1.3
  netlab down             remove all of it

Environment:
  NETLAB_STATE_DIR  folder of labs (default /var/lib/netlab)
  NETLAB_CACHE_DIR  folder of images (default /var/cache/netlab)
  NETLAB_LOG=debug  record every command sent to a host in the lab's folder";

/// One TOML file becomes a running lab of virtual machines on one or many libvirt hosts.
///
/// Exit status: 0 as described; 1 drift, failed probe or failed run; 2 wrong usage or invalid lab; 130 or 143 when
/// stopped by a signal.
#[derive(Parser)]
#[command(name = "netlab", version, after_help = EXAMPLES)]
struct Cli {
    /// Print the answer as JSON.
    #[arg(long, global = true, display_order = 900)]
    json: bool,
    /// Print no progress on stderr, only errors and warnings.
    #[arg(short, long, global = true, display_order = 901)]
    quiet: bool,
    /// Print on stderr every command sent to a host, with its status and duration, and every libvirt call; twice:
    /// every round trip, too.
    #[arg(short, long, global = true, display_order = 902, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a commented lab file to start from.
    #[command(after_help = "Examples:\n  netlab init\n  netlab init --from vlan --name class1 class1.toml")]
    Init(init::Args),
    /// Bring a lab up, or do what is missing.
    #[command(
        after_help = "Examples:\n  netlab up lab.toml\n  netlab up --emulate site.toml   every host on this machine\n  sed s/eth0/eth1/ lab.toml | netlab up -"
    )]
    Up(up::Args),
    /// Print what `up` would do, one line per step.
    #[command(
        after_help = "Examples:\n  netlab plan --explain lab.toml\n  netlab plan --offline lab.toml    without a query to any host\n  netlab plan --detailed-exitcode quickstart || echo drift"
    )]
    Plan(plan::Args),
    /// Print hosts, networks, VMs and the last run of a lab; without a lab, list all labs.
    #[command(after_help = "Examples:\n  netlab status\n  netlab status quickstart --watch")]
    Status(status::Args),
    /// Take a lab down and restore every host.
    #[command(after_help = "Examples:\n  netlab down lab.toml\n  netlab down quickstart")]
    Down(down::Args),
    /// Stop VMs of a lab at once, as by cutting their power; their disks stay. An emulated host is removed with its guests and
    /// their disks.
    Stop(power::Args),
    /// Start VMs of a lab that do not run, and configure them.
    Start(power::Args),
    /// Stop VMs of a lab at once and start them again.
    Restart(power::Args),

    /// Pause VMs of a lab, on all hosts at the same time: nothing of them runs, and nothing is lost.
    #[command(
        after_help = "Examples:\n  netlab pause quickstart          all its VMs\n  netlab pause quickstart vm1 vm3"
    )]
    Pause(pause::Args),
    /// Resume paused VMs of a lab, and set their clocks.
    #[command(after_help = "Examples:\n  netlab resume quickstart\n  netlab resume quickstart vm1")]
    Resume(pause::Args),
    /// Save memory and disks of all VMs of a lab at one moment: a checkpoint, which `down` removes with the lab.
    #[command(
        after_help = "Examples:\n  netlab save quickstart start\n  netlab save quickstart --list\n  netlab save quickstart --remove start"
    )]
    Save(checkpoint::SaveArgs),
    /// Bring all VMs of a lab back to a checkpoint, memory and disks, and set their clocks.
    #[command(
        after_help = "Examples:\n  netlab restore quickstart start\n  netlab restore quickstart    the newest checkpoint"
    )]
    Restore(checkpoint::RestoreArgs),

    /// Check by ping who reaches whom.
    #[command(
        after_help = "Examples:\n  netlab verify lab.toml\n  netlab verify quickstart --wait 60 --html result.html"
    )]
    Verify(verify::Args),
    /// Follow the packets of one pair hop by hop; exit status 1 where the path does not work.
    #[command(
        after_help = "Examples:\n  netlab diagnose quickstart vm1 vm3\n  netlab diagnose quickstart vm1 192.0.2.1"
    )]
    Diagnose(diagnose::Args),
    /// Check the hosts of a lab and print fixes.
    #[command(after_help = "Examples:\n  netlab doctor lab.toml\n  netlab doctor --report report.tar.gz lab.toml")]
    Doctor(doctor::Args),

    /// Limit links of a lab that is up (rate, delay, losses), or set them down and up.
    Link(link::Args),
    /// Show what passes a link of a lab that is up, or save it as a pcapng file.
    Capture(capture::Args),
    /// Put a fault into a lab that is up, for people to find; reveal it, remove it.
    Break(breaks::Args),

    /// Open a VM's console, which Ctrl-] leaves, or a shell on a host, emulated switch or router.
    #[command(mut_arg("vm", |arg| arg.add(ArgValueCompleter::new(complete::machines))),
        after_help = "Examples:\n  netlab console quickstart vm1\n  netlab console quickstart node1")]
    Console(console::Args),
    /// Run a command in VMs or on hosts; returns its output and exit status (124: timeout, 125: netlab failed).
    #[command(
        after_help = "Examples:\n  netlab exec quickstart vm1 -- ip route\n  netlab exec quickstart --on 'web-*' -- 'uptime; free'\n  netlab exec quickstart node1 -- bridge link"
    )]
    Exec(exec::Args),
    /// Open a shell in a VM by ssh, or run a command; its host makes the connection.
    Ssh(ssh::Args),
    /// Copy files to or from a VM, by ssh or else over its console.
    #[command(
        after_help = "Examples:\n  netlab cp quickstart notes.txt vm1:/tmp/\n  netlab cp quickstart vm1:/var/log/messages ."
    )]
    Cp(cp::Args),
    /// Save a picture of a VM's screen.
    Screenshot(screenshot::Args),
    /// Print the configuration by which ssh, scp, rsync, Ansible and editors reach the VMs of a lab.
    SshConfig(ssh::LabArgs),
    /// Print the VMs of a lab as an Ansible inventory.
    Inventory(ssh::LabArgs),
    /// Connect standard input and output to a VM's ssh server: a `ProxyCommand`.
    Proxy(ssh::ProxyArgs),

    /// Draw the lab: SVG, HTML, Mermaid or DOT by the name of `--output`; without it, print DOT.
    #[command(
        after_help = "Examples:\n  netlab graph -o lab.svg lab.toml\n  netlab graph --live -o lab.html quickstart"
    )]
    Graph(graph::Args),
    /// Print what `up` does on one host as a shell script, to read or to run by hand.
    #[command(after_help = "Examples:\n  netlab script lab.toml node1")]
    Script(script::Args),
    /// Convert a nova.conf to a lab file that builds the same networks.
    Import(import::Args),
    /// Print the JSON schema of lab files, for editors, or their reference.
    Schema(schema::Args),
    /// List, fetch, build and remove guest images.
    #[command(subcommand)]
    Image(image::Verb),

    /// Print a completion script for a shell.
    #[command(
        after_help = "Examples:\n  netlab completions bash >/etc/bash_completion.d/netlab\n  netlab completions fish >~/.config/fish/completions/netlab.fish"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page per command.
    Man {
        /// Write the pages of all commands, and that of lab files, into this folder, which is created if it does not
        /// exist.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

/// A VM as two arguments.
#[derive(clap::Args)]
#[group(skip)]
struct VmArgs {
    /// The lab's name, its file, or the folder of that.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// The VM's name.
    #[arg(add = ArgValueCompleter::new(complete::vms))]
    vm: String,
}

impl VmArgs {
    fn find(&self, context: &Context) -> Result<ops::Vm, CommandError> {
        trace::record_in(&context.env.folders, &ops::lab_name(&self.lab)?);
        Ok(ops::find_vm(&context.env, &self.lab, &self.vm)?)
    }
}

/// What every command needs.
struct Context {
    env: Env,
    json: bool,
    quiet: bool,
}

impl Context {
    /// Prints the answer: `text` for people, or `value` as JSON.
    fn answer(&self, text: &str, value: &impl Serialize) -> Result<(), CommandError> {
        let text = terminal::shown(text);
        self.answer_unchanged(&text, value)
    }

    /// Like [`Self::answer`], for text that is a file or a guest's: in its own characters, whatever the terminal shows.
    fn answer_unchanged(&self, text: &str, value: &impl Serialize) -> Result<(), CommandError> {
        if !self.json {
            return print(text.as_bytes());
        }
        let json = serde_json::to_string_pretty(value).map_err(no_json)?;
        print(format!("{}\n", harmless_json(&json)).as_bytes())
    }
}

/// Prints a value as one line of JSON.
fn print_line(value: &impl Serialize) -> Result<(), CommandError> {
    let json = serde_json::to_string(value).map_err(no_json)?;
    print(format!("{}\n", harmless_json(&json)).as_bytes())
}

fn no_json(error: serde_json::Error) -> CommandError {
    CommandError::Process {
        doing: "write JSON",
        source: error.into(),
    }
}

/// Returns JSON without what a terminal would act on, and without secrets of URLs.
fn harmless_json(json: &str) -> String {
    readable_json(&masked::urls(json))
}

/// Prints on stdout. That a reader has closed its end of a pipe is no error.
fn print(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Process {
            doing: "write the answer",
            source,
        }),
        _ => Ok(()),
    }
}

/// Reads the arguments, runs the command and returns the exit status.
pub fn main() -> ExitCode {
    if let Some(status) = internal::main() {
        return status;
    }
    // Prints the completions that a shell asks for, and exits.
    CompleteEnv::with_factory(Cli::command)
        .bin("netlab")
        .completer("netlab")
        .complete();
    let Cli {
        json,
        quiet,
        verbose,
        command,
    } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return hint::usage(&error),
    };
    output::set_json(json);
    trace::start(verbose);
    terminal::prepare_diagnostics();
    let done = context(json, quiet).and_then(|mut context| match command {
        Command::Exec(args) => Ok(exec::main(&context, &args)),
        Command::Plan(args) => plan::run(&context, &args),
        command => run(&mut context, command).map(|()| ExitCode::SUCCESS),
    });
    done.unwrap_or_else(|error| {
        let status = error.exit_status();
        error.print();
        ExitCode::from(status)
    })
}

fn context(json: bool, quiet: bool) -> Result<Context, CommandError> {
    let program = std::env::current_exe().map_err(|source| CommandError::Process {
        doing: "find netlab's own program",
        source,
    })?;
    Ok(Context {
        env: Env {
            caller: Caller::from_env(),
            ..Env::new(Folders::from_env(), program)
        },
        json,
        quiet: quiet || json,
    })
}

fn run(context: &mut Context, command: Command) -> Result<(), CommandError> {
    match command {
        Command::Up(args) => up::run(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        Command::Diagnose(args) => diagnose::run(context, &args),
        Command::Down(args) => down::run(context, &args),
        Command::Init(args) => init::run(context, &args),
        Command::Stop(args) => power::run(context, &args, ops::Power::Stop),
        Command::Start(args) => power::run(context, &args, ops::Power::Start),
        Command::Restart(args) => power::run(context, &args, ops::Power::Restart),
        Command::Pause(args) => pause::run(context, &args, ops::Paused::Paused),
        Command::Resume(args) => pause::run(context, &args, ops::Paused::Resumed),
        Command::Save(args) => checkpoint::save(context, &args),
        Command::Restore(args) => checkpoint::restore(context, &args),
        Command::Break(args) => breaks::run(context, &args),
        Command::Capture(args) => capture::run(context, &args),
        Command::Link(args) => link::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Graph(args) => graph::run(context, &args),
        Command::Schema(args) => schema::run(context, &args),
        Command::Script(args) => script::run(context, &args),
        Command::Import(args) => import::run(context, &args),
        Command::Console(args) => console::run(context, &args),
        Command::Ssh(args) => ssh::run(context, &args),
        Command::Cp(args) => cp::run(context, &args),
        Command::SshConfig(args) => ssh::config(context, &args),
        Command::Inventory(args) => ssh::inventory(context, &args),
        Command::Proxy(args) => ssh::proxy(context, &args),
        Command::Screenshot(args) => screenshot::run(context, &args),
        Command::Image(verb) => image::run(context, &verb),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::pages(dir.as_deref()),
        // Run by `main` itself.
        Command::Exec(_) | Command::Plan(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_every_command_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn examples_fit_a_terminal_of_80_columns() {
        let cli = Cli::command();
        for command in std::iter::once(&cli).chain(cli.get_subcommands()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let wide = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "of {}", command.get_name());
        }
    }
}
