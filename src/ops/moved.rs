//! Announces addresses that a run has moved to another machine or link: a guest that it has left alone would send to the old one
//! until its neighbor entry expires.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::host::NamedHosts;
use crate::lab::{HostName, IfName};
use crate::linux::ip;
use crate::state::Site;

type Place<'a> = (&'a HostName, &'a IfName);

/// Announces on each host the addresses that were elsewhere before. Those that several hosts have, a gateway on every host, are
/// left out: each guest has its own.
pub(super) fn announce(hosts: &NamedHosts, before: &Site, after: &Site) {
    for (host, addresses) in moved(before, after) {
        if let Some(connected) = hosts.get(host) {
            // Harmless where it does not work.
            let _ = connected.ask(&ip::announcement(addresses));
        }
    }
}

fn moved<'a>(before: &'a Site, after: &'a Site) -> BTreeMap<&'a HostName, Vec<(Ipv4Addr, &'a IfName)>> {
    let was = places(before);
    let mut moved: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (address, is) in places(after) {
        let (Some(was), [(host, link)]) = (was.get(&address), &*is.iter().collect::<Vec<_>>()) else {
            continue;
        };
        if was.is_disjoint(&is) {
            moved.entry(*host).or_default().push((address, *link));
        }
    }
    moved
}

/// Returns where each address is.
fn places(site: &Site) -> BTreeMap<Ipv4Addr, BTreeSet<Place<'_>>> {
    let mut places: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (host, state) in site {
        for (name, link) in &state.links {
            for address in &link.addresses {
                if let IpAddr::V4(address) = address.addr() {
                    places.entry(address).or_default().insert((host, name));
                }
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example::{host, link, on, up};

    #[test]
    fn an_address_on_another_host_or_link_is_announced_there_unless_others_have_it() {
        let before = up();
        let address: ipnet::IpNet = "10.0.1.1/24".parse().unwrap();
        assert!(on(&mut up(), "node1").links[&link("br1")].addresses.contains(&address));
        assert!(moved(&before, &before).is_empty());
        let mut after = up();
        let other = on(&mut after, "node2").links.get_mut(&link("br1")).unwrap();
        other.addresses.insert(address);
        assert!(moved(&before, &after).is_empty(), "both have it");
        on(&mut after, "node1")
            .links
            .get_mut(&link("br1"))
            .unwrap()
            .addresses
            .clear();
        let node2 = host("node2");
        assert_eq!(
            moved(&before, &after),
            BTreeMap::from([(&node2, vec![([10, 0, 1, 1].into(), &link("br1"))])])
        );
        assert!(moved(&Site::new(), &after).is_empty(), "nobody has known it");
    }
}
