//! The connection to one libvirt daemon, and the event loop that moves its data. A daemon may be restarted under a
//! running lab (an update of its package does that); guests live on, so the connection is opened anew and what was
//! under way is asked again.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use virt::connect::Connect;

use super::{failed, other};
use crate::host::HostError;

/// How long a daemon that went away may take to come back.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// Seconds between two questions whether the other side is still there, and how many may go unanswered. The daemon
/// answers them in its main loop, also while it probes QEMU; beside many booting guests that may take seconds.
const KEEP_ALIVE: (i32, u32) = (5, 5);

/// A connection that heals.
pub(super) struct Connection {
    uri: String,
    open: Mutex<Open>,
}

struct Open {
    conn: Connect,
    /// How often it was opened again.
    renewed: u64,
}

impl Connection {
    /// Connects.
    pub fn open(uri: &str) -> Result<Self, HostError> {
        event_loop()?;
        let conn = connect(uri)?;
        Ok(Self {
            uri: uri.to_owned(),
            open: Mutex::new(Open { conn, renewed: 0 }),
        })
    }

    /// The connection, opened again if it was lost, and how often that was done by now.
    pub fn now(&self) -> Result<(Connect, u64), HostError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + BACK_WITHIN;
        while !is_alive(&open.conn) {
            match connect(&self.uri) {
                Ok(conn) => {
                    open.conn = conn;
                    open.renewed += 1;
                }
                Err(error) if Instant::now() > deadline => {
                    let doing = "going on after libvirt's daemon went away";
                    return Err(other(doing, format!("it does not come back: {error}")));
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
        Ok((open.conn.clone(), open.renewed))
    }

    /// Runs `work`, and once more if the connection was lost under it. `work` must be such that doing it again is no
    /// harm.
    pub fn with<T>(&self, work: impl Fn(&Connect) -> Result<T, HostError>) -> Result<T, HostError> {
        let (conn, _) = self.now()?;
        match work(&conn) {
            Err(_) if !is_alive(&conn) => work(&self.now()?.0),
            result => result,
        }
    }
}

fn connect(uri: &str) -> Result<Connect, HostError> {
    let conn = Connect::open(Some(uri)).map_err(failed(&format!("connecting to {uri}")))?;
    // Not every driver has a daemon to ask; a connection to none cannot be lost.
    let (interval, count) = KEEP_ALIVE;
    drop(conn.set_keep_alive(interval, count));
    Ok(conn)
}

/// The connection stands. Asks nobody: it was noticed when it broke.
pub(super) fn is_alive(conn: &Connect) -> bool {
    conn.is_alive().unwrap_or(false)
}

/// Registers libvirt's event loop, before the first connection, and runs it for ever in one thread.
fn event_loop() -> Result<(), HostError> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        virt::error::clear_error_callback();
        virt::event::event_register_default_impl().map_err(|e| e.message().to_owned())?;
        let run = || {
            loop {
                if virt::event::event_run_default_impl().is_err() {
                    thread::sleep(Duration::from_millis(10));
                }
            }
        };
        let thread = thread::Builder::new().name("libvirt-events".to_owned()).spawn(run);
        thread.map(drop).map_err(|e| e.to_string())
    };
    STARTED
        .get_or_init(start)
        .clone()
        .map_err(|e| other("starting libvirt's event loop", e))
}
