//! What the user can do about an error, and its details host by host.

use miette::Diagnostic as _;

use super::{Aftermath, Detail, OpsError};
use crate::causes::chain;
use crate::lab::{HostName, suggest};
use crate::plan::Step;
use crate::preflight::Obstacle;

impl OpsError {
    /// Returns what the user can do about it as a whole; each of [`Self::details`] has its own help.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::LabInvalid(error) => error.help().map(|help| help.to_string()),
            Self::Image(error) => Some(error.help().to_owned()),
            Self::Guest(error) => Some(error.help().to_owned()),
            Self::Locked(error) => Some(error.help().to_owned()),
            Self::Journal(error) => Some(error.help().to_owned()),
            Self::Host(error) => error.help(),
            Self::NoLabName { .. } => {
                Some("give the lab's name instead of the file; `netlab status` lists the labs".to_owned())
            }
            Self::NotALab { .. } => Some("`netlab status` lists the labs".to_owned()),
            Self::NoSuchLab { .. } => {
                Some("`netlab status` lists the labs that are up, `netlab init` writes a lab file".to_owned())
            }
            Self::ChangedConnect { lab, .. } => Some(format!("take the lab down first: `netlab down {lab}`")),
            Self::Elsewhere { lab, folder, .. } => Some(format!(
                "set NETLAB_STATE_DIR={} to work on it, or remove it from there: `netlab down {lab} --force`",
                folder.display()
            )),
            Self::OtherFile { lab, file, .. } => Some(format!(
                "give the lab in {file} another name, or take the lab down first (`netlab down {lab}`), or change it to \
                 what {file} describes: `netlab up {file} --replace`",
                file = file.display()
            )),
            Self::Interrupted { lab, .. } => {
                Some(format!("`netlab up` continues, `netlab down {lab}` removes everything"))
            }
            Self::StepsFailed { lab, then, .. } => Some(match then {
                Aftermath::RolledBack => "every host was restored to its state before this run".to_owned(),
                Aftermath::RollbackFailed => {
                    format!("the rollback failed, too: `netlab down {lab}` removes what is left")
                }
                Aftermath::Kept => format!("`netlab up` continues, `netlab down {lab}` removes everything"),
                Aftermath::GuestsOnly { transcripts } => format!(
                    "the rest of the lab is up; `netlab up` tries again, `netlab down {lab}` removes everything; the \
                     guests' transcripts are in {}",
                    transcripts.display()
                ),
                Aftermath::Unchanged => "nothing was changed".to_owned(),
                Aftermath::Resumed => "every guest runs on, and nothing of the checkpoint is left".to_owned(),
                Aftermath::Paused => format!("`netlab resume {lab}` tries again, `netlab down {lab}` removes everything"),
                Aftermath::HalfRestored => format!(
                    "`netlab restore {lab}` tries again; `netlab up` resumes guests that are paused and boots those that are off"
                ),
                Aftermath::RestRemoved => {
                    format!("everything else was removed; `netlab down {lab}` tries the rest again")
                }
            }),
            Self::NotConverged { lab, command, .. } => Some(match *command {
                "down" => format!("`netlab down {lab}` tries again"),
                _ => format!("`netlab up` tries again, `netlab down {lab}` removes everything"),
            }),
            Self::NotUp { file, .. } => file.as_ref().map(|file| format!("netlab up {}", file.display())),
            Self::ImportInvalid { source, .. } => source.help().map(str::to_owned),
            Self::NoSuchVm { vm, known, .. } => Some(suggest(vm, known.iter().map(String::as_str))),
            Self::HostStopped { lab, host, .. } => Some(format!("`netlab start {lab} {host}` starts it, with all its VMs")),
            Self::Break(error) => error.help(),
            Self::Checkpoint(error) => Some(error.help()),
            Self::Capture(error) => error.help(),
            Self::JitterWithoutDelay => Some("add `--delay`, e.g. `--delay 50ms`".to_owned()),
            Self::NoSuchLink { text, known, .. } | Self::NoSuchEnd { text, known, .. } => {
                Some(suggest(text, known.iter().map(String::as_str)))
            }
            Self::VmNotRunning { why: None, .. } => Some("`netlab up` starts it again".to_owned()),
            Self::VmNotRunning { why: Some(_), .. } => {
                Some("remove the cause, then run `netlab up`, which resumes it".to_owned())
            }
            Self::NoFile { .. } => Some("give the lab's file instead of its name".to_owned()),
            Self::NoConsole { .. } => {
                Some("give the lab's file instead of its name, or run `netlab up` again".to_owned())
            }
            Self::NotReached { .. } => Some(
                "give one of its networks a `gateway`, or a host an address there; `netlab exec` and `netlab cp` use its \
                 console"
                    .to_owned(),
            ),
            Self::Dial { source, .. } if source.is_refused() => Some(
                "nothing listens on that port in the guest; `netlab exec` and `netlab cp` use its console".to_owned(),
            ),
            Self::NeverWarm(_) => Some(
                "an image can have `warm = true` where it asks for no login on its serial console"
                    .to_owned(),
            ),
            Self::NoSuchHost { .. }
            | Self::NotWarm { .. }
            | Self::Dial { .. }
            | Self::Copy { .. }
            | Self::ImageWithoutEffect { .. }
            | Self::File { .. }
            | Self::Unreachable(_)
            | Self::NoSpace(_)
            | Self::PreflightFailed(_)
            | Self::ControlCharacters
            | Self::Script(_) => None,
        }
    }

    /// Returns the causes, host by host, where there can be several.
    pub fn details(&self) -> Vec<Detail> {
        match self {
            Self::Unreachable(errors) | Self::NoSpace(errors) => errors
                .iter()
                .map(|(host, error)| Detail {
                    host: host.clone(),
                    message: chain(error),
                    help: error.help(),
                })
                .collect(),
            Self::PreflightFailed(obstacles) => obstacles
                .iter()
                .map(|Obstacle { host, what, help, .. }| Detail {
                    host: host.clone(),
                    message: what.clone(),
                    help: (!help.is_empty()).then(|| help.clone()),
                })
                .collect(),
            Self::StepsFailed { failed, .. } => failed
                .iter()
                .map(|(host, error)| Detail {
                    host: host.clone(),
                    message: chain(error),
                    help: error.help(),
                })
                .collect(),
            Self::NotConverged { remaining, .. } => remaining
                .steps()
                .map(|(host, step): (&HostName, &Step)| Detail {
                    host: host.clone(),
                    message: step.to_string(),
                    help: None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}
