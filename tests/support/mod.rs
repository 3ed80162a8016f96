//! What tests of several tiers share. Each test runs in a process of its own, and several run at once: whatever is
//! kept between tests is a file under `CARGO_TARGET_TMPDIR`, and the test that creates it holds a lock.

pub mod frames;
pub mod guest_disk;
pub mod kills;
pub mod lab;
pub mod machines;
pub mod markdown;
pub mod random;
pub mod server;
pub mod sources;
pub mod whole;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine; a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Names the file that `tests/run-all` counts skipped tests by.
const REPORT: &str = "NETLAB_TEST_REPORT";

/// Says that a test cannot run here, and why. It then returns like one that passed: `tests/run-all` counts it as skipped.
pub fn skip(test: &str, why: &str) {
    report(&format!("SKIPPED: {test}: {why}"));
}

/// Adds a line to the file that `tests/run-all` reads, and to standard error, past the capture of test output.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
    if let Some(file) = std::env::var_os(REPORT) {
        let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
        // One write: lines of tests that run at the same time do not mix.
        file.write_all(format!("{} {line}\n", env!("CARGO_CRATE_NAME")).as_bytes())
            .unwrap();
    }
}

/// True where emulated hosts can be had; otherwise the test is reported as skipped.
pub fn emulated_hosts(test: &str) -> bool {
    let daemon = ["libvirtd", "virtqemud"].iter().any(|daemon| installed(daemon));
    if rustix::process::geteuid().is_root() && daemon {
        return true;
    }
    skip(test, "needs root and libvirtd or virtqemud");
    false
}

/// Whether a program of the system is installed.
pub fn installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).is_file())
}

/// A folder that outlives the test: what is learned or built once is there for the next one.
pub fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Waits until `done`, and fails if that does not happen.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Numbers and arguments of all processes.
pub fn processes() -> Vec<(u32, String)> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let arguments = std::fs::read(process.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&arguments).replace('\0', " ")))
    })
    .collect()
}
