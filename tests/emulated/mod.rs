//! Emulated hosts for real: namespaces, init, libvirt's daemon, cables. Needs root and libvirt's daemons.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "helpers of tests are tests too"
)]

mod bench;
mod devices;
mod inside;
mod life;
mod network;
