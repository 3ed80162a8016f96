//! From which host of a lab a guest is reached.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{HostState, Site};
use crate::lab::HostName;

/// Returns a host that has an address in the subnet of one of a guest's `addresses`, and that address: the guest's own
/// host `own` where it has one, else the first by name.
pub fn reached_from(site: &Site, own: &HostName, addresses: &[Ipv4Addr]) -> Option<(HostName, Ipv4Addr)> {
    let own = site.get_key_value(own);
    let others = site.iter();
    own.into_iter().chain(others).find_map(|(name, state)| {
        let address = addresses.iter().find(|address| is_connected(state, **address))?;
        Some((name.clone(), *address))
    })
}

/// Returns whether a subnet of the host's bridges has the address: of those that the lab gave them, and of those that
/// came with an uplink.
fn is_connected(state: &HostState, address: Ipv4Addr) -> bool {
    let given = state.links.values().flat_map(|link| &link.addresses);
    let moved = state.uplinks.values().flat_map(|uplink| &uplink.was.addresses);
    let mut nets = given.chain(moved);
    nets.any(|net: &IpNet| net.prefix_len() < 32 && net.contains(&IpAddr::V4(address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Link, LinkKind, Missing, NicConfig, Uplink};

    fn bridge(addresses: &[&str]) -> Link {
        Link {
            kind: LinkKind::Bridge { stp: None, mac: None },
            master: None,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            gateway: None,
            purpose: "network service".to_owned(),
            mtu: None,
        }
    }

    fn reached(site: &Site, own: &str, address: &str) -> Option<String> {
        let found = reached_from(site, &own.parse().unwrap(), &[address.parse().unwrap()]);
        found.map(|(host, _)| host.to_string())
    }

    #[test]
    fn a_guest_is_reached_from_its_own_host_or_from_another_one_in_its_subnet() {
        let mut site = Site::new();
        for (host, addresses) in [("a", &["10.0.1.1/24"][..]), ("b", &[]), ("c", &["10.0.1.9/24"])] {
            let mut state = HostState::default();
            state.links.insert("br1".parse().unwrap(), bridge(addresses));
            site.insert(host.parse().unwrap(), state);
        }
        assert_eq!(reached(&site, "c", "10.0.1.3").unwrap(), "c");
        assert_eq!(reached(&site, "b", "10.0.1.3").unwrap(), "a");
        assert_eq!(reached(&site, "b", "10.0.2.3"), None);
        let uplink = Uplink {
            bonded: false,
            bridge: "br1".parse().unwrap(),
            was: NicConfig {
                up: true,
                addresses: vec!["10.0.2.8/24".parse().unwrap()],
                routes: Vec::new(),
            },
            missing: Missing::default(),
        };
        let state = site.get_mut(&"b".parse().unwrap()).unwrap();
        state.uplinks.insert("eth0".parse().unwrap(), uplink);
        assert_eq!(reached(&site, "b", "10.0.2.3").unwrap(), "b");
    }
}
