//! netlab turns one TOML file into a running lab of virtual machines on one or many libvirt hosts.
//!
//! Everything hangs on one pure function between two values of one type:
//!
//! ```text
//! up       = run(plan(observed, desired))        down   = run(plan(observed, empty))
//! plan     = plan(observed, desired), printed    verify = plan(observed, desired) is empty + guest probes
//! rollback = run(plan(observed again, before))
//! ```
//!
//! The way of the data, for `netlab up`:
//!
//! ```text
//! lab.toml ─parse→ LabFile ─check→ Lab ─allocate→ Topology ─desired→ Site ┐
//! hosts ─────────────────────────observe────────────────────────────→ Site ┴plan→ Plan ─run→ Report
//!                                              guests: console ─configure→ probe ─→ matrix ┘
//! ```
//!
//! | stage | room |
//! |---|---|
//! | parse, check | [`lab`] |
//! | allocate | [`topology`] |
//! | desired | [`state`] |
//! | plan | [`plan`] |
//! | observe, apply | [`host`] |
//! | images | [`image`] |
//! | run | [`run`] |
//! | configure, probe | [`guest`] |
//! | matrix | [`verify`] |
//! | the verbs a user types | [`cmd`] |
//!
//! Imports point left along the line only: `lab`, `topology`, `state` and `plan` know no host, no libvirt, no clock
//! and no file system (except [`lab::load`]).

pub mod atomic_file;
pub mod cmd;
pub mod emulated;
pub mod event;
pub mod folders;
pub mod guest;
pub mod host;
pub mod image;
pub mod lab;
pub mod libvirt;
pub mod linux;
pub mod locked;
pub mod plan;
pub mod preflight;
pub mod run;
pub mod script;
pub mod state;
pub mod topology;
pub mod transport;
pub mod verify;
