//! `netlab break`: puts a fault into a lab for people to find.

use std::fs::File;
use std::io::{self, Read as _};

use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::error::CommandError;
use super::{Context, complete, trace};
use crate::ops::{self, BreakOptions, Broken, ImageChoice, LoadOptions};

const EXAMPLES: &str = "Examples:
  netlab break lab1                  put a fault in, without naming it
  netlab break lab1 --level 1        something is down: easy to find
  netlab break lab1 --seed 7         the same fault on every machine of a class
  netlab verify lab.toml             what does not work, and why
  netlab break lab1 --reveal         name it
  netlab break lab1 --heal           remove it; `netlab up` does so, too";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The lab's name, or its file.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// Which fault: the same number means the same fault of the same lab. By default it is random.
    #[arg(long)]
    seed: Option<u64>,
    /// How hard it is to find: 1 (something is down), 2 (something is configured wrongly), 3 (links and addresses are as
    /// they should be). By default any.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    level: Option<u8>,
    /// Also on hosts that are not emulated, but never on the NICs that they are reached by.
    #[arg(long)]
    real: bool,
    /// Name the fault that was put in.
    #[arg(long, conflicts_with_all = ["seed", "level", "real"])]
    reveal: bool,
    /// Remove the fault that was put in.
    #[arg(long, conflicts_with_all = ["seed", "level", "real", "reveal"])]
    heal: bool,
}

/// What `--json` prints of a fault that is not revealed.
#[derive(Serialize)]
struct Hidden {
    lab: String,
    seed: u64,
    level: u8,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let lab = ops::lab_name(&args.lab)?;
    trace::record_in(&context.env.folders, &lab);
    if args.reveal {
        let broken = ops::reveal(&context.env, &lab)?;
        return context.answer(&revealed(&broken), &broken);
    }
    if args.heal {
        let broken = ops::heal(&context.env, &lab)?;
        let text = format!("removed: {}\n", broken.fault.text);
        return context.answer(&text, &broken);
    }
    let options = LoadOptions {
        image: ImageChoice::LastUp,
        emulate: ops::is_emulated(&context.env, &lab)?,
    };
    let loaded = ops::load_named(&context.env, &args.lab, &options)?;
    let seed = args
        .seed
        .map_or_else(random, Ok)
        .map_err(|source| CommandError::Process {
            doing: "choose a fault",
            source,
        })?;
    let options = BreakOptions {
        seed,
        level: args.level,
        real: args.real,
    };
    let Broken { seed, fault } = ops::break_lab(&context.env, &loaded, &options)?;
    let text = format!(
        "lab {lab} has a fault of level {} (seed {seed}): find it, e.g. with `netlab verify`\n\
         `netlab break {lab} --reveal` names it, `netlab break {lab} --heal` removes it\n",
        fault.level
    );
    let hidden = Hidden {
        lab: lab.to_string(),
        seed,
        level: fault.level,
    };
    context.answer(&text, &hidden)
}

/// Returns a number that is short enough to pass on.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from(u32::from_le_bytes(bytes)) % 1_000_000)
}

fn revealed(Broken { seed, fault }: &Broken) -> String {
    format!(
        "{}\nlevel {}, seed {seed}; put in on {} by: {}\nremoved by: {}\n",
        fault.text, fault.level, fault.on, fault.put, fault.heal
    )
}
