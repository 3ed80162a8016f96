//! Emulated machines and the cables between them, and what creating and removing them means for the hosts inside.

use std::collections::{BTreeMap, BTreeSet};

use super::Step;
use super::shaping::{self, Fate};
use crate::lab::{Cable, HostName, IfName};
use crate::state::{HostState, Machine, MachineKind};

/// From some emulated machines to others.
pub(super) struct Change<'a> {
    from: &'a HostState,
    to: &'a HostState,
    /// Machines of `to` that can be created: a dead one cannot be, so it counts as not wanted.
    wanted: BTreeMap<&'a HostName, &'a Machine>,
    unplugged: Vec<&'a Cable>,
    plugged: Vec<&'a Cable>,
    /// Machines that stay while a cable of theirs does not.
    replugged: BTreeSet<&'a HostName>,
}

/// What the change means for a host.
pub(super) enum Inside {
    /// It remains, or is no emulated host.
    Stays {
        /// Its NICs are removed and created again between removal and creation.
        replugged: bool,
    },
    /// Its machine is created, removed or recreated.
    Changes {
        /// Its guests are to be stopped: its machine is alive and will not exist any more. Everything else in it is removed
        /// with it at once; so are the guests of a machine that is replaced or dead.
        before: bool,
        /// There will be a machine to create it in.
        after: bool,
    },
}

impl<'a> Change<'a> {
    pub(super) fn between(from: &'a HostState, to: &'a HostState) -> Self {
        let mut change = Self {
            from,
            to,
            wanted: to.machines.iter().filter(|(_, machine)| machine.alive).collect(),
            unplugged: Vec::new(),
            plugged: Vec::new(),
            replugged: BTreeSet::new(),
        };
        let stays = |cable: &&Cable| {
            let both = from.cables.contains(*cable) && to.cables.contains(*cable);
            both && cable.ends.iter().all(|end| change.stays(&end.host))
        };
        let wanted = |cable: &&Cable| cable.ends.iter().all(|end| change.wanted.contains_key(&end.host));
        // With a machine its ends of cables are removed, but the kernel removes a namespace some time later; a cable that
        // was unplugged is removed at once, and its name on the other machine is free.
        let unplugged: Vec<_> = from.cables.iter().filter(|cable| !stays(cable)).collect();
        let plugged: Vec<_> = to.cables.iter().filter(|c| wanted(c) && !stays(c)).collect();
        let ends = unplugged.iter().chain(&plugged).flat_map(|cable| &cable.ends);
        let replugged = ends.map(|end| &end.host).filter(|host| change.stays(host)).collect();
        change.unplugged = unplugged;
        change.plugged = plugged;
        change.replugged = replugged;
        change
    }

    /// The machine exists, is alive and as wanted.
    fn stays(&self, host: &HostName) -> bool {
        let Some((was, wanted)) = self.from.machines.get(host).zip(self.wanted.get(host)) else {
            return false;
        };
        let mut was = was.clone();
        // Of a link that is down by request the kernel has no route: whether it had one cannot be read.
        for link in self.held_down(host) {
            if let Some((now, wanted)) = was.nics.get_mut(link).zip(wanted.nics.get(link)) {
                now.gateway = now.gateway.or(wanted.gateway);
            }
        }
        was.is_configured_as(wanted)
    }

    /// The links of a machine that are down by request.
    fn held_down(&self, host: &HostName) -> impl Iterator<Item = &'a IfName> {
        let links = self.from.shaped.get(host).into_iter().flatten();
        links.filter(|(_, shaping)| shaping.down).map(|(link, _)| link)
    }

    /// A link of the machine that is down by request will no longer be: what was lost on it is configured again.
    fn is_released(&self, host: &HostName) -> bool {
        let remains = |link: &IfName| {
            let wanted = self.to.shaped.get(host).and_then(|links| links.get(link));
            wanted.is_some_and(|wanted| wanted.down)
        };
        self.held_down(host).any(|link| !remains(link))
    }

    /// The machine stays, and its NICs are configured again.
    fn is_reconfigured(&self, host: &HostName) -> bool {
        let was = self.from.machines.get(host).zip(self.wanted.get(host));
        let changed = was.is_some_and(|(was, wanted)| {
            !was.changed.is_empty() || was.names != wanted.names || was.outside != wanted.outside
        });
        self.replugged.contains(host) || changed || self.is_released(host)
    }

    /// What happens to a link of a machine.
    fn fate(&self, host: &HostName, link: &IfName) -> Fate {
        let alive = self.from.machines.get(host).is_some_and(|machine| machine.alive);
        if !self.stays(host) {
            return if self.wanted.contains_key(host) {
                Fate::Recreated(alive)
            } else {
                Fate::Absent(alive)
            };
        }
        let is_end = |cable: &&&Cable| cable.ends.iter().any(|end| end.host == *host && end.nic == *link);
        if self.plugged.iter().any(|cable| is_end(&cable)) {
            return Fate::Recreated(true);
        }
        if self.is_reconfigured(host) {
            return Fate::Reset;
        }
        Fate::Stays
    }

    /// Returns the steps on localhost for the limits of links.
    pub(super) fn shaping(&self) -> Vec<Step> {
        shaping::changes(&self.from.shaped, &self.to.shaped, |host, link| self.fate(host, link))
    }

    pub(super) fn inside(&self, host: &HostName) -> Inside {
        let was = self.from.machines.get(host);
        let desired = self.to.machines.get(host);
        if self.stays(host) || (was.is_none() && desired.is_none()) {
            return Inside::Stays {
                replugged: self.replugged.contains(host),
            };
        }
        Inside::Changes {
            before: was.is_some_and(|machine| machine.alive) && !self.wanted.contains_key(host),
            after: desired.is_none_or(|machine| machine.alive),
        }
    }

    /// Returns the steps on localhost. What is inside the hosts is removed before them.
    pub(super) fn steps(&self) -> Vec<Step> {
        let removed = self.from.machines.keys().filter(|host| !self.stays(host));
        let new = || self.wanted.iter().filter(|(host, _)| !self.stays(host));
        // A machine gets its addresses once all its NICs exist; one that lost a NIC, or what was on it, or has
        // something else behind it, gets them again.
        let configured = self
            .wanted
            .iter()
            .filter(|(host, _)| !self.stays(host) || self.is_reconfigured(host));

        let unplug = self.unplugged.iter().map(|&cable| Step::UnplugCable(cable.clone()));
        let remove = removed.map(|host| Step::RemoveMachine(host.clone()));
        let create = new().map(|(&name, machine)| match machine.kind {
            MachineKind::Host => Step::CreateMachine(name.clone()),
            kind @ (MachineKind::Switch | MachineKind::Router) => Step::CreateDevice(name.clone(), kind),
        });
        let plug = self.plugged.iter().map(|&cable| Step::PlugCable(cable.clone()));
        let configure = configured.map(|(&host, &machine)| Step::ConfigureMachine(host.clone(), machine.clone()));
        unplug
            .chain(remove)
            .chain(create)
            .chain(plug)
            .chain(configure)
            .collect()
    }
}
