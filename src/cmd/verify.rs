//! `netlab verify`: prints the connectivity matrix, also as JUnit XML and HTML.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::CommandError;
use super::output::print_error;
use super::{Context, LabFile, terminal};
use crate::lab::ImageName;
use crate::ops::{self, ImageChoice, LoadOptions, VerifyOptions};
use crate::verify::{Changes, Shown, Style, html, junit, text};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: LabFile,
    /// Emulate every host on this machine, whatever its `connect`; the lab's cables connect them.
    #[arg(long)]
    emulate: bool,
    /// Also write the result as JUnit XML, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also write the result as one HTML page that needs no other file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Ask again, for this many seconds, where replies were lost or nothing is known; clear results are not asked again.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,
    /// Ask every cell of a lab of more than 64 guests; without it, a sample that has each network, host and boundary.
    #[arg(long)]
    full: bool,
    /// The image that `up --image` ran with; by default, the one of the last `up`.
    #[arg(long)]
    image: Option<ImageName>,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let options = LoadOptions {
        image: args.image.clone().map_or(ImageChoice::LastUp, ImageChoice::Given),
        emulate: args.emulate,
    };
    let loaded = context.load(&args.file.file, &options)?;
    let report = ops::verify(
        &context.env,
        &loaded,
        &VerifyOptions {
            wait: Duration::from_secs(args.wait.into()),
            full: args.full,
        },
    )?;
    if let Some(path) = &args.junit {
        let xml = junit(report.lab.as_str(), &report.drift, &report.faults, &report.matrix);
        let xml = xml.map_err(|error| CommandError::File {
            doing: "write",
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        write(path, &xml)?;
    }
    if let Some(path) = &args.html {
        let page = html(report.lab.as_str(), &report.drift, &report.faults, &report.matrix);
        write(path, &page)?;
    }
    let style = Style {
        columns: terminal::columns(),
        color: terminal::color(),
    };
    let shown = Shown {
        faults: &report.faults,
        matrix: &report.matrix,
        places: &report.places,
        changes: &Changes::default(),
    };
    for note in &report.notes {
        print_error(&format!("note: {note}"));
    }
    context.answer(&text(&shown, style), &report)?;
    if !report.drift.is_empty() {
        return Err(CommandError::NotAsDescribed {
            message: format!(
                "the lab is not as described; `up` would do:\n{}",
                report.drift.join("\n")
            ),
            help: Some(format!("netlab up {}", args.file.file.display())),
        });
    }
    if report.as_expected {
        return Ok(());
    }
    let (cells, passed) = (report.matrix.cells.len(), report.matrix.passed());
    let (message, help) = if cells == 0 {
        let help = "add guests, or a `[[verify.ping]]`";
        (
            "nothing was asked, so nothing is proved".to_owned(),
            Some(help.to_owned()),
        )
    } else if cells == passed {
        (format!("{} faults were observed", report.faults.len()), None)
    } else {
        (format!("{} of {cells} cells are not as expected", cells - passed), None)
    };
    Err(CommandError::NotAsDescribed { message, help })
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    std::fs::write(path, text).map_err(|source| CommandError::File {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}
