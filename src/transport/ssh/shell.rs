//! Commands on a host behind ssh: one sh(1) there, fed with a line per command over one channel. Starting a login shell
//! for each command costs a tenth of a second plus the user's start-up files; a line costs one round trip.
//!
//! A line is run only when all of it has arrived, with the command's input in it: a connection that breaks in between
//! leaves a command undone, never half fed. Input that is large or not text goes through a channel of its own, and the
//! command is run when all of it has arrived, if the shell is still there.
//!
//! The shell ends with its connection, or after a minute without a line: the host may not notice that a connection is
//! dead. What it runs has the mark of the run ([`Owner`]) and ends after the command's limit.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::exchange::{Exchange, nonce, pause};
use super::line::{LOOP, PRELUDE, REUSED_WITHIN, fit, line_after_input, line_with_input};
use super::session::AGAIN;
use super::{Session, Settings, SshError};
use crate::transport::cmd::{Cmd, CmdError, Malformed, Output, Shell};
use crate::transport::owner::{Owner, VARIABLE};
use crate::transport::quote;

/// Runs commands on a host behind ssh, one after the other. A session that breaks during a command fails that command;
/// the next one opens a new session.
pub struct SshShell {
    settings: Settings,
    /// The mark of the run that its commands belong to.
    mark: Option<String>,
    open: Mutex<Option<Open>>,
}

impl SshShell {
    /// Opens the session, for the run `owner` if its commands are to have that run's mark.
    pub fn open(settings: Settings, owner: Option<&Owner>) -> Result<Self, SshError> {
        let mark = owner.map(Owner::mark);
        let open = Open::new(&settings, mark.as_deref())?;
        Ok(Self {
            settings,
            mark,
            open: Mutex::new(Some(open)),
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Open) -> Result<T, SshError>) -> Result<T, SshError> {
        let mut place = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The shell of a session that was idle for longer may have ended, or is about to.
        let open = place.take().filter(|open| open.used.elapsed() < REUSED_WITHIN);
        let mut open = match open {
            Some(open) => open,
            None => Open::new(&self.settings, self.mark.as_deref())?,
        };
        let done = work(&mut open)?;
        open.used = Instant::now();
        *place = Some(open);
        Ok(done)
    }
}

impl Shell for SshShell {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        check(cmd)?;
        let began = Instant::now();
        let output = self.with(|open| open.run(cmd)).map_err(|error| failed(cmd, error))?;
        found(cmd, output, began.elapsed())
    }

    fn run_all(&self, cmds: &[Cmd]) -> Result<Vec<Output>, CmdError> {
        cmds.iter().try_for_each(check)?;
        let lines: Option<Vec<String>> = cmds.iter().map(line_with_input).collect();
        let (Some(lines), Some(first)) = (lines.filter(|lines| fit(lines)), cmds.first()) else {
            return cmds.iter().map(|cmd| self.run(cmd)).collect();
        };
        let began = Instant::now();
        let outputs = self
            .with(|open| open.run_lines(&lines))
            .map_err(|error| failed(first, error))?;
        outputs
            .into_iter()
            .zip(cmds)
            .map(|(output, cmd)| found(cmd, output, began.elapsed()))
            .collect()
    }
}

fn failed(cmd: &Cmd, cause: SshError) -> CmdError {
    CmdError::Ssh {
        command: cmd.to_string(),
        cause: Box::new(cause),
    }
}

/// Checks that `cmd` can be run.
fn check(cmd: &Cmd) -> Result<(), CmdError> {
    let reason = if cmd.argv.is_empty() {
        Malformed::NoProgram
    } else if cmd.argv.iter().any(|argument| argument.contains('\0')) {
        Malformed::Nul
    } else {
        return Ok(());
    };
    Err(CmdError::Malformed {
        command: cmd.to_string(),
        reason,
    })
}

/// What timeout(1) exits with where a command took too long: it ended, or had to be killed.
const TOO_SLOW: [i32; 2] = [124, 137];

