//! Tier 5: netlab as a user runs it, with real libvirt and real guests on emulated hosts. `FAULTS n` in a comment
//! means the n-th row of the list of faults that netlab answers for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "in a test a panic is the report; helpers of tests are tests too"
)]

mod belongs;
mod bounded;
mod brought;
mod changed;
mod checkpoints;
mod clash;
mod commands;
mod debian;
mod disks;
mod exec;
mod faults;
mod files;
mod graph;
mod grown;
mod guest_drift;
mod guests;
mod into;
mod killed;
mod leases;
mod library;
mod links;
mod local;
mod machine;
mod many;
mod missing;
mod named;
mod netboot;
mod observed;
mod package;
mod paused;
mod random_kills;
mod removed;
mod script;
mod secrets;
mod setup;
mod signals;
mod status;
mod straight;
mod to_host;
mod verify;
mod warm;
mod wrong;
