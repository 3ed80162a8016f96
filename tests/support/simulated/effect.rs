//! The effect of each step, and when it is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::World;
use netlab::lab::{Cable, HostName, IfName};
use netlab::plan::Step;
use netlab::state::{
    Disk, DiskName, Domain, DomainName, HostState, Link, LinkKind, Machine, MachineKind, MachineNic, Start, localhost,
};

/// Why a simulated step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimulatedError {
    /// The failure was injected by a test.
    #[error("a failure was injected here")]
    Injected,
    /// The object does not exist.
    #[error("{0} does not exist")]
    Missing(String),
    /// The object to create exists already.
    #[error("{0} exists already")]
    Exists(String),
    /// The object to remove or change is in use.
    #[error("{0} is in use by {1}")]
    InUse(String, String),
    /// The object of that name is not the one that was observed.
    #[error("{0} was replaced since it was observed")]
    Replaced(String),
    /// Anything else that every host would refuse.
    #[error("{0}")]
    Refused(String),
}

type Done = Result<(), SimulatedError>;

fn missing(what: impl Display) -> SimulatedError {
    SimulatedError::Missing(what.to_string())
}

/// Inserts an entry that must not exist.
fn insert<K: Ord + Display, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> Done {
    if map.contains_key(&key) {
        return Err(SimulatedError::Exists(key.to_string()));
    }
    map.insert(key, value);
    Ok(())
}

/// Removes an entry that must exist.
fn remove<K: Ord + Display, V>(map: &mut BTreeMap<K, V>, key: &K) -> Done {
    map.remove(key).map(drop).ok_or_else(|| missing(key))
}

impl World {
    pub(super) fn effect(&mut self, host: &HostName, step: &Step) -> Done {
        if !self.can_be_reached(host) {
            return Err(missing(format_args!("host {host}")));
        }
        let of_a_machine = matches!(
            step,
            Step::CreateMachine(..)
                | Step::CreateDevice(..)
                | Step::RemoveMachine(..)
                | Step::PlugCable(..)
                | Step::UnplugCable(..)
                | Step::ConfigureMachine(..)
                | Step::StartForward(..)
                | Step::StopForward(..)
        ) || matches!(step, Step::Shape(machine, ..) | Step::Unshape(machine, ..) if machine != host);
        if of_a_machine != (*host == localhost()) {
            return Err(SimulatedError::Refused(format!("`{step}` is not a step for {host}")));
        }
        match step {
            Step::CreateMachine(name) => self.create_machine(name, MachineKind::Host),
            Step::CreateDevice(name, kind) => self.create_machine(name, *kind),
            Step::RemoveMachine(name) => self.remove_machine(name),
            Step::PlugCable(cable) => self.plug(cable),
            Step::UnplugCable(cable) => self.unplug(cable),
            Step::ConfigureMachine(name, machine) => self.configure_machine(name, machine),
            Step::StartForward(port, forward) => insert(&mut self.localhost().forwards, *port, forward.clone()),
            Step::StopForward(port) => remove(&mut self.localhost().forwards, port),
            Step::Shape(machine, link, _) | Step::Unshape(machine, link, _) if machine != host => {
                if !self.machine(machine)?.nics.contains_key(link) {
                    return Err(missing(format_args!("{link} of {machine}")));
                }
                shape(self.localhost(), step)
            }
            _ => {
                // The NICs of a host that is not emulated are not simulated; all that a lab names exist.
                let nics = self
                    .site
                    .get(&localhost())
                    .and_then(|localhost| localhost.machines.get(host));
                let nics = nics.map(|machine| machine.nics.clone());
                let has_nic = |nic: &IfName| nics.as_ref().is_none_or(|nics| nics.contains_key(nic));
                let state = self.site.entry(host.clone()).or_default();
                self.index += 1;
                network(state, step, has_nic, self.index).unwrap_or_else(|| guests(state, step))
            }
        }
    }

    fn localhost(&mut self) -> &mut HostState {
        self.site.entry(localhost()).or_default()
    }

    fn machine(&mut self, name: &HostName) -> Result<&mut Machine, SimulatedError> {
        let machine = self.localhost().machines.get_mut(name);
        machine.ok_or_else(|| missing(format_args!("machine {name}")))
    }

