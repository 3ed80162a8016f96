//! Links, uplinks and kernel settings of one host.

use std::collections::{BTreeMap, BTreeSet};

use super::Step;
use crate::lab::IfName;
use crate::state::{Identities, Link, LinkKind, Missing, Sysctl, Uplink};

/// Links above one another that the kernel allows at most (MAX_NEST_DEV in include/linux/netdevice.h); a longer
/// chain, or a ring, can only be a mistake and must not block the planner.
const MOST_NESTED: usize = 8;

type Links = BTreeMap<IfName, Link>;

/// The network's part of a host's state.
pub(super) struct Network<'a> {
    pub links: &'a Links,
    pub uplinks: &'a BTreeMap<IfName, Uplink>,
    pub sysctls: &'a BTreeMap<Sysctl, String>,
    pub seen: &'a Identities,
}

/// From one network to another.
pub(super) struct Change<'a> {
    from: Network<'a>,
    to: Network<'a>,
    /// The host's own NICs are removed and created again between removal and creation.
    replugged: bool,
    /// Links of `from` that remain, perhaps changed in place. All others of `from` are deleted, of `to` created.
    kept: BTreeSet<&'a IfName>,
}

impl<'a> Change<'a> {
    pub(super) fn between(from: Network<'a>, to: Network<'a>, replugged: bool) -> Self {
        let mut change = Self {
            from,
            to,
            replugged,
            kept: BTreeSet::new(),
        };
        for (name, link) in in_order(change.from.links) {
            if change
                .to
                .links
                .get(name)
                .is_some_and(|wanted| change.can_become(link, wanted))
            {
                change.kept.insert(name);
            }
        }
        change
    }

    /// `link` can become `wanted` without deleting it. What it depends on has been decided already.
    fn can_become(&self, link: &Link, wanted: &Link) -> bool {
        let same_object = match (&link.kind, &wanted.kind) {
            (LinkKind::Bridge { .. }, LinkKind::Bridge { .. }) => true,
            (LinkKind::Vlan { parent, .. }, LinkKind::Vlan { .. }) => {
                let parent_is_nic = !self.from.links.contains_key(parent);
                link.kind == wanted.kind && self.remains(parent) && !(self.replugged && parent_is_nic)
            }
            (LinkKind::OvsBridge { datapath, .. }, LinkKind::OvsBridge { datapath: other, .. }) => datapath == other,
            (LinkKind::OvsPatch { provider, .. }, LinkKind::OvsPatch { provider: other, .. }) => {
                provider == other && link.master == wanted.master && self.remains(provider)
            }
            (LinkKind::OvsTunnel { .. }, LinkKind::OvsTunnel { .. }) => link.master == wanted.master,
            // The kernel changes most settings only while a bond has no members.
            (LinkKind::Bond(bond), LinkKind::Bond(other)) => bond == other,
            (LinkKind::OvsBond { .. }, LinkKind::OvsBond { .. }) => link.master == wanted.master && !self.replugged,
            // The kernel changes neither in place.
            (
                LinkKind::Vxlan { vni, local, .. },
                LinkKind::Vxlan {
                    vni: id,
                    local: address,
                    ..
                },
            ) => vni == id && local == address,
            _ => false,
        };
        // The port of a bridge that is deleted could be moved in place, but no step detaches a port without a new bridge.
        same_object && link.master.as_ref().is_none_or(|bridge| self.remains(bridge))
    }

    /// The host's own NICs are removed and created again between removal and creation.
    pub(super) fn is_replugged(&self) -> bool {
        self.replugged
    }

    /// The link `name` exists and this plan neither deletes nor creates it. Links that are not the lab's remain.
    pub(super) fn remains(&self, name: &IfName) -> bool {
        let ours = self.from.links.contains_key(name) || self.to.links.contains_key(name);
        !ours || self.kept.contains(name)
    }

    /// The port is neither created nor attached by this plan.
    pub(super) fn keeps_port(&self, name: &IfName) -> bool {
        if self.to.uplinks.contains_key(name) {
            self.stays_attached(name)
        } else {
            self.remains(name)
        }
    }

    /// The NIC is in the right bridge and remains there. What was on it before is a fact and not compared.
    fn stays_attached(&self, nic: &IfName) -> bool {
        let (was, will) = (self.from.uplinks.get(nic), self.to.uplinks.get(nic));
        !self.replugged
            && was
                .zip(will)
                .is_some_and(|(was, will)| was.bridge == will.bridge && self.remains(&was.bridge))
    }

