//! Layer 2 on a host: taps, bridges, uplinks, VLANs.

use std::net::Ipv4Addr;

use super::Path;
use super::hop::{Finding, Hop};
use crate::lab::{CableEnd, HostName, IfName, NetworkName, Shaping, VlanId};
use crate::state::LinkKind;
use crate::state::view::Port;
use crate::topology::{Segment, SegmentTunnel, derive};

impl<'a> Path<'a> {
    /// Adds the network's segment on one host and, if they differ, on another one, with what is in between.
    pub(super) fn segment(&mut self, network: &NetworkName, one: &HostName, other: &HostName, ends: [Ipv4Addr; 2]) {
        let topology = self.evidence.topology;
        let of = format!("of network {network}");
        let segment = |host: &HostName| -> Option<&'a Segment> { topology.hosts.get(host)?.segments.get(network) };
        self.bridge(one, network, ends);
        if one == other {
            return;
        }
        let tunnels = [one, other].map(|host| Some((host, segment(host)?, segment(host)?.tunnel.as_ref()?)));
        if let [Some(from), Some(to)] = tunnels {
            self.tunnel(from, &of);
            self.underlay(network, from, to);
            self.tunnel(to, &of);
            return self.bridge(other, network, ends);
        }
        let uplinks = [one, other].map(|host| {
            let nic = segment(host)?.uplink.as_ref()?;
            Some((host, self.plugged(host, nic)?))
        });
        self.uplink(one, segment(one), &of, false);
        if let [Some(from), Some(to)] = uplinks {
            self.wire(from, to, segment(one).and_then(|segment| segment.vlan));
        }
        self.uplink(other, segment(other), &of, true);
        self.bridge(other, network, ends);
    }

