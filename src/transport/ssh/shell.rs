//! Commands on a host behind ssh: one sh(1) there, fed with a line a command over one channel. Starting a login shell
//! for each command costs a tenth of a second and whatever the user's start-up files do; a line costs one round trip.
//!
//! A line is run only when it has come whole, with the command's input in it: a connection that breaks in between
//! leaves a command undone, never half fed. Input that is large or not text goes through a channel of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::session::AGAIN;
use super::{Session, Settings, SshError};
use crate::transport::cmd::{Cmd, CmdError, Output, Shell};

/// How long a command may take there, in seconds. It bounds what a lost connection leaves running: sshd(8) does not
/// end a command whose client has gone.
const COMMAND_SECONDS: u32 = 60;
/// What is read at a time.
const CHUNK: usize = 64 * 1024;
/// Input up to this many bytes is part of a line; sh reads those byte by byte.
const LINE_LIMIT: usize = 64 * 1024;
/// The only words that the user's own shell there sees, whichever it is: no backslash, no newline, no `!`.
const LOOP: &str = "exec sh -c 'while IFS= read -r line; do eval \"$line\"; done'";
/// What every line relies on: paths and language as for commands here, and a newline by name.
const PRELUDE: &str =
    r"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH; LC_ALL=C; export LC_ALL; n=$(printf '\nx'); n=${n%x}";

/// Runs commands on a host behind ssh, one after the other. A session that broke under a command fails that command,
/// and is made anew for the next one.
pub struct SshShell {
    settings: Settings,
    open: Mutex<Option<Open>>,
}

impl SshShell {
    /// Opens the session.
    pub fn open(settings: Settings) -> Result<Self, SshError> {
        let open = Open::new(&settings)?;
        Ok(Self {
            settings,
            open: Mutex::new(Some(open)),
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Open) -> Result<T, SshError>) -> Result<T, SshError> {
        let mut place = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = match place.take() {
            Some(open) => open,
            None => Open::new(&self.settings)?,
        };
        let done = work(&mut open)?;
        *place = Some(open);
        Ok(done)
    }
}

impl Shell for SshShell {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        check(cmd)?;
        let output = self.with(|open| open.run(cmd)).map_err(|error| failed(cmd, error))?;
        found(cmd, output)
    }

    fn run_all(&self, cmds: &[Cmd]) -> Result<Vec<Output>, CmdError> {
        cmds.iter().try_for_each(check)?;
        let lines: Option<Vec<String>> = cmds.iter().map(line_with_input).collect();
        let (Some(lines), Some(first)) = (lines.filter(|lines| fit(lines)), cmds.first()) else {
            return cmds.iter().map(|cmd| self.run(cmd)).collect();
        };
        let outputs = self
            .with(|open| open.say(&lines))
            .map_err(|error| failed(first, error))?;
        outputs
            .into_iter()
            .zip(cmds)
            .map(|(output, cmd)| found(cmd, output))
            .collect()
    }
}

fn failed(cmd: &Cmd, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CmdError {
    CmdError::Io {
        command: cmd.to_string(),
        source: io::Error::other(source),
    }
}

/// Refuses what is no command.
fn check(cmd: &Cmd) -> Result<(), CmdError> {
    if cmd.argv.is_empty() {
        return Err(failed(cmd, "no program"));
    }
    if cmd.argv.iter().any(|word| word.contains('\0')) {
        return Err(failed(cmd, "a NUL in an argument"));
    }
    Ok(())
}

/// timeout(1) exits with 127 where it cannot find the program; so does the shell where it cannot find that.
fn found(cmd: &Cmd, output: Output) -> Result<Output, CmdError> {
    let said = String::from_utf8_lossy(&output.stderr);
    let missing = if output.status != 127 {
        None
    } else if said.starts_with("timeout: failed to run command") {
        cmd.argv.first().cloned()
    } else {
        said.contains("timeout: not found").then(|| "timeout".to_owned())
    };
    match missing {
        Some(program) => Err(CmdError::NotFound { program }),
        None => Ok(output),
    }
}

/// One word for sh(1): in single quotes, each single quote in it between two quoted parts.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The same without a newline, for a shell to which [`PRELUDE`] was said.
fn quote_on_a_line(word: &str) -> String {
    quote(word).replace('\n', "'\"$n\"'")
}

/// The command, with its time bounded, for a shell to which [`PRELUDE`] was said.
fn line(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quote_on_a_line(word)).collect();
    format!("timeout -k 5 {COMMAND_SECONDS} {}", words.join(" "))
}

/// The line that runs a command with its input; none where the input is not fit for one.
fn line_with_input(cmd: &Cmd) -> Option<String> {
    let line = line(&cmd.argv);
    if cmd.stdin.is_empty() {
        return Some(format!("{line} </dev/null"));
    }
    let text = std::str::from_utf8(&cmd.stdin).ok()?;
    let fits = text.len() <= LINE_LIMIT && !text.contains('\0');
    // A builtin: the input is no argument of a program, so its length is limited by nothing else.
    fits.then(|| format!("printf %s {} | {line}", quote_on_a_line(text)))
}

