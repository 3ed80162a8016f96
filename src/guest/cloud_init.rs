//! What cloud-init says in a guest about its modules: of those that do what the lab file asks for, a failure is an error; of
//! all others, which the image chose, it is a warning.

mod asked;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use asked::Asked;

use super::configure::ConfigureError;
use super::embedded::code;
use super::error::{SessionError, SessionFault};
use super::session::Session;
use super::{Download, download};
use crate::state::GuestConfig;

/// Deadline of cloud-init: it may install packages.
const WITHIN: Duration = Duration::from_secs(1800);
/// Deadline of reading a file.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// Waits for cloud-init.
const WAIT: &str = include_str!("cloud_init/wait.sh");
/// Where cloud-init records the errors of its stages, also while it runs (since 0.7.7).
const STATUS: &str = "/run/cloud-init/status.json";
/// The most bytes of it that are read.
const MOST: usize = 256 * 1024;
/// What modules print, for root only.
const OUTPUT: &str = "tail -n 200 /var/log/cloud-init-output.log 2>/dev/null";
/// How many lines of that are quoted.
const QUOTED: usize = 12;
/// `cloud-init status` ends with it where it recovered from all errors (23.4).
const RECOVERED: i32 = 2;

/// What cloud-init records: `{"v1": {"init": {"errors": […]}, …}}`.
#[derive(Debug, Default, Deserialize)]
struct Recorded {
    v1: BTreeMap<String, serde_json::Value>,
}

/// A stage of it.
#[derive(Debug, Default, Deserialize)]
struct Stage {
    #[serde(default)]
    errors: Vec<String>,
    /// By their level, e.g. `DEPRECATED` (24.1).
    #[serde(default)]
    recoverable_errors: BTreeMap<String, Vec<String>>,
}

/// What is reported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// What the lab file asked for and was not done.
    failed: Vec<String>,
    /// The stage of the first of these, e.g. `modules-final`.
    stage: Option<String>,
    /// What the image asked for and was not done, and what is deprecated.
    warnings: Vec<String>,
}

/// Checks what cloud-init did of what the seed disk of `config` asks for, once it has ended where that takes time. `warn` is
/// called with what else failed.
pub(super) fn check(
    session: &mut Session<'_>,
    config: &GuestConfig,
    warn: &mut dyn FnMut(&str),
) -> Result<(), ConfigureError> {
    let said = if config.cloud_init.is_work() {
        ended(session)?
    } else {
        None
    };
    let verdict = evaluate(&Asked::by(config), said.as_ref(), &recorded(session)?);
    verdict.warnings.iter().for_each(|text| warn(text));
    if verdict.failed.is_empty() {
        return Ok(());
    }
    let output = session.run_as_root(OUTPUT, READ_WITHIN)?.text;
    Err(ConfigureError::CloudInit {
        failed: verdict.failed,
        output: printed_in(&verdict.stage.unwrap_or_default(), &output),
    })
}

/// Waits until cloud-init has ended. A guest without the program cloud-init is not waited for. `warn` is called with what
/// failed.
pub(super) fn wait(session: &mut Session<'_>, warn: &mut dyn FnMut(&str)) -> Result<(), SessionError> {
    let said = ended(session)?;
    let verdict = evaluate(&Asked::nothing(), said.as_ref(), &recorded(session)?);
    verdict.warnings.iter().for_each(|text| warn(text));
    Ok(())
}

/// Waits until cloud-init has ended; returns the exit status of `cloud-init status` and what it printed, if the guest has it.
fn ended(session: &mut Session<'_>) -> Result<Option<(i32, String)>, SessionError> {
    let script = format!("( {} )", code(WAIT));
    Ok(said(&session.run_idempotent(&script, WITHIN)?.text))
}

/// Finds that in what appeared on the console, on which cloud-init prints, too.
fn said(printed: &str) -> Option<(i32, String)> {
    let (_, rest) = printed.rsplit_once("netlab-status ")?;
    let (status, text) = rest.split_once('\n').unwrap_or((rest, ""));
    let begin = text.rfind("status: ").unwrap_or_default();
    let text = text.get(begin..).unwrap_or_default().trim();
    Some((status.trim().parse().ok()?, text.to_owned()))
}

