//! A command as argv and standard input, and the trait that runs one. Never a pasted command line: text of a user is
//! an argument or input, not shell source.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::quote::quote;
use super::ssh::SshError;

/// What takes the place of a secret in messages and logs.
const MASK: &str = "***";
/// How many characters of a command name one that did not end: it may be a long script.
const NAMED: usize = 120;
/// How long a command may take that sets no limit of its own.
const WITHIN: Duration = Duration::from_secs(60);

/// A program with its arguments and its standard input.
///
/// `Display` prints it for messages and logs: a [`Script`] by its name, secret arguments masked, standard input never.
///
/// ```
/// use netlab::transport::Cmd;
///
/// let cmd = Cmd::new(["login", "--user", "it's me", "--password"]).secret("s3cret");
/// assert_eq!(cmd.to_string(), r"login --user 'it'\''s me' --password ***");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmd {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Standard input.
    pub stdin: Vec<u8>,
    /// The name of the script in `argv`, and the position of the first of its arguments there.
    script: Option<(&'static str, usize)>,
    /// Positions of secret arguments in `argv`.
    secrets: BTreeSet<usize>,
    /// The mark of the run that it belongs to.
    pub(super) mark: Option<String>,
    /// How long it may take; it is ended then.
    pub(super) within: Duration,
}

/// No program, no input, a minute.
impl Default for Cmd {
    fn default() -> Self {
        Self {
            argv: Vec::new(),
            stdin: Vec::new(),
            script: None,
            secrets: BTreeSet::new(),
            mark: None,
            within: WITHIN,
        }
    }
}

/// A constant shell script. What varies reaches it as arguments and standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// Its name in messages and logs.
    pub name: &'static str,
    /// Its POSIX sh source.
    pub text: &'static str,
}

/// `sh -c TEXT sh`: the arguments of a script's command before the script's own.
const SCRIPT_PREFIX: usize = 4;

impl Cmd {
    /// Creates a command without input.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Creates the command that runs `script` by sh(1) with `arguments` as `$1` and so on.
    pub fn script<S: Into<String>>(script: Script, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut cmd = Self::new(["sh", "-c", script.text, "sh"]);
        cmd.argv.extend(arguments.into_iter().map(Into::into));
        cmd.script = Some((script.name, SCRIPT_PREFIX));
        cmd
    }

    /// The same, run by the program `runner`: its name and its arguments before those of the command.
    #[must_use]
    pub fn run_by<S: Into<String>>(mut self, runner: impl IntoIterator<Item = S>) -> Self {
        let mut argv: Vec<String> = runner.into_iter().map(Into::into).collect();
        let before = argv.len();
        argv.append(&mut self.argv);
        self.argv = argv;
        self.script = self.script.map(|(name, first)| (name, first + before));
        self.secrets = self.secrets.iter().map(|index| index + before).collect();
        self
    }

    /// Returns the error that it did not end in time.
    pub(super) fn too_slow(&self) -> CmdError {
        let text = self.to_string();
        let mut first: String = text.lines().next().unwrap_or_default().chars().take(NAMED).collect();
        if first.len() < text.len() {
            first.push('…');
        }
        CmdError::TooSlow {
            command: first,
            within: self.within,
        }
    }

    /// Appends an argument that no message and no log may show.
    #[must_use]
    pub fn secret(mut self, argument: impl Into<String>) -> Self {
        self.secrets.insert(self.argv.len());
        self.argv.push(argument.into());
        self
    }

    /// The same with the mark of the run that it belongs to.
    #[must_use]
    pub(super) fn marked(mut self, mark: &str) -> Self {
        self.mark = Some(mark.to_owned());
        self
    }

    /// The same with another limit than a minute; over ssh, of whole seconds.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// The same with `stdin` fed to it.
    #[must_use]
    pub fn fed(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = stdin.into();
        self
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, first) = self.script.map_or((None, 0), |(name, first)| (Some(name), first));
        let mut separator = "";
        for (index, argument) in self.argv.iter().enumerate() {
            let of_script = index < first && index + SCRIPT_PREFIX >= first;
            if of_script && index + 1 != first {
                continue;
            }
            f.write_str(separator)?;
            separator = " ";
            if let Some(name) = name.filter(|_| of_script) {
                f.write_str(name)?;
            } else if self.secrets.contains(&index) {
                f.write_str(MASK)?;
            } else {
                f.write_str(&quote(argument))?;
            }
        }
        Ok(())
    }
}

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + n when killed by signal n, as shells count.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Returns the standard output of `cmd`.
    ///
    /// # Errors
    /// [`CmdError::Failed`] for any exit status other than 0.
    pub fn succeeded(self, cmd: &Cmd) -> Result<Vec<u8>, CmdError> {
        if self.status == 0 {
            return Ok(self.stdout);
        }
        Err(CmdError::Failed {
            command: cmd.to_string(),
            status: self.status,
            stderr: String::from_utf8_lossy(&self.stderr).trim().to_owned(),
        })
    }
}

