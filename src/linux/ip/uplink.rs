//! Taking a NIC into a bridge and giving it back: the lines for `ip -batch`, of one transaction each.
//!
//! Make before break: addresses and routes stand on both links for a moment, so that the host is never without them.
//! The record is written first and removed last, and each line is left out or harmless where it has been done before:
//! a run killed anywhere is finished, or undone, by the same code.

use super::NetworkError;
use super::mark::{Mark, address_is_given, bridge_address, owner, quoted};
use super::nic::NicState;
use super::observe::parse;
use super::record::Record;
use super::snapshot::{RawLink, Snapshot};
use crate::lab::{IfName, LabName};
use crate::state::Uplink;

/// The lines that enslave `nic` and move what stands on it to the bridge.
///
/// `given`: the lab asks for the bridge's Ethernet address itself.
pub(super) fn take(
    snapshot: &Snapshot,
    lab: &LabName,
    nic: &IfName,
    wanted: &Uplink,
    given: bool,
) -> Result<Vec<String>, NetworkError> {
    let bridge = &wanted.bridge;
    let refuse = |why: String| NetworkError::NotTakeable { nic: nic.clone(), why };
    let link = snapshot
        .link(nic.as_str())
        .ok_or_else(|| refuse("there is no such link".to_owned()))?;
    let (now, odd) = NicState::read(snapshot, link);
    let was = match Mark::read(link, lab) {
        Mark::Taken { by, record } if by == lab.as_str() => parse(link, &record)?.was,
        Mark::Taken { .. } | Mark::Made { .. } => {
            return Err(refuse(format!("it belongs to {}", owner(snapshot, link, lab))));
        }
        Mark::Absent => {
            let why = if !link.is_nic() {
                Some("it is no Ethernet NIC".to_owned())
            } else if let Some(master) = &link.master {
                Some(format!("it is a port of {master}"))
            } else if let Some(odd) = odd.first() {
                Some(format!("netlab could not put back {odd}"))
            } else if quoted(&now.alias).is_none() {
                Some("netlab could not put back its alias".to_owned())
            } else if now.config() != wanted.was {
                Some("its addresses or routes have changed since it was looked at; run netlab again".to_owned())
            } else {
                None
            };
            if let Some(why) = why {
                return Err(refuse(why));
            }
            now.clone()
        }
    };
    let record = Record {
        bridge: bridge.clone(),
        was,
    };
    let alias = record.alias(lab).map_err(&refuse)?;
    let alias = quoted(&alias).ok_or_else(|| refuse("its record is no alias".to_owned()))?;
    let there = standing(snapshot, snapshot.link(bridge.as_str()));
    let was = record.was.with_times_of(&there).with_times_of(&now);

    let mut lines = vec![format!("link set dev {nic} alias {alias}")];
    if let Some(address) = link.address.as_ref().filter(|_| !given) {
        // Neighbours know the host's addresses by the NIC's Ethernet address: it moves along.
        lines.push(format!("link set dev {bridge} address {address}"));
    }
    if was.has_ipv6() {
        // Neighbour discovery for those who are routed needs a link-local address (RFC 4861, 7.2.2).
        lines.push(format!("link set dev {bridge} addrgenmode eui64"));
    }
    lines.push(format!("link set dev {nic} master {bridge}"));
    lines.push(format!("link set dev {nic} up"));
    for address in was.in_order_of_adding() {
        lines.push(format!("address replace {} dev {bridge}", address.on_bridge().words()));
    }
    move_routes(&mut lines, &was, Some((nic, &now)), (bridge, &there));
    // RFC 8981's temporary addresses would keep a route to the NIC; the kernel makes new ones when it is back.
    for address in link.addr_info.iter().filter(|address| address.temporary) {
        if let Some(local) = address.local {
            lines.push(format!("address del {local}/{} dev {nic}", address.prefixlen));
        }
    }
    clear(&mut lines, &was, &now, nic);
    Ok(lines)
}

