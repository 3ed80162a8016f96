//! The connection to one libvirt daemon, and the event loop that moves its data. A daemon may be restarted while a lab
//! runs (an update of its package does that); guests keep running, so the connection is opened again and the call that
//! was interrupted is repeated.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::debug;
use virt::connect::Connect;

use super::error::{LibvirtError, Operation, failed};
use super::processes::{Process, Processes};
use super::watchdog::watched;
use crate::lab::HostName;

/// How long a daemon may take to return after it went away.
const RETURN_WITHIN: Duration = Duration::from_secs(15);
/// Seconds between two keepalive requests, and how many may go unanswered. The daemon answers them in its main loop,
/// also while it probes QEMU; beside many booting guests that may take seconds.
const KEEP_ALIVE: (i32, u32) = (5, 5);
/// How long a daemon that accepted a connection may take to answer on it.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The same where it is busy finding out what its emulators can do: a second each, and some machines have thirty.
const PROBE_WITHIN: Duration = Duration::from_secs(180);
/// How often it is checked what a daemon that does not answer is doing.
const CHECK_EVERY: Duration = Duration::from_secs(3);
/// The log's target for libvirt calls.
const LOG: &str = "netlab::libvirt";

/// A connection that is opened again when it is lost.
pub(super) struct Connection {
    /// The host's name in the log.
    host: HostName,
    uri: String,
    processes: Processes,
    open: Mutex<Open>,
}

struct Open {
    conn: Connect,
    /// How often it was opened again.
    renewed: u64,
}

impl Connection {
    /// Connects to the libvirt of `host` at `uri`, whose daemon is one of `processes`.
    pub fn open(host: HostName, uri: &str, processes: Processes) -> Result<Self, LibvirtError> {
        event_loop()?;
        let operation = Operation::Connect(uri.to_owned());
        let conn = logged(&host, &operation, || connect(&host, uri, &processes))?;
        Ok(Self {
            host,
            uri: uri.to_owned(),
            processes,
            open: Mutex::new(Open { conn, renewed: 0 }),
        })
    }

    /// Returns the connection, opened again if it was lost, and how often that has been done.
    pub fn now(&self) -> Result<(Connect, u64), LibvirtError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + RETURN_WITHIN;
        let operation = Operation::Connect(self.uri.clone());
        while !is_alive(&open.conn) {
            match logged(&self.host, &operation, || {
                connect(&self.host, &self.uri, &self.processes)
            }) {
                Ok(conn) => {
                    open.conn = conn;
                    open.renewed += 1;
                }
                // It is there: it will not return.
                Err(error @ LibvirtError::NoAnswer { .. }) => return Err(error),
                Err(error) if Instant::now() > deadline => {
                    return Err(LibvirtError::DaemonGone {
                        uri: self.uri.clone(),
                        within: RETURN_WITHIN,
                        source: Box::new(error),
                    });
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
        Ok((open.conn.clone(), open.renewed))
    }

    /// Runs `work` and logs it as `operation`; runs it once more if the connection was lost meanwhile, so `work` must
    /// be idempotent.
    pub fn with<T>(
        &self,
        operation: &Operation,
        work: impl Fn(&Connect) -> Result<T, LibvirtError>,
    ) -> Result<T, LibvirtError> {
        let once = |conn: &Connect| {
            watched(&self.processes, operation, || {
                logged(&self.host, operation, || work(conn))
            })
        };
        let (conn, _) = self.now()?;
        match once(&conn) {
            Err(_) if !is_alive(&conn) => {
                let (conn, _) = self.now()?;
                once(&conn)
            }
            result => result,
        }
    }

    /// Like [`Self::with`], for calls for which the daemon waits for a domain's QEMU, which may never answer: after
    /// `limit` the error names the domain, and the call is left to itself.
    pub fn within<T: Send + 'static>(
        &self,
        operation: &Operation,
        limit: Duration,
        work: impl Fn(&Connect) -> Result<T, LibvirtError> + Send + Sync + 'static,
    ) -> Result<T, LibvirtError> {
        let work = Arc::new(work);
        self.with(operation, |conn| {
            let (work, conn) = (work.clone(), conn.clone());
            limited(limit, move || work(&conn)).unwrap_or_else(|| {
                Err(LibvirtError::Late {
                    operation: operation.clone(),
                    within: limit,
                })
            })
        })
    }
}

/// Runs `work` in a thread of its own and returns its result; none where it takes longer than `limit`. libvirt's calls
/// have no timeout: the thread is then left to itself.
pub(super) fn limited<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // Where the caller has given up, nobody receives the result.
    thread::spawn(move || drop(sender.send(work())));
    receiver.recv_timeout(limit).ok()
}

