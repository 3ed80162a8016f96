//! What people, crashes and reboots do to a lab that is up.

use std::collections::BTreeSet;

use netlab::lab::{HostName, IfName};
use netlab::state::{Disk, DiskName, HostState, LinkKind, Site, localhost};
use proptest::prelude::*;
use proptest::sample::Index;

use super::labs::emulated;

/// One thing that happens, to an object picked by the index.
#[derive(Debug, Clone)]
pub struct Damage {
    what: What,
    to: Index,
}

#[derive(Debug, Clone, Copy)]
enum What {
    LoseLink,
    ChangeLink,
    LoseUplink,
    LoseSysctl,
    LoseRules,
    AlterRules,
    LoseServer,
    KillServer,
    LoseFloating,
    StopGuest,
    ForgetGuest,
    LoseDomain,
    ChangeDomain,
    LoseVolume,
    LoseDisk,
    ChangeDisk,
    ChangeVolume,
    KillMachine,
    LoseMachine,
    LoseCable,
    LoseCableWithNics,
    LoseLimits,
    ChangeLimits,
}

pub fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let what = prop::sample::select(vec![
        What::LoseLink,
        What::ChangeLink,
        What::LoseUplink,
        What::LoseSysctl,
        What::LoseRules,
        What::AlterRules,
        What::LoseServer,
        What::KillServer,
        What::LoseFloating,
        What::StopGuest,
        What::ForgetGuest,
        What::LoseDomain,
        What::ChangeDomain,
        What::LoseVolume,
        What::LoseDisk,
        What::ChangeDisk,
        What::ChangeVolume,
        What::KillMachine,
        What::LoseMachine,
        What::LoseCable,
        What::LoseCableWithNics,
        What::LoseLimits,
        What::ChangeLimits,
    ]);
    let one = (what, any::<Index>()).prop_map(|(what, to)| Damage { what, to });
    prop::collection::vec(one, 0..6)
}

/// Picks one of all objects of a kind in the site.
fn pick<K: Clone>(site: &Site, to: Index, keys: impl Fn(&HostState) -> Vec<K>) -> Option<(HostName, K)> {
    let all: Vec<_> = site
        .iter()
        .flat_map(|(host, state)| keys(state).into_iter().map(|key| (host.clone(), key)))
        .collect();
    (!all.is_empty()).then(|| to.get(&all).clone())
}

/// `site` after all of `damage`.
pub fn damaged(mut site: Site, damage: &[Damage]) -> Site {
    for one in damage {
        apply(&mut site, one);
    }
    lose_limits(&mut site);
    site.retain(|_, state| *state != HostState::default());
    site
}

