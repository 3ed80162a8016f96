//! How a command fails: its message, its `help:` and its exit status.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use serde_json::json;

use super::output::{harmless, is_json, one_line_json, print_error, wrapped};
use super::terminal::error_columns;
use crate::causes::chain;
use crate::guest::ConsoleError;
use crate::import::ImportError;
use crate::lab::{LabName, LoadError, Problem};
use crate::ops::OpsError;

/// Why a command did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The use case failed.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// The use case was stopped by this signal.
    #[error("interrupted by signal {signal}")]
    Interrupted {
        /// The signal's number.
        signal: u8,
        /// The lab that it was working on.
        lab: LabName,
        /// What was done until then.
        #[source]
        source: OpsError,
    },
    /// A command that runs until a signal was stopped by it.
    #[error("stopped by signal {signal}")]
    Stopped {
        /// The signal's number.
        signal: u8,
    },
    /// A check found that the lab is not as described; the report was printed.
    #[error("{message}")]
    NotAsDescribed {
        /// What is not.
        message: String,
        /// What the user can do about it.
        help: Option<String>,
    },
    /// An image that nothing describes.
    #[error("no image `{name}` is described: netlab needs to know its machine and its console")]
    UndescribedImage {
        /// The image.
        name: String,
        /// How to describe it.
        help: String,
    },
    /// An image that is fetched, not built.
    #[error("image {name} is fetched, not built")]
    NotBuilt {
        /// The image.
        name: String,
    },
    /// Options that do not go together, or a value that no option has.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What is right.
        help: &'static str,
    },
    /// The console that a person uses failed.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Something of this process failed: its terminal, its signals, its output.
    #[error("cannot {doing}")]
    Process {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl CommandError {
    /// Returns the exit status: 2 for an invalid lab or argument, 128 + signal after an interruption, 1 for the rest.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Ops(
                OpsError::LabInvalid(_)
                | OpsError::ImportInvalid {
                    source: ImportError::Invalid { .. } | ImportError::Nothing { .. },
                    ..
                }
                | OpsError::ImageWithoutEffect { .. }
                | OpsError::NoSuchHost { .. }
                | OpsError::NoSuchEnd { .. }
                | OpsError::ControlCharacters,
            )
            | Self::Usage { .. } => 2,
            Self::Interrupted { signal, .. } | Self::Stopped { signal } => signal.saturating_add(128),
            _ => 1,
        }
    }

    /// Returns what the user can do about it.
    fn help(&self) -> Option<String> {
        match self {
            Self::Ops(error) => error.help(),
            Self::Interrupted { lab, .. } => {
                Some(format!("`netlab up` continues, `netlab down {lab}` removes everything"))
            }
            Self::NotAsDescribed { help, .. } => help.clone(),
            Self::UndescribedImage { help, .. } => Some(help.clone()),
            Self::Usage { help, .. } => Some((*help).to_owned()),
            Self::NotBuilt { name } => Some(format!("netlab image pull {name}")),
            Self::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("it is left as it is: name another file, or remove this one".to_owned())
            }
            Self::Stopped { .. } | Self::Console(_) | Self::File { .. } | Self::Process { .. } => None,
        }
    }

    /// Prints it on stderr.
    pub fn print(self) {
        if is_json() {
            return print_error(&self.json());
        }
        match self {
            // miette shows every problem with its place in the file.
            Self::Ops(OpsError::LabInvalid(error)) => print_error(&format!("{:?}", miette::Report::new(*error))),
            error => print_error(&wrapped(error.text().trim_end(), error_columns(), 2)),
        }
    }

    /// All of it as one line of JSON.
    fn json(&self) -> String {
        let status = self.exit_status();
        let details = match self {
            Self::Ops(OpsError::LabInvalid(error)) => {
                return one_line_json(&json!({
                    "error": harmless(&chain(&**error)), "help": self.help(), "problems": problems(error),
                    "exit_status": status,
                }));
            }
            Self::Ops(error) | Self::Interrupted { source: error, .. } => error.details(),
            _ => Vec::new(),
        };
        one_line_json(&json!({
            "error": harmless(&chain(self)), "help": self.help(), "details": details, "exit_status": status,
        }))
    }

    /// The message with its causes, each with its help.
    fn text(&self) -> String {
        let mut text = format!("error: {}\n", harmless(&chain(self)));
        let details = match self {
            Self::Ops(error) | Self::Interrupted { source: error, .. } => error.details(),
            _ => Vec::new(),
        };
        // Writing to a `String` cannot fail.
        for detail in details {
            let _ = writeln!(text, "{}: {}", detail.host, harmless(&detail.message));
            if let Some(help) = detail.help {
                let _ = writeln!(text, "  help: {}", harmless(&help));
            }
        }
        if let Some(help) = self.help() {
            let _ = writeln!(text, "help: {}", harmless(&help));
        }
        text
    }
}

