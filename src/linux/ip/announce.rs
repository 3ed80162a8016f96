//! Announces addresses to the neighbors.

use std::net::Ipv4Addr;

use crate::lab::IfName;
use crate::transport::Cmd;

const ANNOUNCE: &str = include_str!("announce.pl");

/// Returns the command that announces addresses of NICs of a host to their neighbors. On a host without perl(1) it fails, and
/// they learn of the new machine within a minute or so.
pub fn announcement<'a>(addresses: impl IntoIterator<Item = (Ipv4Addr, &'a IfName)>) -> Cmd {
    let pairs = addresses.into_iter();
    let pairs = pairs.flat_map(|(address, nic)| [nic.to_string(), address.to_string()]);
    Cmd::new(["perl", "-e", ANNOUNCE].map(str::to_owned).into_iter().chain(pairs))
}