    /// Returns the NIC of a bond by which frames can leave: the first that has a carrier; none where none has. Any other
    /// NIC is itself.
    fn plugged(&self, host: &HostName, nic: &'a IfName) -> Option<&'a IfName> {
        let described = self
            .evidence
            .topology
            .hosts
            .get(host)
            .and_then(|host| host.nics.get(nic));
        let Some(bond) = described.and_then(|nic| nic.bond.as_ref()) else {
            return Some(nic);
        };
        let ports = self.view(host).map(|view| &view.ports);
        let has_carrier = |nic: &&IfName| {
            let port = ports.and_then(|ports| ports.get(nic.as_str()));
            port.is_some_and(|port| port.carrier)
        };
        bond.nics.iter().find(has_carrier)
    }

    /// Adds a host's bridge, and the rules for what it forwards.
    fn bridge(&mut self, host: &HostName, network: &NetworkName, ends: [Ipv4Addr; 2]) {
        let Some(segment) = self.part(host, network) else {
            return;
        };
        let bridge = segment.bridge.as_str();
        let finding = self
            .host(host)
            .or_else(|| self.port(host, bridge, None, &format!("of network {network}")))
            .or_else(|| self.bridge_options(host, segment))
            .or_else(|| self.flows(host, bridge));
        let shows = self.view(host).map(|view| {
            let learned = view.learned.iter().filter(|one| one.bridge == bridge);
            let source = self.source.and_then(|mac| learned.clone().find(|one| one.mac == mac));
            let from = source.map(|one| format!(", learned the source from {}", one.port));
            format!("up{}", from.unwrap_or_default())
        });
        let hop = Hop::new(host, format!("bridge {bridge}"));
        self.hops.push(hop.shows(shows).found(finding));
        self.rules(host, false, ends);
    }

    /// Checks what a lab's bridge never has by the lab.
    fn bridge_options(&self, host: &HostName, segment: &Segment) -> Option<Finding> {
        let bridge = &segment.bridge;
        let port = self.view(host)?.ports.get(bridge.as_str())?;
        let text = format!("{host}: bridge {bridge} filters by VLAN, which the lab does not ask for");
        let set = format!("ip link set dev {bridge} type bridge vlan_filtering 0");
        port.filters_vlans.then(|| {
            Finding::new(text)
                .shown(host, "bridge vlan show")
                .fixed(host, &set)
                .possible()
        })
    }

    /// Checks that a bridge of Open vSwitch forwards like a switch: it has the flow that a new bridge has (ovs-vswitchd(8)),
    /// and, besides those with netlab's cookie, no others.
    fn flows(&self, host: &HostName, bridge: &str) -> Option<Finding> {
        let flows = self.view(host)?.flows.get(bridge)?;
        let shown = |text: String| Finding::new(text).shown(host, &format!("ovs-ofctl dump-flows {bridge}"));
        if !flows.switch {
            let text =
                format!("{host}: bridge {bridge} has no flow that forwards packets like a switch (actions=NORMAL)");
            let add = format!("ovs-ofctl add-flow {bridge} priority=0,actions=NORMAL");
            return Some(shown(text).fixed(host, &add));
        }
        let other = flows.others.first()?;
        let matched = other.split(" actions=").next().unwrap_or_default();
        let matched = matched.rsplit(' ').next().unwrap_or_default();
        let text = format!("{host}: bridge {bridge} has a flow that is not the lab's: {other}");
        let delete = format!("ovs-ofctl --strict del-flows {bridge} {matched}");
        Some(shown(text).fixed(host, &delete).possible())
    }

    /// Adds a segment's uplink, and the VLAN device on it; in the order in which packets pass them.
    fn uplink(&mut self, host: &HostName, segment: Option<&Segment>, of: &str, inwards: bool) {
        let Some((segment, nic)) = segment.and_then(|segment| Some((segment, segment.uplink.as_ref()?))) else {
            return;
        };
        let bridge = Some(segment.bridge.as_str());
        let Some(id) = segment.vlan else {
            return self.link(host, nic.as_str(), bridge, of);
        };
        self.carries = Some(id);
        let device = derive::vlan_device(nic, id);
        let (provider, kind) = if segment.switch.is_ovs() {
            (self.provider(host, &device), "patch")
        } else {
            (None, "VLAN device")
        };
        if inwards {
            self.link(host, nic.as_str(), provider.as_deref(), of);
        }
        self.carries = None;
        let vlan = if segment.switch.is_ovs() {
            self.tag(host, &device, id, of)
        } else {
            self.vlan(host, &device, nic, id, of)
        };
        let wrong = vlan.or_else(|| self.port(host, device.as_str(), bridge, of));
        let shows = self.shows(host, device.as_str());
        let what = format!("{kind} {device} {of}");
        let hop = if segment.switch.is_ovs() {
            Hop::new(host, what)
        } else {
            Hop::on_link(host, device.as_str(), what)
        };
        self.hops.push(hop.shows(shows).found(wrong));
        if !inwards {
            self.carries = Some(id);
            self.link(host, nic.as_str(), provider.as_deref(), of);
            self.carries = None;
        }
    }

    /// Checks that a port of Open vSwitch passes the frames, which are untagged except on a VLAN's uplink.
    fn passes_vlan(&self, host: &HostName, link: &str, port: &Port, of: &str) -> Option<Finding> {
        let id = self.carries.map_or(0, VlanId::get);
        let fix = |column: &str| format!("ovs-vsctl clear port {link} {column}");
        let fault = |text: String| {
            let text = format!("{host}: link {link} {of} {text}");
            Finding::new(text).shown(host, &format!("ovs-vsctl list port {link}"))
        };
        if let Some(tag) = port.tag {
            return Some(fault(format!("is in VLAN {tag} only (tag)")).fixed(host, &fix("tag")));
        }
        let passes = port.trunks.is_empty() || port.trunks.contains(&id);
        let ids: Vec<String> = port.trunks.iter().map(ToString::to_string).collect();
        let not = if id == 0 {
            "untagged ones".to_owned()
        } else {
            format!("those of VLAN {id}")
        };
        let text = || format!("passes frames of VLAN {} only, not {not} (trunks)", ids.join(", "));
        (!passes).then(|| fault(text()).fixed(host, &fix("trunks")))
    }

    /// Returns the bridge of Open vSwitch that a patch leads to.
    fn provider(&self, host: &HostName, patch: &IfName) -> Option<String> {
        match &self.state(host)?.links.get(patch)?.kind {
            LinkKind::OvsPatch { provider, .. } => Some(provider.to_string()),
            _ => None,
        }
    }

    /// Checks that a patch has the network's tag.
    fn tag(&self, host: &HostName, patch: &IfName, wanted: VlanId, of: &str) -> Option<Finding> {
        match self.state(host)?.links.get(patch)?.kind {
            LinkKind::OvsPatch { tag, .. } if tag != wanted => {
                let text = format!("{host}: link {patch} {of} has VLAN id {tag}, not {wanted}");
                Some(Finding::new(text).shown(host, &format!("ovs-vsctl list port {patch}")))
            }
            _ => None,
        }
    }

    /// Adds the devices of a network's tunnels: they exist, and have the network's key and every remote end.
    fn tunnel(&mut self, (host, segment, wanted): (&HostName, &Segment, &SegmentTunnel), of: &str) {
        for device in segment.ports() {
            let finding = self
                .host(host)
                .or_else(|| self.port(host, device.as_str(), Some(segment.bridge.as_str()), of))
                .or_else(|| self.tunnel_end(host, &device, wanted, of));
            let shows = self.shows(host, device.as_str());
            let what = format!("tunnel {device} {of}");
            // The kernel does not see what Open vSwitch itself sends by its tunnels.
            let hop = if segment.switch.is_ovs() {
                Hop::new(host, what)
            } else {
                Hop::on_link(host, device.as_str(), what)
            };
            self.hops.push(hop.shows(shows).found(finding));
        }
    }

    /// Checks the key and the remote ends of one device.
    fn tunnel_end(&self, host: &HostName, device: &IfName, wanted: &SegmentTunnel, of: &str) -> Option<Finding> {
        let kind = &self.state(host)?.links.get(device)?.kind;
        let text = match kind {
            LinkKind::Vxlan { vni: key, .. } | LinkKind::OvsTunnel { key, .. } if *key != wanted.key => {
                format!("has key {key}, not {}", wanted.key)
            }
            LinkKind::Vxlan { remotes, .. } => {
                let (other, end) = wanted.remotes.iter().find(|(_, end)| !remotes.contains(end))?;
                format!("has no tunnel to {end} of host {other}")
            }
            LinkKind::OvsTunnel { remote, .. } if !wanted.remotes.values().any(|end| end == remote) => {
                format!("leads to {remote}, which is no host of the network")
            }
            _ => return None,
        };
        let show = match kind {
            LinkKind::Vxlan { .. } => format!("bridge fdb show dev {device}"),
            _ => format!("ovs-vsctl list interface {device}"),
        };
        Some(Finding::new(format!("{host}: link {device} {of} {text}")).shown(host, &show))
    }

    /// Adds a link.
    pub(super) fn link(&mut self, machine: &HostName, link: &str, bridge: Option<&str>, of: &str) {
        let finding = self
            .host(machine)
            .or_else(|| self.port(machine, link, bridge, of))
            .or_else(|| self.carrier(machine, link, of));
        let shows = self.shows(machine, link);
        let hop = Hop::on_link(machine, link, format!("link {link} {of}"));
        self.hops.push(hop.shows(shows).found(finding));
    }

    /// A link's state in words.
    pub(super) fn shows(&self, machine: &HostName, link: &str) -> Option<String> {
        let port = self.view(machine)?.ports.get(link)?;
        let master = port.master.as_ref().map(|master| format!(", port of {master}"));
        let stp = port.stp.as_ref().map(|state| format!(", {state}"));
        let (master, stp) = (master.unwrap_or_default(), stp.unwrap_or_default());
        let up = if port.up { "up" } else { "down" };
        let mtu = port.mtu.map_or_else(String::new, |mtu| format!(", MTU {mtu}"));
        Some(format!("{up}{master}{stp}{mtu}"))
    }

    /// Checks that a link exists, is up, is attached to `bridge`, has a carrier and a sufficient MTU, and passes frames.
    pub(super) fn port(&self, host: &HostName, link: &str, bridge: Option<&str>, of: &str) -> Option<Finding> {
        let ports = &self.view(host)?.ports;
        let fault = |text: String| Finding::new(format!("{host}: link {link} {of} {text}"));
        let show = format!("ip -details link show dev {link}");
        let Some(port) = ports.get(link) else {
            return Some(fault("does not exist".to_owned()).shown(host, "ip link"));
        };
        let Port {
            up,
            carrier,
            master,
            mtu,
            stp,
            options,
            noarp,
            qdisc,
            ..
        } = port;
        // A bridge reports the smallest MTU of its ports, and forwards by the MTU of each port.
        let is_bridge = ports.values().any(|port| port.master.as_deref() == Some(link));
        let set = |what: &str| format!("ip link set dev {link} {what}");
        let limits = self.limits(host, link);
        if let Some(Shaping { down: true, .. }) = limits.filter(|_| !up) {
            let text = format!("{host}: link {link} {of} is down by request, of `netlab link` or of the lab file");
            return Some(Finding::new(text).shown(host, &show).released());
        }
        if !up {
            return Some(fault("is down".to_owned()).shown(host, &show).fixed(host, &set("up")));
        }
        if let Some(bridge) = bridge.filter(|bridge| Some(*bridge) != master.as_deref()) {
            let text = match master {
                Some(other) => format!("is attached to {other}, not to {bridge}"),
                None => format!("is not attached to bridge {bridge}"),
            };
            let fix = set(&format!("master {bridge}"));
            return Some(fault(text).shown(host, &show).fixed(host, &fix));
        }
        if bridge.is_some() && !carrier {
            return self
                .held_end(host, link, of)
                .or_else(|| Some(fault(self.without_carrier(host, link)).shown(host, &show)));
        }
        if let Some(bridge) = master
            .as_ref()
            .filter(|name| ports.get(*name).is_some_and(|bridge| !bridge.up))
        {
            let text = format!("{host}: bridge {bridge}, whose port {link} {of} is, is down");
            let up = format!("ip link set dev {bridge} up");
            return Some(Finding::new(text).shown(host, &show).fixed(host, &up));
        }
        if let Some(state) = stp.as_deref().filter(|state| *state != "forwarding") {
            let text = format!("passes no frames: its spanning tree state is {state}");
            let finding = fault(text).shown(host, &format!("bridge -details link show dev {link}"));
            let master = master.as_ref().and_then(|master| ports.get(master));
            // With spanning tree the state follows from the topology, and comes back.
            let by_hand = master.is_some_and(|bridge| !bridge.spanning_tree);
            let fix = format!("bridge link set dev {link} state 3");
            return Some(if by_hand { finding.fixed(host, &fix) } else { finding });
        }
        let small = |needed: u16| Some((mtu.filter(|mtu| *mtu < needed.into())?, needed));
        if let Some((mtu, needed)) = self.needed.and_then(small).filter(|_| !is_bridge) {
            let fix = set(&format!("mtu {needed}"));
            let text = format!("has an MTU of only {mtu} bytes");
            return Some(fault(text).shown(host, &show).fixed(host, &fix));
        }
        if is_bridge && *noarp {
            let text = "does not use ARP: it asks for no neighbor and answers none".to_owned();
            return Some(fault(text).shown(host, &show).fixed(host, &set("arp on")));
        }
        if let Some(finding) = self.passes_vlan(host, link, port, of) {
            return Some(finding);
        }
        if let Some(option) = options.first() {
            let default = match option.rsplit_once(' ') {
                Some((name, "on")) => format!("{name} off"),
                Some((name, _)) => format!("{name} on"),
                None => String::new(),
            };
            return Some(
                fault(format!("has the bridge option {option}"))
                    .shown(host, &format!("bridge -details link show dev {link}"))
                    .fixed(host, &format!("bridge link set dev {link} {default}"))
                    .possible(),
            );
        }
        if let Some(limits) = limits.filter(|limits| !limits.is_none()) {
            let text = format!("{host}: link {link} {of} is limited by request: {limits}");
            let show = format!("tc -statistics qdisc show dev {link}");
            return Some(Finding::new(text).shown(host, &show).released().possible());
        }
        ["netem", "tbf", "blackhole", "plug"]
            .contains(&qdisc.as_str())
            .then(|| {
                fault(format!(
                    "has the queueing discipline {qdisc}, which delays or drops packets"
                ))
                .shown(host, &format!("tc -statistics qdisc show dev {link}"))
                .fixed(host, &format!("tc qdisc del dev {link} root"))
                .possible()
            })
    }

    /// Returns the limits that the lab file, or a request, states for a link.
    fn limits(&self, host: &HostName, link: &str) -> Option<Shaping> {
        let topology = self.evidence.topology;
        let is_end = |end: &CableEnd| end.host == *host && end.nic.as_str() == link;
        let end = topology.shaping.ends.iter().find(|(end, _)| is_end(end));
        let guest = || {
            topology.shaping.guests.iter().find(|((vm, at), _)| {
                let guest = topology.guests.get(vm).filter(|guest| guest.host == *host);
                guest
                    .and_then(|guest| guest.nics.get(*at))
                    .is_some_and(|nic| nic.tap.as_str() == link)
            })
        };
        end.map(|(_, limits)| *limits).or_else(|| Some(*guest()?.1))
    }

    /// Returns that the other end of a link's cable is down by request.
    pub(super) fn held_end(&self, host: &HostName, link: &str, of: &str) -> Option<Finding> {
        let topology = self.evidence.topology;
        let is_this = |end: &&CableEnd| end.host == *host && end.nic.as_str() == link;
        let cable = topology
            .cables
            .iter()
            .find(|cable| cable.ends.iter().any(|end| is_this(&end)))?;
        let other = cable.ends.iter().find(|end| !is_this(end))?;
        self.limits(&other.host, other.nic.as_str())
            .filter(|limits| limits.down)?;
        let text = format!(
            "{host}: link {link} {of} has no carrier: {}:{} at the other end of its cable is down by request",
            other.host, other.nic
        );
        let show = format!("ip -details link show dev {link}");
        Some(Finding::new(text).shown(host, &show).released())
    }

    /// Checks that a VLAN device has the network's id, and is on its uplink.
    fn vlan(&self, host: &HostName, device: &IfName, nic: &IfName, wanted: VlanId, of: &str) -> Option<Finding> {
        let port = self.view(host)?.ports.get(device.as_str())?;
        let fault = |text: String| {
            let show = format!("ip -details link show dev {device}");
            Some(Finding::new(format!("{host}: link {device} {of} {text}")).shown(host, &show))
        };
        match (port.vlan, port.link.as_deref()) {
            (Some(id), _) if id != wanted.get() => fault(format!("has VLAN id {id}, not {wanted}")),
            (None, _) => fault("is no VLAN device".to_owned()),
            (_, Some(on)) if on != nic.as_str() => fault(format!("is on {on}, not on {nic}")),
            _ => None,
        }
    }
}
