//! `netlab screenshot`: saves a picture of a VM's screen.

use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::error::CommandError;
use super::{Context, VmArgs};
use crate::ops::OpsError;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    vm: VmArgs,
    /// The file to write, in PNG format; `-` is standard output.
    out: PathBuf,
}

#[derive(Serialize)]
struct Answer {
    file: PathBuf,
    bytes: usize,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let vm = args.vm.find(context)?;
    let png = vm.host.screenshot(&vm.name).map_err(OpsError::from)?;
    let failed = |source| CommandError::File {
        doing: "write",
        path: args.out.clone(),
        source,
    };
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
