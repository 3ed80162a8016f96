//! `netlab graph`: the lab as a picture.

use std::collections::BTreeMap;

use super::error::CommandError;
use super::output::print_error;
use super::{Context, LabFile};
use crate::ops::{self, LoadOptions};
use crate::run::chain;
use crate::topology::graph;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: LabFile,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let loaded = context.load(&args.file.file, &LoadOptions::default())?;
    let topology = ops::topology(&context.env, &loaded, &BTreeMap::new()).unwrap_or_else(|error| {
        print_error(&format!(
            "warning: addresses as in a new lab, since the hosts cannot be read: {}",
            chain(&error)
        ));
        loaded.topology.clone()
    });
    let text = graph(&topology);
    context.answer(&text, &text)
}
