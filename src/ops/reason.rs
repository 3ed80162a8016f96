//! What asks for a step of a plan: a line of the lab file, or a request of `netlab link`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::link::{LinkAt, name_of};
use crate::lab::{Cable, CableEnd, HostName, IfName, Lab, NetworkName, Places, Shaping, VmName};
use crate::plan::Step;
use crate::state::{HostState, Site};
use crate::topology::{LinkShaping, Topology, stated};

/// What asks for a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reason {
    /// A line of the lab file.
    Line {
        /// Its number, from 1.
        line: usize,
        /// Its text.
        text: String,
    },
    /// A request of `netlab link`.
    Request {
        /// The link, e.g. `vm1:service`.
        link: String,
    },
}

/// What of a lab a reason is searched in.
pub(super) struct Reasons<'a> {
    file: &'a Places<'a>,
    lab: &'a Lab,
    topology: &'a Topology,
    desired: &'a Site,
    /// The limits that the file states.
    stated: LinkShaping,
    /// Places of cables in the file's list, by their ends as they are written there, in sorted order.
    cables: BTreeMap<[&'a str; 2], usize>,
    /// Guests by their taps.
    taps: BTreeMap<(&'a HostName, &'a IfName), (&'a VmName, usize)>,
    /// Guests by their floating addresses.
    floating: BTreeMap<Ipv4Addr, &'a VmName>,
}

impl<'a> Reasons<'a> {
    /// Returns what reasons are searched in: the `file`, the `lab` that it describes, the same with every choice made,
    /// and the state that is to be.
    pub fn new(file: &'a Places<'a>, lab: &'a Lab, topology: &'a Topology, desired: &'a Site) -> Self {
        let (mut taps, mut floating) = (BTreeMap::new(), BTreeMap::new());
        for (vm, guest) in &topology.guests {
            taps.extend(
                guest
                    .nics
                    .iter()
                    .zip(0..)
                    .map(|(nic, at)| ((&guest.host, &nic.tap), (vm, at))),
            );
            floating.extend(guest.floating.iter().map(|floating| (floating.address, vm)));
        }
        Self {
            file,
            lab,
            topology,
            desired,
            stated: stated(lab),
            cables: cables(file),
            taps,
            floating,
        }
    }

    /// Returns what asks for `step` on `host`; none for what nothing asks for any more.
    pub fn of(&self, host: &HostName, step: &Step) -> Option<Reason> {
        if let Step::Shape(machine, link, _) = step {
            let at = self.shaped(machine, link);
            if at.of(&self.topology.shaping) != at.of(&self.stated) {
                let link = name_of(self.topology, &at);
                return Some(Reason::Request { link });
            }
        }
        let path = self.path(host, step)?;
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        // What `[nova]` makes is in no table of its own.
        let is_there = self.file.has(parts.get(..2.min(parts.len())).unwrap_or_default());
        let found = if is_there {
            self.file.line_of(&parts)
        } else {
            self.file.line_of(&["nova"])
        };
        let (line, text) = found?;
        Some(Reason::Line { line, text })
    }

    /// Returns the path of the key.
    fn path(&self, host: &HostName, step: &Step) -> Option<Vec<String>> {
        let nothing = HostState::default();
        let state = self.desired.get(host).unwrap_or(&nothing);
        let machine = |name: &HostName, key: &str| {
            let table = if self.topology.switches.contains_key(name) {
                "switches"
            } else if self.topology.routers.contains_key(name) {
                "routers"
            } else if self.topology.hosts.contains_key(name) {
                "hosts"
            } else {
                return None;
            };
            Some(path(&[table, name.as_str(), key]))
        };
        match step {
            Step::CreateMachine(name) | Step::RemoveMachine(name) => machine(name, "connect"),
            Step::CreateDevice(name, _) => machine(name, ""),
            Step::ConfigureMachine(name, _) => machine(name, "nics"),
            Step::PlugCable(cable) | Step::UnplugCable(cable) => {
                let at = self.cable(cable)?;
                Some(path(&["cables", &at.to_string(), "ends"]))
            }
            Step::StartForward(_, forward) => self.vm(&forward.vm, "forward"),
            Step::CreateLink(_, link) | Step::ChangeLink(_, link) => {
                let network = network_of(&link.purpose)?;
                let key = if link.master.is_some() { "vlan" } else { "bridge" };
                Some(path(&["networks", network, key]))
            }
            Step::AddAddress(link, address) => {
                let network = network_of(&state.links.get(link)?.purpose)?;
                let found = self.lab.networks.get(&NetworkName::new(network).ok()?)?;
                let gateway = found.gateway.as_ref().map(|gateway| gateway.address);
                let key = if gateway.is_some_and(|gateway| address.addr() == std::net::IpAddr::from(gateway)) {
                    "gateway"
                } else {
                    "addresses"
                };
                Some(path(&["networks", network, key]))
            }
            Step::AttachUplink(_, uplink) => {
                let network = self.network_of_bridge(state, &uplink.bridge)?;
                Some(path(&["networks", &network, "uplink"]))
            }
            Step::AddFloating(address, _) => {
                let vm = self.floating.get(address)?;
                self.vm(vm, "floating")
            }
            Step::LoadRuleset(rules) => {
                if !rules.nat.is_empty() {
                    return Some(path(&["nat", "0"]));
                }
                if let Some(floating) = rules.floating.first() {
                    return self.path(host, &Step::AddFloating(floating.public, floating.out.clone()));
                }
                let network = self.first_network(host)?;
                let key = if rules.ports.is_empty() && rules.flows.is_empty() {
                    "gateway"
                } else {
                    "port_security"
                };
                Some(path(&["networks", &network, key]))
            }
            Step::StopDhcp(network) if !state.dhcp.contains_key(network) => None,
            Step::StartDhcp(network, _) | Step::StopDhcp(network) => {
                Some(path(&["networks", network.as_str(), "dhcp"]))
            }
            Step::SetSysctl(..) => {
                let host = self.topology.hosts.get(host)?;
                let mut segments = host.segments.iter();
                let network = segments.find(|(_, segment)| segment.gateway.is_some())?.0;
                Some(path(&["networks", network.as_str(), "gateway"]))
            }
            Step::CreateVolume(name, _) | Step::DeleteVolume(name) => self.vm(name.vm(), "image"),
            Step::GrowVolume(name, _) => self.vm(name.vm(), "disk"),
            Step::DefineDomain(name, _)
            | Step::StartDomain(name, _)
            | Step::StopDomain { name, .. }
            | Step::UndefineDomain { name, .. } => self.vm(name.vm(), ""),
            Step::ConfigureGuest(name, _) => self.vm(name.vm(), "nics"),
            Step::SetUpGuest(name, _) => self.vm(name.vm(), "run"),
            Step::Shape(machine, link, shaping) => self.limit(machine, link, shaping),
            // What is removed to be made again.
            Step::DetachUplink(nic, _) => {
                self.path(host, &Step::AttachUplink(nic.clone(), state.uplinks.get(nic)?.clone()))
            }
            Step::DeleteLink { name, .. } => {
                self.path(host, &Step::CreateLink(name.clone(), state.links.get(name)?.clone()))
            }
            _ => None,
        }
    }

    /// Returns the link that a user limits at `link` of `machine`: a guest's tap is its NIC.
    fn shaped(&self, machine: &HostName, link: &IfName) -> LinkAt {
        if let Some((vm, at)) = self.taps.get(&(machine, link)) {
            return LinkAt::Guest((*vm).clone(), *at);
        }
        let (host, nic) = (machine.clone(), link.clone());
        LinkAt::End(CableEnd { host, nic })
    }

    /// Returns the path of the limit of a link: in its own table, or in that of its network or cable.
    fn limit(&self, machine: &HostName, link: &IfName, shaping: &Shaping) -> Option<Vec<String>> {
        let key = match shaping {
            Shaping { down: true, .. } => "link",
            Shaping { delay: Some(_), .. } => "delay",
            Shaping { loss: Some(_), .. } => "loss",
            _ => "rate",
        };
        let is_there = |at: &Vec<String>| self.file.has(&at.iter().map(String::as_str).collect::<Vec<_>>());
        let places = match self.shaped(machine, link) {
            LinkAt::Guest(vm, at) => {
                let network = &self.topology.guests.get(&vm)?.nics.get(at)?.network;
                let nic = self
                    .vm(&vm, "nics")?
                    .into_iter()
                    .chain([at.to_string(), key.to_owned()]);
                vec![nic.collect(), path(&["networks", network.as_str(), key])]
            }
            LinkAt::End(end) => {
                let nic =
                    ["hosts", "routers"].map(|table| path(&[table, end.host.as_str(), "nics", end.nic.as_str(), key]));
                let mut cables = self.topology.cables.iter();
                let cable = cables.find(|cable| cable.ends.contains(&end));
                let at = cable.and_then(|cable| self.cable(cable));
                nic.into_iter()
                    .chain(at.map(|at| path(&["cables", &at.to_string(), key])))
                    .collect()
            }
        };
        places.into_iter().find(is_there)
    }

    /// Returns the place of a cable in the file's list; there, a switch can be without its port.
    fn cable(&self, cable: &Cable) -> Option<usize> {
        let [a, b] = cable
            .ends
            .each_ref()
            .map(|end| [end.host.to_string(), format!("{}:{}", end.host, end.nic)]);
        let written = a.iter().flat_map(|a| b.iter().map(move |b| sorted([a, b])));
        written.filter_map(|ends| self.cables.get(&ends)).min().copied()
    }

    /// Returns the path of a key of a VM; one of several that `count` makes is in their table.
    fn vm(&self, vm: &VmName, key: &str) -> Option<Vec<String>> {
        if !self.topology.guests.contains_key(vm) {
            return None;
        }
        let name = vm.as_str();
        let table = match name.rsplit_once('-') {
            Some((base, _)) if !self.file.has(&["vms", name]) => base,
            _ => name,
        };
        Some(path(&["vms", table, key]))
    }

    fn network_of_bridge(&self, state: &HostState, bridge: &IfName) -> Option<String> {
        let purpose = &state.links.get(bridge)?.purpose;
        if let Some(network) = network_of(purpose) {
            return Some(network.to_owned());
        }
        // A bridge that only has a NIC as its port: the first network that uses it.
        let hosts = self.topology.hosts.values();
        let mut segments = hosts.flat_map(|host| &host.segments);
        segments
            .find(|(_, segment)| segment.uplink.is_some())
            .map(|(name, _)| name.to_string())
    }

    fn first_network(&self, host: &HostName) -> Option<String> {
        let host = self.topology.hosts.get(host)?;
        host.segments.keys().next().map(ToString::to_string)
    }
}

/// Returns the places of cables in the file's list, the first of those with equal ends.
fn cables<'a>(file: &'a Places<'_>) -> BTreeMap<[&'a str; 2], usize> {
    let list = file.get(&["cables"]).and_then(|cables| cables.as_array());
    let mut places = BTreeMap::new();
    for (at, cable) in list.into_iter().flatten().enumerate() {
        let ends = cable.get_ref().get("ends").and_then(|ends| ends.get_ref().as_array());
        let end = |at: usize| ends?.get(at)?.get_ref().as_str();
        if let (Some(a), Some(b)) = (end(0), end(1)) {
            places.entry(sorted([a, b])).or_insert(at);
        }
    }
    places
}

fn sorted(mut ends: [&str; 2]) -> [&str; 2] {
    ends.sort_unstable();
    ends
}

/// Returns the network of a link by its purpose, as `state::desired` writes it.
fn network_of(purpose: &str) -> Option<&str> {
    purpose.split_once("network ").map(|(_, network)| network)
}

fn path(parts: &[&str]) -> Vec<String> {
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| (*part).to_owned())
        .collect()
}
