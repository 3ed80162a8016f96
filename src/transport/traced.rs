//! Logs every command that is sent to a host, by `tracing`: target `netlab::command`.
//!
//! An event of level debug for each command: host, command line (secrets masked), exit status, milliseconds and the
//! number of bytes of standard input, never their content. Several commands of one round trip share its duration.
//! An event for each round trip: host, number of commands and milliseconds; of level debug where it has several
//! commands, else of level trace.

use std::time::Instant;

use super::cmd::{Cmd, CmdError, Output, Shell};

/// The target of all events.
pub const TARGET: &str = "netlab::command";

/// A shell that logs every command. Changes neither commands nor outputs.
#[derive(Debug, Clone)]
pub struct TracedShell<S> {
    host: String,
    shell: S,
}

impl<S: Shell> TracedShell<S> {
    /// Wraps `shell`, which runs commands on `host`.
    pub fn new(host: impl Into<String>, shell: S) -> Self {
        Self {
            host: host.into(),
            shell,
        }
    }

    fn log(&self, cmd: &Cmd, output: &Output, milliseconds: u64) {
        let (host, command, status, stdin) = (&*self.host, cmd, output.status, cmd.stdin.len());
        tracing::debug!(target: TARGET, host, %command, status, milliseconds, stdin);
        if status != 0 {
            let stderr = String::from_utf8_lossy(&output.stderr);
            tracing::debug!(target: TARGET, host, %command, status, stderr = stderr.trim());
        }
    }

    fn log_round_trip<T>(
        &self,
        first: Option<&Cmd>,
        commands: usize,
        began: Instant,
        result: &Result<T, CmdError>,
    ) -> u64 {
        let (host, milliseconds) = (&*self.host, elapsed(began));
        if commands > 1 {
            tracing::debug!(target: TARGET, host, commands, milliseconds, "round trip");
        } else {
            tracing::trace!(target: TARGET, host, commands, milliseconds, "round trip");
        }
        if let (Err(error), Some(command)) = (result, first) {
            tracing::debug!(target: TARGET, host, %command, commands, milliseconds, %error);
        }
        milliseconds
    }
}

impl<S: Shell> Shell for TracedShell<S> {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        let began = Instant::now();
        let result = self.shell.run(cmd);
        let milliseconds = self.log_round_trip(Some(cmd), 1, began, &result);
        if let Ok(output) = &result {
            self.log(cmd, output, milliseconds);
        }
        result
    }

    fn run_all(&self, cmds: &[Cmd]) -> Result<Vec<Output>, CmdError> {
        let began = Instant::now();
        let result = self.shell.run_all(cmds);
        let milliseconds = self.log_round_trip(cmds.first(), cmds.len(), began, &result);
        if let Ok(outputs) = &result {
            for (cmd, output) in cmds.iter().zip(outputs) {
                self.log(cmd, output, milliseconds);
            }
        }
        result
    }
}

/// Whole milliseconds since `began`.
fn elapsed(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::transport::LocalShell;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged at `level` while `act` runs.
    fn logged(level: LevelFilter, act: impl FnOnce(&TracedShell<LocalShell>)) -> Vec<String> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let shell = TracedShell::new("node1", LocalShell);
        tracing::subscriber::with_default(subscriber, || act(&shell));
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_command_is_logged_with_its_host_status_and_input_size_but_without_secrets() {
        let lines = logged(LevelFilter::DEBUG, |shell| {
            let cmd = Cmd::new(["sh", "-c", "cat; exit 3", "sh"])
                .secret("hunter2")
                .fed("twelve bytes");
            assert_eq!(shell.run(&cmd).unwrap().stdout, b"twelve bytes");
        });
        let line = &lines[0];
        for part in [
            "netlab::command",
            "host=\"node1\"",
            "sh -c 'cat; exit 3' sh ***",
            "status=3",
            "stdin=12",
            "milliseconds=",
        ] {
            assert!(line.contains(part), "{part:?} is missing in {line}");
        }
        let all = lines.concat();
        assert!(!all.contains("hunter2") && !all.contains("twelve"), "{all}");
    }

    #[test]
    fn several_commands_of_one_call_are_one_round_trip() {
        let lines = logged(LevelFilter::TRACE, |shell| {
            shell.run_all(&[Cmd::new(["true"]), Cmd::new(["true"])]).unwrap();
        });
        let trips: Vec<_> = lines.iter().filter(|line| line.contains("round trip")).collect();
        assert_eq!(trips.len(), 1, "{lines:?}");
        assert!(trips[0].contains("commands=2"), "{lines:?}");
        assert_eq!(lines.len(), 3, "{lines:?}");
    }

    #[test]
    fn a_command_that_cannot_run_is_logged_with_its_error() {
        let lines = logged(LevelFilter::DEBUG, |shell| {
            shell.run(&Cmd::new(["netlab-no-such-program"])).unwrap_err();
        });
        assert!(lines[0].contains("is not installed"), "{lines:?}");
    }
}