    /// Returns what is removed, each object before those that it depends on.
    pub(super) fn removal(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for key in self.from.sysctls.keys() {
            if !self.to.sysctls.contains_key(key) {
                steps.push(Step::RestoreSysctl(*key));
            }
        }
        for (nic, uplink) in self.from.uplinks {
            if !self.stays_attached(nic) {
                steps.push(Step::DetachUplink(nic.clone(), uplink.clone()));
            }
        }
        for (name, link) in in_order(self.from.links).into_iter().rev() {
            match self.to.links.get(name).filter(|_| self.kept.contains(name)) {
                None => steps.push(Step::DeleteLink {
                    name: name.clone(),
                    index: self.from.seen.links.get(name).copied(),
                }),
                Some(wanted) => steps.extend(
                    link.addresses
                        .difference(&wanted.addresses)
                        .map(|address| Step::DeleteAddress(name.clone(), *address)),
                ),
            }
        }
        steps
    }

    /// Returns what is created or changed, each object after those that it depends on.
    pub(super) fn creation(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (name, wanted) in in_order(self.to.links) {
            let Some(link) = self.from.links.get(name).filter(|_| self.kept.contains(name)) else {
                steps.push(Step::CreateLink(name.clone(), wanted.clone()));
                continue;
            };
            // Destructured exhaustively, so that a new field is an error here.
            let Link {
                kind,
                master,
                addresses,
                mtu,
                gateway,
                purpose,
            } = wanted;
            let added = addresses
                .difference(&link.addresses)
                .map(|address| Step::AddAddress(name.clone(), *address));
            // The next hop of the default route is reached by an address, and the route is deleted with it.
            let (first, last): (Vec<Step>, Vec<Step>) = added.partition(|_| gateway.is_some());
            let changed = !first.is_empty() || (gateway.is_some() && *addresses != link.addresses);
            steps.extend(first);
            if changed
                || *kind != link.kind
                || *master != link.master
                || *mtu != link.mtu
                || *gateway != link.gateway
                || *purpose != link.purpose
            {
                steps.push(Step::ChangeLink(name.clone(), wanted.clone()));
            }
            steps.extend(last);
        }
        for (
            nic,
            Uplink {
                bridge, was, bonded, ..
            },
        ) in self.to.uplinks
        {
            let observed = self.from.uplinks.get(nic);
            let missing = observed
                .filter(|_| self.stays_attached(nic))
                .map(|observed| &observed.missing);
            if missing.is_some_and(Missing::is_empty) {
                continue;
            }
            let uplink = Uplink {
                bridge: bridge.clone(),
                // What was observed when the NIC was first attached is what detaching it has restored.
                was: observed.map_or(was, |observed| &observed.was).clone(),
                bonded: *bonded,
                missing: missing.cloned().unwrap_or_default(),
            };
            steps.push(Step::AttachUplink(nic.clone(), uplink));
        }
        for (key, value) in self.to.sysctls {
            if self.from.sysctls.get(key) != Some(value) {
                steps.push(Step::SetSysctl(*key, value.clone()));
            }
        }
        steps
    }
}

/// The links in an order in which they can be created: bridges, then tunnels and VLAN devices, those over VLAN devices last.
/// Nothing else is needed: the kernel lets no bridge be a port of a bridge (br_add_if, ELOOP).
fn in_order(links: &Links) -> Vec<(&IfName, &Link)> {
    let parent = |link: &&Link| match &link.kind {
        LinkKind::Bridge { .. }
        | LinkKind::Vxlan { .. }
        | LinkKind::OvsBridge { .. }
        | LinkKind::OvsTunnel { .. }
        | LinkKind::Bond(_)
        | LinkKind::OvsBond { .. } => None,
        LinkKind::Vlan { parent: below, .. } | LinkKind::OvsPatch { provider: below, .. } => links.get(below),
    };
    let mut order: Vec<_> = links.iter().collect();
    order.sort_by_cached_key(|(_, link)| {
        let is_port = !matches!(link.kind, LinkKind::Bridge { .. } | LinkKind::OvsBridge { .. });
        let below = std::iter::successors(Some(*link), parent).take(MOST_NESTED).count();
        (is_port, below)
    });
    order
}
