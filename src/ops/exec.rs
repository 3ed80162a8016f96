//! Runs one command in a VM over its console.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Env, OpsError, Vm, find_vm};
use crate::event::Event;
use crate::guest::{Console, LINE_LIMIT, Session, Transcript, upload};
use crate::host::HostError;
use crate::lab::ImageConsole;
use crate::transport::quote;

/// The longest line that is typed; a script with a longer one is sent as a file.
const LONGEST: usize = LINE_LIMIT - 100;
/// Between two attempts at a console that another netlab has.
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// How long deleting the files of a command may take.
const CLEAN_WITHIN: Duration = Duration::from_secs(10);

/// Which command runs in which VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOptions {
    /// The lab's name, or its file.
    pub lab: String,
    /// The VM's name.
    pub vm: String,
    /// How long all of it may take: opening the console, waiting for the shell, the command.
    pub within: Duration,
    /// The command and its arguments; a single one is a script for the VM's shell.
    pub command: Vec<String>,
    /// The command's standard input.
    pub stdin: Vec<u8>,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecReport {
    /// Its exit status.
    pub status: i32,
    /// Its output.
    pub output: String,
}

/// Runs a command in a VM. A command that does not end in time is an [`OpsError::Guest`] with
/// a deadline; so is a shell that is not ready in time.
pub fn exec(env: &Env, options: &ExecOptions) -> Result<ExecReport, OpsError> {
    let script = script(&options.command)?;
    let vm = find_vm(env, &options.lab, &options.vm)?;
    let image = vm.console()?;
    let began = Instant::now();
    let console = open(env, &vm, image, (began, options.within))?;
    let path = env.folders.transcript(vm.name.lab(), vm.name.vm());
    let transcript = Transcript::append(&path).map_err(|source| OpsError::File {
        doing: "write transcript",
        path,
        source,
    })?;
    let mut session = Session::open_within(console, image, transcript, (began, options.within))?;
    let mut files = Vec::new();
    let mut upload = |session: &mut Session, content: &[u8]| -> Result<String, OpsError> {
        let path = upload(session, content, options.within)?;
        files.push(path.clone());
        Ok(path)
    };
    let script = if script.lines().any(|line| line.len() > LONGEST) {
        let path = upload(&mut session, script.as_bytes())?;
        format!(". {path}")
    } else {
        script
    };
    let input = if options.stdin.is_empty() {
        String::new()
    } else {
        format!(" <{}", upload(&mut session, &options.stdin)?)
    };
    // In a subshell: on a serial port `exit` would end the shell that netlab uses.
    let output = session.run(&format!("( {script}\n){input}"), options.within);
    if !files.is_empty() {
        // The command's own result counts.
        let _ = session.run_idempotent(&format!("rm -f {}", files.join(" ")), CLEAN_WITHIN);
    }
    let output = output?;
    Ok(ExecReport {
        status: output.status,
        output: output.text,
    })
}

/// Opens the VM's console; waits while another netlab has it.
fn open(
    env: &Env,
    vm: &Vm,
    image: &ImageConsole,
    (began, within): (Instant, Duration),
) -> Result<Box<dyn Console>, OpsError> {
    let mut reported = false;
    loop {
        let error = match vm.host.open_console(&vm.name, image.kind) {
            Err(error @ HostError::ConsoleInUse { .. }) if began.elapsed() < within => error,
            result => return Ok(result?),
        };
        if !reported {
            env.events.send(Event::Warning(format!("waiting: {error}")));
            reported = true;
        }
        thread::sleep(RETRY_EVERY);
    }
}

/// Returns the arguments as one line for the guest's shell.
fn script(arguments: &[String]) -> Result<String, OpsError> {
    // A terminal would act on them as keys, e.g. on Ctrl-C.
    let control = |argument: &String| argument.contains(|one: char| one.is_control() && one != '\n');
    if arguments.iter().any(control) {
        return Err(OpsError::ControlCharacters);
    }
    Ok(match arguments {
        [script] => script.clone(),
        arguments => arguments.iter().map(|one| quote(one)).collect::<Vec<_>>().join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script_of(arguments: &[&str]) -> String {
        script(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn arguments_are_quoted_and_a_single_one_is_a_script() {
        assert_eq!(script_of(&["ls | wc -l"]), "ls | wc -l");
        assert_eq!(
            script_of(&["echo", "a b", "$x", "it's", ""]),
            "echo 'a b' '$x' 'it'\\''s' ''"
        );
        assert_eq!(script_of(&["ping", "-c1", "10.0.1.2"]), "ping -c1 10.0.1.2");
    }

    #[test]
    fn control_characters_are_refused() {
        assert!(script(&["echo".to_owned(), "\x03".to_owned()]).is_err());
    }
}
