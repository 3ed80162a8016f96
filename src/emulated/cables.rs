//! Cables: a veth pair each, one end in either namespace. The machine's own namespace sees nothing of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::namespace::{Failed, Found, Link, batch, links, look, name};
use super::{Emulator, doing, nics, other};
use crate::host::HostError;
use crate::lab::{Cable, CableEnd, HostName, IfName, LabName};
use crate::plan::Step;

/// The links of several machines.
pub(super) type Links = BTreeMap<HostName, Vec<Link>>;

/// The cables that `links` of one lab's hosts belong to: both ends are there, each the other's peer to the kernel.
pub(super) fn observed(lab: &LabName, links: &Links) -> BTreeSet<Cable> {
    let hosts: BTreeMap<_, _> = links.keys().map(|host| (name(lab, host), host)).collect();
    let peer = |host, link: &Link| {
        let host = match &link.peer_namespace {
            Some(namespace) => *hosts.get(namespace)?,
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
    all.filter(|(_, link)| link.kind() == "veth")
        .filter_map(|(host, link)| {
            let (far, peer) = peer(host, link)?;
            let mut ends = [end(host, link)?, end(far, peer)?];
            ends.sort();
            Some(Cable { ends })
        })
        .collect()
}

impl Emulator {
    /// Plugs all cables of `steps` in one go. A NIC that stood there without a cable makes way.
    pub(crate) fn plug(&self, lab: &LabName, steps: &[Step]) -> Result<(), Failed> {
        let mut seen = Links::new();
        let mut lines = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let Step::PlugCable(cable) = step else { continue };
            for end in &cable.ends {
                self.make_way(lab, end, &mut seen)
                    .map_err(|error| Failed { at, error })?;
            }
            lines.push(line(lab, cable));
        }
        batch(&self.shell, None, &lines)
    }

    /// Deletes a NIC that has no cable, so that one with a cable can have its name. What links there are is looked up
    /// in `seen`, or put there.
    fn make_way(&self, lab: &LabName, end: &CableEnd, seen: &mut Links) -> Result<(), HostError> {
        let CableEnd { host, nic } = end;
        nics::forget(&self.folders.machine(lab, host), nic).map_err(doing(format!("forgetting {host}:{nic}")))?;
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
            Some(_) => Err(other(
                &format!("plugging a cable into {host}:{nic}"),
                "another link has this name",
            )),
        }
    }

    /// Unplugs a cable; both NICs are gone on return. One that is not there, or leads elsewhere, is left alone.
    pub(crate) fn unplug(&self, lab: &LabName, cable: &Cable) -> Result<(), HostError> {
        let mut links = Links::new();
        for CableEnd { host, nic } in &cable.ends {
            let machine = self.folders.machine(lab, host);
            nics::forget(&machine, nic).map_err(doing(format!("forgetting {host}:{nic}")))?;
            if let Found::Ours(_, own) = look(&self.shell, lab, host)? {
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

/// The line of `ip -batch` that plugs a cable.
fn line(lab: &LabName, Cable { ends: [a, b] }: &Cable) -> String {
    let end = |CableEnd { host, nic }: &CableEnd| {
        let (mac, namespace) = (nics::mac(lab, host, nic), name(lab, host));
        format!("name {nic} address {mac} netns {namespace}")
    };
    format!("link add {} type veth peer {}", end(a), end(b))
}
