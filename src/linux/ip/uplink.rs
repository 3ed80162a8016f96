//! What attaching a NIC to a bridge and detaching it depends on: refuses a NIC that could not be restored exactly, and
//! gathers what is observed of both for [`lines`](crate::plan::lines).

use ipnet::IpNet;

use super::error::{AttachError, NetworkError, Unrestorable};
use super::json::RawLink;
use super::mark::{Mark, mac_is_set, owner};
use super::observe::parse;
use super::record::Record;
use super::snapshot::Snapshot;
use crate::lab::{IfName, LabName};
use crate::plan::lines::{NicState, UplinkMove, quoted};
use crate::state::Uplink;
use crate::topology::derive::provisional_mac;

/// Returns what attaching `nic` depends on.
///
/// `mac_is_set`: the bridge has a MAC address of its own. `ovs`: it is Open vSwitch's.
pub(super) fn attaching(
    snapshot: &Snapshot,
    lab: &LabName,
    nic: &IfName,
    wanted: &Uplink,
    mac_is_set: bool,
    ovs: bool,
) -> Result<UplinkMove, NetworkError> {
    let bridge = &wanted.bridge;
    let refuse = |reason| NetworkError::CannotAttach {
        nic: nic.clone(),
        reason,
    };
    let link = snapshot.link(nic.as_str()).ok_or_else(|| refuse(AttachError::Absent))?;
    let (now, unrestored) = NicState::read(snapshot, link);
    let was = match Mark::read(link, lab) {
        Mark::Taken { by, record } if by == lab.as_str() => parse(link, &record)?.was,
        Mark::Taken { .. } | Mark::Made { .. } => {
            return Err(refuse(AttachError::Owned(owner(snapshot, link, lab))));
        }
        Mark::Absent => {
            let reason = if !link.is_nic() {
                Some(AttachError::NotEthernet)
            // Open vSwitch's database survives a reboot, and the record on the NIC does not.
            } else if let Some(master) = link.master.clone().filter(|_| !in_own_ovs(snapshot, lab, link)) {
                Some(AttachError::Port { master })
            } else if let Some(part) = unrestored.into_iter().next() {
                Some(AttachError::Unrestorable(part))
            } else if quoted(&now.alias).is_none() {
                Some(AttachError::Unrestorable(Unrestorable::Alias))
            } else if now.config() != wanted.was {
                Some(AttachError::Changed)
            } else {
                None
            };
            if let Some(reason) = reason {
                return Err(refuse(reason));
            }
            now.clone()
        }
    };
    let record = Record {
        bridge: bridge.clone(),
        was,
    };
    let alias = record.alias(lab).map_err(refuse)?;
    let alias = quoted(&alias).ok_or_else(|| {
        refuse(AttachError::Unrecordable {
            record: record.to_string(),
        })
    })?;
    let on_bridge = configured_on(snapshot, snapshot.link(bridge.as_str()));
    let temporary = link.addr_info.iter().filter(|raw| raw.temporary);
    Ok(UplinkMove {
        was: record.was.with_times_of(&on_bridge).with_times_of(&now),
        on_nic: now,
        on_bridge: Some(on_bridge),
        is_attached: link.master.as_deref() == Some(bridge.as_str()),
        ovs,
        mac: link.address.clone().filter(|_| !mac_is_set),
        record: Some(alias),
        temporary: temporary
            .filter_map(|raw| IpNet::new(raw.local?, raw.prefixlen).ok())
            .collect(),
    })
}

/// Returns the bridge that `nic` is in, and what detaching it depends on. `None` where the NIC has no record (it is
/// detached already) or no longer exists.
pub(super) fn detaching(
    snapshot: &Snapshot,
    lab: &LabName,
    nic: &IfName,
) -> Result<Option<(IfName, UplinkMove)>, NetworkError> {
    let Some(link) = snapshot.link(nic.as_str()) else {
        return Ok(None);
    };
    let Record { bridge, was } = match Mark::read(link, lab) {
        Mark::Taken { by, record } if by == lab.as_str() => parse(link, &record)?,
        Mark::Taken { .. } | Mark::Made { .. } | Mark::Absent => return Ok(None),
    };
    let (now, _) = NicState::read(snapshot, link);
    // A bridge of that name which somebody else created meanwhile is left alone.
    let ours = snapshot
        .link(bridge.as_str())
        .filter(|link| Mark::read(link, lab).is_made_by(lab));
    let on_bridge = configured_on(snapshot, ours);
    let observed = UplinkMove {
        was: was.with_times_of(&now).with_times_of(&on_bridge),
        on_nic: now,
        on_bridge: ours.map(|_| on_bridge),
        is_attached: link.master.as_deref() == Some(bridge.as_str()),
        ovs: snapshot.ovs.object(bridge.as_str()).is_some()
            && snapshot
                .link(bridge.as_str())
                .is_none_or(|link| link.kind() != Some("bond")),
        mac: ours
            .filter(|link| !mac_is_set(link))
            .map(|_| provisional_mac(&bridge).to_string()),
        record: link.ifalias.clone(),
        temporary: Vec::new(),
    };
    Ok(Some((bridge, observed)))
}

/// Whether a link is a port of a bridge of Open vSwitch that is the lab's.
fn in_own_ovs(snapshot: &Snapshot, lab: &LabName, link: &RawLink) -> bool {
    let master = link
        .master
        .as_deref()
        .filter(|master| snapshot.ovs.object(master).is_some());
    let master = master.and_then(|master| snapshot.link(master));
    master.is_some_and(|master| Mark::read(master, lab).is_made_by(lab))
}

/// Returns the NIC that is attached to `bridge`.
pub(super) fn nic_in<'a>(snapshot: &'a Snapshot, lab: &LabName, bridge: &IfName) -> Option<&'a RawLink> {
    snapshot.links.iter().find(|link| {
        let taken = matches!(Mark::read(link, lab), Mark::Taken { by, .. } if by == lab.as_str());
        taken && link.master.as_deref() == Some(bridge.as_str())
    })
}

/// Returns what is configured on a link that may not exist.
fn configured_on(snapshot: &Snapshot, link: Option<&RawLink>) -> NicState {
    link.map(|link| NicState::read(snapshot, link).0).unwrap_or_default()
}
