//! Tunnels: what carries them, their keys, and the packets that fit into them.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use super::connected::Placed;
use crate::lab::file::{At, NetworkFile};
use crate::lab::tunnel::endpoint;
use crate::lab::{ETHERNET_MTU, HostName, IfName, NetworkName, Tunnel, TunnelKind, Underlay};

impl Check<'_> {
    /// Checks what one network says of its tunnel by itself.
    pub(super) fn tunnel(&mut self, file: &NetworkFile) -> Option<Tunnel> {
        let name = &file.name.value;
        let Some(At { value: kind, span }) = &file.tunnel else {
            let needless = [
                ("key", file.key.as_ref().map(|at| &at.span)),
                ("underlay", file.underlay.as_ref().map(|at| &at.span)),
            ];
            for (key, span) in needless {
                if let Some(span) = span {
                    let message = format!("network `{name}` has `{key}` and no tunnel");
                    self.add(span, message, format!("add `tunnel = \"vxlan\"`, or remove `{key}`"));
                }
            }
            return None;
        };
        if file.uplink.is_some() {
            let message = format!("network `{name}` has an uplink and a tunnel");
            self.add(span, message, "one of them connects its hosts: remove the other");
        }
        let key = file.key.as_ref().and_then(|At { value, span }| {
            let fits = *value <= kind.most();
            if !fits {
                let help = format!("a key of {kind} is a number from 1 to {}", kind.most());
                self.add(span, "key is out of range", help);
            }
            fits.then_some(*value)
        });
        let underlay = match &file.underlay {
            None => None,
            Some(At { value, span }) => {
                let network: Option<NetworkName> = value.parse().ok();
                let network = network.filter(|network| self.network_names.contains(network));
                let nic = IfName::new(value).ok().filter(|nic| self.nics.contains_key(nic));
                match (network, nic) {
                    (Some(network), _) => Some(Underlay::Network(network)),
                    (None, Some(nic)) => Some(Underlay::Nic(nic)),
                    (None, None) => {
                        let known = self.network_names.iter().map(NetworkName::as_str);
                        let known: BTreeSet<&str> = known.chain(self.nics.keys().map(IfName::as_str)).collect();
                        let help = self.suggest(value, known);
                        self.add(span, format!("there is no network and no NIC `{value}`"), help);
                        return None;
                    }
                }
            }
        };
        Some(Tunnel {
            kind: *kind,
            key,
            underlay,
        })
    }

    /// Checks tunnels against the rest of the lab.
    pub(super) fn tunnels(&mut self, networks: &[NetworkFile], placed: &Placed<'_>) {
        let mut keys: BTreeMap<(TunnelKind, u32), &NetworkName> = BTreeMap::new();
        let mut found = Vec::new();
        for file in networks {
            let name = &file.name.value;
            let Some(network) = self.networks.get(name) else {
                continue;
            };
            let (Some(tunnel), Some(At { span, .. })) = (&network.tunnel, &file.tunnel) else {
                continue;
            };
            if let (Some(key), Some(at)) = (tunnel.key, &file.key)
                && let Some(other) = keys.insert((tunnel.kind, key), name)
            {
                let message = format!("key {key} is already that of network `{other}`");
                found.push((
                    at.span.clone(),
                    message,
                    "give each tunnel a key of its own, or leave it out".to_owned(),
                ));
            }
            let at = file.underlay.as_ref().map_or(span, |at| &at.span);
            if let Some(Underlay::Network(under)) = &tunnel.underlay {
                let Some(carrier) = self.networks.get(under) else {
                    continue;
                };
                if carrier.tunnel.is_some() {
                    let message = format!("network `{under}` is itself carried by a tunnel");
                    found.push((
                        at.clone(),
                        message,
                        "name a network with an uplink, or a NIC".to_owned(),
                    ));
                    continue;
                }
                let most = carrier
                    .mtu
                    .unwrap_or(ETHERNET_MTU)
                    .saturating_sub(tunnel.kind.overhead());
                if network.mtu.is_some_and(|mtu| mtu > most) {
                    let message = format!(
                        "packets of {} bytes do not fit into the tunnel",
                        network.mtu.unwrap_or(0)
                    );
                    let help = format!("write `mtu = {most}` or less, or give network `{under}` a larger `mtu`");
                    found.push((span.clone(), message, help));
                }
            }
            for host in placed.hosts(network, name) {
                let place = tunnel.underlay.as_ref();
                if !self.hosts.contains_key(host) || endpoint(&self.hosts, &self.networks, place, host).is_some() {
                    continue;
                }
                found.push((
                    at.clone(),
                    self.without_endpoint(name, place, host),
                    help_for(place, host),
                ));
                break;
            }
        }
        for (span, message, help) in found {
            self.add(&span, message, help);
        }
    }

    fn without_endpoint(&self, network: &NetworkName, underlay: Option<&Underlay>, host: &HostName) -> String {
        let addresses = self.hosts.get(host).map_or(0, |host| {
            let nics = host.nics.values();
            nics.filter(|nic| nic.address.is_some()).count()
        });
        match underlay {
            Some(Underlay::Network(under)) => format!("host `{host}` has no address on network `{under}`"),
            Some(Underlay::Nic(nic)) => format!("NIC {nic} of host `{host}` has no address"),
            None if addresses > 1 => format!("host `{host}` has several NICs with an address for network `{network}`"),
            None => format!("host `{host}` has no NIC with an address for the tunnel of network `{network}`"),
        }
    }
}

fn help_for(underlay: Option<&Underlay>, host: &HostName) -> String {
    match underlay {
        Some(Underlay::Network(under)) => format!("add it to `addresses` of network `{under}`"),
        Some(Underlay::Nic(nic)) => format!("write `nics.{nic}.address` under host `{host}`"),
        None => "name the NIC or the network that carries the tunnel: `underlay = \"eth0\"`".to_owned(),
    }
}
