//! Floating addresses on NICs that netlab did not create.
//!
//! The mark is on the address: its metric is the lab's link group ([`mark::group`]), a number that no address has by
//! chance. (A label would be the usual place for a mark, but it starts with the NIC's name and has 15 bytes in all: none
//! is left after `enx001122334455`.) An address of one host adds no route, so the metric has no other effect.

use std::net::{IpAddr, Ipv4Addr};

use super::json::RawAddress;
use super::snapshot::Snapshot;
use super::{NetworkError, mark};
use crate::lab::{IfName, LabName};

/// Returns whether the address is a floating one, of any lab.
pub(super) fn is_any(raw: &RawAddress) -> bool {
    let marked = raw.metric.is_some_and(mark::can_be_group);
    marked && raw.prefixlen == 32 && matches!(raw.local, Some(IpAddr::V4(_)))
}

/// Returns the floating address of `lab` that this is.
pub(super) fn of(raw: &RawAddress, lab: &LabName) -> Option<Ipv4Addr> {
    match raw.local {
        Some(IpAddr::V4(address)) if is_any(raw) && raw.metric == Some(mark::group(lab.as_str())) => Some(address),
        _ => None,
    }
}

/// Returns whether `nic` has it already, from this lab. An error where the host has it otherwise.
pub(super) fn is_on(snapshot: &Snapshot, lab: &LabName, address: Ipv4Addr, nic: &IfName) -> Result<bool, NetworkError> {
    for link in &snapshot.links {
        let same = link
            .addr_info
            .iter()
            .filter(|raw| raw.local == Some(IpAddr::V4(address)));
        for raw in same {
            if of(raw, lab).is_none() {
                return Err(NetworkError::AddressInUse {
                    address,
                    link: link.ifname.clone(),
                });
            }
            if link.ifname == nic.as_str() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Returns whether `nic` has it from this lab.
pub(super) fn is_ours_on(snapshot: &Snapshot, lab: &LabName, address: Ipv4Addr, nic: &IfName) -> bool {
    let link = snapshot.link(nic.as_str());
    link.is_some_and(|link| link.addr_info.iter().any(|raw| of(raw, lab) == Some(address)))
}
