//! Where a test may kill netlab: in builds with debug assertions, `NETLAB_FAILPOINT=<n>` ends the process by SIGKILL
//! at the n-th step boundary (counted from 1: a batch has one between its intent and its execution, and one between
//! its execution and the record of its end); `<n>:TERM` and `<n>:INT` send it that signal instead. A release build has
//! no failpoint.

/// Marks that a boundary was reached.
#[cfg(debug_assertions)]
pub(super) fn reached() {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    static LIMIT: OnceLock<Option<(u64, Signal)>> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let limit = LIMIT.get_or_init(|| {
        let text = std::env::var("NETLAB_FAILPOINT").ok()?;
        let (number, signal) = match text.split_once(':') {
            Some((number, "TERM")) => (number, Signal::TERM),
            Some((number, "INT")) => (number, Signal::INT),
            _ => (text.as_str(), Signal::KILL),
        };
        Some((number.parse().ok()?, signal))
    });
    let Some((limit, signal)) = *limit else {
        return;
    };
    if COUNT.fetch_add(1, Ordering::SeqCst) + 1 == limit {
        let _ = kill_process(getpid(), signal);
        // The thread that handles signals does so before the run goes on.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Marks that a boundary was reached: nothing happens in this build.
#[cfg(not(debug_assertions))]
pub(super) fn reached() {}
