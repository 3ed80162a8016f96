//! What cables and switches connect.

use std::collections::{BTreeMap, BTreeSet};

use crate::lab::{Cable, CableEnd, HostName, PortMode, Switch, VlanId};

/// How a frame is marked, on a cable or inside a switch: with a VLAN, or not.
type Tag = Option<VlanId>;

/// The other end of each end of a cable.
pub(super) type OtherEnds<'a> = BTreeMap<&'a CableEnd, &'a CableEnd>;

pub(super) fn other_ends(cables: &[Cable]) -> OtherEnds<'_> {
    let ends = cables.iter().map(|cable| &cable.ends);
    ends.flat_map(|[a, b]| [(a, b), (b, a)]).collect()
}

/// Cables and the switches between them.
pub(super) struct Wires<'a> {
    others: OtherEnds<'a>,
    switches: &'a BTreeMap<HostName, Switch>,
    /// Switches that pass each other every frame unchanged, by the first of them.
    islands: BTreeMap<&'a HostName, &'a HostName>,
    /// The ports of each island that lead to switches and do not pass every frame, or whose other ends do not.
    trunks: BTreeMap<&'a HostName, Vec<&'a CableEnd>>,
}

/// What frames reach. The ports of switches are not listed: with thousands of networks and ports there are millions of pairs.
pub(super) struct Reached<'w, 'a> {
    wires: &'w Wires<'a>,
    /// The tag with which the frames were sent, and have to arrive.
    tag: Tag,
    /// The islands of switches, and how the frames are marked inside.
    inside: BTreeSet<(&'a HostName, Tag)>,
    /// NICs at the other ends of cables without a switch.
    direct: BTreeSet<&'a CableEnd>,
}

impl<'a> Wires<'a> {
    pub(super) fn of(cables: &'a [Cable], switches: &'a BTreeMap<HostName, Switch>) -> Self {
        let others = other_ends(cables);
        let mut between: BTreeMap<&HostName, Vec<(&CableEnd, &CableEnd)>> = BTreeMap::new();
        for (end, other) in &others {
            if switches.contains_key(&end.host) && switches.contains_key(&other.host) {
                between.entry(&end.host).or_default().push((*end, *other));
            }
        }
        let is_open = |end: &CableEnd| {
            let ports = switches.get(&end.host).map(|switch| &switch.ports);
            matches!(ports.and_then(|ports| ports.get(&end.nic)), Some(PortMode::Open) | None)
        };
        let mut islands: BTreeMap<&HostName, &HostName> = BTreeMap::new();
        for first in switches.keys() {
            let mut left = vec![first];
            while let Some(switch) = left.pop() {
                if islands.contains_key(switch) {
                    continue;
                }
                islands.insert(switch, first);
                let ends = between.get(switch).into_iter().flatten();
                let open = ends.filter(|(end, other)| is_open(end) && is_open(other));
                left.extend(open.map(|(_, other)| &other.host));
            }
        }
        let mut trunks: BTreeMap<&HostName, Vec<&CableEnd>> = BTreeMap::new();
        for (end, other) in between.into_values().flatten() {
            if let (false, Some(island)) = (is_open(end) && is_open(other), islands.get(&end.host)) {
                trunks.entry(*island).or_default().push(end);
            }
        }
        Self {
            others,
            switches,
            islands,
            trunks,
        }
    }

    /// Returns what frames reach that are sent by one of the NICs `from` with this tag.
    pub(super) fn reached(&self, from: &[CableEnd], tag: Tag) -> Reached<'_, 'a> {
        let (mut inside, mut direct) = (BTreeSet::new(), BTreeSet::new());
        let arriving = from.iter().filter_map(|end| self.others.get(end));
        let mut arriving: Vec<(&'a CableEnd, Tag)> = arriving.map(|at| (*at, tag)).collect();
        while let Some((at, marked)) = arriving.pop() {
            let Some(switch) = self.switches.get(&at.host) else {
                if marked == tag {
                    direct.insert(at);
                }
                continue;
            };
            let (Some(entered), Some(island)) = (enters(switch, at, marked), self.islands.get(&at.host)) else {
                continue;
            };
            if !inside.insert((*island, entered)) {
                continue;
            }
            for port in self.trunks.get(island).into_iter().flatten() {
                let leaving = self
                    .switches
                    .get(&port.host)
                    .and_then(|switch| leaves(switch, port, entered));
                if let (Some(marked), Some(next)) = (leaving, self.others.get(port)) {
                    arriving.push((*next, marked));
                }
            }
        }
        Reached {
            wires: self,
            tag,
            inside,
            direct,
        }
    }
}

impl Reached<'_, '_> {
    /// Whether the frames arrive at this NIC with the tag that they were sent with.
    pub(super) fn has(&self, end: &CableEnd) -> bool {
        let port = self.wires.others.get(end);
        let of_switch = port.and_then(|port| Some((*port, self.wires.switches.get(&port.host)?)));
        match of_switch {
            // By the same port they would come in as they leave.
            Some((port, switch)) => {
                let island = self.wires.islands.get(&port.host);
                let inside = island.zip(enters(switch, port, self.tag));
                inside.is_some_and(|(island, tag)| self.inside.contains(&(*island, tag)))
            }
            None => self.direct.contains(end),
        }
    }
}

/// Returns how a frame is marked inside a switch that comes in by a port; none where it does not pass.
fn enters(switch: &Switch, port: &CableEnd, tag: Tag) -> Option<Tag> {
    match switch.ports.get(&port.nic) {
        Some(PortMode::Access(id)) => tag.is_none().then_some(Some(*id)),
        Some(PortMode::Trunk(ids)) => tag.is_some_and(|id| ids.contains(&id)).then_some(tag),
        Some(PortMode::Open) | None => Some(tag),
    }
}

/// Returns how a frame is marked that leaves a switch by a port; none where it does not pass.
fn leaves(switch: &Switch, port: &CableEnd, inside: Tag) -> Option<Tag> {
    match switch.ports.get(&port.nic) {
        Some(PortMode::Access(id)) => (inside == Some(*id)).then_some(None),
        Some(PortMode::Trunk(ids)) => inside.is_some_and(|id| ids.contains(&id)).then_some(inside),
        Some(PortMode::Open) | None => Some(inside),
    }
}
