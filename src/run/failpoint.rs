//! Where a test may kill netlab: `NETLAB_FAILPOINT=<n>` ends the process by SIGKILL at the n-th step boundary
//! (counted from 1: a batch has one between intent and deed, and one between deed and its note in the journal). Without the variable nothing
//! happens. It is in every build, because what is tested should be what is shipped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A boundary was reached.
pub fn reached() {
    static LIMIT: OnceLock<Option<u64>> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Some(limit) = *LIMIT.get_or_init(|| std::env::var("NETLAB_FAILPOINT").ok()?.parse().ok()) else {
        return;
    };
    if COUNT.fetch_add(1, Ordering::SeqCst) + 1 == limit {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
