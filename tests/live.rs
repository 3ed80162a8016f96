//! Tier 5: emulated hosts, libvirt's daemon, QEMU and guests, all real. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy knows tests by their attribute, not their helpers"
)]

mod emulated;
mod end_to_end;
mod guest;
pub mod labs;
mod libvirt_daemon;
#[allow(dead_code, reason = "other tiers use more of it")]
mod support;
mod vga;