/// A command could not be run or failed.
#[derive(Debug, thiserror::Error)]
pub enum CmdError {
    /// The program does not exist.
    #[error("`{program}` is not installed")]
    NotFound {
        /// The program.
        program: String,
    },
    /// It ran and exited with another status than 0.
    #[error("`{command}` exited with status {status}: {stderr}")]
    Failed {
        /// The command.
        command: String,
        /// Its exit status.
        status: i32,
        /// Its standard error, trimmed.
        stderr: String,
    },
    /// Its output is not the JSON that was expected.
    #[error("`{command}` printed unexpected output: {cause}")]
    Json {
        /// The command.
        command: String,
        /// Where and why it could not be parsed.
        cause: serde_json::Error,
    },
    /// It cannot be run as a command at all.
    #[error("`{command}` cannot be run: {reason}")]
    Malformed {
        /// The command.
        command: String,
        /// What is wrong with it.
        reason: Malformed,
    },
    /// It could not be started, or reading its output failed.
    #[error("running `{command}` failed: {cause}")]
    Io {
        /// The command.
        command: String,
        /// The operating system's error.
        cause: std::io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("`{command}` did not end within {} s and was killed", within.as_secs_f32())]
    TooSlow {
        /// The begin of the command.
        command: String,
        /// How long it had.
        within: Duration,
    },
    /// The namespaces that it should run in could not be entered.
    #[error("running `{command}` failed: cannot enter the namespace: {message}")]
    Namespace {
        /// The command.
        command: String,
        /// What nsenter(1) printed.
        message: String,
    },
    /// The ssh connection failed; whether the command ran is unknown.
    #[error("running `{command}` failed: {cause}")]
    Ssh {
        /// The command.
        command: String,
        /// Why.
        cause: Box<SshError>,
    },
}

/// Why an argv is not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The argv is empty.
    #[error("it names no program")]
    NoProgram,
    /// An argument holds a NUL, which ends an argument (execve(2)).
    #[error("an argument holds a NUL byte")]
    Nul,
}

impl CmdError {
    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotFound { program } => Some(format!("install {program} on that host")),
            Self::Ssh { cause, .. } => cause.help(),
            Self::Namespace { .. } => Some("netlab enters namespaces as root".to_owned()),
            Self::TooSlow { .. } => {
                Some("run the command there by hand: a program or the kernel of that host hangs".to_owned())
            }
            Self::Failed { .. } | Self::Json { .. } | Self::Malformed { .. } | Self::Io { .. } => None,
        }
    }

    /// Returns whether the connection to the host failed, so that whether the command ran is unknown.
    pub fn is_transport_failure(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Namespace { .. } | Self::Ssh { .. } | Self::TooSlow { .. }
        )
    }
}

/// A place where commands run.
pub trait Shell: Send + Sync {
    /// Runs `cmd` to its end. An exit status other than 0 is an `Output`, not an error.
    ///
    /// # Errors
    /// The program does not exist, or the connection to the host failed.
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError>;

    /// Runs commands in order, each regardless of how those before it exited: in one round trip where the transport
    /// can. An error does not say which were run.
    fn run_all(&self, cmds: &[Cmd]) -> Result<Vec<Output>, CmdError> {
        cmds.iter().map(|cmd| self.run(cmd)).collect()
    }

    /// Runs `cmd` and returns its standard output; any status other than 0 is an error.
    fn check(&self, cmd: &Cmd) -> Result<Vec<u8>, CmdError> {
        self.run(cmd)?.succeeded(cmd)
    }

    /// The same for several commands, by [`Self::run_all`].
    fn check_all(&self, cmds: &[Cmd]) -> Result<Vec<Vec<u8>>, CmdError> {
        let outputs = self.run_all(cmds)?.into_iter();
        outputs.zip(cmds).map(|(output, cmd)| output.succeeded(cmd)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_a_script_and_never_prints_its_text_its_input_or_a_secret() {
        let script = Script {
            name: "greet.sh",
            text: "echo hello \"$1\"",
        };
        let cmd = Cmd::script(script, ["a b"]).secret("hunter2").fed("also secret");
        assert_eq!(cmd.to_string(), "greet.sh 'a b' ***");
        assert_eq!(cmd.argv, ["sh", "-c", "echo hello \"$1\"", "sh", "a b", "hunter2"]);
    }

    #[test]
    fn a_script_that_another_program_runs_is_still_named_and_its_secrets_are_still_masked() {
        let script = Script {
            name: "greet.sh",
            text: "echo hello",
        };
        let cmd = Cmd::script(script, ["a b"])
            .secret("hunter2")
            .run_by(["nice", "-n", "5"]);
        assert_eq!(cmd.to_string(), "nice -n 5 greet.sh 'a b' ***");
        assert_eq!(
            cmd.argv,
            ["nice", "-n", "5", "sh", "-c", "echo hello", "sh", "a b", "hunter2"]
        );
    }

    #[test]
    fn a_message_shows_where_an_argument_begins_and_ends() {
        assert_eq!(Cmd::new(["grep", "", "a b"]).to_string(), "grep '' 'a b'");
    }
}
