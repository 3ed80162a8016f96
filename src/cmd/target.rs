//! The lab as an argument: a file, a folder, a name, or standard input.

use std::io::{self, Read as _};
use std::path::Path;

use clap_complete::engine::ArgValueCompleter;

use super::error::CommandError;
use super::output::{print_error, warning};
use super::{Context, complete, trace};
use crate::ops::{self, LAB_TOML, LoadOptions, Loaded};

/// A lab of which the file is needed.
#[derive(clap::Args)]
// A part of other `Args`, whose group has that name already.
#[group(skip)]
pub struct Target {
    /// The lab's file, a folder with a `lab.toml`, the name of a lab that is up, or `-` for standard input; without it,
    /// `lab.toml` in the current folder.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    pub lab: Option<String>,
}

impl Target {
    /// Loads the lab and prints its warnings; from now on the lab's log is written.
    pub fn load(&self, context: &Context, options: &LoadOptions) -> Result<Loaded, CommandError> {
        let loaded = self.load_quietly(context, options)?;
        for one in loaded.warnings() {
            let text = format!("{}: {one}", loaded.file.display());
            print_error(&warning(&text, one.help.as_deref()));
        }
        trace::record_in(&context.env.folders, &loaded.topology.lab);
        Ok(loaded)
    }

    /// Loads the lab; its warnings are not printed.
    pub fn load_quietly(&self, context: &Context, options: &LoadOptions) -> Result<Loaded, CommandError> {
        let env = &context.env;
        match self.lab.as_deref() {
            None => Ok(ops::load(env, Path::new(in_this_folder(context)?), options)?),
            Some("-") => {
                let mut text = String::new();
                let read = io::stdin().lock().read_to_string(&mut text);
                read.map_err(|source| CommandError::Process {
                    doing: "read a lab from standard input",
                    source,
                })?;
                Ok(ops::load_text(env, text, options)?)
            }
            Some(text) => Ok(ops::load_named(env, text, options)?),
        }
    }
}

/// Returns the lab file of the current folder, and prints that it is the one that is used.
pub fn in_this_folder(context: &Context) -> Result<&'static str, CommandError> {
    if !Path::new(LAB_TOML).is_file() {
        return Err(CommandError::Usage {
            message: format!("no lab is named, and there is no {LAB_TOML} in this folder"),
            help: "name a lab file, a folder with a lab.toml, or a lab that is up; `netlab init` writes a lab.toml",
        });
    }
    if !context.quiet {
        print_error(&format!("lab file: ./{LAB_TOML}"));
    }
    Ok(LAB_TOML)
}
