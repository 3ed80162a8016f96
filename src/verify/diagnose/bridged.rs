//! Layer 2: guests, taps, bridges, uplinks, VLANs.

use std::net::Ipv4Addr;

use super::Path;
use crate::lab::{HostName, IfName, NetworkName, VlanId, VmName};
use crate::state::view::Port;
use crate::state::{DomainName, LinkKind};
use crate::topology::{Guest, GuestNic, Segment, SegmentTunnel, derive};

impl Path<'_> {
    /// Checks a guest and the tap of its NIC.
    pub(super) fn guest(&self, vm: &VmName, guest: &Guest, nic: &GuestNic) -> Option<String> {
        let host = &guest.host;
        let name = DomainName::new(&self.evidence.topology.lab, vm);
        self.host(host).or_else(|| {
            let Some(domain) = self.state(host).and_then(|state| state.domains.get(&name)) else {
                return Some(format!("{host}: guest {vm} does not exist"));
            };
            if !domain.running {
                return Some(format!("{host}: guest {vm} is not running"));
            }
            if domain.configured.is_none() {
                return Some(format!("{host}: guest {vm} is not configured"));
            }
            self.port(
                host,
                nic.tap.as_str(),
                Some(nic.bridge.as_str()),
                &format!("of guest {vm}"),
            )
        })
    }

    /// Checks the network's segment on one host and, if they differ, on another one, with the uplinks in between.
    pub(super) fn segment(&self, network: &NetworkName, one: &HostName, other: &HostName) -> Option<String> {
        let hosts = if one == other { vec![one] } else { vec![one, other] };
        hosts.iter().find_map(|host| {
            let part = self.part(host, network)?;
            let bridge = part.bridge.as_str();
            let of = format!("of network {network}");
            self.host(host)
                .or_else(|| self.port(host, bridge, None, &of))
                .or_else(|| {
                    if let Some(tunnel) = part.tunnel.as_ref().filter(|_| one != other) {
                        return self.tunnel(host, part, tunnel, &of);
                    }
                    let nic = part.uplink.as_ref().filter(|_| one != other)?;
                    match part.vlan {
                        None => self.port(host, nic.as_str(), Some(bridge), &of),
                        Some(id) if part.switch.is_ovs() => {
                            let patch = derive::vlan_device(nic, id);
                            let provider = self.provider(host, &patch);
                            self.port(host, nic.as_str(), provider.as_deref(), &of)
                                .or_else(|| self.vlan(host, &patch, id, &of))
                                .or_else(|| self.port(host, patch.as_str(), Some(bridge), &of))
                        }
                        Some(id) => self
                            .port(host, nic.as_str(), None, &of)
                            .or_else(|| self.vlan(host, &derive::vlan_device(nic, id), id, &of))
                            .or_else(|| self.port(host, derive::vlan_device(nic, id).as_str(), Some(bridge), &of)),
                    }
                })
        })
    }

    /// Returns the bridge that a patch leads to.
    fn provider(&self, host: &HostName, patch: &IfName) -> Option<String> {
        match &self.state(host)?.links.get(patch)?.kind {
            LinkKind::OvsPatch { provider, .. } => Some(provider.to_string()),
            _ => None,
        }
    }

    /// Checks that a link exists, is up, is attached to `bridge`, has a carrier and a sufficient MTU.
    pub(super) fn port(&self, host: &HostName, link: &str, bridge: Option<&str>, of: &str) -> Option<String> {
        let ports = &self.view(host)?.ports;
        let Some(Port {
            up,
            carrier,
            master,
            mtu,
            stp,
            ..
        }) = ports.get(link)
        else {
            return Some(format!("{host}: link {link} {of} does not exist"));
        };
        // A bridge reports the smallest MTU of its ports, and forwards by the MTU of each port.
        let is_bridge = ports.values().any(|port| port.master.as_deref() == Some(link));
        let fault = if !up {
            "is down".to_owned()
        } else if bridge.is_some() && bridge != master.as_deref() {
            match master {
                Some(other) => format!("is attached to {other}, not to {}", bridge.unwrap_or_default()),
                None => format!("is not attached to bridge {}", bridge.unwrap_or_default()),
            }
        } else if bridge.is_some() && !carrier {
            "has no carrier: its other end is not connected".to_owned()
        } else if let Some(state) = stp.as_deref().filter(|state| *state != "forwarding") {
            format!("passes no frames: its spanning tree state is {state}")
        } else if self.needed.is_some_and(|needed| *mtu < needed.into()) && !is_bridge {
            format!("has an MTU of only {mtu} bytes")
        } else {
            return None;
        };
        Some(format!("{host}: link {link} {of} {fault}"))
    }

    /// Checks the network's tunnels: that their devices are there, and have the network's key and every remote end.
    fn tunnel(&self, host: &HostName, part: &Segment, wanted: &SegmentTunnel, of: &str) -> Option<String> {
        let bridge = part.bridge.as_str();
        let links = &self.state(host)?.links;
        let differs = |device: &IfName| match &links.get(device)?.kind {
            LinkKind::Vxlan { vni: key, .. } | LinkKind::OvsTunnel { key, .. } if *key != wanted.key => {
                Some(format!("{host}: link {device} {of} has key {key}, not {}", wanted.key))
            }
            LinkKind::Vxlan { remotes, .. } => {
                let lacking = wanted.remotes.iter().find(|(_, end)| !remotes.contains(end));
                lacking.map(|(other, end)| format!("{host}: link {device} {of} has no tunnel to {end} of host {other}"))
            }
            LinkKind::OvsTunnel { remote, .. } if !wanted.remotes.values().any(|end| end == remote) => Some(format!(
                "{host}: link {device} {of} leads to {remote}, which is no host of the network"
            )),
            _ => None,
        };
        part.ports().iter().find_map(|device| {
            self.port(host, device.as_str(), Some(bridge), of)
                .or_else(|| differs(device))
        })
    }

    /// Checks that a VLAN device has the network's id.
    fn vlan(&self, host: &HostName, device: &IfName, wanted: VlanId, of: &str) -> Option<String> {
        match self.state(host)?.links.get(device)?.kind {
            LinkKind::Vlan { id, .. } | LinkKind::OvsPatch { tag: id, .. } if id != wanted => {
                Some(format!("{host}: link {device} {of} has VLAN id {id}, not {wanted}"))
            }
            _ => None,
        }
    }

    /// Checks what a guest that asks shows of its NIC and its routes.
    pub(super) fn inside(&self, vm: &VmName, nic: &GuestNic, to: Ipv4Addr, routed: bool) -> Option<String> {
        let view = self.evidence.guests.get(vm)?;
        let Some((name, link)) = view.links.iter().find(|(_, link)| link.mac == nic.mac) else {
            return Some(format!("guest {vm}: it has no NIC with the MAC address {}", nic.mac));
        };
        if !link.up {
            return Some(format!("guest {vm}: NIC {name} is down"));
        }
        if !link.carrier {
            return Some(format!("guest {vm}: NIC {name} has no carrier"));
        }
        if !view.addresses.contains(&nic.address.addr()) {
            return Some(format!("guest {vm}: NIC {name} lacks its address {}", nic.address));
        }
        let routes = view.routes.iter().filter(|route| route.to.contains(&to));
        let Some(route) = routes.max_by_key(|route| route.to.prefix_len()) else {
            let default = nic
                .gateway
                .map_or_else(String::new, |gateway| format!(", and none by default via {gateway}"));
            return Some(format!("guest {vm}: it has no route to {to}{default}"));
        };
        if route.rejects {
            return Some(format!("guest {vm}: its route to {} refuses packets", route.to));
        }
        let wanted = nic.gateway.filter(|_| routed);
        if route.via != wanted && (routed || route.via.is_some()) {
            let by = |via: Option<Ipv4Addr>| via.map_or_else(|| "on the link".to_owned(), |via| format!("via {via}"));
            return Some(format!(
                "guest {vm}: its route to {to} is {}, not {}",
                by(route.via),
                by(wanted)
            ));
        }
        None
    }

    /// Checks what a guest that is asked shows: its NIC, and its route back.
    pub(super) fn target(&self, vm: &VmName, nic: &GuestNic, back: Ipv4Addr, via: Option<Ipv4Addr>) -> Option<String> {
        self.inside(vm, nic, back, via.is_some())
    }
}
