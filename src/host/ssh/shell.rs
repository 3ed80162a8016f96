//! Commands on a host behind ssh.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, PoisonError};

use super::{Session, Settings, SshError};
use crate::host::cmd::{Cmd, CmdError, Output, Shell};

/// How long a command may take there, in seconds. It bounds what a lost connection leaves running: sshd(8) does not
/// end a command whose client has gone.
const COMMAND_SECONDS: u32 = 60;
/// What is read at a time.
const CHUNK: usize = 64 * 1024;

/// Runs commands on a host behind ssh, one after the other, each in a channel of the one session. A session that
/// broke under a command fails that command, and is made anew for the next one.
pub struct SshShell {
    settings: Settings,
    session: Mutex<Option<Session>>,
}

impl SshShell {
    /// Opens the session.
    pub fn open(settings: Settings) -> Result<Self, SshError> {
        let session = Session::open(&settings)?;
        Ok(Self {
            settings,
            session: Mutex::new(Some(session)),
        })
    }

    fn execute(&self, cmd: &Cmd) -> Result<Output, SshError> {
        let mut open = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match open.take() {
            Some(session) => session,
            None => Session::open(&self.settings)?,
        };
        let output = execute(&session, &line(&cmd.argv), &cmd.stdin)?;
        *open = Some(session);
        Ok(output)
    }
}

impl Shell for SshShell {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        let failed = |source: io::Error| CmdError::Io {
            command: cmd.to_string(),
            source,
        };
        let Some(program) = cmd.argv.first() else {
            return Err(failed(ErrorKind::InvalidInput.into()));
        };
        if cmd.argv.iter().any(|word| word.contains('\0')) {
            return Err(failed(io::Error::new(ErrorKind::InvalidInput, "a NUL in an argument")));
        }
        let output = self.execute(cmd).map_err(|error| failed(io::Error::other(error)))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // timeout(1) exits with 127 where it cannot find the program; so does the shell where it cannot find that.
        if output.status == 127 && said.starts_with("timeout: failed to run command") {
            return Err(CmdError::NotFound {
                program: program.clone(),
            });
        }
        if output.status == 127 && said.contains("timeout: not found") {
            return Err(CmdError::NotFound {
                program: "timeout".to_owned(),
            });
        }
        Ok(output)
    }
}

/// One word for sh(1): in single quotes, each single quote in it between two quoted parts.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The command line for the user's shell there. Paths and language as for commands here; the time is bounded.
fn line(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
    format!(
        "PATH=\"$PATH\":/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C exec timeout -k 5 {COMMAND_SECONDS} {}",
        words.join(" ")
    )
}

/// Runs a command line in a channel of its own: input, output and errors as each can go on, so that none waits for
/// another for ever.
fn execute(session: &Session, line: &str, stdin: &[u8]) -> Result<Output, SshError> {
    session.expect_answers();
    let mut channel = session.finish(|| session.ssh.channel_session())?;
    session.finish(|| channel.exec(line))?;
    let mut errors = channel.stderr();
    let (mut rest, mut ended) = (stdin, false);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut moved = false;
        match read(&mut channel, &mut buffer, &mut stdout) {
            Ok(some) => moved |= some,
            Err(error) => return Err(session.broken(&error)),
        }
        match read(&mut errors, &mut buffer, &mut stderr) {
            Ok(some) => moved |= some,
            Err(error) => return Err(session.broken(&error)),
        }
        if channel.eof() {
            break;
        }
        if !rest.is_empty() {
            match channel.write(&rest[..rest.len().min(CHUNK)]) {
                Ok(sent) => {
                    rest = &rest[sent..];
                    moved |= sent > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The command has closed its input; its exit status tells.
                Err(_) => rest = &[],
            }
        }
        if rest.is_empty() && !ended {
            match channel.send_eof() {
                Ok(()) => ended = true,
                Err(error) if error.code() == ssh2::ErrorCode::Session(super::session::AGAIN) => {}
                Err(_) => ended = true,
            }
        }
        if !moved {
            session.wait(None)?;
        }
    }
    session.finish(|| channel.close())?;
    session.finish(|| channel.wait_close())?;
    let signal = channel.exit_signal().map_err(|error| session.failed(&error))?;
    let status = match signal.exit_signal {
        Some(name) => 128 + signal_number(&name),
        None => channel.exit_status().map_err(|error| session.failed(&error))?,
    };
    Ok(Output { status, stdout, stderr })
}

/// Takes what is there; true if there was something.
fn read(from: &mut impl Read, buffer: &mut [u8], into: &mut Vec<u8>) -> io::Result<bool> {
    match from.read(buffer) {
        Ok(got) => {
            into.extend_from_slice(&buffer[..got]);
            Ok(got > 0)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// The number of a signal that RFC 4254, 6.10 knows by name, as Linux counts.
fn signal_number(name: &str) -> i32 {
    match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        _ => 15,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::shell::LocalShell;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn words_reach_a_program_as_they_are(words in prop::collection::vec("[^\0]{0,40}", 1..6)) {
            let mut argv = vec!["printf".to_owned(), "%s\\0".to_owned()];
            argv.extend(words.iter().cloned());
            let output = LocalShell.check(&Cmd::new(["sh".to_owned(), "-c".to_owned(), line(&argv)])).unwrap();
            let text = String::from_utf8(output).unwrap();
            let got: Vec<&str> = text.strip_suffix('\0').unwrap().split('\0').collect();
            prop_assert_eq!(got, words);
        }
    }

    #[test]
    fn the_awkward_words_reach_a_program_as_they_are() {
        for word in [
            "", "'", "''", "\\", "'\\''", "$(id)", "`id`", "a\nb", "*", "~", "-n", "!x", "\u{fe0f}", "\t ",
        ] {
            let argv = ["printf", "%s.", word].map(ToOwned::to_owned);
            let output = LocalShell.check(&Cmd::new(["sh", "-c", &line(&argv)])).unwrap();
            assert_eq!(String::from_utf8(output).unwrap(), format!("{word}."));
        }
    }
}
