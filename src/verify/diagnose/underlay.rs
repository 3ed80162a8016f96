//! What carries a tunnel between two hosts: their addresses, routes, neighbors, NICs and rules, and what connects them.

use super::Path;
use super::hop::{Finding, Hop};
use crate::lab::{HostName, IfName, NetworkName, TunnelKind};
use crate::topology::{Segment, SegmentTunnel};

/// The UDP ports of VXLAN (RFC 7348) and Geneve (RFC 8926).
const VXLAN: &str = "4789";
const GENEVE: &str = "6081";

/// One end of a tunnel.
type End<'h, 'a> = (&'h HostName, &'a Segment, &'a SegmentTunnel);

impl<'a> Path<'a> {
    /// Adds what packets of a tunnel pass between two hosts, in the order in which they pass it.
    pub(super) fn underlay(&mut self, network: &NetworkName, from: End<'_, 'a>, to: End<'_, 'a>) {
        // Not the packets themselves: those are inside of others, larger by the tunnel's headers.
        let inner = self.needed;
        self.needed = inner.map(|size| size.saturating_add(from.2.kind.overhead()));
        let links = self.hops.len();
        self.end(network, from, to);
        if let (Some(one), Some(other)) = (self.nic_of(from.0, from.2), self.nic_of(to.0, to.2)) {
            self.wire((from.0, one), (to.0, other), None);
        }
        self.end(network, to, from);
        for hop in &mut self.hops[links..] {
            hop.link = None;
        }
        self.needed = inner;
    }

    /// Adds one end: its address, its route to the other end, its NIC, and rules for what comes from there.
    fn end(&mut self, network: &NetworkName, (host, _, tunnel): End<'_, 'a>, (_, _, other): End<'_, 'a>) {
        let (local, remote) = (tunnel.local, other.local);
        let known = self.view(host).is_some_and(|view| !view.ports.is_empty());
        let lacks = (known && !self.has(host, local)).then(|| {
            let text = format!("{host}: no link has the address {local}, where the tunnels of network {network} end");
            Finding::new(text).shown(host, "ip addr").fixed_by_up()
        });
        let hop = Hop::new(host, format!("address {local} of the tunnel"));
        self.hops
            .push(hop.shows(known.then(|| "present".to_owned())).found(lacks));
        if let Some(nic) = self.nic_of(host, tunnel) {
            self.link(
                host,
                nic.as_str(),
                None,
                &format!("under the tunnels of network {network}"),
            );
        }
        self.route(host, None, remote, None, None);
        let finding = self.drops_tunnel(host, tunnel);
        let hop = Hop::new(host, "firewall, for packets of the tunnel");
        let shows = self
            .view(host)
            .map(|_| "no rule that is not the lab's drops them".to_owned());
        self.hops.push(hop.shows(shows).found(finding));
    }

    /// The NIC that tunnels leave by: the one whose address they end at, or the uplink of the network whose bridge has it.
    fn nic_of(&self, host: &HostName, tunnel: &'a SegmentTunnel) -> Option<&'a IfName> {
        let here = self.evidence.topology.hosts.get(host)?;
        let mut segments = here.segments.values();
        tunnel.nic.as_ref().or_else(|| {
            let segment = segments.find(|segment| segment.subnet.contains(&tunnel.local))?;
            segment.uplink.as_ref()
        })
    }

    /// A rule that drops the packets of a tunnel, in whatever table of a host.
    fn drops_tunnel(&self, host: &HostName, tunnel: &SegmentTunnel) -> Option<Finding> {
        let view = self.view(host)?;
        let of_tunnel = |rule: &str| {
            let words: Vec<&str> = rule.split_whitespace().collect();
            let udp = |port: &str| words.contains(&"udp") && (!words.contains(&"dport") || words.contains(&port));
            match tunnel.kind {
                TunnelKind::Vxlan => udp(VXLAN),
                TunnelKind::Geneve => udp(GENEVE),
                TunnelKind::Gre => words.contains(&"gre") || words.contains(&"47"),
            }
        };
        let rule = view.drops.iter().find(|rule| of_tunnel(&rule.rule))?;
        let text = format!(
            "{host}: a rule drops packets of the tunnel: table {} {}, chain {}: {}",
            rule.family, rule.table, rule.chain, rule.rule
        );
        Some(Finding::new(text).shown(host, "nft list ruleset"))
    }
}