    fn create_machine(&mut self, name: &HostName, kind: MachineKind) -> Done {
        let machine = Machine {
            stp: false,
            lags: BTreeSet::new(),
            kind,
            nics: BTreeMap::new(),
            outside: BTreeSet::new(),
            names: BTreeMap::new(),
            to_host: None,
            changed: BTreeSet::new(),
            alive: true,
        };
        insert(&mut self.localhost().machines, name.clone(), machine)
    }

    /// Removes all NICs of the machine, the other ends of their cables, and everything inside.
    fn remove_machine(&mut self, name: &HostName) -> Done {
        self.machine(name)?;
        let cables = self.localhost().cables.clone();
        for cable in cables
            .iter()
            .filter(|cable| cable.ends.iter().any(|end| end.host == *name))
        {
            self.unplug(cable)?;
        }
        self.site.remove(name);
        lose_limits(self.localhost(), name, |_| true);
        remove(&mut self.localhost().machines, name)
    }

    fn plug(&mut self, cable: &Cable) -> Done {
        for end in &cable.ends {
            if !self.machine(&end.host)?.alive {
                return Err(missing(format_args!("the namespace of {}", end.host)));
            }
            if self.localhost().cables.iter().any(|other| other.ends.contains(end)) {
                return Err(SimulatedError::Exists(format!("a cable in {}:{}", end.host, end.nic)));
            }
        }
        for end in &cable.ends {
            self.machine(&end.host)?
                .nics
                .insert(end.nic.clone(), MachineNic::default());
        }
        self.localhost().cables.insert(cable.clone());
        Ok(())
    }

    /// Deletes both NICs; the kernel deletes the VLAN devices on them. The record of a NIC attached to a bridge stays: its
    /// addresses are still on the bridge.
    fn unplug(&mut self, cable: &Cable) -> Done {
        if !self.localhost().cables.remove(cable) {
            return Err(missing("the cable"));
        }
        for end in &cable.ends {
            lose_limits(self.localhost(), &end.host, |link| *link == end.nic);
            if let Ok(machine) = self.machine(&end.host) {
                machine.nics.remove(&end.nic);
            }
            if let Some(inside) = self.site.get_mut(&end.host) {
                inside.links.retain(|_, link| parent(link) != Some(&end.nic));
                inside.floating.retain(|_, nic| *nic != end.nic);
            }
        }
        Ok(())
    }

    fn configure_machine(&mut self, name: &HostName, wanted: &Machine) -> Done {
        // A bridge port must not get the addresses that its bridge has: the host would answer twice.
        let now = self.machine(name)?.clone();
        let differs = |nic: &IfName| now.nics.get(nic) != wanted.nics.get(nic) || now.changed.contains(nic);
        let attached = self.site.get(name).map(|inside| &inside.uplinks);
        let mut attached = attached.into_iter().flatten().filter(|(nic, _)| differs(nic));
        if let Some((nic, uplink)) = attached.next() {
            return Err(SimulatedError::InUse(nic.to_string(), uplink.bridge.to_string()));
        }
        let machine = self.machine(name)?;
        if !machine.alive {
            return Err(missing(format_args!("the namespace of {name}")));
        }
        *machine = wanted.clone();
        Ok(())
    }
}

fn parent(link: &Link) -> Option<&IfName> {
    match &link.kind {
        LinkKind::Bridge { .. }
        | LinkKind::Vxlan { .. }
        | LinkKind::OvsBridge { .. }
        | LinkKind::OvsTunnel { .. }
        | LinkKind::Bond(_)
        | LinkKind::OvsBond { .. } => None,
        LinkKind::Vlan { parent, .. } | LinkKind::OvsPatch { provider: parent, .. } => Some(parent),
    }
}

fn bridge_exists(state: &HostState, bridge: &IfName) -> Done {
    let link = state.links.get(bridge);
    let has_ports = |kind: &LinkKind| {
        matches!(
            kind,
            LinkKind::Bridge { .. } | LinkKind::OvsBridge { .. } | LinkKind::Bond(_) | LinkKind::OvsBond { .. }
        )
    };
    if link.is_some_and(|link| has_ports(&link.kind)) {
        Ok(())
    } else {
        Err(missing(format_args!("bridge {bridge}")))
    }
}

