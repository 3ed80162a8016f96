//! The libvirt room against real daemons and real QEMU guests. Every test has a daemon of its own, in namespaces of
//! its own: nothing of the machine's libvirt is touched.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "in a test a panic is the report"
)]

mod consoles;
mod daemon;
mod disks;
mod life;
mod local;
