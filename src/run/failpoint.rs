//! Where a test may kill netlab: in builds with debug assertions, `NETLAB_FAILPOINT=<n>` ends the process by SIGKILL
//! at the n-th step boundary (counted from 1: a batch has one between its intent and its execution, and one between
//! its execution and the record of its end). A release build has no failpoint.

/// Marks that a boundary was reached.
#[cfg(debug_assertions)]
pub(super) fn reached() {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static LIMIT: OnceLock<Option<u64>> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Some(limit) = *LIMIT.get_or_init(|| std::env::var("NETLAB_FAILPOINT").ok()?.parse().ok()) else {
        return;
    };
    if COUNT.fetch_add(1, Ordering::SeqCst) + 1 == limit {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Marks that a boundary was reached: nothing happens in this build.
#[cfg(not(debug_assertions))]
pub(super) fn reached() {}
