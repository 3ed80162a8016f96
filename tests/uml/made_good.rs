//! Tests of other tiers that a kernel without 802.1Q makes skip themselves, run where there is one.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::kernel;

/// The test binary of tier 4, as cargo built it beside this one: of several builds the newest.
fn kernel_tests() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let binaries = fs::read_dir(this.parent().unwrap()).unwrap().flatten();
    let of_tier_4 = binaries.filter(|file| {
        let name = file.file_name().into_string().unwrap_or_default();
        name.strip_prefix("kernel-")
            .is_some_and(|hash| !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    let newest = of_tier_4.max_by_key(|file| file.metadata().unwrap().modified().unwrap());
    newest.expect("built by `cargo test --test kernel --no-run`").path()
}

#[test]
fn the_kernels_vlan_tests_pass_where_there_are_vlans() {
    let run = format!(
        "'{}' --color never vlan missing_kernel_module",
        kernel_tests().display()
    );
    let parts = [("tests", run.as_str())];
    let Some(printed) = kernel::good("the_kernels_vlan_tests_pass", &parts, Duration::from_secs(180)) else {
        return;
    };
    let said = printed.by("tests");
    assert!(!said.contains("SKIPPED"), "{said}");
    let passed: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"))
        .collect();
    assert!(passed.iter().any(|test| test.contains("vlan")), "{said}");
    for test in passed {
        // For `run-all`, which counts a skipped test as passed that has passed here; by the name it was skipped under.
        let name = test.rsplit("::").next().unwrap_or(test);
        let _ = writeln!(std::io::stderr(), "MADE GOOD: {name}");
    }
}
