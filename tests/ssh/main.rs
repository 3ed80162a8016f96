//! Hosts over ssh: sshd(8) for real, and machines of their own behind it. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "helpers of tests are tests too"
)]

mod cut;
mod disks;
mod doctor;
#[path = "../vga/files.rs"]
mod files;
mod keys;
mod labs;
mod machines;
mod services;
mod shell;
mod sshd;
mod takeover;
mod trips;
