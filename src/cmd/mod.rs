//! One file per verb; the only place that prints. stdout carries the answer, stderr the progress.

mod console;
mod doctor;
mod down;
pub mod error;
mod exec;
mod graph;
mod image;
mod import;
pub mod output;
mod plan;
pub mod progress;
mod screenshot;
mod script;
mod sight;
mod signals;
mod status;
mod up;
mod verify;
mod vm;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;

use crate::emulated;
use crate::folders::Folders;
use crate::lab::{HostName, LabName};
use error::Failure;

/// One TOML file becomes a running lab of virtual machines on one or many libvirt hosts.
///
/// Exit status: 0 as described; 1 drift, failed probe or failed run; 2 wrong usage or invalid lab; 130 or 143 when
/// stopped by a signal.
#[derive(Parser)]
#[command(name = "netlab", version)]
struct Cli {
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// No progress on stderr; errors and warnings only.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring a lab up, or do what is missing.
    Up(up::Args),
    /// Prove by ping who reaches whom.
    Verify(verify::Args),
    /// Take a lab away: every host as it was.
    Down(down::Args),
    /// Look at a lab's hosts: what is as it must be, and what mends the rest.
    Doctor(doctor::Args),
    /// Show what `up` would do, a line a step.
    Plan(plan::Args),
    /// Show hosts, networks and VMs of a lab; without a lab, the labs there are.
    Status(status::Args),
    /// Print the lab as a picture in Graphviz's language: `netlab graph lab.toml | dot -Tsvg > lab.svg`.
    Graph(graph::Args),
    /// Print what `up` does on one host as a shell script: to read, and to run by hand.
    Script(script::Args),
    /// Write a lab file that builds the networks of a nova.conf.
    Import(import::Args),
    /// Give a person a VM's console; Ctrl-] leaves.
    Console(console::Args),
    /// Run a command in a VM; its output and exit status are handed on (124: too late, 125: netlab failed).
    Exec(exec::Args),
    /// Save a picture of a VM's screen.
    Screenshot(screenshot::Args),
    /// Guest images.
    #[command(subcommand)]
    Image(image::Verb),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
    /// PID 1 of an emulated host.
    #[command(hide = true)]
    HostInit {
        #[arg(long)]
        lab: LabName,
        #[arg(long)]
        host: HostName,
        #[arg(long)]
        state: PathBuf,
        #[arg(long)]
        cache: PathBuf,
    },
}

/// What every verb has at hand.
struct Context {
    folders: Folders,
    json: bool,
    quiet: bool,
}

impl Context {
    /// Prints the answer: `text` for people, or `value` as JSON.
    fn answer(&self, text: &str, value: &impl Serialize) -> Result<(), Failure> {
        let written = if self.json {
            let json = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed {
                message: error.to_string(),
                help: None,
            })?;
            writeln!(std::io::stdout(), "{json}")
        } else {
            write!(std::io::stdout(), "{text}")
        };
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Failed {
                message: format!("cannot write the answer: {error}"),
                help: None,
            }),
            _ => Ok(()),
        }
    }
}

/// Reads the arguments, runs the verb, gives the exit status.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context {
        folders: Folders::from_env(),
        json: cli.json,
        quiet: cli.quiet || cli.json,
    };
    let done = match cli.verb {
        Verb::Up(args) => up::run(&context, &args),
        Verb::Verify(args) => verify::run(&context, &args),
        Verb::Down(args) => down::run(&context, &args),
        Verb::Doctor(args) => doctor::run(&context, &args),
        Verb::Plan(args) => plan::run(&context, &args),
        Verb::Status(args) => status::run(&context, &args),
        Verb::Graph(args) => graph::run(&context, &args),
        Verb::Script(args) => script::run(&context, &args),
        Verb::Import(args) => import::run(&context, &args),
        Verb::Console(args) => console::run(&context, &args),
        Verb::Exec(args) => return exec::main(&context, &args),
        Verb::Screenshot(args) => screenshot::run(&context, &args),
        Verb::Image(verb) => image::run(&context, &verb),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "netlab", &mut std::io::stdout());
            Ok(())
        }
        Verb::Man => clap_mangen::Man::new(Cli::command())
            .render(&mut std::io::stdout())
            .map_err(|error| Failure::Failed {
                message: error.to_string(),
                help: None,
            }),
        Verb::HostInit {
            lab,
            host,
            state,
            cache,
        } => {
            return emulated::init_main(&Folders { state, cache }, &lab, &host);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verbs_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
