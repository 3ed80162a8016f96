//! Programs that netlab starts by itself: PID 1 of an emulated host and the listener of a forwarded port. Not commands
//! of a user: neither help nor completion shows them.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::output::print_error;
use crate::emulated;
use crate::folders::Folders;
use crate::host::forward;
use crate::lab::{HostName, LabName};

#[derive(Parser)]
enum Program {
    /// Serves a forwarded port.
    ForwardPort {
        #[arg(long)]
        lab: LabName,
        #[arg(long)]
        port: u16,
        #[arg(long)]
        to: String,
        #[arg(long)]
        state: PathBuf,
    },
    /// PID 1 of an emulated host.
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

/// Runs the program that the arguments name; none where they are a user's.
pub fn main() -> Option<ExitCode> {
    let first = std::env::args_os().nth(1)?;
    if first != "host-init" && first != "forward-port" {
        return None;
    }
    Some(match Program::parse() {
        Program::HostInit {
            lab,
            host,
            state,
            cache,
        } => emulated::init_main(&Folders { state, cache }, &lab, &host),
        Program::ForwardPort {
            lab,
            port: _,
            to,
            state,
        } => {
            let folders = Folders {
                state,
                ..Folders::from_env()
            };
            let served = serde_json::from_str(&to)
                .map_err(io::Error::from)
                .and_then(|forward| forward::serve(&folders, &lab, &forward));
            match served {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    print_error(&format!("netlab: {error}"));
                    ExitCode::FAILURE
                }
            }
        }
    })
}