/// Reads what cloud-init records; nothing where it records nothing, or prints so much meanwhile that it cannot be read.
fn recorded(session: &mut Session<'_>) -> Result<Recorded, SessionError> {
    match download(session, STATUS, MOST, READ_WITHIN) {
        Ok(Download::File(bytes)) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Ok(Download::Unreadable(_)) => Ok(Recorded::default()),
        Err(error) if matches!(error.fault, SessionFault::Download { .. }) => Ok(Recorded::default()),
        Err(error) => Err(error),
    }
}

/// Decides what is an error and what a warning. `said`: how `cloud-init status` ended, and its text.
fn evaluate(asked: &Asked, said: Option<&(i32, String)>, recorded: &Recorded) -> Verdict {
    let mut verdict = Verdict::default();
    let stages = recorded.v1.iter().filter_map(|(name, stage)| {
        // Beside the stages are texts.
        let stage = Stage::deserialize(stage).ok()?;
        Some((name, stage))
    });
    let mut modules = Vec::new();
    let mut others = Vec::new();
    for (name, stage) in stages {
        for error in &stage.errors {
            let (module, message) = parts(error);
            let what = module.map_or_else(|| format!("the stage {name}"), |module| format!("the module {module}"));
            let text = format!("{what} of cloud-init failed: {message}");
            if asked.includes(module) {
                verdict.failed.push(text);
                verdict.stage.get_or_insert_with(|| name.clone());
            } else {
                verdict
                    .warnings
                    .push(format!("{text}; the lab file did not ask for it"));
            }
            modules.extend(module.map(str::to_owned));
        }
        for (level, texts) in stage.recoverable_errors {
            let what = if level == "DEPRECATED" { "deprecated" } else { "warning" };
            others.extend(
                texts
                    .iter()
                    .map(|text| format!("cloud-init: {what}: {}", one_line(text))),
            );
        }
    }
    // An error of a module is a warning of its log, too.
    others.retain(|text| !modules.iter().any(|module| text.contains(&format!("module {module} "))));
    others.sort();
    others.dedup();
    let silent = verdict.failed.is_empty() && verdict.warnings.is_empty();
    if let Some((status, text)) = said.filter(|(status, _)| silent && ![0, RECOVERED].contains(status)) {
        let text = format!("cloud-init ended with status {status}: {}", one_line(text));
        if asked.includes(None) {
            verdict.failed.push(text);
        } else {
            verdict.warnings.push(text);
        }
    }
    verdict.warnings.extend(others);
    verdict
}

/// Returns the end of what the modules of a stage printed, without what cloud-init says of its own: the lines after
/// `Cloud-init v. 22.4.2 running 'modules:final' at …`, up to the next such line.
fn printed_in(stage: &str, output: &str) -> String {
    let begins = format!(" running '{}'", stage.replacen("modules-", "modules:", 1));
    let lines: Vec<&str> = output.lines().collect();
    let begin = lines.iter().rposition(|line| line.contains(&begins));
    let own = |line: &str| line.starts_with("Cloud-init v. ");
    let printed = lines.iter().skip(begin.map_or(lines.len(), |begin| begin + 1));
    let printed = printed.take_while(|line| !own(line));
    let printed: Vec<&str> = printed.filter(|line| !line.contains(".py[")).copied().collect();
    let last = printed.get(printed.len().saturating_sub(QUOTED)..).unwrap_or_default();
    last.join("\n").trim().to_owned()
}

/// Splits an error into its module, if it names one, and its message: `('ntp', RuntimeError('no client'))`, as Python prints
/// a pair of a text and an exception.
fn parts(error: &str) -> (Option<&str>, String) {
    let pair = error.strip_prefix("('").and_then(|rest| rest.strip_suffix(')'));
    let Some((module, exception)) = pair.and_then(|pair| pair.split_once("', ")) else {
        return (None, one_line(error));
    };
    let inner = exception.split_once('(').and_then(|(_, rest)| {
        let inner = rest.strip_suffix(')')?;
        let inner = inner.strip_suffix(',').unwrap_or(inner);
        let quote = inner.chars().next().filter(|first| ['\'', '"'].contains(first))?;
        inner.get(1..)?.strip_suffix(quote)
    });
    (Some(module), one_line(&unescaped(inner.unwrap_or(exception))))
}

/// Resolves the escapes of Python's texts that occur in messages.
fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n")
        .replace("\\t", " ")
        .replace("\\'", "'")
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
}

/// Joins lines, without those that say nothing: `Stdout: -`.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_end_matches('\\'));
    let lines = lines.filter(|line| !line.is_empty() && !line.ends_with(": -"));
    lines.collect::<Vec<_>>().join("; ")
}
