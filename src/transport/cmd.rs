//! A command as argv and standard input, and the way to run one. Never a pasted command line: no text of a user
//! meets a shell.

use std::fmt;

/// A program with its arguments and what it is fed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cmd {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Standard input.
    pub stdin: Vec<u8>,
}

impl Cmd {
    /// A command without input.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: Vec::new(),
        }
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
        f.write_str(&self.argv.join(" "))
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
    /// The standard output of `cmd`; any status other than 0 is an error.
    fn succeeded(self, cmd: &Cmd) -> Result<Vec<u8>, CmdError> {
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
    /// The program is not there.
    #[error("`{program}` is not installed")]
    NotFound {
        /// The program.
        program: String,
    },
    /// It ran and exited with another status than 0.
    #[error("`{command}` exited with {status}: {stderr}")]
    Failed {
        /// The command.
        command: String,
        /// Its exit status.
        status: i32,
        /// What it said, trimmed.
        stderr: String,
    },
    /// It printed something that cannot be read.
    #[error("`{command}` printed something unexpected: {message}")]
    Unreadable {
        /// The command.
        command: String,
        /// What is wrong with it.
        message: String,
    },
    /// The way to the host failed.
    #[error("running `{command}`: {source}")]
    Io {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A place where commands run.
pub trait Shell: Send + Sync {
    /// Runs `cmd` to its end. An exit status other than 0 is an `Output`, not an error.
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError>;

    /// Runs commands one after the other, each whatever came of those before it: where the way is long, in one round
    /// trip. An error says nothing about which were run.
    fn run_all(&self, cmds: &[Cmd]) -> Result<Vec<Output>, CmdError> {
        cmds.iter().map(|cmd| self.run(cmd)).collect()
    }

    /// Runs `cmd` and gives its standard output; any status other than 0 is an error.
    fn check(&self, cmd: &Cmd) -> Result<Vec<u8>, CmdError> {
        self.run(cmd)?.succeeded(cmd)
    }

    /// The same for several commands, by [`Self::run_all`].
    fn check_all(&self, cmds: &[Cmd]) -> Result<Vec<Vec<u8>>, CmdError> {
        let outputs = self.run_all(cmds)?.into_iter();
        outputs.zip(cmds).map(|(output, cmd)| output.succeeded(cmd)).collect()
    }
}
