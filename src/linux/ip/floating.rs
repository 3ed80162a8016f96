//! Floating addresses on NICs that netlab did not make.
//!
//! The mark is on the address: its metric is the lab's link group ([`mark::group`]), a number that nobody gives to an
//! address by chance. (A label would be the usual place for a word of one's own, but it starts with the NIC's name and
//! has 15 bytes in all: beside `enx001122334455` there is no room.) An address of one host makes no route, so the
//! metric has no other effect.

use std::net::{IpAddr, Ipv4Addr};

use super::snapshot::{RawAddress, Snapshot};
use super::{NetworkError, mark};
use crate::lab::{IfName, LabName};
use crate::transport::cmd::{Cmd, Shell};

/// Tells the neighbours of each NIC and address in turn. Whoever knew the address by another machine's Ethernet
/// address learns it now; without the program he learns it when what he knows grows old, within a minute or so.
const ANNOUNCE: &str = r#"PATH=$PATH:/usr/sbin:/sbin
command -v arping >/dev/null || exit 0
while [ $# -gt 1 ]; do
    arping -q -U -c 1 -w 1 -I "$1" "$2" >/dev/null 2>&1 &
    shift 2
done
wait
"#;

/// The address is a floating one, of whichever lab.
pub(super) fn is_any(raw: &RawAddress) -> bool {
    let marked = raw.metric.is_some_and(mark::can_be_group);
    marked && raw.prefixlen == 32 && matches!(raw.local, Some(IpAddr::V4(_)))
}

/// The floating address of `lab` that this is.
pub(super) fn of(raw: &RawAddress, lab: &LabName) -> Option<Ipv4Addr> {
    match raw.local {
        Some(IpAddr::V4(address)) if is_any(raw) && raw.metric == Some(mark::group(lab.as_str())) => Some(address),
        _ => None,
    }
}

/// Whether `nic` has it already, from this lab. An error where the host has it otherwise.
pub(super) fn is_on(snapshot: &Snapshot, lab: &LabName, address: Ipv4Addr, nic: &IfName) -> Result<bool, NetworkError> {
    for link in &snapshot.links {
        let same = link
            .addr_info
            .iter()
            .filter(|raw| raw.local == Some(IpAddr::V4(address)));
        for raw in same {
            if of(raw, lab).is_none() {
                return Err(NetworkError::Refused(format!(
                    "the host has {address} already, on {}, and not from this lab",
                    link.ifname
                )));
            }
            if link.ifname == nic.as_str() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether `nic` has it from this lab.
pub(super) fn is_ours_on(snapshot: &Snapshot, lab: &LabName, address: Ipv4Addr, nic: &IfName) -> bool {
    let link = snapshot.link(nic.as_str());
    link.is_some_and(|link| link.addr_info.iter().any(|raw| of(raw, lab) == Some(address)))
}

/// Announces addresses to the neighbours, as far as the host has a program for that. One command.
pub fn announce(shell: &dyn Shell, addresses: &[(Ipv4Addr, &IfName)]) {
    if addresses.is_empty() {
        return;
    }
    let mut cmd = Cmd::new(["sh", "-c", ANNOUNCE, "sh"]);
    for (address, nic) in addresses {
        cmd.argv.extend([nic.to_string(), address.to_string()]);
    }
    // See ANNOUNCE: harmless where it does not work.
    let _ = shell.run(&cmd);
}
