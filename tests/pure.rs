//! Tiers 1 to 3: what needs neither root nor a daemon, beside the unit tests in src/.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy knows tests by their attribute, not their helpers"
)]

mod command_line;
mod golden;
mod image;
mod libvirt_driver;
mod properties;
mod repository;
#[allow(dead_code, reason = "other tiers use more of it")]
mod support;
