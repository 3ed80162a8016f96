//! Ctrl-C and SIGTERM: the first requests that the run stops between steps, the second ends netlab at once (the
//! journal makes that safe, too).

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::error::CommandError;
use crate::event::Cancel;
use crate::ops::OpsError;

static SIGNAL: AtomicU8 = AtomicU8::new(0);

/// Has both signals request `cancel` from now on, in a thread of its own.
pub fn listen(cancel: Cancel) -> Result<(), CommandError> {
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
            loop {
                let number = tokio::select! { _ = int.recv() => 2, _ = term.recv() => 15 };
                SIGNAL.store(number, Ordering::SeqCst);
                if cancel.request() {
                    std::process::exit(128 + i32::from(number));
                }
            }
        });
    });
    Ok(())
}

/// Returns the error of a command, with the signal that caused it if one did.
pub fn caused(error: OpsError) -> CommandError {
    match (error, SIGNAL.load(Ordering::SeqCst)) {
        (source @ OpsError::Interrupted { .. }, signal) if signal != 0 => CommandError::Interrupted { signal, source },
        (error, _) => error.into(),
    }
}
