//! Ctrl-C and SIGTERM: the first asks the run to stop between steps, the second ends netlab at once (the journal
//! makes that safe, too).

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::error::Failure;

/// Set by the first signal.
pub static CANCEL: AtomicBool = AtomicBool::new(false);
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Listens from now on, in a thread of its own.
pub fn listen() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Failed {
        message: format!("cannot listen for signals: {error}"),
        help: None,
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
                if CANCEL.swap(true, Ordering::SeqCst) {
                    std::process::exit(128 + number);
                }
                SIGNAL.store(number, Ordering::SeqCst);
            }
        });
    });
    Ok(())
}

/// The failure that says how to go on after a stop.
pub fn interrupted(lab: &crate::lab::LabName, done: usize, left: usize) -> Failure {
    Failure::Interrupted(
        SIGNAL.load(Ordering::SeqCst),
        format!(
            "stopped between steps: {done} done, {left} not begun; `netlab up` goes on, `netlab down {lab}` takes \
             everything away"
        ),
    )
}
