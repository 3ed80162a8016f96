//! `netlab exec`: one command in a VM, its output and exit status handed on.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::error::Failure;
use super::{Context, sight, vm};
use crate::guest::{Session, SessionError, SessionFault, Transcript};

/// Exit statuses of netlab's own, as timeout(1) and env(1) have them: all others are the command's.
const DEADLINE: u8 = 124;
const NOT_RUN: u8 = 125;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    vm: vm::Args,
    /// How long the command may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    within: u64,
    /// The command and its arguments. One argument alone is a script for the VM's shell.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    status: i32,
    output: &'a str,
}

/// Runs the command; its exit status is ours, 124 means that its time was over and 125 that netlab failed.
pub fn main(context: &Context, args: &Args) -> ExitCode {
    match run(context, args) {
        Ok(status) => ExitCode::from(status),
        Err((status, failure)) => {
            failure.report();
            ExitCode::from(status)
        }
    }
}

fn run(context: &Context, args: &Args) -> Result<u8, (u8, Failure)> {
    let not_run = |failure| (NOT_RUN, failure);
    // In a shell of its own: on a serial port `exit` would end the one that netlab talks to.
    let script = format!("( {}\n)", script(&args.command).map_err(not_run)?);
    let vm = vm::find(context, &args.vm).map_err(not_run)?;
    let image = vm.console().map_err(not_run)?;
    let failed = |error: &dyn std::fmt::Display| not_run(sight::failed(error.to_string()));
    let console = vm
        .host
        .open_console(&vm.name, image.kind)
        .map_err(|error| failed(&error))?;
    let path = context.folders.transcript(vm.name.lab(), vm.name.vm());
    let transcript = Transcript::append(&path).map_err(|error| failed(&error))?;
    let mut session = Session::open(console, image, transcript, &mut |_| ()).map_err(|error| told(&error))?;
    let output = session
        .run(&script, Duration::from_secs(args.within))
        .map_err(|error| told(&error))?;
    let answer = Answer {
        status: output.status,
        output: &output.text,
    };
    context.answer(&output.text, &answer).map_err(not_run)?;
    Ok(u8::try_from(output.status).unwrap_or(NOT_RUN))
}

fn told(error: &SessionError) -> (u8, Failure) {
    let late = matches!(error.fault, SessionFault::Deadline { .. });
    let failure = Failure::Failed {
        message: crate::run::chain(error),
        help: Some(error.help().to_owned()),
    };
    (if late { DEADLINE } else { NOT_RUN }, failure)
}

/// The words as the guest's shell must be given them.
fn script(words: &[String]) -> Result<String, Failure> {
    // A terminal would take them for keys, e.g. for Ctrl-C.
    if words
        .iter()
        .any(|word| word.contains(|one: char| one.is_control() && one != '\n'))
    {
        return Err(Failure::Usage(
            "a command with control characters cannot be typed into a VM".to_owned(),
        ));
    }
    Ok(match words {
        [script] => script.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    })
}

fn quoted(word: &str) -> String {
    let plain = |one: char| one.is_ascii_alphanumeric() || "-_./:=,+@%".contains(one);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script_of(words: &[&str]) -> String {
        script(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_stay_words_and_one_alone_is_a_script() {
        assert_eq!(script_of(&["ls | wc -l"]), "ls | wc -l");
        assert_eq!(
            script_of(&["echo", "a b", "$x", "it's", ""]),
            "echo 'a b' '$x' 'it'\\''s' ''"
        );
        assert_eq!(script_of(&["ping", "-c1", "10.0.1.2"]), "ping -c1 10.0.1.2");
    }

    #[test]
    fn keys_that_a_terminal_would_act_on_are_refused() {
        assert!(script(&["echo".to_owned(), "\x03".to_owned()]).is_err());
    }
}
