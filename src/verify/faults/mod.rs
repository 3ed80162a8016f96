//! What the packets of the pings left behind: hardware addresses that bridges learned where they do not belong, neighbors
//! with another hardware address than the lab's, and settings of guests that differ from the lab's. Each is a fault
//! whether or not a ping failed: a matrix in which all pings are answered proves nothing where another machine answers.
//! Takes [`Traces`], returns [`Fault`]s and applies them to a matrix; never contacts a host.

mod addresses;
mod concerns;
mod found;
mod ports;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub use concerns::{FaultReport, apply};
pub use found::faults;

use super::parts::Part;
use crate::guest::GuestView;
use crate::lab::{Asked, HostName, VmName};
use crate::state::view::View;
use crate::topology::Topology;

/// A fault that was observed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// What is wrong and where.
    pub text: String,
    /// The cells that it makes worthless.
    pub concerns: Concerns,
}

/// The cells that a fault makes worthless.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concerns {
    /// Those between guests of these segments, which are joined.
    Between(Part, Part),
    /// None: it is about something else than pings.
    NoPing,
    /// Those that ask whether this address is reachable.
    To(IpAddr),
    /// Those from this guest, and to its addresses, that must be reachable.
    Guest(VmName),
    /// Those that this guest sends by its default route or to its gateway, and those whose replies it sends by that route.
    DefaultRoute(VmName),
    /// Those to this gateway address of a segment, and those that guests of the segment send by it; only of guests on this
    /// host, where each host has the gateway address.
    Gateway(Part, Ipv4Addr, Option<HostName>),
    /// Those to the floating address of this guest, and from the guest to addresses outside of the networks.
    Floating(VmName, IpAddr),
    /// Those of this source to this address.
    One(Asked, IpAddr),
    /// Those from guests of this segment that must not be reachable.
    Apart(Part),
    /// Those from and to guests of this segment that must be reachable.
    Within(Part),
    /// Those whose packets to this address in a segment come from outside of the segment, or from a host's own address.
    Routed(Part, IpAddr),
}

/// Everything that was observed while and after the pings were sent.
#[derive(Debug, Clone, Copy)]
pub struct Traces<'a> {
    /// The lab.
    pub topology: &'a Topology,
    /// What hosts, switches and routers show.
    pub views: &'a BTreeMap<HostName, View>,
    /// What guests show.
    pub guests: &'a BTreeMap<VmName, GuestView>,
    /// How long ago the first ping was sent: what is older is not of these pings.
    pub since: Duration,
}
