//! Loops of switches: a frame for every port would circle in one for ever, and take all of the machine's time.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::lab::file::{At, CableEndFile};
use crate::lab::{Cable, CableEnd, HostName, IfName, PortMode, VlanId};

/// How a frame is marked, on a cable or inside a switch: with a VLAN, or not.
type Tag = Option<VlanId>;

/// Segments that are connected, as a forest: each has another one of its group, or itself.
#[derive(Default)]
struct Groups(BTreeMap<(HostName, Tag), (HostName, Tag)>);

impl Groups {
    /// Returns the last one of the chain from `of`, to which `of` then leads at once.
    fn root(&mut self, of: (HostName, Tag)) -> (HostName, Tag) {
        let mut root = of.clone();
        while let Some(next) = self.0.get(&root) {
            root = next.clone();
        }
        if root != of {
            self.0.insert(of, root.clone());
        }
        root
    }

    /// Connects two; false where they were connected already.
    fn connect(&mut self, a: (HostName, Tag), b: (HostName, Tag)) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        let is_new = a != b;
        if is_new {
            self.0.insert(a, b);
        }
        is_new
    }
}

impl Check<'_> {
    /// Reports cables that close a loop of switches. `written` are the ends of each cable.
    pub(super) fn loops(&mut self, cables: &[(Cable, [&At<CableEndFile>; 2])]) {
        let without_stp = |end: &CableEnd| self.switches.get(&end.host).is_some_and(|switch| !switch.stp);
        // A switch with spanning tree blocks one of its ports in each loop that it is in, also where the others have none:
        // a bridge without it forwards what it sends to find loops (net/bridge/br_input.c).
        let between = |cable: &Cable| cable.ends.iter().all(without_stp);
        let cables: Vec<_> = cables.iter().filter(|(cable, _)| between(cable)).collect();
        let ports = cables.iter().flat_map(|(cable, _)| &cable.ends);
        let mut tags: BTreeSet<Tag> = BTreeSet::from([None]);
        for mode in ports.map(|end| self.mode(end)) {
            match mode {
                PortMode::Open => {}
                PortMode::Access(id) => _ = tags.insert(Some(id)),
                PortMode::Trunk(ids) => tags.extend(ids.into_iter().map(Some)),
            }
        }
        let mut groups = Groups::default();
        let mut closing = Vec::new();
        let mut aggregated = BTreeSet::new();
        for (cable, written) in cables {
            let [a, b] = &cable.ends;
            // The cables of a link aggregation are one connection.
            if let (Some(from), Some(to)) = (self.lag(a), self.lag(b))
                && !aggregated.insert([from, to])
            {
                continue;
            }
            let passes = |tag: &Tag| {
                let inside = |end: &CableEnd| Some((end.host.clone(), inside(&self.mode(end), *tag)?));
                Some((inside(a)?, inside(b)?))
            };
            let connected: Vec<_> = tags.iter().filter_map(passes).collect();
            let mut is_new = true;
            for (a, b) in connected {
                is_new &= groups.connect(a, b);
            }
            if !is_new {
                let why = if a.host == b.host {
                    format!("both ends are in switch `{}`", a.host)
                } else {
                    format!("switches `{}` and `{}` are connected already", a.host, b.host)
                };
                closing.push((why, written[1].span.clone()));
            }
        }
        for (why, span) in closing {
            let message = format!("this cable closes a loop: {why}");
            self.add(
                &span,
                message,
                "remove the cable, or write `stp = true` for a switch of the loop: frames would circle in it for ever",
            );
        }
    }

    /// Returns the link aggregation that a switch's port is in, by its switch and its first port.
    fn lag(&self, end: &CableEnd) -> Option<(HostName, IfName)> {
        let lags = &self.switches.get(&end.host)?.lags;
        let lag = lags.iter().find(|lag| lag.ports.contains(&end.nic))?;
        Some((end.host.clone(), lag.ports.first()?.clone()))
    }

    fn mode(&self, end: &CableEnd) -> PortMode {
        let ports = self.switches.get(&end.host).map(|switch| &switch.ports);
        ports.and_then(|ports| ports.get(&end.nic)).cloned().unwrap_or_default()
    }
}

/// Returns how a frame that is marked with `tag` on a port's cable is marked inside of the switch; none where it does not
/// pass.
fn inside(mode: &PortMode, tag: Tag) -> Option<Tag> {
    match (mode, tag) {
        (PortMode::Open, tag) => Some(tag),
        (PortMode::Access(id), None) => Some(Some(*id)),
        (PortMode::Trunk(ids), Some(id)) if ids.contains(&id) => Some(Some(id)),
        _ => None,
    }
}