/// Logs an operation with its duration and its error. The log holds names only: no XML, which may carry a password.
fn logged<T>(
    host: &HostName,
    operation: &Operation,
    work: impl FnOnce() -> Result<T, LibvirtError>,
) -> Result<T, LibvirtError> {
    let began = Instant::now();
    let result = work();
    let ms = began.elapsed().as_millis();
    match &result {
        Ok(_) => debug!(target: LOG, %host, call = %operation, ms),
        Err(error) => debug!(target: LOG, %host, call = %operation, ms, %error),
    }
    result
}

/// Connects, in a thread of its own: a daemon that accepts the connection and never answers would block this one for
/// ever. The thread is then left to itself.
fn connect(host: &HostName, uri: &str, processes: &Processes) -> Result<Connect, LibvirtError> {
    let (sender, receiver) = mpsc::channel();
    let to = uri.to_owned();
    thread::spawn(move || drop(sender.send(open(&to))));
    let began = Instant::now();
    loop {
        match receiver.recv_timeout(CHECK_EVERY) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(LibvirtError::EventLoop("the thread that connects ended".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let daemon = processes.daemon();
        let limit = if daemon.probing { PROBE_WITHIN } else { ANSWER_WITHIN };
        let stopped = daemon.process.as_ref().is_some_and(Process::is_stopped);
        if stopped || began.elapsed() >= limit {
            return Err(LibvirtError::NoAnswer {
                host: host.clone(),
                uri: uri.to_owned(),
                daemon: daemon.process.map(|process| process.named()),
                stopped,
                within: began.elapsed(),
            });
        }
    }
}

fn open(uri: &str) -> Result<Connect, LibvirtError> {
    let conn = Connect::open(Some(uri)).map_err(failed(&Operation::Connect(uri.to_owned())))?;
    // Not every driver has a daemon; a connection without one cannot be lost.
    let (interval, count) = KEEP_ALIVE;
    drop(conn.set_keep_alive(interval, count));
    Ok(conn)
}

/// Opens a connection that can only read.
pub(super) fn read_only(uri: &str) -> Result<Connect, LibvirtError> {
    event_loop()?;
    Connect::open_read_only(Some(uri)).map_err(failed(&Operation::Connect(uri.to_owned())))
}

/// Returns whether the connection is open. Sends nothing: a broken connection is noticed by its keepalive.
pub(super) fn is_alive(conn: &Connect) -> bool {
    conn.is_alive().unwrap_or(false)
}

/// Registers libvirt's event loop, before the first connection, and runs it in a thread until netlab ends.
fn event_loop() -> Result<(), LibvirtError> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        virt::error::clear_error_callback();
        virt::event::event_register_default_impl().map_err(|error| error.message().to_owned())?;
        let run = || {
            loop {
                if virt::event::event_run_default_impl().is_err() {
                    thread::sleep(Duration::from_millis(10));
                }
            }
        };
        let thread = thread::Builder::new().name("libvirt-events".to_owned()).spawn(run);
        thread.map(drop).map_err(|error| error.to_string())
    };
    STARTED.get_or_init(start).clone().map_err(LibvirtError::EventLoop)
}
