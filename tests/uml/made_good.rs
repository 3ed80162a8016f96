//! Tests of other tiers that a kernel without 802.1Q makes skip themselves, run where there is one.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::kernel;
use crate::support::report;

/// The test binary of another tier, as cargo built it beside this one: of several builds the newest.
fn binary(tier: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let binaries = fs::read_dir(this.parent().unwrap()).unwrap().flatten();
    let of_the_tier = binaries.filter(|file| {
        let name = file.file_name().into_string().unwrap_or_default();
        let hash = name.strip_prefix(tier).and_then(|rest| rest.strip_prefix('-'));
        hash.is_some_and(|hash| !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    let newest = of_the_tier.max_by_key(|file| file.metadata().unwrap().modified().unwrap());
    newest.unwrap_or_else(|| panic!("{tier} is not built")).path()
}

/// Runs the tests of a tier whose names contain one of `names`; each must pass, and none may skip itself.
fn passes_inside(test: &str, tier: &str, names: &str, within: Duration) {
    let run = format!("'{}' --color never --test-threads 1 {names}", binary(tier).display());
    let parts = [("tests", run.as_str())];
    let Some(printed) = kernel::good(test, &parts, within) else {
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
        report(&format!("MADE GOOD: {}", test.rsplit("::").next().unwrap_or(test)));
    }
}

#[test]
fn the_kernels_vlan_tests_pass_where_there_are_vlans() {
    let test = "the_kernels_vlan_tests_pass_where_there_are_vlans";
    passes_inside(
        test,
        "kernel",
        "vlan missing_kernel_module netem",
        Duration::from_secs(400),
    );
}

#[test]
fn the_labs_with_vlans_pass_where_there_are_vlans() {
    let test = "the_labs_with_vlans_pass_where_there_are_vlans";
    passes_inside(
        test,
        "live",
        "labs::tagged a_switch_with_vlans",
        Duration::from_secs(580),
    );
}