/// Returns the problems of a lab file, each with its place.
fn problems(error: &LoadError) -> Vec<serde_json::Value> {
    let LoadError::Invalid(problems) = error else {
        return Vec::new();
    };
    let problem = |one: &Problem| {
        let (file, line, column) = one.place().unwrap_or((&problems.file, 0, 0));
        json!({ "file": file, "line": line, "column": column, "message": one.message, "help": one.help })
    };
    problems.problems.iter().map(problem).collect()
}

/// Returns an error of the command line as one line of JSON.
pub fn json_error(message: &str, help: Option<&str>, status: u8) -> String {
    one_line_json(&json!({ "error": message, "help": help, "details": [], "exit_status": status }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::{Obstacle, Severity};

    #[test]
    fn an_error_as_json_has_its_causes_their_help_and_its_status() {
        let error: serde_json::Value = serde_json::from_str(&interrupted(2).json()).unwrap();
        assert_eq!(error["exit_status"], 130);
        assert!(error["help"].as_str().unwrap().contains("netlab down demo"), "{error}");
        let problems = crate::lab::parse("a.toml", "name = \"a\"\nnmae = 1\n", &std::collections::BTreeSet::new());
        let invalid = LoadError::Invalid(Box::new(problems.unwrap_err()));
        let error = CommandError::Ops(OpsError::LabInvalid(Box::new(invalid))).json();
        let error: serde_json::Value = serde_json::from_str(&error).unwrap();
        assert_eq!(error["exit_status"], 2);
        let first = &error["problems"][0];
        assert_eq!(
            (first["file"].as_str(), first["line"].as_u64()),
            (Some("a.toml"), Some(2)),
            "{error}"
        );
    }

    fn interrupted(signal: u8) -> CommandError {
        CommandError::Interrupted {
            signal,
            lab: "demo".parse().unwrap(),
            source: OpsError::Interrupted {
                lab: "demo".parse().unwrap(),
                done: 3,
                left: 4,
            },
        }
    }

    #[test]
    fn each_error_has_its_exit_status() {
        assert_eq!(CommandError::Ops(OpsError::ControlCharacters).exit_status(), 2);
        assert_eq!(
            CommandError::Ops(OpsError::VmNotRunning {
                vm: "a".to_owned(),
                why: None
            })
            .exit_status(),
            1
        );
        assert_eq!(interrupted(2).exit_status(), 130);
        assert_eq!(interrupted(15).exit_status(), 143);
    }

    #[test]
    fn each_cause_is_printed_with_its_own_help() {
        let obstacle = |host: &str, help: &str| Obstacle {
            severity: Severity::Error,
            host: host.parse().unwrap(),
            what: "program `nft` is missing".to_owned(),
            help: help.to_owned(),
        };
        let error = OpsError::PreflightFailed(vec![obstacle("a", "apt-get install nftables"), obstacle("b", "")]);
        assert_eq!(
            CommandError::Ops(error).text(),
            "error: preflight failed: 2 errors; nothing was changed\n\
             a: program `nft` is missing\n  help: apt-get install nftables\n\
             b: program `nft` is missing\n"
        );
    }

    #[test]
    fn an_interruption_names_the_signal_and_how_to_continue() {
        assert_eq!(
            interrupted(2).text(),
            "error: interrupted by signal 2: stopped between steps: 3 done, 4 not begun\n\
             help: `netlab up` continues, `netlab down demo` removes everything\n"
        );
    }
}