/// With a link its limits are lost: those of taps of guests that do not run, of cables that are not plugged, of machines that
/// are dead.
fn lose_limits(site: &mut Site) {
    let dead: BTreeSet<HostName> = site
        .values()
        .flat_map(|state| &state.machines)
        .filter(|(_, machine)| !machine.alive)
        .map(|(name, _)| name.clone())
        .collect();
    for (owner, state) in site.iter_mut() {
        let HostState {
            shaped,
            domains,
            cables,
            machines,
            ..
        } = state;
        for (machine, links) in shaped.iter_mut() {
            links.retain(|link, _| {
                if *owner == localhost() {
                    let plugged = cables
                        .iter()
                        .flat_map(|cable| &cable.ends)
                        .any(|end| end.host == *machine && end.nic == *link);
                    return plugged && machines.get(machine).is_some_and(|machine| machine.alive);
                }
                let mut running = domains.values().filter(|domain| domain.running);
                running.any(|domain| domain.nics.iter().any(|nic| nic.tap == *link)) && !dead.contains(owner)
            });
        }
        shaped.retain(|_, links| !links.is_empty());
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind of damage")]
fn apply(site: &mut Site, Damage { what, to }: &Damage) -> Option<()> {
    match what {
        What::LoseLink | What::ChangeLink => {
            let (host, name) = pick(site, *to, |state| state.links.keys().cloned().collect())?;
            let links = &mut site.get_mut(&host)?.links;
            if matches!(what, What::LoseLink) {
                links.remove(&name);
            } else {
                let link = links.get_mut(&name)?;
                link.purpose.push('!');
                link.addresses = ["198.51.100.1/24".parse().unwrap()].into();
                alter(&name, &mut link.kind);
                link.master = None;
            }
        }
        What::LoseUplink => {
            let (host, name) = pick(site, *to, |state| state.uplinks.keys().cloned().collect())?;
            site.get_mut(&host)?.uplinks.remove(&name);
        }
        What::LoseLimits | What::ChangeLimits => {
            let (host, (machine, link)) = pick(site, *to, |state| {
                let links = state.shaped.iter();
                links
                    .flat_map(|(machine, links)| links.keys().map(|link| (machine.clone(), link.clone())))
                    .collect::<Vec<_>>()
            })?;
            let links = site.get_mut(&host)?.shaped.get_mut(&machine)?;
            if matches!(what, What::LoseLimits) {
                links.remove(&link);
            } else {
                links.insert(link, netlab::lab::Shaping::default());
            }
        }
        What::LoseSysctl => {
            let (host, key) = pick(site, *to, |state| state.sysctls.keys().copied().collect())?;
            site.get_mut(&host)?.sysctls.remove(&key);
        }
        What::LoseRules | What::AlterRules => {
            let (host, ()) = pick(site, *to, |state| state.firewall.iter().map(|_| ()).collect())?;
            let firewall = &mut site.get_mut(&host)?.firewall;
            if matches!(what, What::LoseRules) {
                *firewall = None;
            } else {
                firewall.as_mut()?.altered = true;
            }
        }
        What::LoseServer | What::KillServer => {
            let (host, name) = pick(site, *to, |state| state.dhcp.keys().cloned().collect())?;
            let dhcp = &mut site.get_mut(&host)?.dhcp;
            dhcp.get_mut(&name)?.running = false;
            if matches!(what, What::LoseServer) {
                dhcp.remove(&name);
            }
        }
        What::LoseFloating => {
            let (host, address) = pick(site, *to, |state| state.floating.keys().copied().collect())?;
            site.get_mut(&host)?.floating.remove(&address);
        }
        What::StopGuest | What::ForgetGuest | What::LoseDomain | What::ChangeDomain => {
            let (host, name) = pick(site, *to, |state| state.domains.keys().cloned().collect())?;
            let domains = &mut site.get_mut(&host)?.domains;
            let domain = domains.get_mut(&name)?;
            match what {
                What::StopGuest => domain.running = false,
                What::ChangeDomain => domain.cpus += 1,
                _ => {}
            }
            if !matches!(what, What::ChangeDomain) {
                domain.configured = None;
            }
            if matches!(what, What::LoseDomain) {
                domains.remove(&name);
            }
        }
        What::LoseVolume | What::ChangeVolume => {
            let (host, name) = pick(site, *to, |state| state.volumes.keys().cloned().collect())?;
            let volumes = &mut site.get_mut(&host)?.volumes;
            volumes.get_mut(&name)?.base.push("old");
            if matches!(what, What::LoseVolume) {
                volumes.remove(&name);
            }
        }
        What::LoseDisk | What::ChangeDisk => {
            let (host, name) = pick(site, *to, |state| state.disks.keys().cloned().collect())?;
            let disks = &mut site.get_mut(&host)?.disks;
            match disks.get_mut(&name)? {
                Disk::Blank { mib } => *mib /= 2,
                Disk::Over(volume) => volume.base.push("old"),
            }
            if matches!(what, What::LoseDisk) {
                disks.remove(&name);
            }
        }
        What::KillMachine | What::LoseMachine => {
            let (emulator, name) = pick(site, *to, |state| state.machines.keys().cloned().collect())?;
            site.remove(&name);
            let emulator = site.get_mut(&emulator)?;
            emulator.machines.get_mut(&name)?.alive = false;
            if matches!(what, What::LoseMachine) {
                emulator.machines.remove(&name);
                emulator
                    .cables
                    .retain(|cable| cable.ends.iter().all(|end| end.host != name));
            }
        }
        What::LoseCable | What::LoseCableWithNics => {
            let (emulator, cable) = pick(site, *to, |state| state.cables.iter().cloned().collect())?;
            let emulator = site.get_mut(&emulator)?;
            emulator.cables.remove(&cable);
            if matches!(what, What::LoseCableWithNics) {
                for end in &cable.ends {
                    emulator.machines.get_mut(&end.host)?.nics.remove(&end.nic);
                }
            }
        }
    }
    Some(())
}

/// Changes a setting of a link, as its owner could.
fn alter(name: &IfName, kind: &mut LinkKind) {
    match kind {
        LinkKind::Bridge { stp, .. } => *stp = stp.is_none().then_some(2),
        LinkKind::Vxlan { vni, remotes, .. } => {
            remotes.clear();
            *vni ^= u32::from(name.as_str().ends_with('0'));
        }
        LinkKind::OvsBridge { mac, .. } => *mac = None,
        LinkKind::OvsPatch { tag, .. } => *tag = 4000.try_into().unwrap(),
        LinkKind::OvsTunnel { key, .. } => *key += 1,
        LinkKind::Bond(bond) | LinkKind::OvsBond { bond, .. } => bond.primary = None,
        LinkKind::Vlan { .. } => {}
    }
}

/// The nearest site that can be built: nothing can be brought into a state that no kernel and no libvirt would take,
/// such as a guest that runs on a bridge that is not there. Damage leaves such states, but nobody asks for them.
pub fn possible(mut site: Site) -> Site {
    let mut emulator = site.remove(&localhost()).unwrap_or_default();
    emulator.machines.retain(|_, machine| machine.alive);
    emulator
        .cables
        .retain(|cable| cable.ends.iter().all(|end| emulator.machines.contains_key(&end.host)));
    let emulated = emulated();
    site.retain(|host, _| !emulated.contains(host) || emulator.machines.contains_key(host));
    for (host, state) in &mut site {
        let has_nic = |nic: &IfName| {
            emulator
                .machines
                .get(host)
                .is_none_or(|machine| machine.nics.contains_key(nic))
        };
        let provided: BTreeSet<IfName> = state.links.keys().cloned().collect();
        state.links.retain(|_, link| match &link.kind {
            LinkKind::Bridge { .. }
            | LinkKind::Vxlan { .. }
            | LinkKind::OvsBridge { .. }
            | LinkKind::OvsTunnel { .. }
            | LinkKind::Bond(_)
            | LinkKind::OvsBond { .. } => true,
            LinkKind::OvsPatch { provider, .. } => provided.contains(provider),
            LinkKind::Vlan { parent, .. } => has_nic(parent),
        });
        let links: BTreeSet<_> = state.links.keys().cloned().collect();
        for link in state.links.values_mut() {
            link.master = link.master.take().filter(|master| links.contains(master));
        }
        state
            .uplinks
            .retain(|nic, uplink| has_nic(nic) && links.contains(&uplink.bridge));
        state.floating.retain(|_, nic| has_nic(nic));
        state.dhcp.retain(|_, dhcp| links.contains(&dhcp.bridge));
        for dhcp in state.dhcp.values_mut() {
            dhcp.running = true;
        }
        for (name, domain) in &mut state.domains {
            let has_disk = domain.boot.disk().is_none() || state.volumes.contains_key(name);
            let has_disks = domain.disks.iter().all(|disk| {
                let there = state.disks.get(&DiskName::new(name, disk.number));
                match there {
                    Some(Disk::Blank { .. }) => disk.over.is_none(),
                    Some(Disk::Over(volume)) => disk.over.as_ref() == Some(volume),
                    None => false,
                }
            });
            if !has_disk || !has_disks || !domain.nics.iter().all(|nic| links.contains(&nic.bridge)) {
                domain.running = false;
                domain.configured = None;
            }
        }
    }
    site.insert(localhost(), emulator);
    lose_limits(&mut site);
    site.retain(|_, state| *state != HostState::default());
    site
}