/// Returns an error if the link `name` is in use: by a port, a VLAN device or a tap of a running guest.
fn unused(state: &HostState, name: &IfName) -> Done {
    let in_use = |by: &dyn Display| Err(SimulatedError::InUse(name.to_string(), by.to_string()));
    for (other, link) in &state.links {
        if link.master.as_ref() == Some(name) || parent(link) == Some(name) {
            return in_use(other);
        }
    }
    if let Some((nic, _)) = state.uplinks.iter().find(|(_, uplink)| uplink.bridge == *name) {
        return in_use(nic);
    }
    if let Some((network, _)) = state.dhcp.iter().find(|(_, dhcp)| dhcp.bridge == *name) {
        return in_use(&format_args!("the DHCP server of {network}"));
    }
    let uses_it = |domain: &Domain| domain.running && domain.nics.iter().any(|nic| nic.bridge == *name);
    if let Some((domain, _)) = state.domains.iter().find(|(_, domain)| uses_it(domain)) {
        return in_use(domain);
    }
    Ok(())
}

/// Limits of a link that exists.
fn shape(state: &mut HostState, step: &Step) -> Done {
    match step {
        Step::Shape(machine, link, shaping) => {
            state
                .shaped
                .entry(machine.clone())
                .or_default()
                .insert(link.clone(), *shaping);
            Ok(())
        }
        Step::Unshape(machine, link, was) => {
            let links = state.shaped.entry(machine.clone()).or_default();
            if links.get(link) != Some(was) {
                return Err(SimulatedError::Replaced(link.to_string()));
            }
            links.remove(link);
            state.shaped.retain(|_, links| !links.is_empty());
            Ok(())
        }
        other => Err(SimulatedError::Refused(format!("`{other}` is not for limits"))),
    }
}

/// Removes the limits of a link that is deleted.
fn lose_limits(state: &mut HostState, machine: &HostName, lost: impl Fn(&IfName) -> bool) {
    if let Some(links) = state.shaped.get_mut(machine) {
        links.retain(|link, _| !lost(link));
    }
    state.shaped.retain(|_, links| !links.is_empty());
}

/// Steps on links, uplinks, settings and services; `None` for any other. A new link gets `index`.
fn network(state: &mut HostState, step: &Step, has_nic: impl Fn(&IfName) -> bool, index: u32) -> Option<Done> {
    let result = match step {
        Step::CreateLink(name, link) => create_link(state, name, link, has_nic, index),
        Step::DeleteLink { name, index } => delete_link(state, name, *index),
        Step::ChangeLink(name, wanted) => change_link(state, name, wanted),
        Step::AddAddress(name, address) => match state.links.get_mut(name) {
            None => Err(missing(name)),
            Some(link) if link.addresses.contains(address) => Err(SimulatedError::Exists(address.to_string())),
            Some(link) => {
                link.addresses.insert(*address);
                Ok(())
            }
        },
        Step::DeleteAddress(name, address) => match state.links.get_mut(name) {
            Some(link) if link.addresses.contains(address) => {
                link.addresses.remove(address);
                Ok(())
            }
            _ => Err(missing(format_args!("{address} on {name}"))),
        },
        Step::AttachUplink(nic, _) | Step::AddFloating(_, nic) if !has_nic(nic) => Err(missing(nic)),
        Step::AttachUplink(nic, uplink) => {
            bridge_exists(state, &uplink.bridge).and_then(|()| insert(&mut state.uplinks, nic.clone(), uplink.clone()))
        }
        // The bridge may have been deleted already: the NIC's configuration is restored all the same.
        Step::DetachUplink(nic, uplink) => match state.uplinks.get(nic) {
            Some(taken) if taken != uplink => Err(SimulatedError::Replaced(nic.to_string())),
            _ => remove(&mut state.uplinks, nic),
        },
        Step::AddFloating(address, nic) => insert(&mut state.floating, *address, nic.clone()),
        Step::DeleteFloating(address, _) => remove(&mut state.floating, address),
        Step::LoadRuleset(rules) => {
            state.firewall = Some(rules.as_ref().clone());
            Ok(())
        }
        Step::DeleteRuleset => state.firewall.take().map(drop).ok_or_else(|| missing("the ruleset")),
        Step::StartDhcp(network, dhcp) => bridge_exists(state, &dhcp.bridge)
            .and_then(|()| insert(&mut state.dhcp, network.clone(), dhcp.as_ref().clone())),
        Step::StopDhcp(network) => remove(&mut state.dhcp, network),
        Step::SetSysctl(key, value) => {
            state.sysctls.insert(*key, value.clone());
            Ok(())
        }
        Step::RestoreSysctl(key) => remove(&mut state.sysctls, key),
        Step::Shape(_, link, _) | Step::Unshape(_, link, _) => {
            let taps = |domain: &Domain| domain.nics.iter().any(|nic| nic.tap == *link);
            let absent = state.domains.values().any(|domain| taps(domain) && !domain.running);
            if absent { Err(missing(link)) } else { shape(state, step) }
        }
        _ => return None,
    };
    Some(result)
}

