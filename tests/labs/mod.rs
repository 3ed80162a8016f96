//! Tier 5: every lab in `labs/` that comes up on any kernel, from `up` to `down`, and each cell of its matrix, also those
//! that must not answer. Labs with VLANs are brought up in tier 6.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "helpers of tests are tests too"
)]

mod bonds;
mod checks;
mod everywhere;
mod killed;
mod live;
mod outside;
mod plans;
mod secured;
mod tagged;
mod tenants;
pub mod tunnels;
mod wires;
