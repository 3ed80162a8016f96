//! A topology as a picture: SVG and HTML without any other program, Graphviz's DOT, Mermaid. Takes a topology, and for
//! SVG the [`Marks`] that color it; returns text. Pure: reads no host and writes no file.
//!
//! ```
//! use std::collections::{BTreeMap, BTreeSet};
//! use netlab::graph::{Marks, svg};
//! use netlab::{lab, topology};
//!
//! let lab = lab::parse("lab.toml", r#"
//!     name = "one"
//!     hosts.node1 = { nics.eth0 = {} }
//!     networks.service = { subnet = "10.0.1.0/24" }
//! "#, &BTreeSet::new())?;
//! let picture = svg(&topology::allocate(&lab, &BTreeMap::new()), &Marks::default());
//! assert!(picture.starts_with("<svg "));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dot;
mod host;
mod layout;
mod mermaid;
mod svg;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::{html, svg};

use std::collections::{BTreeMap, BTreeSet};

use crate::lab::{HostName, IfName, NetworkName, Switch, VmName};
use crate::topology::{OnHost, Topology, TopologyHost};

/// What a picture shows in another color than the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The conditions of guests; one that is missing here is drawn plainly.
    pub guests: BTreeMap<VmName, Condition>,
    /// Machines that are down.
    pub dead: BTreeSet<HostName>,
    /// NICs without a carrier or that are down; their cables are red as well.
    pub broken: BTreeSet<(HostName, IfName)>,
}

/// The condition of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// As described, and all that was asked of it passed.
    Good,
    /// It runs, and something about it is not as described.
    Differs,
    /// It does not run, or cells of its row or column failed.
    Bad,
}

/// Returns the NICs of a host: those that the lab describes, those with a cable, and the uplinks of its networks.
fn nics_of<'a>(host: &'a TopologyHost, on_host: &OnHost<'a>) -> BTreeSet<&'a IfName> {
    let uplinks = host.segments.values().filter_map(|segment| segment.uplink.as_ref());
    let plugged = on_host.plugged.iter().copied();
    plugged.chain(host.nics.keys()).chain(uplinks).collect()
}

/// Returns each bond of a host with each of its members.
fn bonded(host: &TopologyHost) -> impl Iterator<Item = (&IfName, &IfName)> {
    let bonds = host
        .nics
        .iter()
        .filter_map(|(name, nic)| Some((name, nic.bond.as_ref()?)));
    bonds.flat_map(|(name, bond)| bond.nics.iter().map(move |member| (name, member)))
}

/// Returns a line for each link aggregation of a switch.
fn lags(switch: &Switch) -> impl Iterator<Item = String> {
    switch.lags.iter().map(|lag| {
        let ports: Vec<&str> = lag.ports.iter().map(IfName::as_str).collect();
        let protocol = if lag.lacp { " with LACP" } else { "" };
        format!("link aggregation of {}{protocol}", ports.join(", "))
    })
}

/// A tunnel between two hosts.
struct Tunnel<'a> {
    network: &'a NetworkName,
    ends: [&'a HostName; 2],
    /// Protocol and key.
    label: String,
}

/// Returns each tunnel once.
fn tunnels(topology: &Topology) -> Vec<Tunnel<'_>> {
    let mut tunnels = Vec::new();
    for (host, here) in &topology.hosts {
        for (network, segment) in &here.segments {
            let Some(tunnel) = &segment.tunnel else { continue };
            tunnels.extend(tunnel.remotes.keys().filter(|other| *other > host).map(|other| Tunnel {
                network,
                ends: [host, other],
                label: format!("{} {}", tunnel.kind, tunnel.key),
            }));
        }
    }
    tunnels
}
