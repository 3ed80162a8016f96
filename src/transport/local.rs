//! Runs commands on this machine. Takes a [`Cmd`], returns its [`Output`]; never interprets either.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::transport::cmd::{Cmd, CmdError, Malformed, Output, Shell};
use crate::transport::{ended, owner};

/// Folders of the administrator's programs (`ip`, `nft`), which the PATH of a plain user or of a daemon may lack.
const SYSTEM_FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Runs commands on this machine, where netlab itself runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalShell;

impl Shell for LocalShell {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        let (program, arguments) = split(cmd)?;
        spawn(cmd, program, arguments)
    }
}

/// Program and arguments.
pub(super) fn split(cmd: &Cmd) -> Result<(&str, &[String]), CmdError> {
    match cmd.argv.split_first() {
        Some((program, arguments)) => Ok((program, arguments)),
        None => Err(CmdError::Malformed {
            command: cmd.to_string(),
            reason: Malformed::NoProgram,
        }),
    }
}

/// Runs `program` to its end, on behalf of `cmd`.
pub(super) fn spawn(cmd: &Cmd, program: &str, arguments: &[String]) -> Result<Output, CmdError> {
    let path = path();
    let mut command = Command::new(file_of(program, &path));
    if let Some(mark) = &cmd.mark {
        command.env(owner::VARIABLE, mark);
    }
    let mut child = command
        .arg0(program)
        .args(arguments)
        .env("PATH", path)
        // netlab reads what programs print, so it must be in one language.
        .env("LC_ALL", "C")
        // A group of its own: Ctrl-C stops netlab between two steps, not a command in the middle of one.
        .process_group(0)
        .stdin(if cmd.stdin.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => CmdError::NotFound {
                program: program.to_owned(),
            },
            _ => failed(cmd, cause),
        })?;
    // A child that stops reading is no error; its exit status counts.
    let output = ended::feed_and_wait(&mut child, &cmd.stdin, cmd.within).map_err(|cause| failed(cmd, cause))?;
    let (ended, stdout, stderr) = output.ok_or_else(|| cmd.too_slow())?;
    Ok(Output {
        status: status(ended),
        stdout,
        stderr,
    })
}

/// Returns the exit status, or 128 + the number of the signal that killed it.
fn status(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn failed(cmd: &Cmd, cause: io::Error) -> CmdError {
    CmdError::Io {
        command: cmd.to_string(),
        cause,
    }
}

/// Returns PATH with the system's folders appended to the user's.
fn path() -> OsString {
    let given = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&given)
        .filter(|folder| folder.is_absolute())
        .collect();
    for folder in SYSTEM_FOLDERS.map(Path::new) {
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_owned());
        }
    }
    // Cannot fail: folders that came out of a split hold no colon. The user's own PATH is what remains otherwise.
    std::env::join_paths(folders).unwrap_or(given)
}

/// Returns the file of a program: the first that can be executed in the folders of `path`; else the name itself, of which
/// the system then says that it is not found.
///
/// A name and another PATH would make the standard library fork, which copies the page tables of a process that may hold a
/// large lab; it starts a file by posix_spawn(3), which does not.
fn file_of(program: &str, path: &OsStr) -> PathBuf {
    let can_be_executed = |file: &PathBuf| {
        std::fs::metadata(file).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return program.into();
    }
    let mut files = std::env::split_paths(path).map(|folder| folder.join(program));
    files.find(can_be_executed).unwrap_or_else(|| program.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_megabyte_goes_in_and_comes_out_on_both_sides_without_a_deadlock() {
        let input = vec![b'x'; 1 << 20];
        let cmd = Cmd::new(["sh", "-c", "cat | tee /dev/stderr"]).fed(input.clone());
        let output = LocalShell.run(&cmd).unwrap();
        assert_eq!(output.status, 0);
        assert_eq!(output.stdout, input);
        assert_eq!(output.stderr, input);
    }

    #[test]
    fn a_command_that_does_not_read_its_input_is_no_error() {
        let output = LocalShell.run(&Cmd::new(["true"]).fed(vec![b'x'; 1 << 20])).unwrap();
        assert_eq!(output.status, 0);
    }

    #[test]
    fn a_missing_program_is_another_error_than_a_failing_one() {
        assert!(matches!(
            LocalShell.run(&Cmd::new(["netlab-no-such-program"])),
            Err(CmdError::NotFound { program }) if program == "netlab-no-such-program"
        ));
        let failing = LocalShell.check(&Cmd::new(["sh", "-c", "echo why >&2; exit 3"]));
        assert!(matches!(failing, Err(CmdError::Failed { status: 3, stderr, .. }) if stderr == "why"));
    }

    #[test]
    fn a_program_is_the_first_file_of_its_name_that_can_be_executed() {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let path = std::env::join_paths([first.path(), second.path()]).unwrap();
        assert_eq!(file_of("program", &path), Path::new("program"));
        for folder in [&first, &second] {
            std::fs::write(folder.path().join("program"), "").unwrap();
        }
        let file = second.path().join("program");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(file_of("program", &path), file);
        assert_eq!(file_of("./program", &path), Path::new("./program"));
    }

    #[test]
    fn a_command_killed_by_a_signal_has_the_status_that_shells_give() {
        let output = LocalShell.run(&Cmd::new(["sh", "-c", "kill -9 $$"])).unwrap();
        assert_eq!(output.status, 137);
    }

    /// Without a limit none of these would ever return.
    #[test]
    fn a_command_that_does_not_end_is_killed_with_what_it_started_and_named() {
        for script in [
            "sleep 1000 & wait",
            "kill -STOP $$",
            "trap '' TERM; while :; do sleep 1000; done",
            "exec >&- 2>&-; sleep 1000",
            "sleep 1000 & exit",
        ] {
            let script = format!("echo $$ >&2; {script}");
            let cmd = Cmd::new(["sh", "-c", &script]).fed(vec![b'x'; 1 << 20]);
            let cmd = cmd.within(Duration::from_millis(200));
            let error = LocalShell.run(&cmd).unwrap_err();
            let CmdError::TooSlow { command, .. } = &error else {
                panic!("{script}: {error}");
            };
            assert_eq!(*command, cmd.to_string());
            assert!(error.to_string().ends_with("did not end within 0.2 s and was killed"));
        }
    }

    #[test]
    fn a_command_has_a_process_group_of_its_own() {
        let output = LocalShell
            .check(&Cmd::new(["sh", "-c", "cut -d' ' -f1,5 /proc/$$/stat"]))
            .unwrap();
        let text = String::from_utf8(output).unwrap();
        let (pid, group) = text.trim().split_once(' ').unwrap();
        assert_eq!(pid, group);
    }

    #[test]
    fn an_empty_command_is_an_error() {
        assert!(LocalShell.run(&Cmd::default()).is_err());
    }
}
