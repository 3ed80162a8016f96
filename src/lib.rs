//! netlab turns one TOML file into a running lab of virtual machines on one or more libvirt hosts.
//!
//! Everything depends on one pure function between two values of one type:
//!
//! ```text
//! up       = run(plan(observed, desired))        down   = run(plan(observed, empty))
//! plan     = plan(observed, desired), printed    verify = plan(observed, desired) is empty + guest probes + no fault
//! rollback = run(plan(observed again, before))
//! ```
//!
//! The data flow of `netlab up`:
//!
//! ```text
//! lab.toml ─parse→ LabFile ─check→ Lab ─allocate→ Topology ─desired→ Site ┐
//! hosts ─────────────────────────observe────────────────────────────→ Site ┴plan→ Plan ─run→ Report
//!                                              guests: console ─configure→ probe ─→ matrix ┘
//! ```
//!
//! | stage | module |
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
//! | the use cases, for other programs, too | [`ops`] |
//! | the commands a user types | [`cmd`] |
//!
//! The core ([`lab`], [`topology`], [`state`], [`plan`], [`preflight`]) knows no host, no libvirt, no clock and no file
//! system (except [`lab::load`]); docs/ARCHITECTURE.md has all layers, and a test enforces them. So a plan can be
//! computed anywhere:
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use netlab::folders::Folders;
//! use netlab::state::{Site, desired};
//! use netlab::{image, lab, plan, topology};
//!
//! let images = image::catalog(&Folders::from_env())?;
//! let text = r#"
//!     name = "small"
//!     [hosts.node1]
//!     nics.eth0.address = "172.16.99.108/24"
//!     [networks.service]
//!     subnet = "10.0.1.0/24"
//!     uplink = "eth0"
//!     bridge = "br1"
//!     [vms.vm1]
//!     nics = [{ network = "service" }]
//! "#;
//! let lab = lab::parse("lab.toml", text, &images.keys().cloned().collect())?;
//! let desired = desired(&topology::allocate(&lab, &images), &BTreeMap::new());
//! let plan = plan::plan(&Site::new(), &desired);
//! let steps: Vec<String> = plan.steps().map(|(host, step)| format!("{host}: {step}")).collect();
//! assert_eq!(steps.last().unwrap(), "node1: configure vm1 over its console: 10.0.1.1/24");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod atomic_file;
pub mod causes;
pub mod cmd;
pub mod emulated;
pub mod event;
pub mod folders;
pub mod graph;
pub mod guest;
pub mod host;
pub mod image;
pub mod import;
pub mod lab;
pub mod libvirt;
pub mod linux;
pub mod locked;
pub mod ops;
pub mod plan;
pub mod preflight;
pub mod run;
pub mod script;
pub mod ssh_key;
pub mod state;
pub mod topology;
pub mod transport;
pub mod verify;
mod yaml;
