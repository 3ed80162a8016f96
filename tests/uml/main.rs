//! Tier 6: what needs more kernel than this machine may have. Debian's `user-mode-linux` package is a whole Linux with
//! 802.1Q as an ordinary program; netlab, libvirt and QEMU run inside it, on the machine's own root, read-only.
//!
//! Needs root, for a PID namespace by which all of such a kernel's processes can be ended at once. Nothing of the
//! machine is touched: that kernel's network, mounts and processes are its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy knows tests by their attribute, not their helpers"
)]

mod bonds;
mod capture;
mod cloud;
mod compiled;
mod kernel;
mod labs;
mod links;
mod made_good;
mod ovs;
mod preflight;
#[allow(dead_code, reason = "other tiers use more of it")]
#[path = "../support/mod.rs"]
mod support;
mod vectors;
