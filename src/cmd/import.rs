//! `netlab import`: nova-network's configuration as a lab file.

use std::path::PathBuf;

use super::Context;
use super::error::CommandError;
use super::output::print_error;
use crate::import::{self, AddedHost, Format, ImportOptions};
use crate::lab::LabName;
use crate::ops::OpsError;

/// Most VMs of an imported lab.
const MOST_VMS: i64 = 1000;

#[derive(clap::Args)]
pub struct Args {
    /// The nova.conf, as an INI or a flag file.
    file: PathBuf,
    /// The lab's name.
    #[arg(long, default_value = "nova")]
    name: LabName,
    /// Read DevStack's local.conf (or localrc) instead of a nova.conf.
    #[arg(long)]
    from_devstack: bool,
    /// Add a host with its management address; can be repeated.
    #[arg(long, value_name = "NAME=ADDRESS")]
    host: Vec<AddedHost>,
    /// Add this many VMs, on the hosts in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=MOST_VMS))]
    vms: u32,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let bytes = std::fs::read(&args.file).map_err(|source| CommandError::File {
        doing: "read",
        path: args.file.clone(),
        source,
    })?;
    let options = ImportOptions {
        name: args.name.clone(),
        format: if args.from_devstack {
            Format::DevStack
        } else {
            Format::NovaConf
        },
        hosts: args.host.clone(),
        vms: args.vms,
    };
    let imported = import::import(&bytes, &options).map_err(|source| OpsError::ImportInvalid {
        file: args.file.clone(),
        source,
    })?;
    for warning in &imported.warnings {
        print_error(&format!("warning: {}: {warning}", args.file.display()));
    }
    context.answer_unchanged(&imported.text, &imported.text)
}
