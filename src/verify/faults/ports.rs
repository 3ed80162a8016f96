//! Faults of bridges and their ports that need not stop a ping: ports that do not learn, entries of forwarding databases that
//! were set by hand, proxies of ARP, loops.

use std::collections::BTreeMap;

use super::Concerns;
use super::found::{Found, wanted_port};
use crate::lab::HostName;
use crate::state::view::{Port, View};
use crate::topology::Segment;
use crate::verify::parts::{Part, part};

/// A bridge.
type Node = (HostName, String);

impl Found<'_> {
    /// Checks the bridges of a host and their ports.
    pub(super) fn bridges(&mut self, host: &HostName, view: &View) {
        let topology = self.traces.topology;
        let segments = topology.hosts.get(host).map(|here| &here.segments);
        for (network, segment) in segments.into_iter().flatten() {
            let own = part(topology, network, host);
            self.learning(host, view, segment, &own);
            let proxy = |link: &str| view.settings.get(&format!("ipv4/conf/{link}/proxy_arp")) == Some(&1);
            let bridge = segment.bridge.as_str();
            if proxy(bridge) || proxy("all") {
                let on = ["all", bridge].into_iter().filter(|link| proxy(link));
                let off: Vec<String> = on.map(|link| format!("net.ipv4.conf.{link}.proxy_arp=0")).collect();
                let text = format!(
                    "{host}: bridge {bridge} of network {network} answers ARP requests for addresses of other networks \
                     (proxy_arp); shown by `sysctl net.ipv4.conf.all.proxy_arp net.ipv4.conf.{bridge}.proxy_arp` on {host}; \
                     fix: `sysctl -w {}` on {host}",
                    off.join(" ")
                );
                self.fault(Concerns::Apart(own), text);
            }
        }
    }

    /// Checks that a segment's ports learn addresses: frames to what is not learned go to every port.
    fn learning(&mut self, host: &HostName, view: &View, segment: &Segment, own: &Part) {
        let topology = self.traces.topology;
        let off = |port: &str| {
            let port = view.ports.get(port);
            port.is_some_and(|port| port.options.iter().any(|option| option == "learning off"))
        };
        let text = |port: &str, of: String| {
            format!(
                "{host}: link {port} {of} learns no addresses (learning off): {} sends frames for what is behind it to every \
                 port; shown by `bridge -details link show dev {port}` on {host}; fix: `bridge link set dev {port} learning \
                 on` on {host}",
                segment.bridge
            )
        };
        for (vm, guest) in topology.guests.iter().filter(|(_, guest)| guest.host == *host) {
            let nics = guest.nics.iter().filter(|nic| nic.bridge == segment.bridge);
            for nic in nics.filter(|nic| off(nic.tap.as_str())) {
                self.fault(
                    Concerns::Guest(vm.clone()),
                    text(nic.tap.as_str(), format!("of guest {vm}")),
                );
            }
        }
        if let Some(port) = segment.port().filter(|port| off(port.as_str())) {
            let of = format!("of network {}", own.network);
            self.fault(Concerns::Within(own.clone()), text(port.as_str(), of));
        }
    }

    /// Checks that no tap has its guest's hardware address: a bridge keeps the frames for those of its own ports.
    pub(super) fn taps(&mut self, host: &HostName, view: &View) {
        let topology = self.traces.topology;
        for (vm, guest) in topology.guests.iter().filter(|(_, guest)| guest.host == *host) {
            for nic in &guest.nics {
                let tap = &nic.tap;
                if view.ports.get(tap.as_str()).and_then(|port| port.mac) == Some(nic.mac) {
                    let text = format!(
                        "{host}: link {tap} of guest {vm} has the guest's own MAC address {}: the bridge keeps the frames for \
                         it; shown by `ip link show dev {tap}` on {host}; fix: `ip link set dev {tap} address fe{}` on {host}",
                        nic.mac,
                        &nic.mac.to_string()[2..]
                    );
                    self.fault(Concerns::Guest(vm.clone()), text);
                }
            }
        }
    }

    /// Checks that no entry of a forwarding database that was set by hand sends a guest's frames to another port than its own.
    pub(super) fn fixed_entries(&mut self, host: &HostName, view: &View) {
        let topology = self.traces.topology;
        let Some(here) = topology.hosts.get(host) else { return };
        for one in &view.fixed {
            let mut segments = here.segments.iter();
            let Some((network, segment)) = segments.find(|(_, segment)| segment.bridge.as_str() == one.bridge) else {
                continue;
            };
            for (vm, guest) in &topology.guests {
                let nics = guest.nics.iter();
                for nic in nics.filter(|nic| nic.mac == one.mac && nic.network == *network) {
                    let Some(wanted) =
                        wanted_port(host, segment, guest, nic, &one.port).filter(|wanted| wanted.as_str() != one.port)
                    else {
                        continue;
                    };
                    let text = format!(
                        "{host}: bridge {} sends the frames for guest {vm} to port {}, not to {wanted}, by an entry of its \
                         forwarding database that was set by hand; shown by `bridge fdb show br {}` on {host}; fix: `bridge \
                         fdb del {} dev {} master` on {host}",
                        one.bridge, one.port, one.bridge, one.mac, one.port
                    );
                    self.fault(Concerns::Guest(vm.clone()), text);
                }
            }
        }
    }

    /// Finds loops: bridges that are connected twice, without spanning tree between them.
    pub(super) fn loops(&mut self) {
        let topology = self.traces.topology;
        let views = self.traces.views;
        let attached = |host: &HostName, nic: &str| -> Option<Node> {
            let port = views.get(host)?.ports.get(nic)?;
            let forwards = port.up && port.carrier && port.stp.as_deref().is_none_or(|state| state == "forwarding");
            Some((host.clone(), port.master.clone().filter(|_| forwards)?))
        };
        let mut edges: Vec<(Node, Node, String)> = Vec::new();
        for cable in &topology.cables {
            let [a, b] = &cable.ends;
            // A switch that filters by VLAN keeps several networks on one bridge apart.
            let filters = |host: &HostName| {
                let view = views.get(host);
                view.is_some_and(|view| view.ports.values().any(|port| port.filters_vlans))
            };
            if let (Some(one), Some(other)) = (attached(&a.host, a.nic.as_str()), attached(&b.host, b.nic.as_str()))
                && !filters(&a.host)
                && !filters(&b.host)
            {
                edges.push((
                    one,
                    other,
                    format!("the cable from {}:{} to {}:{}", a.host, a.nic, b.host, b.nic),
                ));
            }
        }
        for (host, view) in views {
            for (name, port) in &view.ports {
                let Some((peer, end)) = pair(view, name, port) else {
                    continue;
                };
                if let (Some(one), Some(other)) = (attached(host, name), attached(host, peer))
                    && end.link.as_deref() == Some(name)
                {
                    edges.push((one, other, format!("the links {name} and {peer} of {host}")));
                }
            }
        }
        let mut tree: BTreeMap<Node, Node> = BTreeMap::new();
        let root = |tree: &BTreeMap<Node, Node>, node: &Node| {
            let mut at = node.clone();
            while let Some(next) = tree.get(&at) {
                at = next.clone();
            }
            at
        };
        for (at, (one, other, by)) in edges.iter().enumerate() {
            let (a, b) = (root(&tree, one), root(&tree, other));
            if a != b {
                tree.insert(a, b);
                continue;
            }
            let same = edges[..at]
                .iter()
                .find(|(x, y, _)| (x == one && y == other) || (x == other && y == one));
            let also = same.map_or_else(String::new, |(.., other)| format!(" and {other}"));
            let text = format!(
                "a loop at layer 2 without spanning tree: {} of {} and {} of {} are connected more than once, by {by}{also}",
                one.1, one.0, other.1, other.0
            );
            for (host, bridge) in [one, other] {
                let segments = topology.hosts.get(host).map(|here| &here.segments);
                let mut of = segments.into_iter().flatten();
                if let Some((network, _)) = of.find(|(_, segment)| segment.bridge.as_str() == bridge) {
                    self.fault(Concerns::Within(part(topology, network, host)), text.clone());
                }
            }
        }
    }
}

/// Returns the other end of a veth pair on the same machine; each pair once.
fn pair<'v>(view: &'v View, name: &str, port: &'v Port) -> Option<(&'v str, &'v Port)> {
    let peer = port
        .link
        .as_deref()
        .filter(|peer| port.vlan.is_none() && *peer > name)?;
    Some((peer, view.ports.get(peer)?))
}
