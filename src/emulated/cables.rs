//! Cables: a veth pair each, one end in either namespace. Nothing of it appears in this machine's own namespace.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::batch::{Failed, batch};
use super::error::{EmulatedError, Operation, failed};
use super::links::Link;
use super::namespace::{Found, find, links, name};
use super::{Emulator, nics};
use crate::lab::{Cable, CableEnd, HostName, IfName, LabName};
use crate::plan::Step;
use crate::topology::derive::nic_mac;

/// The links of several machines.
pub(super) type Links = BTreeMap<HostName, Vec<Link>>;

/// Returns the cables that `links` of one lab's machines belong to: both ends exist, each the other's peer, and one of them
/// has the MAC address that netlab gave it. Any other pair is a stranger's.
pub(super) fn observed(lab: &LabName, links: &Links) -> BTreeSet<Cable> {
    let hosts: BTreeMap<_, _> = links.keys().map(|host| (name(lab, host), host)).collect();
    let peer = |host, link: &Link| {
        let host = match &link.peer_namespace {
            Some(namespace) => *hosts.get(namespace)?,
            // In a namespace without a name: the number of that peer is one of another namespace.
            None if link.link_netnsid.is_some() => return None,
            None => host,
        };
        let is_it = |peer: &&Link| match &link.link {
            Some(name) => peer.ifname == *name,
            None => Some(peer.ifindex) == link.link_index,
        };
        Some((host, links.get(host)?.iter().find(is_it)?))
    };
    let end = |host: &HostName, link: &Link| {
        Some(CableEnd {
            host: host.clone(),
            nic: IfName::new(&link.ifname).ok()?,
        })
    };
    let all = links
        .iter()
        .flat_map(|(host, own)| own.iter().map(move |link| (host, link)));
    all.filter(|(_, link)| link.kind() == Some("veth"))
        .filter_map(|(host, link)| {
            let (remote, peer) = peer(host, link)?;
            let mut ends = [end(host, link)?, end(remote, peer)?];
            let has_own_mac = |end: &CableEnd, link: &Link| {
                let own = nic_mac(lab, &end.host, &end.nic).to_string();
                link.own_address() == Some(own.as_str())
            };
            if !has_own_mac(&ends[0], link) && !has_own_mac(&ends[1], peer) {
                return None;
            }
            ends.sort();
            Some(Cable { ends })
        })
        .collect()
}

impl Emulator {
    /// Plugs all cables of `steps` in one batch. A NIC of the same name without a cable is replaced.
    pub(crate) fn plug(&self, lab: &LabName, steps: &[Step]) -> Result<(), Failed> {
        let mut seen = Links::new();
        let mut lines = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let Step::PlugCable(cable) = step else { continue };
            for end in &cable.ends {
                self.free_name(lab, end, &mut seen)
                    .map_err(|error| Failed { at, error })?;
            }
            lines.push(line(lab, cable));
        }
        batch(&self.shell, None, &lines)
    }

    /// Deletes a NIC that has no cable, so that one with a cable can have its name. The links of each machine are read
    /// once, into `seen`.
    fn free_name(&self, lab: &LabName, end: &CableEnd, seen: &mut Links) -> Result<(), EmulatedError> {
        let CableEnd { host, nic } = end;
        nics::forget(&self.folders.machine(lab, host), nic).map_err(failed(Operation::WriteNics(host.clone())))?;
        let links = match seen.entry(host.clone()) {
            Entry::Occupied(links) => links.into_mut(),
            Entry::Vacant(place) => place.insert(links(&self.shell, lab, host)?),
        };
        match links.iter().find(|link| link.ifname == nic.as_str()) {
            None => Ok(()),
            Some(link) if nics::is_unplugged(link) => Ok(batch(
                &self.shell,
                Some(&name(lab, host)),
                &[format!("link delete dev {nic}")],
            )?),
            Some(_) => Err(EmulatedError::LinkExists {
                host: host.clone(),
                nic: nic.clone(),
            }),
        }
    }

    /// Unplugs a cable; both NICs are deleted on return. A cable that does not exist, or connects other NICs, is left
    /// unchanged.
    pub(crate) fn unplug(&self, lab: &LabName, cable: &Cable) -> Result<(), EmulatedError> {
        let mut links = Links::new();
        for CableEnd { host, nic } in &cable.ends {
            let machine = self.folders.machine(lab, host);
            nics::forget(&machine, nic).map_err(failed(Operation::WriteNics(host.clone())))?;
            if let Found::Own(_, own) = find(&self.shell, lab, host)? {
                links.insert(host.clone(), own);
            }
        }
        if !observed(lab, &links).contains(cable) {
            return Ok(());
        }
        let [CableEnd { host, nic }, _] = &cable.ends;
        Ok(batch(
            &self.shell,
            Some(&name(lab, host)),
            &[format!("link delete dev {nic}")],
        )?)
    }
}

/// Returns the line of `ip -batch` that plugs a cable.
fn line(lab: &LabName, Cable { ends: [a, b] }: &Cable) -> String {
    let end = |CableEnd { host, nic }: &CableEnd| {
        let (mac, namespace) = (nic_mac(lab, host, nic), name(lab, host));
        format!("name {nic} address {mac} netns {namespace}")
    };
    format!("link add {} type veth peer {}", end(a), end(b))
}
