//! Ctrl-C and SIGTERM: the first requests that the run stops between steps. A run that does not stop in time, because a
//! step waits for a daemon or a guest, is ended, and so is one that gets a second signal: the journal makes that safe.

use std::future::pending;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::error::CommandError;
use super::output::print_error;
use crate::event::Cancel;
use crate::lab::LabName;
use crate::ops::OpsError;

static SIGNAL: AtomicU8 = AtomicU8::new(0);

/// How long steps in progress may take after the first signal.
const GRACE: Duration = Duration::from_secs(10);

/// Has both signals request `cancel` from now on, in a thread of its own. `lab`: the one that a run is on.
pub fn listen(cancel: Cancel, lab: Option<LabName>) -> Result<(), CommandError> {
    let failed = |source: std::io::Error| CommandError::Process {
        doing: "handle signals",
        source,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let (mut int, mut term) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt()).map_err(failed)?,
            signal(SignalKind::terminate()).map_err(failed)?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let mut grace = None;
            loop {
                let over = async {
                    match grace {
                        Some(until) => tokio::time::sleep_until(until).await,
                        None => pending().await,
                    }
                };
                let number = tokio::select! {
                    _ = int.recv() => 2,
                    _ = term.recv() => 15,
                    () = over => end(lab.as_ref(), &format!("did not end within {} s", GRACE.as_secs())),
                };
                SIGNAL.store(number, Ordering::SeqCst);
                if cancel.request() {
                    end(lab.as_ref(), "was in progress");
                }
                grace = Some(tokio::time::Instant::now() + GRACE);
            }
        });
    });
    Ok(())
}

/// Ends netlab in the middle of whatever it is doing.
fn end(lab: Option<&LabName>, what: &str) -> ! {
    let signal = SIGNAL.load(Ordering::SeqCst);
    if let Some(lab) = lab {
        print_error(&format!(
            "error: interrupted by signal {signal}: a step {what} and was abandoned; the journal has it\nhelp: \
             `netlab up` continues, `netlab down {lab}` removes everything"
        ));
    }
    std::process::exit(128 + i32::from(signal))
}

/// Returns the number of the signal that was received; 0: none.
pub fn received() -> u8 {
    SIGNAL.load(Ordering::SeqCst)
}

/// Returns the error of a command on `lab`, with the signal that was received if one was.
pub fn caused(error: OpsError, lab: &LabName) -> CommandError {
    match SIGNAL.load(Ordering::SeqCst) {
        0 => error.into(),
        signal => CommandError::Interrupted {
            signal,
            lab: lab.clone(),
            source: error,
        },
    }
}
