//! `netlab cp`: copies files to and from a VM.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::error::CommandError;
use super::progress::Progress;
use super::{Context, complete, trace};
use crate::ops::{self, Copied, CopyOptions, Env, Place};

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, its file, or the folder of that.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// What is copied, and last the file or folder that it becomes: paths of this machine, and on one side `VM:PATH`.
    #[arg(required = true, num_args = 2.., value_name = "SRC... DST")]
    places: Vec<String>,
    /// Copy folders with what is in them; needs an ssh server in the VM.
    #[arg(long, short)]
    recursive: bool,
    /// Copy over the VM's console, although its ssh server answers.
    #[arg(long)]
    console: bool,
    /// How long a copy over the console may take, in seconds; it passes some 30 kB a second.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
}

#[derive(Serialize)]
struct Answer {
    bytes: usize,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    trace::record_in(&context.env.folders, &ops::lab_name(&args.lab)?);
    let mut places: Vec<Place> = args.places.iter().map(|text| Place::parse(text)).collect();
    let Some(to) = places.pop() else { return Ok(()) };
    let options = CopyOptions {
        lab: args.lab.clone(),
        from: places,
        to,
        recursive: args.recursive,
        console: args.console,
        within: Duration::from_secs(args.timeout),
    };
    let (events, progress) = Progress::start(context.quiet);
    let env = Env {
        events,
        ..context.env.clone()
    };
    let copied = ops::copy(&env, &options);
    progress.finish();
    match copied? {
        Copied::OverConsole(bytes) if context.json => context.answer("", &Answer { bytes }),
        Copied::OverConsole(_) => Ok(()),
        Copied::By(words) => {
            let mut words = words.iter();
            let mut scp = Command::new(words.next().map_or("scp", String::as_str));
            scp.args(context.quiet.then_some("-q")).args(words);
            Err(CommandError::Process {
                doing: "run scp",
                source: scp.exec(),
            })
        }
    }
}
