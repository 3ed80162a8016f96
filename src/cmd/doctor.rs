//! `netlab doctor`: prints the findings about a lab's hosts, and writes the archive for a bug report.

use std::path::PathBuf;

use super::Context;
use super::error::CommandError;
use super::output::{one_line, print_error, table};
use super::target::Target;
use crate::ops::doctor::{Finding, Verdict};
use crate::ops::{self, LoadOptions};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Also write an archive for a bug report: versions, lab file, plan, journal, logs, transcripts and these findings.
    /// Passwords are masked.
    #[arg(long, value_name = "FILE.tar.gz")]
    report: Option<PathBuf>,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let loaded = args.target.load(context, &LoadOptions::default())?;
    let findings = ops::doctor(&context.env, &loaded)?;
    if let Some(file) = &args.report {
        let report = ops::support_report(&context.env, &loaded, &findings, file)?;
        if !context.quiet {
            print_error(&format!(
                "{}: {} written",
                report.file.display(),
                ops::count(report.entries.len(), "file")
            ));
        }
    }
    context.answer(&text(&findings), &findings)?;
    match findings.iter().filter(|one| one.verdict == Verdict::Error).count() {
        0 => Ok(()),
        errors => Err(CommandError::NotAsDescribed {
            message: format!("doctor found {}", ops::count(errors, "error")),
            help: None,
        }),
    }
}

/// Two lines per finding: what was found, and below it what fixes it, as it is typed, so that it can be copied.
fn text(findings: &[Finding]) -> String {
    let mut rows = vec![["HOST", "CHECK", "", "FINDING"].map(ToOwned::to_owned).to_vec()];
    for finding in findings {
        rows.push(vec![
            finding.host.to_string(),
            finding.check.to_owned(),
            label(finding.verdict).to_owned(),
            one_line(&finding.what),
        ]);
        if !finding.help.is_empty() {
            let help = format!("  help: {}", one_line(&finding.help));
            rows.push([String::new(), String::new(), String::new(), help].to_vec());
        }
    }
    table(&rows)
}

fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Error => "ERROR",
    }
}
