//! `netlab verify`: prints the connectivity matrix, also as JUnit XML and HTML; once, or again and again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap_complete::engine::ArgValueCompleter;

use super::error::CommandError;
use super::output::{is_json, one_line, print_error, wrapped};
use super::progress::Progress;
use super::target::Target;
use super::{Context, complete, print_line, signals, terminal};
use crate::lab::ImageName;
use crate::ops::{self, ImageChoice, LoadOptions, Loaded, VerifyOptions, VerifyReport};
use crate::verify::{Change, Changes, Matrix, Page, Shown, Style, Verdict, html, junit, text};

/// How long `--watch` sleeps before it checks whether it must stop.
const TICK: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
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
    /// Verify again and again, this many seconds after each run, until Ctrl-C; what changed is marked with `*`. With
    /// --json, one line per run.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5", require_equals = true)]
    watch: Option<u32>,
    /// The image that `up --image` ran with; by default, the one of the last `up`.
    #[arg(long, add = ArgValueCompleter::new(complete::images))]
    image: Option<ImageName>,
}

pub fn run(context: &mut Context, args: &Args) -> Result<(), CommandError> {
    let options = LoadOptions {
        image: args.image.clone().map_or(ImageChoice::LastUp, ImageChoice::Given),
        emulate: args.emulate,
    };
    let loaded = args.target.load(context, &options)?;
    let options = VerifyOptions {
        wait: Duration::from_secs(args.wait.into()),
        full: args.full,
        details: args.html.is_some(),
    };
    if let Some(seconds) = args.watch {
        return watch(context, args, &loaded, &options, Duration::from_secs(seconds.into()));
    }
    let report = once(context, &loaded, &options)?;
    write_files(args, &report, &Changes::default())?;
    print_notes(&report);
    let shown = text(&shown(&report, &Changes::default()), style());
    context.answer(&shown, &report)?;
    result(&loaded, &report)
}

/// Verifies once, with progress.
fn once(context: &mut Context, loaded: &Loaded, options: &VerifyOptions) -> Result<VerifyReport, CommandError> {
    let (events, progress) = Progress::start(context.quiet);
    context.env.events = events;
    let report = ops::verify(&context.env, loaded, options);
    progress.finish();
    Ok(report?)
}

/// Verifies again and again until a signal arrives, and marks what is another result than before.
fn watch(
    context: &mut Context,
    args: &Args,
    loaded: &Loaded,
    options: &VerifyOptions,
    pause: Duration,
) -> Result<(), CommandError> {
    let cancel = context.env.cancel.clone();
    signals::listen(cancel.clone(), None)?;
    let mut before: Option<Matrix> = None;
    while !cancel.is_requested() {
        let report = once(context, loaded, options)?;
        if cancel.is_requested() {
            break;
        }
        let changes = before.map_or_else(Changes::default, |before| Changes::between(&before, &report.matrix));
        write_files(args, &report, &changes)?;
        if context.json {
            print_line(&Watched {
                report: &report,
                changes: changes.iter().collect(),
            })?;
        } else {
            let clear = if terminal::color() { "\x1b[H\x1b[2J\x1b[3J" } else { "" };
            let text = text(&shown(&report, &changes), style());
            context.answer(&format!("{clear}{} {}\n{text}", report.began, report.lab), &report)?;
            print_notes(&report);
            for change in changes.iter() {
                print_error(&one_line(&changed(change)));
            }
        }
        before = Some(report.matrix);
        let until = Instant::now() + pause;
        while Instant::now() < until && !cancel.is_requested() {
            std::thread::sleep(TICK.min(pause));
        }
    }
    Err(CommandError::Stopped {
        signal: signals::received(),
    })
}

/// One run of `--watch` as JSON.
#[derive(serde::Serialize)]
struct Watched<'a> {
    #[serde(flatten)]
    report: &'a VerifyReport,
    /// The cells with another result than in the run before.
    changes: Vec<&'a Change>,
}

/// A changed cell as a line.
fn changed(change: &Change) -> String {
    let word = |verdict: Verdict| {
        serde_json::to_value(verdict)
            .ok()
            .and_then(|word| Some(word.as_str()?.to_owned()))
    };
    let before = change.before.and_then(word).unwrap_or_else(|| "not asked".to_owned());
    let after = word(change.after).unwrap_or_default();
    let Change { from, to, address, .. } = change;
    format!("changed: {from} -> {to} ({address}): {before} -> {after}")
}

fn style() -> Style {
    Style {
        columns: terminal::columns(),
        color: terminal::color(),
    }
}

fn shown<'a>(report: &'a VerifyReport, changes: &'a Changes) -> Shown<'a> {
    Shown {
        faults: &report.faults,
        checks: &report.checks,
        matrix: &report.matrix,
        places: &report.places,
        changes,
    }
}

fn print_notes(report: &VerifyReport) {
    // As JSON, the answer has them.
    let notes = report.notes.iter().filter(|_| !is_json());
    for note in notes {
        print_error(&wrapped(&format!("note: {note}"), terminal::error_columns(), 2));
    }
}

/// Writes the files that were asked for.
fn write_files(args: &Args, report: &VerifyReport, changes: &Changes) -> Result<(), CommandError> {
    if let Some(path) = &args.junit {
        let xml = junit(
            report.lab.as_str(),
            &report.drift,
            &report.faults,
            &report.checks,
            &report.matrix,
        );
        let xml = xml.map_err(|error| CommandError::File {
            doing: "write",
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        write(path, &xml)?;
    }
    if let Some(path) = &args.html {
        let details = report.details.clone().unwrap_or_default();
        let page = html(&Page {
            lab: report.lab.as_str(),
            shown: shown(report, changes),
            drift: &report.drift,
            notes: &report.notes,
            began: &report.began,
            seconds: report.seconds,
            versions: &details.versions,
            picture: &details.picture,
            transcripts: &details.transcripts,
        });
        write(path, &page)?;
    }
    Ok(())
}

/// Returns an error for a lab that is not as described.
fn result(loaded: &Loaded, report: &VerifyReport) -> Result<(), CommandError> {
    if !report.drift.is_empty() {
        return Err(CommandError::NotAsDescribed {
            message: format!(
                "the lab is not as described; `up` would do:\n{}",
                report.drift.join("\n")
            ),
            help: Some(format!("netlab up {}", loaded.file.display())),
        });
    }
    if report.as_expected {
        return Ok(());
    }
    let (cells, passed) = (report.matrix.cells.len(), report.matrix.passed());
    let checks = report.checks.iter();
    let failed = checks.filter(|check| check.verdict != Verdict::Pass).count();
    let (message, help) = if failed > 0 && cells == passed {
        let count = report.checks.len();
        (format!("{failed} of {count} checks are not as expected"), None)
    } else if cells == 0 && report.checks.is_empty() {
        let help = "add guests, a `[[verify.ping]]` or a `[[verify.check]]`";
        (
            "nothing was asked, so nothing is proved".to_owned(),
            Some(help.to_owned()),
        )
    } else if cells == passed {
        (format!("{} faults were observed", report.faults.len()), None)
    } else {
        let checks = match failed {
            0 => String::new(),
            failed => format!(", and {failed} of {} checks", report.checks.len()),
        };
        let message = format!("{} of {cells} cells are not as expected{checks}", cells - passed);
        (message, None)
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
