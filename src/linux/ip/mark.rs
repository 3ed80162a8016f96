//! Whose a link is: the mark that stands on the object itself.
//!
//! A link that netlab makes carries the lab's link group from its first moment (`ip link add` takes a group, but no
//! alias) and, once it is finished, the alias `netlab:<lab>:<purpose>`. A NIC that netlab took keeps its group and
//! has the alias `netlab:<lab>:was …`, see [`super::record`].

use sha2::{Digest, Sha256};

use super::snapshot::{RawLink, Snapshot};
use crate::lab::{IfName, LabName};
use crate::state::LinkKind;

/// Most bytes of an alias: IFALIASZ - 1 (linux/if.h).
pub(super) const ALIAS_LIMIT: usize = 255;

/// What tells a taken NIC's alias from a made link's.
pub(super) const WAS: &str = "was ";

/// What a link's mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// A lab made it. An empty purpose: it did not come to the end.
    Made { by: String, purpose: String },
    /// A lab took it; the record of what it was.
    Taken { by: String, record: String },
    /// No lab has anything to do with it.
    Absent,
}

impl Mark {
    /// Reads the mark on `link`. `lab` only matters to an unfinished link, whose group names its lab by number.
    pub fn read(link: &RawLink, lab: &LabName) -> Self {
        let can_be_made = matches!(link.kind(), Some("bridge" | "vlan"));
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

    /// `lab` made it.
    pub fn is_made_by(&self, lab: &LabName) -> bool {
        matches!(self, Self::Made { by, .. } if by == lab.as_str())
    }
}

/// Whose a link is, in words for a reader.
pub(super) fn owner(snapshot: &Snapshot, link: &RawLink, lab: &LabName) -> String {
    match Mark::read(link, lab) {
        Mark::Made { by, .. } | Mark::Taken { by, .. } => return format!("lab {by}"),
        Mark::Absent => {}
    }
    // A guest's tap has no mark of its own: it belongs to whoever has the bridge it is plugged into.
    let master = link.master.as_deref().and_then(|master| snapshot.link(master));
    if let (Some("tun"), Some(master)) = (link.kind(), master)
        && let Mark::Made { by, .. } = Mark::read(master, lab)
    {
        return format!("lab {by}");
    }
    // libvirt's own names: src/util/virnetdevtap.h and the bridge of its default network.
    if link.ifname.starts_with("vnet") || link.ifname.starts_with("virbr") {
        return "libvirt".to_owned();
    }
    match master {
        Some(master) => format!("someone else, as a port of {}", master.ifname),
        None => "someone else".to_owned(),
    }
}

/// The link group of a lab: a number of its own, far from those that people give (between 2^30 and 2^31).
pub(super) fn group(lab: &str) -> u32 {
    let [a, b, c, d, ..] = digest(&["group", lab]);
    u32::from_be_bytes([a, b, c, d]) & 0x3fff_ffff | 0x4000_0000
}

/// The number can be a lab's link group.
pub(super) fn can_be_group(number: u32) -> bool {
    (0x4000_0000..0x8000_0000).contains(&number)
}

/// Whether the link is in the group of the lab.
pub(super) fn in_group(link: &RawLink, lab: &str) -> bool {
    link.group.as_deref() == Some(group(lab).to_string().as_str())
}

/// What stands behind the purpose of a bridge whose Ethernet address the lab asks for. The address itself does not tell:
/// it may be that of the NIC in the bridge either way.
pub(super) const ADDRESS_GIVEN: &str = " (address given)";

/// The alias of a finished link.
pub(super) fn alias(lab: &LabName, purpose: &str, kind: &LinkKind) -> String {
    let given = matches!(kind, LinkKind::Bridge { mac: Some(_), .. });
    format!("netlab:{lab}:{purpose}{}", if given { ADDRESS_GIVEN } else { "" })
}

/// The lab asks for this bridge's Ethernet address.
pub(super) fn address_is_given(link: &RawLink) -> bool {
    let alias = link.ifalias.as_deref().unwrap_or_default();
    alias.ends_with(ADDRESS_GIVEN)
}

/// The Ethernet address that a bridge of ours has by itself, locally administered.
///
/// Given and not left to the kernel, because a bridge without one of its own takes the lowest among its ports: the
/// gateway's address would change under the guests whenever one of them starts. It depends on the host's NICs, since
/// bridges of one name stand on several hosts of one segment.
pub(super) fn bridge_address(snapshot: &Snapshot, lab: &LabName, bridge: &IfName) -> String {
    let mut nics: Vec<&str> = snapshot
        .links
        .iter()
        .filter(|link| link.is_nic() && !Mark::read(link, lab).is_made_by(lab))
        .filter_map(|link| link.address.as_deref())
        .collect();
    nics.sort_unstable();
    let mut octets = [0; 6];
    octets.copy_from_slice(&digest(&["bridge", lab.as_str(), bridge.as_str(), &nics.join(" ")])[..6]);
    // IEEE 802-2014, 8.4: bit 1 of the first octet is "local", bit 0 "group".
    octets[0] = octets[0] & 0xfc | 0x02;
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// SHA-256 of the parts, kept apart by a byte that none of them holds.
fn digest(parts: &[&str]) -> [u8; 32] {
    Sha256::digest(parts.join("\0")).into()
}

/// A text as one word of an `ip -batch` line. None where that cannot be: batch lines have quotes but no escapes, and
/// `#` begins a comment even between quotes (iproute2 lib/utils.c, getcmdline and makeargs).
pub(super) fn quoted(text: &str) -> Option<String> {
    if text.contains(['#', '\\', char::REPLACEMENT_CHARACTER]) || text.contains(char::is_control) {
        return None;
    }
    ['"', '\'']
        .into_iter()
        .find(|quote| !text.contains(*quote))
        .map(|quote| format!("{quote}{text}{quote}"))
}
