//! Tiers 1 to 3: what needs neither root nor a daemon, beside the unit tests in src/.

mod golden;
mod image;
mod libvirt_driver;
mod properties;
mod repository;
#[allow(dead_code, reason = "other tiers use more of it")]
mod support;
