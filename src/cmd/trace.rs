//! What `-v` prints and `NETLAB_LOG` records: every command sent to a host, every libvirt call and every round trip.
//! The events are sent with the target `netlab` by the modules that do these things; secrets are masked there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::prelude::*;

use super::error::CommandError;
use super::output::write_error;
use crate::folders::Folders;
use crate::lab::{LabName, masked, readable};

/// The level of the lab's log: `off`, `error`, `warn`, `info`, `debug` or `trace`.
const LEVEL: &str = "NETLAB_LOG";

/// Where the log goes once the lab is known.
static LOG: Mutex<Log> = Mutex::new(Log::Nowhere);

enum Log {
    Nowhere,
    /// Opened by the first event.
    At(PathBuf),
    Open(File),
}

/// Starts to print events on stderr (`verbose`: 0 none, 1 commands, 2 everything) and to record them by the level that
/// the environment asks for.
pub fn start(verbose: u8) {
    let shown = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let recorded = std::env::var(LEVEL).map_or(LevelFilter::OFF, |level| {
        level.parse().unwrap_or_else(|_| {
            write_error(&format!(
                "warning: {LEVEL}={level} is ignored\n  help: use off, error, warn, info, debug or trace\n"
            ));
            LevelFilter::OFF
        })
    });
    if shown == LevelFilter::OFF && recorded == LevelFilter::OFF {
        return;
    }
    let only_netlab = |level| Targets::new().with_target("netlab", level);
    let stderr = layer()
        .without_time()
        .with_level(false)
        .with_ansi(false)
        .with_writer(|| Stderr)
        .with_filter(only_netlab(shown));
    let log = layer()
        .with_ansi(false)
        .with_writer(LogWriter)
        .with_filter(only_netlab(recorded));
    // Fails where the process has a subscriber already, which then gets the events.
    let _ = tracing_subscriber::registry().with(stderr).with(log).try_init();
}

/// Records events in the lab's folder from now on, if the environment asks for it.
pub fn record_in(folders: &Folders, lab: &LabName) {
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Log::At(folders.log(lab));
}

/// Stderr, above the progress bars.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_error(&one_line(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lab's log.
struct LogWriter;

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        if let Log::At(path) = &*log {
            *log = match open(path) {
                Ok(file) => Log::Open(file),
                Err(source) => {
                    let error = CommandError::File {
                        doing: "write log",
                        path: path.clone(),
                        source,
                    };
                    write_error(&format!("warning: {}\n", crate::causes::chain(&error)));
                    Log::Nowhere
                }
            };
        }
        match &mut *log {
            Log::Open(file) => file.write_all(one_line(bytes).as_bytes())?,
            Log::At(_) | Log::Nowhere => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns an event as one line, whatever a host printed: shell programs have several, and escape sequences must not
/// reach a terminal.
fn one_line(event: &[u8]) -> String {
    let event = String::from_utf8_lossy(event);
    let line = event.trim_end().replace('\n', "\\n");
    readable(&masked::urls(&line)) + "\n"
}

/// Opens the log for its owner's eyes only: it has the output of commands in it.
fn open(path: &std::path::Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        Folders::make(folder)?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        assert_eq!(one_line(b"sh -c 'a\nb' \x1b[2J\n"), "sh -c 'a\\nb' \\u{1b}[2J\n");
    }
}
