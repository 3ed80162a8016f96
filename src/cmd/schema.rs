//! `netlab schema`: the JSON schema of lab files, and their reference.

use std::fmt::Write as _;

use super::Context;
use super::error::CommandError;
use crate::lab::{SchemaKey, keys, schema};

#[derive(clap::Args)]
pub struct Args {
    /// Print every key with its meaning as Markdown instead.
    #[arg(long)]
    reference: bool,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    if args.reference {
        let text = reference();
        return context.answer_unchanged(&text, &text);
    }
    let schema = schema();
    context.answer_unchanged(&format!("{schema:#}\n"), &schema)
}

/// Returns the page `docs/reference.md`.
fn reference() -> String {
    let mut out =
        "# Reference of the lab file\n\nWritten by `netlab schema --reference`; do not edit. `NAME` is a name of \
                   your own, `[]` an item of a list.\n[lab-file.md](lab-file.md) explains what keys do together.\n"
            .to_owned();
    let mut table = None;
    for SchemaKey {
        path,
        value,
        required,
        about,
    } in keys()
    {
        let (at, name) = path.rsplit_once('.').unwrap_or(("", &path));
        if table.as_deref() != Some(at) {
            let title = if at.is_empty() {
                "Lab".to_owned()
            } else {
                format!("`{at}`")
            };
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "\n## {title}\n\n| key | value | meaning |\n|---|---|---|");
            table = Some(at.to_owned());
        }
        let required = if required { " Required." } else { "" };
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(out, "| `{name}` | {} | {}{required} |", cell(&value), cell(about));
    }
    out
}
