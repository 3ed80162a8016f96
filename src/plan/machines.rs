//! Emulated machines and the cables between them, and what creating and removing them means for the hosts inside.

use std::collections::{BTreeMap, BTreeSet};

use super::Step;
use crate::lab::{Cable, HostName};
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
        /// What is inside now is to be removed step by step: its machine is alive and will not exist any more. With a
        /// machine that is replaced or dead everything inside is removed at once.
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
        let was = self.from.machines.get(host);
        was.zip(self.wanted.get(host))
            .is_some_and(|(was, wanted)| was.is_configured_as(wanted))
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
        // A machine gets its addresses once all its NICs exist; one that lost a NIC, or what was on it, or resolves other
        // names, gets them again.
        let changed = |host: &HostName| {
            let was = self.from.machines.get(host).zip(self.wanted.get(host));
            was.is_some_and(|(was, wanted)| !was.changed.is_empty() || was.names != wanted.names)
        };
        let configured = self
            .wanted
            .iter()
            .filter(|(host, _)| !self.stays(host) || self.replugged.contains(*host) || changed(host));

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
