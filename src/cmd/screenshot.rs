//! `netlab screenshot`: a picture of a VM's screen.

use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::error::Failure;
use super::{Context, sight, vm};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    vm: vm::Args,
    /// The file to write, in PNG format; `-` is standard output.
    out: PathBuf,
}

#[derive(Serialize)]
struct Answer {
    file: PathBuf,
    bytes: usize,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let vm = vm::find(context, &args.vm)?;
    let png = vm
        .host
        .screenshot(&vm.name)
        .map_err(|error| sight::failed(error.to_string()))?;
    let failed = |error: std::io::Error| sight::failed(format!("cannot write {}: {error}", args.out.display()));
    if args.out.as_os_str() == "-" {
        return std::io::stdout().write_all(&png).map_err(failed);
    }
    std::fs::write(&args.out, &png).map_err(failed)?;
    let answer = Answer {
        file: args.out.clone(),
        bytes: png.len(),
    };
    context.answer(&format!("{}\n", args.out.display()), &answer)
}
