//! Tunnels between the hosts of a network: keys, devices and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{SegmentTunnel, TopologyHost, derive};
use crate::lab::tunnel::{endpoint, nic};
use crate::lab::{ETHERNET_MTU, HostName, IfName, Lab, Network, NetworkName, Tunnel, TunnelKind, Underlay};

/// Returns the MTU of a network's guests, in bytes: the lab's, else what fits into its tunnel; absent: Ethernet's.
pub(super) fn mtu(lab: &Lab, network: &Network) -> Option<u16> {
    let fits = |tunnel: &Tunnel| {
        let carrier = match &tunnel.underlay {
            Some(Underlay::Network(name)) => lab.networks.get(name).and_then(|network| network.mtu),
            Some(Underlay::Nic(_)) | None => None,
        };
        carrier.unwrap_or(ETHERNET_MTU).saturating_sub(tunnel.kind.overhead())
    };
    network.mtu.or_else(|| network.tunnel.as_ref().map(fits))
}

/// Adds tunnels to the segments of `hosts`: from each host to every other one that has a part in the network. `taken` are
/// names of links that are in use.
pub(super) fn add(lab: &Lab, hosts: &mut BTreeMap<HostName, TopologyHost>, taken: &BTreeSet<IfName>) {
    let mut taken = taken.clone();
    let mut keys: BTreeSet<(TunnelKind, u32)> = BTreeSet::new();
    let tunnels = lab
        .networks
        .iter()
        .filter_map(|(name, network)| Some((name, network.tunnel.as_ref()?)));
    let tunnels: Vec<(&NetworkName, &Tunnel)> = tunnels.collect();
    keys.extend(
        tunnels
            .iter()
            .filter_map(|(_, tunnel)| Some((tunnel.kind, tunnel.key?))),
    );
    let mut parts: BTreeMap<NetworkName, Vec<HostName>> = BTreeMap::new();
    for (host, described) in hosts.iter() {
        for network in described.segments.keys().filter(|_| !tunnels.is_empty()) {
            parts.entry(network.clone()).or_default().push(host.clone());
        }
    }
    for (name, tunnel) in tunnels {
        let device = derive::tunnel(&lab.name, name, tunnel.kind, |device| !taken.contains(device));
        taken.insert(device.clone());
        let key = tunnel.key.unwrap_or_else(|| {
            let key = derive::tunnel_key(&lab.name, name, |key| !keys.contains(&(tunnel.kind, key)));
            keys.insert((tunnel.kind, key));
            key
        });
        let end = |host: &HostName| endpoint(&lab.hosts, &lab.networks, tunnel.underlay.as_ref(), host);
        // A checked lab has an address for each.
        let ends = parts.remove(name).into_iter().flatten();
        let ends: BTreeMap<HostName, Ipv4Addr> = ends.filter_map(|host| end(&host).map(|end| (host, end))).collect();
        for (host, local) in &ends {
            let remotes = ends.iter().filter(|(other, _)| *other != host);
            let remotes: BTreeMap<HostName, Ipv4Addr> = remotes.map(|(host, end)| (host.clone(), *end)).collect();
            let segment = hosts.get_mut(host).and_then(|host| host.segments.get_mut(name));
            if let Some(segment) = segment.filter(|_| !remotes.is_empty()) {
                segment.tunnel = Some(SegmentTunnel {
                    kind: tunnel.kind,
                    key,
                    device: device.clone(),
                    nic: nic(&lab.hosts, tunnel.underlay.as_ref(), host),
                    local: *local,
                    remotes,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use crate::lab::{HostName, Lab, parse};
    use crate::topology::allocate;

    /// Three hosts of which two have a part in each network.
    fn lab(more: &str) -> Lab {
        let text = format!(
            "name = \"t\"\n\
             hosts.a = {{ nics.eth0.address = \"172.16.99.1/24\" }}\n\
             hosts.b = {{ nics.eth0.address = \"172.16.99.2/24\" }}\n\
             hosts.c = {{ nics.eth0.address = \"172.16.99.3/24\" }}\n\
             [networks.storage]\nsubnet = \"10.0.9.0/24\"\nuplink = \"eth0\"\nmtu = 9000\n\
             addresses = {{ a = \"10.0.9.1\", b = \"10.0.9.2\" }}\n\
             [networks.red]\nsubnet = \"10.0.1.0/24\"\ntunnel = \"vxlan\"\n\
             addresses = {{ a = \"10.0.1.1\", b = \"10.0.1.2\" }}\n\
             [networks.blue]\nsubnet = \"10.0.2.0/24\"\ntunnel = \"vxlan\"\n\
             addresses = {{ a = \"10.0.2.1\", b = \"10.0.2.2\" }}\n{more}"
        );
        parse("lab.toml", &text, &BTreeSet::new()).unwrap_or_else(|e| panic!("{:#?}", e.problems))
    }

    #[test]
    fn tunnels_are_between_the_hosts_that_have_a_part_with_a_key_for_each_network() {
        let topology = allocate(&lab(""), &BTreeMap::new());
        let tunnel = |host: &str, network: &str| {
            let host: HostName = host.parse().unwrap();
            topology.hosts[&host].segments[&network.parse().unwrap()]
                .tunnel
                .clone()
                .unwrap()
        };
        let (red, blue) = (tunnel("a", "red"), tunnel("a", "blue"));
        assert_ne!(red.key, blue.key);
        assert_ne!(red.device, blue.device);
        assert_eq!(red.key, tunnel("b", "red").key);
        assert_eq!(red.remotes, [("b".parse().unwrap(), [172, 16, 99, 2].into())].into());
        let a: HostName = "a".parse().unwrap();
        assert_eq!(topology.hosts[&a].segments[&"red".parse().unwrap()].mtu, Some(1450));
        let c: HostName = "c".parse().unwrap();
        assert!(topology.hosts[&c].segments.is_empty());
    }

    #[test]
    fn over_a_network_with_a_larger_mtu_more_fits_into_a_tunnel() {
        let jumbo = lab("underlay = \"storage\"\n");
        let topology = allocate(&jumbo, &BTreeMap::new());
        let host: HostName = "b".parse().unwrap();
        let segment = &topology.hosts[&host].segments[&"blue".parse().unwrap()];
        let local = segment.tunnel.as_ref().unwrap().local;
        assert_eq!((segment.mtu, local), (Some(8950), [10, 0, 9, 2].into()));
    }
}
