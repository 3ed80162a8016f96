//! Writes files and runs commands in a guest over its console, as root, one after another.

use std::time::Duration;

use super::cloud_init;
use super::embedded::quoted;
use super::error::SessionError;
use super::privilege::Privilege;
use super::session::{CommandOutput, Session};
use super::{LINE_LIMIT, upload};
use crate::lab::{Proxies, Task};
use crate::state::SetUp;

/// Deadline of one command, or of writing one file.
const LIMIT: Duration = Duration::from_secs(1800);
/// Deadline of what is only cleaned up.
const CLEAN_WITHIN: Duration = Duration::from_secs(10);
/// The longest line that is typed; longer ones are sent as a file. Quotes that are added need space, too.
const LONGEST: usize = LINE_LIMIT - 200;

/// A file could not be written or a command failed in a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetUpError {
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A command's exit status was not 0.
    #[error("command {number} of {of}, `{command}`, ended with status {status} in the guest{}", said(.output))]
    Command {
        /// The command.
        command: String,
        /// Its number, from 1, among the commands.
        number: usize,
        /// How many there are.
        of: usize,
        /// Its exit status.
        status: i32,
        /// Its last output.
        output: String,
    },
    /// A file could not be written.
    #[error("{path} could not be written in the guest{}", said(.output))]
    File {
        /// The file.
        path: String,
        /// What the guest's programs printed.
        output: String,
    },
}

impl SetUpError {
    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Session(error) => error.help(),
            Self::Command { .. } => {
                "the guest stays up, and what was done before is not repeated: correct the command, or the cause in the \
                 guest, and run `netlab up` again"
            }
            Self::File { .. } => "correct the path, or make space in the guest, and run `netlab up` again",
        }
    }
}

/// Returns the end of what was printed, as the end of a message.
fn said(output: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<&str> = output.trim_end().lines().collect();
    match lines.get(lines.len().saturating_sub(LINES)..) {
        Some([]) | None => ", and printed nothing".to_owned(),
        Some([one]) => format!(": {one}"),
        Some(last) => format!(":\n{}", last.join("\n")),
    }
}

/// Does what is not done yet of `set_up`, in order, until something fails. `on_task` is called with a text before each one,
/// `done` with how many are done after it, `warn` with what cloud-init could not do.
pub fn set_up<E: From<SetUpError>>(
    session: &mut Session<'_>,
    set_up: &SetUp,
    on_task: &mut dyn FnMut(&str),
    done: &mut dyn FnMut(usize) -> Result<(), E>,
    warn: &mut dyn FnMut(&str),
) -> Result<(), E> {
    if set_up.seeded {
        on_task("waiting for cloud-init");
        // What it was asked for has been checked as the guest was configured.
        let mut warn_first = |text: &str| {
            if set_up.done == 0 {
                warn(text);
            }
        };
        cloud_init::wait(session, &mut warn_first).map_err(SetUpError::from)?;
    }
    let login = set_up.console.login.as_ref();
    let root = Privilege::of(session, login).map_err(SetUpError::from)?;
    let is_command = |task: &&Task| matches!(task, Task::Run(_));
    let of = set_up.tasks.iter().filter(is_command).count();
    for (place, task) in set_up.tasks.iter().enumerate().skip(set_up.done) {
        let number = set_up.tasks.iter().take(place + 1).filter(is_command).count();
        match task {
            Task::Write { path, content, mode } => {
                on_task(&format!("writing {path}"));
                write(session, root, path, content.bytes().unwrap_or_default(), *mode)?;
            }
            Task::Run(command) => {
                let command = command.text().unwrap_or_default();
                on_task(&format!("running {number} of {of}: {}", first_line(command)));
                let output = run(session, root, &format!("{}{command}", exported(&set_up.proxies)))?;
                if output.status != 0 {
                    let failed = SetUpError::Command {
                        command: first_line(command),
                        number,
                        of,
                        status: output.status,
                        output: output.text,
                    };
                    return Err(failed.into());
                }
            }
        }
        done(place + 1)?;
    }
    Ok(())
}

fn first_line(command: &str) -> String {
    let mut lines = command.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() {
        format!("{first} …")
    } else {
        first.to_owned()
    }
}

/// Returns the command that gives a shell the environment variables `proxies`; empty where there are none.
fn exported(proxies: &Proxies) -> String {
    let variables: Vec<String> = proxies
        .variables()
        .map(|(name, value)| format!(" {name}={}", quoted(value)))
        .collect();
    match variables[..] {
        [] => String::new(),
        _ => format!("export{}; ", variables.concat()),
    }
}

/// Runs a command once, whatever it prints; standard input is empty.
fn run(session: &mut Session<'_>, root: Privilege, command: &str) -> Result<CommandOutput, SetUpError> {
    // A terminal acts on other characters.
    let typed = |line: &str| line.len() <= LONGEST && !line.contains(char::is_control);
    if command.lines().count() == 1 && typed(&root.run(command)) {
        return Ok(session.run(&root.run(&format!("( umask 022; {command}\n)")), LIMIT)?);
    }
    let file = upload(session, command.as_bytes(), LIMIT)?;
    let output = session.run(&root.run(&format!("( umask 022; sh {file} )")), LIMIT);
    // The command's own result counts.
    let _ = session.run_idempotent(&format!("rm -f {file}"), CLEAN_WITHIN);
    Ok(output?)
}

/// Writes a file beside its place and moves it there, so that it is never half there; its folders are created.
fn write(session: &mut Session<'_>, root: Privilege, path: &str, content: &[u8], mode: u16) -> Result<(), SetUpError> {
    let sent = upload(session, content, LIMIT)?;
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    let (to, new) = (quoted(path), quoted(&format!("{path}.netlab-new")));
    let folder = quoted(if folder.is_empty() { "/" } else { folder });
    let script = format!(
        "umask 022; mkdir -p {folder} &&\ncp {sent} {new} &&\nchown 0:0 {new} &&\nchmod {mode:04o} {new} &&\n\
         if [ -d {to} ]; then rm -f {new}; echo it is a directory; false; else mv -f {new} {to}; fi"
    );
    let output = session.run_idempotent(&root.run(&script), LIMIT);
    let _ = session.run_idempotent(&format!("rm -f {sent}"), CLEAN_WITHIN);
    let output = output?;
    if output.status == 0 {
        return Ok(());
    }
    Err(SetUpError::File {
        path: path.to_owned(),
        output: output.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_proxies_in_their_environment() {
        let proxies = Proxies::of(|name| (name == "http_proxy").then(|| "http://proxy:3128".to_owned()));
        assert_eq!(exported(&proxies), "export http_proxy='http://proxy:3128'; ");
        assert_eq!(exported(&Proxies::default()), "");
    }
}