/// The lines that free `nic` and put everything back on it. None where it has no record (it is free already) or is
/// no longer there.
pub(super) fn release(snapshot: &Snapshot, lab: &LabName, nic: &IfName) -> Result<Vec<String>, NetworkError> {
    let Some(link) = snapshot.link(nic.as_str()) else {
        return Ok(Vec::new());
    };
    let Record { bridge, was } = match Mark::read(link, lab) {
        Mark::Taken { by, record } if by == lab.as_str() => parse(link, &record)?,
        Mark::Taken { .. } | Mark::Made { .. } | Mark::Absent => return Ok(Vec::new()),
    };
    let (now, _) = NicState::read(snapshot, link);
    // A bridge of that name which somebody else made meanwhile is none of our business.
    let ours = snapshot
        .link(bridge.as_str())
        .filter(|link| Mark::read(link, lab).is_made_by(lab));
    let there = standing(snapshot, ours);
    let was = was.with_times_of(&now).with_times_of(&there);

    let mut lines = Vec::new();
    if link.master.as_deref() == Some(bridge.as_str()) {
        lines.push(format!("link set dev {nic} nomaster"));
    }
    lines.push(format!("link set dev {nic} {}", if was.up { "up" } else { "down" }));
    for address in was.in_order_of_adding() {
        lines.extend(address.put_back_on(nic.as_str()));
    }
    move_routes(&mut lines, &was, ours.map(|_| (&bridge, &there)), (nic, &now));
    if ours.is_some() {
        clear(&mut lines, &was, &there, &bridge);
        if !ours.is_some_and(address_is_given) {
            lines.push(format!(
                "link set dev {bridge} address {}",
                bridge_address(snapshot, lab, &bridge)
            ));
        }
        if was.has_ipv6() {
            lines.push(format!("link set dev {bridge} addrgenmode none"));
            lines.push(format!("address flush dev {bridge} scope link"));
        }
    }
    let alias = quoted(&was.alias).unwrap_or_else(|| "\"\"".to_owned());
    lines.push(format!("link set dev {nic} alias {alias}"));
    Ok(lines)
}

/// The NIC that `bridge` has taken.
pub(super) fn nic_in<'a>(snapshot: &'a Snapshot, lab: &LabName, bridge: &IfName) -> Option<&'a RawLink> {
    snapshot.links.iter().find(|link| {
        let taken = matches!(Mark::read(link, lab), Mark::Taken { by, .. } if by == lab.as_str());
        taken && link.master.as_deref() == Some(bridge.as_str())
    })
}

/// What stands on a link that may not be there.
fn standing(snapshot: &Snapshot, link: Option<&RawLink>) -> NicState {
    link.map(|link| NicState::read(snapshot, link).0).unwrap_or_default()
}

/// Moves the routes of `was`, each as far as it has not moved already, from one link (where it is ours) to another.
fn move_routes(
    lines: &mut Vec<String>,
    was: &NicState,
    from: Option<(&IfName, &NicState)>,
    (to, there): (&IfName, &NicState),
) {
    for hop in &was.routes {
        let add = (!there.has(hop)).then(|| hop.add(to.as_str()));
        let remove = from
            .filter(|(_, here)| here.has(hop))
            .map(|(from, _)| hop.remove(from.as_str()));
        lines.extend(add.into_iter().chain(remove));
    }
}

/// Removes from `link`, on which `now` stands, what addresses of `was` are there.
fn clear(lines: &mut Vec<String>, was: &NicState, now: &NicState, link: &IfName) {
    if was.has_ipv6() {
        lines.extend(now.dated.iter().map(|hop| hop.remove(link.as_str())));
    }
    for address in was.in_order_of_adding().rev() {
        if now.has_address(address) {
            lines.push(format!("address del {} dev {link}", address.net));
        }
    }
}