fn create_link(
    state: &mut HostState,
    name: &IfName,
    link: &Link,
    has_nic: impl Fn(&IfName) -> bool,
    index: u32,
) -> Done {
    if let Some(master) = &link.master {
        bridge_exists(state, master)?;
    }
    if let Some(parent) = parent(link).filter(|parent| !state.links.contains_key(*parent) && !has_nic(parent)) {
        return Err(missing(parent));
    }
    // A running guest that names the bridge has its tap elsewhere: it would not be attached to this one.
    unused(state, name)?;
    insert(&mut state.links, name.clone(), link.clone())?;
    state.seen.links.insert(name.clone(), index);
    Ok(())
}

fn delete_link(state: &mut HostState, name: &IfName, index: Option<u32>) -> Done {
    if index.is_some() && state.seen.links.get(name).copied() != index {
        return Err(SimulatedError::Replaced(name.to_string()));
    }
    unused(state, name)?;
    state.seen.links.remove(name);
    remove(&mut state.links, name)
}

fn change_link(state: &mut HostState, name: &IfName, wanted: &Link) -> Done {
    if let Some(master) = &wanted.master {
        bridge_exists(state, master)?;
    }
    let link = state.links.get_mut(name).ok_or_else(|| missing(name))?;
    let same = match (&link.kind, &wanted.kind) {
        (LinkKind::Bridge { .. }, LinkKind::Bridge { .. }) => true,
        (
            LinkKind::Vxlan { vni, local, .. },
            LinkKind::Vxlan {
                vni: id,
                local: address,
                ..
            },
        ) => vni == id && local == address,
        (LinkKind::OvsBridge { datapath, .. }, LinkKind::OvsBridge { datapath: other, .. }) => datapath == other,
        (LinkKind::OvsPatch { provider, .. }, LinkKind::OvsPatch { provider: other, .. }) => {
            provider == other && link.master == wanted.master
        }
        (LinkKind::OvsTunnel { .. }, LinkKind::OvsTunnel { .. })
        | (LinkKind::OvsBond { .. }, LinkKind::OvsBond { .. }) => link.master == wanted.master,
        (was, will) => was == will,
    };
    if !same {
        return Err(SimulatedError::Refused(format!(
            "{name} cannot become another kind of link"
        )));
    }
    *link = Link {
        addresses: std::mem::take(&mut link.addresses),
        ..wanted.clone()
    };
    Ok(())
}

