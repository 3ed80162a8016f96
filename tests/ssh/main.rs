//! Hosts over ssh: sshd(8) for real, and machines of their own behind it. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "helpers of tests are tests too"
)]

mod bonds;
mod cut;
mod disks;
mod doctor;
mod keys;
mod killed;
mod labs;
mod links;
mod machines;
mod random_kills;
mod rebooted;
mod services;
mod shell;
mod sshd;
#[allow(dead_code, reason = "other tiers use more of it")]
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod trips;
mod warm;
