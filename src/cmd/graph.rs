//! `netlab graph`: the lab as a picture.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Context;
use super::error::CommandError;
use super::output::print_error;
use super::target::Target;
use crate::causes::chain;
use crate::graph::{Marks, dot, html, mermaid, svg};
use crate::ops::{self, LoadOptions};
use crate::topology::Topology;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Write to this file, in the format of its name: `.svg`, `.html`, `.mmd` (Mermaid) or `.dot` (Graphviz). Without
    /// it, DOT is printed.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Color guests, machines and NICs by the state that they are in now; for SVG and HTML.
    #[arg(long)]
    live: bool,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let format = args.output.as_deref().map_or(Ok(Format::Dot), Format::of)?;
    if args.live && !matches!(format, Format::Svg | Format::Html) {
        return Err(CommandError::Usage {
            message: "--live colors SVG and HTML only".to_owned(),
            help: "add `--output FILE.svg` or `--output FILE.html`",
        });
    }
    let loaded = args.target.load(context, &LoadOptions::default())?;
    let topology = ops::topology(&context.env, &loaded, &BTreeMap::new()).unwrap_or_else(|error| {
        print_error(&format!(
            "warning: addresses as in a new lab, since the hosts cannot be read: {}",
            chain(&error)
        ));
        Cow::Borrowed(&loaded.topology)
    });
    let marks = if args.live {
        ops::marks(&context.env, &topology)?
    } else {
        Marks::default()
    };
    let text = format.write(&topology, &marks);
    match &args.output {
        None => context.answer_unchanged(&text, &text),
        Some(path) => std::fs::write(path, text).map_err(|source| CommandError::File {
            doing: "write",
            path: path.clone(),
            source,
        }),
    }
}

/// A format of pictures.
#[derive(Clone, Copy)]
enum Format {
    Dot,
    Mermaid,
    Svg,
    Html,
}

impl Format {
    /// Returns the format by a file's name.
    fn of(path: &Path) -> Result<Self, CommandError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("dot" | "gv") => Ok(Self::Dot),
            Some("mmd" | "mermaid") => Ok(Self::Mermaid),
            Some("svg") => Ok(Self::Svg),
            Some("html" | "htm") => Ok(Self::Html),
            _ => Err(CommandError::Usage {
                message: format!("no format of pictures has a name like {}", path.display()),
                help: "use a name that ends with .svg, .html, .mmd or .dot",
            }),
        }
    }

    fn write(self, topology: &Topology, marks: &Marks) -> String {
        match self {
            Self::Dot => dot(topology),
            Self::Mermaid => mermaid(topology),
            Self::Svg => svg(topology, marks),
            Self::Html => html(topology, marks),
        }
    }
}
