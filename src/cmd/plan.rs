//! `netlab plan`: what `up` would do.

use super::error::CommandError;
use super::output::harmless;
use super::{Context, LabFile, print_error};
use crate::lab::{self, ImageName};
use crate::ops::{self, ImageChoice, LoadOptions};
use crate::topology;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: LabFile,
    /// Emulate every host on this machine, whatever its `connect`; the lab's cables connect them.
    #[arg(long)]
    emulate: bool,
    /// Print the plain lab file instead: with counts, defaults and `[nova]` written out.
    #[arg(long)]
    expand: bool,
    /// Plan with this image in place of the lab's `image`.
    #[arg(long)]
    image: Option<ImageName>,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let options = LoadOptions {
        image: args.image.clone().map_or(ImageChoice::AsWritten, ImageChoice::Given),
        emulate: args.emulate,
    };
    if args.expand {
        let loaded = ops::load(&context.env, &args.file.file, &options)?;
        let text = lab::write(&topology::expand(&loaded.lab, &loaded.topology));
        return context.answer_unchanged(&text, &text);
    }
    let loaded = context.load(&args.file.file, &options)?;
    let planned = ops::plan(&context.env, &loaded)?;
    for warning in &planned.warnings {
        print_error(&format!("warning: {}", harmless(&warning.message())));
    }
    let steps = planned.steps();
    let mut text = planned.lines().join("\n");
    if planned.plan.is_empty() {
        text.push_str("nothing to do: the lab is as described");
    }
    context.answer(&format!("{text}\n"), &steps)
}