/// Recognizes a missing program: timeout(1) exits with 127 then, and so does the shell where timeout(1) itself is missing;
/// and a command that did not end in time.
fn found(cmd: &Cmd, output: Output, took: Duration) -> Result<Output, CmdError> {
    if TOO_SLOW.contains(&output.status) && took >= cmd.within {
        return Err(cmd.too_slow());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let missing = if output.status != 127 {
        None
    } else if stderr.starts_with("timeout: failed to run command") {
        cmd.argv.first().cloned()
    } else {
        stderr.contains("timeout: not found").then(|| "timeout".to_owned())
    };
    match missing {
        Some(program) => Err(CmdError::NotFound { program }),
        None => Ok(output),
    }
}

/// A session with the one shell in it.
struct Open {
    channel: ssh2::Channel,
    session: Session,
    /// What commands on channels of their own begin with: the mark.
    env: String,
    /// The shell's process id there, once it has run [`PRELUDE`].
    pid: Option<String>,
    /// When the last command ended.
    used: Instant,
}

impl Open {
    fn new(settings: &Settings, mark: Option<&str>) -> Result<Self, SshError> {
        let session = Session::open(settings)?;
        session.expect_answers();
        let mut channel = session.finish(|| session.ssh.channel_session())?;
        let env = mark.map(|mark| format!("env {VARIABLE}={mark} ")).unwrap_or_default();
        session.finish(|| channel.exec(&format!("exec {env}{LOOP}")))?;
        Ok(Self {
            channel,
            session,
            env,
            pid: None,
            used: Instant::now(),
        })
    }

    fn run(&mut self, cmd: &Cmd) -> Result<Output, SshError> {
        match line_with_input(cmd) {
            Some(line) => Ok(self.run_lines(&[line])?.remove(0)),
            None => self.feed(cmd),
        }
    }

    /// Runs commands, all on one line, and reads until the shell has printed that they are done: an output for each.
    fn run_lines(&mut self, commands: &[String]) -> Result<Vec<Output>, SshError> {
        self.session.expect_answers();
        // What the user's start-up files print comes before the prelude ends, so it is no command's output.
        let prelude = self.pid.is_none().then(|| format!("{PRELUDE}; echo $$"));
        let all: Vec<&String> = prelude.iter().chain(commands).collect();
        let ends: Vec<String> = all.iter().map(|_| nonce()).collect();
        let prelude_lines = usize::from(prelude.is_some());
        let commands = all.iter().zip(&ends);
        let commands =
            commands.map(|(command, end)| format!("{command}; s=$?; printf '%s %s,' {end} $s; printf %s {end} >&2"));
        let line = commands.collect::<Vec<_>>().join("; ") + "\n";
        let mut exchange = Exchange::new(line.as_bytes());
        loop {
            let moved = exchange.step(&self.session, &mut self.channel)?;
            if let Some(mut outputs) = exchange.ended_by(&ends) {
                let commands = outputs.split_off(prelude_lines);
                if let Some(prelude) = outputs.pop() {
                    self.pid = Some(pid(&prelude));
                }
                return Ok(commands);
            }
            if self.channel.eof() {
                return Err(SshError::ShellExited {
                    place: self.session.place().to_owned(),
                    stderr: String::from_utf8_lossy(&exchange.stderr).trim().to_owned(),
                });
            }
            pause(&self.session, &self.channel, moved)?;
        }
    }

    /// Runs a command in a channel of its own, with input of any kind and size.
    fn feed(&mut self, cmd: &Cmd) -> Result<Output, SshError> {
        if self.pid.is_none() {
            self.run_lines(&[])?;
        }
        let pid = self.pid.clone().unwrap_or_default();
        let session = &self.session;
        session.expect_answers();
        let mut channel = session.finish(|| session.ssh.channel_session())?;
        let script = line_after_input(cmd, cmd.stdin.len(), &pid);
        let command = format!("exec {}sh -c {}", self.env, quote(&script));
        session.finish(|| channel.exec(&command))?;
        let mut exchange = Exchange::new(&cmd.stdin);
        let mut ended = false;
        loop {
            let moved = exchange.step(session, &mut channel)?;
            if channel.eof() {
                break;
            }
            if exchange.input.is_empty() && !ended {
                // Where it cannot be sent because the command has exited, the exit status counts.
                ended = !matches!(channel.send_eof(), Err(error) if error.code() == ssh2::ErrorCode::Session(AGAIN));
            }
            pause(session, &channel, moved)?;
        }
        session.finish(|| channel.close())?;
        session.finish(|| channel.wait_close())?;
        let signal = channel.exit_signal().map_err(|error| session.failed(error))?;
        let status = match signal.exit_signal {
            Some(name) => 128 + signal_number(&name),
            None => channel.exit_status().map_err(|error| session.failed(error))?,
        };
        Ok(Output {
            status,
            stdout: exchange.stdout,
            stderr: exchange.stderr,
        })
    }
}

/// Returns the process id at the end of what the prelude printed, after what start-up files may have.
fn pid(prelude: &Output) -> String {
    let printed = String::from_utf8_lossy(&prelude.stdout);
    printed.split_whitespace().last().unwrap_or_default().to_owned()
}

/// Returns the Linux number of a signal that RFC 4254, 6.10 names.
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