/// Steps on volumes and domains.
fn guests(state: &mut HostState, step: &Step) -> Done {
    match step {
        Step::CreateVolume(name, volume) => insert(&mut state.volumes, name.clone(), volume.clone()),
        Step::GrowVolume(name, _) => match state.domains.get(name) {
            Some(domain) if domain.running => Err(SimulatedError::InUse("the volume".to_owned(), name.to_string())),
            _ if state.volumes.contains_key(name) => Ok(()),
            _ => Err(missing(format_args!("the volume of {name}"))),
        },
        Step::DeleteVolume(name) => match state.domains.get(name) {
            Some(domain) if domain.running => Err(SimulatedError::InUse("the volume".to_owned(), name.to_string())),
            _ => remove(&mut state.volumes, name),
        },
        Step::CreateDisk(name, disk) => {
            stopped(state, name.domain())?;
            insert(&mut state.disks, name.clone(), disk.clone())
        }
        Step::GrowDisk(name, mib) => {
            stopped(state, name.domain())?;
            match state.disks.get_mut(name) {
                Some(Disk::Blank { mib: was }) if *was < *mib => {
                    *was = *mib;
                    Ok(())
                }
                Some(_) => Err(SimulatedError::Refused(format!(
                    "disk {name} cannot be grown to {mib} MiB"
                ))),
                None => Err(missing(format_args!("disk {name}"))),
            }
        }
        Step::DeleteDisk(name, _) => {
            stopped(state, name.domain())?;
            remove(&mut state.disks, name)
        }
        Step::DefineDomain(name, domain) => {
            let domain = Domain {
                running: false,
                start: Start::Boot,
                configured: None,
                ..domain.as_ref().clone()
            };
            insert(&mut state.domains, name.clone(), domain)
        }
        Step::UndefineDomain { name, uuid } => {
            if domain(state, name, Some(uuid))?.running {
                return Err(SimulatedError::Refused(format!("{name} is running")));
            }
            remove(&mut state.domains, name)
        }
        Step::StartDomain(name, _) => start(state, name),
        Step::StopDomain { name, uuid } => {
            let domain = domain(state, name, Some(uuid))?;
            if !domain.running {
                return Err(SimulatedError::Refused(format!("{name} is not running")));
            }
            domain.running = false;
            domain.configured = None;
            if domain.boot.disk().is_none() {
                domain.tasks.clear();
            }
            let taps: BTreeSet<IfName> = domain.nics.iter().map(|nic| nic.tap.clone()).collect();
            for machine in state.shaped.keys().cloned().collect::<Vec<_>>() {
                lose_limits(state, &machine, |link| taps.contains(link));
            }
            Ok(())
        }
        Step::ConfigureGuest(name, config) => {
            let domain = domain(state, name, None)?;
            if !domain.running {
                return Err(SimulatedError::Refused(format!("{name} is not running")));
            }
            domain.configured = Some(config.as_ref().clone());
            Ok(())
        }
        Step::SetUpGuest(name, set_up) => {
            let domain = domain(state, name, None)?;
            if !domain.running {
                return Err(SimulatedError::Refused(format!("{name} is not running")));
            }
            if domain.tasks.get(..set_up.done) != set_up.tasks.get(..set_up.done) {
                return Err(SimulatedError::Refused(format!("{name} lacks what was done before")));
            }
            domain.tasks.clone_from(&set_up.tasks);
            Ok(())
        }
        other => Err(SimulatedError::Refused(format!("`{other}` is not for guests"))),
    }
}

/// Returns an error while the domain runs, whose disks are then in use.
fn stopped(state: &HostState, name: &DomainName) -> Done {
    match state.domains.get(name) {
        Some(domain) if domain.running => Err(SimulatedError::InUse("a disk".to_owned(), name.to_string())),
        _ => Ok(()),
    }
}

/// Returns the domain, if it is the one that was observed.
fn domain<'a>(
    state: &'a mut HostState,
    name: &DomainName,
    uuid: Option<&str>,
) -> Result<&'a mut Domain, SimulatedError> {
    let domain = state.domains.get_mut(name).ok_or_else(|| missing(name))?;
    if uuid.is_some_and(|uuid| domain.uuid != uuid) {
        return Err(SimulatedError::Replaced(name.to_string()));
    }
    Ok(domain)
}

fn start(state: &mut HostState, name: &DomainName) -> Done {
    let found = domain(state, name, None)?.clone();
    if found.running {
        return Err(SimulatedError::Refused(format!("{name} is running already")));
    }
    for nic in &found.nics {
        bridge_exists(state, &nic.bridge)?;
    }
    if found.boot.disk().is_some() && !state.volumes.contains_key(name) {
        return Err(missing(format_args!("the volume of {name}")));
    }
    for disk in &found.disks {
        let over = match state.disks.get(&DiskName::new(name, disk.number)) {
            Some(Disk::Blank { .. }) => None,
            Some(Disk::Over(volume)) => Some(volume),
            None => return Err(missing(format_args!("disk {} of {name}", disk.number))),
        };
        if over != disk.over.as_ref() {
            let text = format!("disk {} of {name} is another one than the domain's", disk.number);
            return Err(SimulatedError::Refused(text));
        }
    }
    domain(state, name, None)?.running = true;
    Ok(())
}
