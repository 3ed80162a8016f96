//! What connects two machines: cables and emulated switches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Path;
use super::hop::{Finding, Hop};
use crate::lab::{Cable, HostName, IfName, PortMode, VlanId};
use crate::state::localhost;
use crate::state::view::Ports;
use crate::topology::Topology;

/// The bridge of an emulated switch.
const SWITCH_BRIDGE: &str = "_bridge";

/// A NIC of a machine.
type End<'a> = (&'a HostName, &'a IfName);

impl<'a> Path<'a> {
    /// Adds the switches between two NICs; `vlan` is the id that frames are tagged with.
    pub(super) fn wire(&mut self, from: End<'_>, to: End<'_>, vlan: Option<VlanId>) {
        let Some(ports) = between(self.evidence.topology, from, to) else {
            // Real machines: what connects them is not the lab's.
            return;
        };
        for (switch, port) in ports {
            let finding = self.switch(switch).or_else(|| {
                self.port(switch, port.as_str(), Some(SWITCH_BRIDGE), "of the switch")
                    .or_else(|| self.mode(switch, port, vlan))
            });
            let shows = self.shows(switch, port.as_str());
            let hop = Hop::on_link(switch, port.as_str(), format!("port {port} of switch {switch}"));
            self.hops.push(hop.shows(shows).found(finding));
        }
    }

    /// Checks that a link has a carrier.
    pub(super) fn carrier(&self, machine: &HostName, link: &str, of: &str) -> Option<Finding> {
        let port = self.view(machine)?.ports.get(link)?;
        let text = format!("{machine}: link {link} {of} {}", self.without_carrier(machine, link));
        let show = format!("ip -details link show dev {link}");
        (port.up && !port.carrier).then(|| {
            let held = self.held_end(machine, link, of);
            held.unwrap_or_else(|| Finding::new(text).shown(machine, &show))
        })
    }

    /// Returns why a link has no carrier: the NICs of the bond that it is or is on, else what is connected to it.
    pub(super) fn without_carrier(&self, machine: &HostName, link: &str) -> String {
        let host = self.evidence.topology.hosts.get(machine);
        let is_nic = |name: &&str| host.is_some_and(|host| host.nics.keys().any(|nic| nic.as_str() == *name));
        let below = self.view(machine).map(|view| below(&view.ports, link));
        let nics: Vec<&str> = below.into_iter().flatten().filter(is_nic).collect();
        match nics[..] {
            [] | [_] => "has no carrier: its other end is not connected".to_owned(),
            _ => format!(
                "has no carrier: no cable of its NICs {} is connected",
                nics.join(" and ")
            ),
        }
    }

    /// Checks that an emulated switch exists and works.
    fn switch(&self, switch: &HostName) -> Option<Finding> {
        let machines = &self.state(&localhost())?.machines;
        match machines.get(switch) {
            Some(machine) if machine.alive => None,
            Some(_) => Some(
                Finding::new(format!(
                    "{switch}: the switch does not work: its bridge is missing or down"
                ))
                .fixed_by_up(),
            ),
            None => Some(Finding::new(format!("{switch}: the switch does not exist")).fixed_by_up()),
        }
    }

    /// Checks which frames a switch's port passes.
    fn mode(&self, switch: &HostName, port: &IfName, vlan: Option<VlanId>) -> Option<Finding> {
        let of = |site: &'a crate::state::Site| -> Option<&'a PortMode> {
            Some(&site.get(&localhost())?.machines.get(switch)?.nics.get(port)?.port)
        };
        let (wanted, found) = (of(self.evidence.desired)?, of(self.evidence.observed)?);
        let show = |finding: Finding| finding.shown(switch, &format!("bridge vlan show dev {port}"));
        let passes = match (wanted, vlan) {
            (PortMode::Trunk(ids), Some(id)) => ids.contains(&id),
            _ => true,
        };
        if !passes {
            let text = format!(
                "{switch}: port {port} passes {} by the lab file, and the network has {}",
                words(wanted),
                vlan.map_or_else(String::new, |id| format!("id {id}"))
            );
            return Some(show(Finding::new(text)));
        }
        let text = || {
            format!(
                "{switch}: port {port} of the switch passes {}, not {}",
                words(found),
                words(wanted)
            )
        };
        (wanted != found).then(|| show(Finding::new(text())).fixed_by_up())
    }
}

/// Returns the NICs that a link without carrier gets its frames from: a VLAN device from that below it, a bridge or a bond
/// from its ports. A lower device that is on another machine is not among the ports.
fn below<'p>(ports: &'p Ports, link: &'p str) -> Vec<&'p str> {
    let parent = ports
        .get(link)
        .filter(|port| port.vlan.is_some())
        .and_then(|port| port.link.as_deref());
    if let Some(parent) = parent.filter(|parent| ports.contains_key(*parent)) {
        return below(ports, parent);
    }
    let members = ports.iter().filter(|(_, port)| port.master.as_deref() == Some(link));
    let members: Vec<&str> = members.map(|(name, _)| name.as_str()).collect();
    match members[..] {
        [] => vec![link],
        _ => members.into_iter().flat_map(|member| below(ports, member)).collect(),
    }
}

/// What a port passes, in words.
fn words(mode: &PortMode) -> String {
    match mode {
        PortMode::Open => "every frame".to_owned(),
        PortMode::Access(id) => format!("untagged frames of VLAN {id}"),
        PortMode::Trunk(ids) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            match ids[..] {
                [] => "no frame".to_owned(),
                _ => format!("frames of VLAN {}", ids.join(", ")),
            }
        }
    }
}

/// Returns the switches' ports on the shortest path between two NICs; `None` where cables do not connect them.
pub(super) fn between<'a>(topology: &'a Topology, from: End<'a>, to: End<'a>) -> Option<Vec<End<'a>>> {
    let ends = |cable: &'a Cable| -> [End<'a>; 2] { [0, 1].map(|at| (&cable.ends[at].host, &cable.ends[at].nic)) };
    let mut open = VecDeque::from([from]);
    let mut came: BTreeMap<End<'a>, Option<End<'a>>> = [(from, None)].into();
    let mut entered: BTreeSet<&HostName> = BTreeSet::new();
    while let Some(at) = open.pop_front() {
        if at == to {
            let mut path = Vec::new();
            let mut back = came.get(&at).copied().flatten();
            while let Some(end) = back.filter(|end| *end != from) {
                path.push(end);
                back = came.get(&end).copied().flatten();
            }
            path.reverse();
            return Some(path);
        }
        for [a, b] in topology.cables.iter().map(ends) {
            let other = match () {
                () if a == at => b,
                () if b == at => a,
                () => continue,
            };
            if came.contains_key(&other) {
                continue;
            }
            came.insert(other, Some(at));
            if let Some((switch, _)) = topology
                .switches
                .get_key_value(other.0)
                .filter(|(name, _)| entered.insert(name))
            {
                // Through the switch, to every other port that has a cable.
                let ports = topology.cables.iter().flat_map(ends);
                for port in ports.filter(|port| port.0 == switch && *port != other) {
                    came.entry(port).or_insert(Some(other));
                    open.push_back(port);
                }
            } else {
                open.push_back(other);
            }
        }
    }
    None
}
