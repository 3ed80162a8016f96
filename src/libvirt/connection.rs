//! The connection to one libvirt daemon, and the event loop that moves its data. A daemon may be restarted while a lab
//! runs (an update of its package does that); guests keep running, so the connection is opened again and the call that
//! was interrupted is repeated.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::debug;
use virt::connect::Connect;

use super::error::{LibvirtError, Operation, failed};
use crate::lab::HostName;

/// How long a daemon may take to return after it went away.
const RETURN_WITHIN: Duration = Duration::from_secs(15);
/// Seconds between two keepalive requests, and how many may go unanswered. The daemon answers them in its main loop,
/// also while it probes QEMU; beside many booting guests that may take seconds.
const KEEP_ALIVE: (i32, u32) = (5, 5);
/// The log's target for libvirt calls.
const LOG: &str = "netlab::libvirt";

/// A connection that is opened again when it is lost.
pub(super) struct Connection {
    /// The host's name in the log.
    host: HostName,
    uri: String,
    open: Mutex<Open>,
}

struct Open {
    conn: Connect,
    /// How often it was opened again.
    renewed: u64,
}

impl Connection {
    /// Connects to the libvirt of `host` at `uri`.
    pub fn open(host: HostName, uri: &str) -> Result<Self, LibvirtError> {
        event_loop()?;
        let conn = logged(&host, &Operation::Connect(uri.to_owned()), || connect(uri))?;
        Ok(Self {
            host,
            uri: uri.to_owned(),
            open: Mutex::new(Open { conn, renewed: 0 }),
        })
    }

    /// Returns the connection, opened again if it was lost, and how often that has been done.
    pub fn now(&self) -> Result<(Connect, u64), LibvirtError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + RETURN_WITHIN;
        let operation = Operation::Connect(self.uri.clone());
        while !is_alive(&open.conn) {
            match logged(&self.host, &operation, || connect(&self.uri)) {
                Ok(conn) => {
                    open.conn = conn;
                    open.renewed += 1;
                }
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
        let (conn, _) = self.now()?;
        match logged(&self.host, operation, || work(&conn)) {
            Err(_) if !is_alive(&conn) => {
                let (conn, _) = self.now()?;
                logged(&self.host, operation, || work(&conn))
            }
            result => result,
        }
    }
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

fn connect(uri: &str) -> Result<Connect, LibvirtError> {
    let conn = Connect::open(Some(uri)).map_err(failed(&Operation::Connect(uri.to_owned())))?;
    // Not every driver has a daemon; a connection without one cannot be lost.
    let (interval, count) = KEEP_ALIVE;
    drop(conn.set_keep_alive(interval, count));
    Ok(conn)
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