/// Several commands fit on one line.
fn fit(lines: &[String]) -> bool {
    lines.iter().map(String::len).sum::<usize>() <= LINE_LIMIT
}

/// A session with the one shell in it.
struct Open {
    channel: ssh2::Channel,
    session: Session,
    /// [`PRELUDE`] was said.
    greeted: bool,
}

impl Open {
    fn new(settings: &Settings) -> Result<Self, SshError> {
        let session = Session::open(settings)?;
        session.expect_answers();
        let mut channel = session.finish(|| session.ssh.channel_session())?;
        session.finish(|| channel.exec(LOOP))?;
        Ok(Self {
            channel,
            session,
            greeted: false,
        })
    }

    fn run(&mut self, cmd: &Cmd) -> Result<Output, SshError> {
        match line_with_input(cmd) {
            Some(line) => Ok(self.say(&[line])?.remove(0)),
            None => self.feed(cmd),
        }
    }

    /// Has commands run, all on one line, and takes what comes until the shell says that they are done: an output for
    /// each.
    fn say(&mut self, commands: &[String]) -> Result<Vec<Output>, SshError> {
        self.session.expect_answers();
        // What the user's start-up files print comes before that is done, and is nobody's output.
        let prelude = Some(PRELUDE.to_owned()).filter(|_| !self.greeted);
        let all: Vec<&String> = prelude.iter().chain(commands).collect();
        let ends: Vec<String> = all.iter().map(|_| nonce()).collect();
        let greeting = usize::from(prelude.is_some());
        let commands = all.iter().zip(&ends);
        let commands =
            commands.map(|(command, end)| format!("{command}; s=$?; printf '%s %s,' {end} $s; printf %s {end} >&2"));
        let line = commands.collect::<Vec<_>>().join("; ") + "\n";
        let mut exchange = Exchange::new(line.as_bytes());
        loop {
            let moved = exchange.step(&self.session, &mut self.channel)?;
            if let Some(mut outputs) = exchange.ended_by(&ends) {
                self.greeted = true;
                return Ok(outputs.split_off(greeting));
            }
            if self.channel.eof() {
                return Err(self.session.broken(&io::Error::other(format!(
                    "its shell ended: {}",
                    String::from_utf8_lossy(&exchange.stderr).trim()
                ))));
            }
            pause(&self.session, &self.channel, moved)?;
        }
    }

    /// Runs a command in a channel of its own, with input of any kind and size.
    fn feed(&self, cmd: &Cmd) -> Result<Output, SshError> {
        let session = &self.session;
        session.expect_answers();
        let mut channel = session.finish(|| session.ssh.channel_session())?;
        let script = format!("{PRELUDE}; exec {}", line(&cmd.argv));
        session.finish(|| channel.exec(&format!("exec sh -c {}", quote(&script))))?;
        let mut exchange = Exchange::new(&cmd.stdin);
        let mut ended = false;
        loop {
            let moved = exchange.step(session, &mut channel)?;
            if channel.eof() {
                break;
            }
            if exchange.input.is_empty() && !ended {
                // That it cannot be sent because the command has gone is said by its exit status.
                ended = !matches!(channel.send_eof(), Err(error) if error.code() == ssh2::ErrorCode::Session(AGAIN));
            }
            pause(session, &channel, moved)?;
        }
        session.finish(|| channel.close())?;
        session.finish(|| channel.wait_close())?;
        let signal = channel.exit_signal().map_err(|error| session.failed(&error))?;
        let status = match signal.exit_signal {
            Some(name) => 128 + signal_number(&name),
            None => channel.exit_status().map_err(|error| session.failed(&error))?,
        };
        Ok(Output {
            status,
            stdout: exchange.stdout,
            stderr: exchange.stderr,
        })
    }
}

/// Input, output and errors of one command, each moving as it can, so that none waits for another for ever.
struct Exchange<'a> {
    input: &'a [u8],
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    buffer: Vec<u8>,
}

