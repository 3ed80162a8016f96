//! The owner of a link: the mark on the link itself.
//!
//! A link that netlab creates has the lab's link group from its creation (`ip link add` accepts a group, but no alias)
//! and, once it is finished, the alias `netlab:<lab>:<purpose>`. A NIC that netlab attached keeps its group and has the
//! alias `netlab:<lab>:was …`, see [`super::record`].

use std::collections::BTreeSet;

use super::error::Owner;
use super::json::{RawLink, query};
use super::ovs;
use super::snapshot::Snapshot;
use crate::lab::LabName;
use crate::plan::lines::{MAC_IS_SET, MTU_IS_SET, without_delay};
pub(super) use crate::topology::derive::link_group as group;
use crate::transport::{CmdError, Shell};

/// What distinguishes the alias of an attached NIC from that of a created link.
pub(super) const WAS: &str = "was ";

/// What a link's mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// A lab created it. An empty purpose: creating it was interrupted.
    Made { by: String, purpose: String },
    /// A lab attached it; the record of its configuration.
    Taken { by: String, record: String },
    /// It belongs to no lab.
    Absent,
}

impl Mark {
    /// Reads the mark on `link`. `lab` only matters for an unfinished link, whose group identifies its lab by number.
    pub fn read(link: &RawLink, lab: &LabName) -> Self {
        let can_be_made = matches!(
            link.kind(),
            Some("bridge" | "vlan" | "vxlan" | "bond" | ovs::BRIDGE | ovs::PORT)
        );
        let alias = link.ifalias.as_deref().unwrap_or_default();
        if let Some((by, rest)) = alias.strip_prefix("netlab:").and_then(|rest| rest.split_once(':')) {
            let by = by.to_owned();
            return match rest.strip_prefix(WAS) {
                Some(record) if !in_group(link, &by) => Self::Taken {
                    by,
                    record: record.to_owned(),
                },
                _ if can_be_made => Self::Made {
                    by,
                    purpose: rest.to_owned(),
                },
                _ => Self::Absent,
            };
        }
        if alias.is_empty() && can_be_made && in_group(link, lab.as_str()) {
            return Self::Made {
                by: lab.to_string(),
                purpose: String::new(),
            };
        }
        Self::Absent
    }

    /// Returns whether `lab` created it.
    pub fn is_made_by(&self, lab: &LabName) -> bool {
        matches!(self, Self::Made { by, .. } if by == lab.as_str())
    }
}

/// Returns the labs that links of a host are marked with. Needs no rights.
pub fn labs(shell: &dyn Shell) -> Result<BTreeSet<LabName>, CmdError> {
    let links: Vec<RawLink> = query(shell, &["ip", "-json", "-details", "link", "show"])?;
    let marks = links.iter().filter_map(|link| link.ifalias.as_deref());
    let labs = marks.filter_map(|alias| alias.strip_prefix("netlab:")?.split_once(':')?.0.parse().ok());
    Ok(labs.collect())
}

/// Returns who a link belongs to.
pub(super) fn owner(snapshot: &Snapshot, link: &RawLink, lab: &LabName) -> Owner {
    match Mark::read(link, lab) {
        Mark::Made { by, .. } | Mark::Taken { by, .. } => return Owner::Lab(by),
        Mark::Absent => {}
    }
    // A guest's tap has no mark of its own: it belongs to the owner of its bridge. So does a port of Open vSwitch, whose
    // database survives a reboot.
    let master = link.master.as_deref().and_then(|master| snapshot.link(master));
    if let Some(master) = master
        .filter(|master| link.kind() == Some("tun") || matches!(master.kind(), Some(ovs::BRIDGE | ovs::PORT | "bond")))
        && let Mark::Made { by, .. } = Mark::read(master, lab)
    {
        return Owner::Lab(by);
    }
    // libvirt's own names: src/util/virnetdevtap.h and the bridge of its default network.
    if link.ifname.starts_with("vnet") || link.ifname.starts_with("virbr") {
        return Owner::Libvirt;
    }
    match master {
        Some(master) => Owner::PortOf(master.ifname.clone()),
        None => Owner::Other,
    }
}

/// Returns whether the number can be a lab's link group.
pub(super) fn can_be_group(number: u32) -> bool {
    (0x4000_0000..0x8000_0000).contains(&number)
}

/// Returns whether the link is in the group of the lab.
pub(super) fn in_group(link: &RawLink, lab: &str) -> bool {
    link.group.as_deref() == Some(group(lab).to_string().as_str())
}

/// Returns whether the bridge has a MAC address of its own, not that of its uplink.
pub(super) fn mac_is_set(link: &RawLink) -> bool {
    let alias = link.ifalias.as_deref().unwrap_or_default();
    alias.ends_with(MAC_IS_SET)
}

/// Returns the purpose of a link that a lab created, without what the alias says of its MAC address, MTU and delay.
pub(super) fn plain(purpose: &str) -> &str {
    let purpose = purpose.strip_suffix(MAC_IS_SET).unwrap_or(purpose);
    let purpose = purpose.strip_suffix(MTU_IS_SET).unwrap_or(purpose);
    without_delay(purpose).0
}

/// Returns the forward delay in seconds that a bridge was given, by its alias.
pub(super) fn delay_given(link: &RawLink) -> Option<u8> {
    let alias = link.ifalias.as_deref().unwrap_or_default();
    let alias = alias.strip_suffix(MAC_IS_SET).unwrap_or(alias);
    without_delay(alias.strip_suffix(MTU_IS_SET).unwrap_or(alias)).1
}

/// Returns whether the link has an MTU that its network stated.
pub(super) fn mtu_is_set(link: &RawLink) -> bool {
    let alias = link.ifalias.as_deref().unwrap_or_default();
    alias.strip_suffix(MAC_IS_SET).unwrap_or(alias).ends_with(MTU_IS_SET)
}
