//! Tier 4: links, addresses, routes and settings of the real kernel, in throw-away network namespaces. Needs root;
//! nothing outside the namespaces is touched.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "clippy knows tests by their attribute, not their helpers"
)]

mod dhcp;
mod firewall;
mod floating;
mod links;
mod namespace;
mod settings;
mod shaping;
#[allow(dead_code, reason = "other tiers use more of it")]
#[path = "../support/mod.rs"]
mod support;
mod survey;
mod tenants;
mod uplink;