impl<'a> Exchange<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            stdout: Vec::new(),
            stderr: Vec::new(),
            buffer: vec![0; CHUNK],
        }
    }

    /// Moves what can be moved without waiting; true if something was.
    fn step(&mut self, session: &Session, channel: &mut ssh2::Channel) -> Result<bool, SshError> {
        let mut moved = false;
        for (stream, into) in [(0, &mut self.stdout), (ssh2::EXTENDED_DATA_STDERR, &mut self.stderr)] {
            match channel.stream(stream).read(&mut self.buffer) {
                Ok(got) => {
                    into.extend_from_slice(&self.buffer[..got]);
                    moved |= got > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(session.broken(&error)),
            }
        }
        if !self.input.is_empty() && !channel.eof() {
            match channel.write(&self.input[..self.input.len().min(CHUNK)]) {
                Ok(sent) => {
                    self.input = &self.input[sent..];
                    moved |= sent > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The command has closed its input; its exit status tells.
                Err(_) => self.input = &[],
            }
        }
        Ok(moved)
    }

    /// The commands' outputs, once the shell has said all of `ends` on both ways.
    fn ended_by(&self, ends: &[String]) -> Option<Vec<Output>> {
        let last = ends.last()?.as_bytes();
        if !self.stderr.ends_with(last) || !self.stdout.ends_with(b",") {
            return None;
        }
        let (mut stdout, mut stderr) = (self.stdout.as_slice(), self.stderr.as_slice());
        let mut outputs = Vec::new();
        for end in ends {
            let (printed, behind) = split(stdout, end)?;
            let (said, rest) = split(stderr, end)?;
            let comma = behind.iter().position(|byte| *byte == b',')?;
            let status = std::str::from_utf8(behind[..comma].strip_prefix(b" ")?).ok()?;
            outputs.push(Output {
                status: status.parse().ok()?,
                stdout: printed.to_vec(),
                stderr: said.to_vec(),
            });
            (stdout, stderr) = (&behind[comma + 1..], rest);
        }
        (stdout.is_empty() && stderr.is_empty()).then_some(outputs)
    }
}

/// What stands before the first `end`, and behind it.
fn split<'a>(text: &'a [u8], end: &str) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(end.len()).position(|word| word == end.as_bytes())?;
    Some((&text[..at], &text[at + end.len()..]))
}

/// Waits where nothing can be moved.
fn pause(session: &Session, channel: &ssh2::Channel, moved: bool) -> Result<(), SshError> {
    // Reading one of the two ways, libssh2 may have taken in something for the other: the socket has nothing more then.
    if moved || channel.eof() || channel.read_window().available > 0 {
        return Ok(());
    }
    session.wait(None)
}

/// A word that no command prints by chance or after looking at an earlier one.
fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    let now = std::time::Instant::now();
    let digest = Sha256::digest(format!("{count} {} {now:?}", std::process::id()));
    let number = digest[..16]
        .iter()
        .fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{number:032x}")
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
    use crate::transport::LocalShell;

    /// What a shell that is fed this line gives.
    fn run(argv: &[String]) -> String {
        let line = line(argv);
        assert!(!line.contains('\n'), "{line}");
        let cmd = Cmd::new(["sh", "-c", &LOOP["exec sh -c '".len()..LOOP.len() - 1]]);
        let output = LocalShell.check(&cmd.fed(format!("{PRELUDE}\n{line}\n"))).unwrap();
        String::from_utf8(output).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn words_reach_a_program_as_they_are(words in prop::collection::vec("(?s)[^\0]{0,40}", 1..6)) {
            let mut argv = vec!["printf".to_owned(), "%s\\0".to_owned()];
            argv.extend(words.iter().cloned());
            let text = run(&argv);
            let got: Vec<&str> = text.strip_suffix('\0').unwrap().split('\0').collect();
            prop_assert_eq!(got, words);
        }
    }

    #[test]
    fn the_awkward_words_reach_a_program_as_they_are() {
        for word in [
            "", "'", "''", "\\", "'\\''", "$(id)", "`id`", "a\nb", "\n", "*", "~", "-n", "!x", "\u{fe0f}", "\t ", "$n",
        ] {
            assert_eq!(run(&["printf", "%s.", word].map(ToOwned::to_owned)), format!("{word}."));
        }
    }

    #[test]
    fn output_that_looks_like_the_end_is_not_taken_for_it() {
        let mut exchange = Exchange::new(b"");
        exchange.stdout = b"x 0,abc 7,".to_vec();
        exchange.stderr = b"why abc".to_vec();
        assert_eq!(exchange.ended_by(&["other".to_owned()]), None);
        let output = |status, stdout: &[u8], stderr: &[u8]| Output {
            status,
            stdout: stdout.to_vec(),
            stderr: stderr.to_vec(),
        };
        let ended = exchange.ended_by(&["abc".to_owned()]).unwrap();
        assert_eq!(ended, [output(7, b"x 0,", b"why ")]);

        exchange.stdout = b"one,abc 0,two, 3xyz 1,".to_vec();
        exchange.stderr = b"abcwhyxy".to_vec();
        let ends = ["abc", "xyz"].map(ToOwned::to_owned);
        assert_eq!(exchange.ended_by(&ends), None);
        exchange.stderr.push(b'z');
        let ended = exchange.ended_by(&ends).unwrap();
        assert_eq!(ended, [output(0, b"one,", b""), output(1, b"two, 3", b"why")]);
    }
}
