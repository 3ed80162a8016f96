//! Bonds of hosts and link aggregations of switches, and whether the two fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Check;
use super::wires::{OtherEnds, other_ends};
use crate::lab::file::{At, HostFile, HostNicFile, LabFile};
use crate::lab::{Bond, Cable, CableEnd, Connect, HostName, IfName, LabBond, LabHostNic, Lag, Partner};

/// What a group of cable ends works as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Bond(HostName, IfName),
    Lag(HostName, BTreeSet<IfName>),
}

impl Check<'_> {
    /// Checks the bonds of a host, of which `nics` are checked already, and adds their members to its NICs.
    pub(super) fn bonds(&mut self, host: &HostFile, nics: &mut BTreeMap<IfName, LabHostNic>) {
        let whose = &host.name.value;
        let mut names: BTreeSet<&IfName> = BTreeSet::new();
        for nic in &host.nics {
            let name = &nic.name.value;
            if !names.insert(name) {
                let message = format!("`{whose}` has a NIC and a bond that are called `{name}`");
                self.add(&nic.name.span, message, "give the bond another name");
            }
        }
        let mut members: BTreeMap<IfName, IfName> = BTreeMap::new();
        for nic in &host.nics {
            let Some(bond) = self.bond(nic) else { continue };
            let name = &nic.name.value;
            for At { value: member, span } in nic.bond.iter().flat_map(|bond| &bond.nics) {
                let described = host.nics.iter().find(|other| other.name.value == *member);
                if let Some(other) = members.insert(member.clone(), name.clone()) {
                    let message = if other == *name {
                        format!("bond `{name}` names NIC `{member}` twice")
                    } else {
                        format!("NIC `{member}` is in bond `{other}` already")
                    };
                    self.add(span, message, "name each NIC once");
                } else if described.is_some_and(|nic| nic.bond.is_some()) {
                    let message = format!("`{member}` is a bond itself");
                    self.add(span, message, "a bond consists of NICs");
                } else if let Some(address) = described.and_then(|nic| nic.address.as_ref()) {
                    let message = format!("NIC `{member}` has an address and is in bond `{name}`");
                    let help = format!("move the address to the bond: `bonds.{name}.address`");
                    self.add(&address.span, message, help);
                }
            }
            for member in &bond.nics {
                nics.entry(member.clone()).or_default();
            }
            if let Some(made) = nics.get_mut(name) {
                made.bond = Some(bond);
            }
        }
    }

    /// Checks one bond by itself.
    fn bond(&mut self, nic: &HostNicFile) -> Option<LabBond> {
        let bond = nic.bond.as_ref()?;
        let name = &nic.name.value;
        let nics: BTreeSet<IfName> = bond.nics.iter().map(|at| at.value.clone()).collect();
        if let (1, Some(only)) = (nics.len(), bond.nics.first()) {
            let message = format!("bond `{name}` has one NIC only");
            self.add(&only.span, message, "write `nics = [\"eth0\", \"eth1\"]`");
        }
        if let Some(At { value: primary, span }) = &bond.primary {
            if !bond.mode.has_primary() {
                let message = format!("mode {} has no primary NIC", bond.mode);
                self.add(span, message, "remove `primary`, or write `mode = \"active-backup\"`");
            } else if !nics.contains(primary) {
                let help = self.suggest(primary.as_str(), nics.iter().map(IfName::as_str));
                self.add(span, format!("`{primary}` is no NIC of bond `{name}`"), help);
            }
        }
        if let Some(At { span, .. }) = bond.lacp_rate.as_ref().filter(|_| bond.mode.partner() != Partner::Lacp) {
            let message = format!("mode {} has no LACP", bond.mode);
            self.add(span, message, "remove `lacp_rate`, or write `mode = \"802.3ad\"`");
        }
        if let Some(At { span, .. }) = bond.xmit_hash_policy.as_ref().filter(|_| !bond.mode.hashes()) {
            let message = format!("mode {} sends by no hash", bond.mode);
            let help = "remove `xmit_hash_policy`, or choose balance-xor, 802.3ad or balance-tlb";
            self.add(span, message, help);
        }
        Some(LabBond {
            nics,
            bond: Bond {
                mode: bond.mode,
                miimon: bond.miimon,
                lacp_rate: bond.lacp_rate.as_ref().map(|at| at.value),
                xmit_hash_policy: bond.xmit_hash_policy.as_ref().map(|at| at.value),
                primary: bond.primary.as_ref().map(|at| at.value.clone()),
            },
        })
    }

    /// Returns the bond of a host that a NIC is in.
    pub(super) fn bond_of(&self, host: &HostName, nic: &IfName) -> Option<&IfName> {
        let nics = &self.hosts.get(host)?.nics;
        let mut bonds = nics.iter().filter_map(|(name, nic)| Some((name, nic.bond.as_ref()?)));
        bonds.find(|(_, bond)| bond.nics.contains(nic)).map(|(name, _)| name)
    }

    /// Checks each switch's link aggregations by themselves.
    pub(super) fn lags(&mut self, file: &LabFile) {
        for switch in &file.switches {
            let mut used: BTreeSet<&IfName> = BTreeSet::new();
            for lag in &switch.lags {
                if let [only] = &lag[..] {
                    let message = "a link aggregation has at least two ports";
                    self.add(&only.span, message, "write `lags = [[\"p1\", \"p2\"]]`");
                }
                for At { value: port, span } in lag {
                    if !used.insert(port) {
                        let message = format!("port `{port}` is in a link aggregation already");
                        self.add(span, message, "name each port once");
                    }
                }
                let Some(made) = self.switches.get_mut(&switch.name.value) else {
                    continue;
                };
                let ports: BTreeSet<IfName> = lag.iter().map(|at| at.value.clone()).collect();
                for port in &ports {
                    made.ports.entry(port.clone()).or_default();
                }
                let modes: BTreeSet<_> = ports.iter().map(|port| made.ports[port].clone()).collect();
                made.lags.insert(Lag { ports, lacp: false });
                if let (true, Some(first)) = (modes.len() > 1, lag.first()) {
                    let message = "the ports of a link aggregation pass different VLANs";
                    self.add(&first.span, message, "give all of them the same `access` or `trunk`");
                }
            }
        }
    }

    /// Checks that bonds and link aggregations are at the two ends of the same cables, and decides which of them use LACP.
    pub(super) fn aggregated(&mut self, file: &LabFile, cables: &[Cable]) {
        let mut found: Vec<(Range<usize>, String, String)> = Vec::new();
        let other_ends = other_ends(cables);
        for host in &file.hosts {
            if host.connect != Connect::Emulated {
                continue;
            }
            for nic in &host.nics {
                let (name, Some(bond)) = (&nic.name.value, &nic.bond) else {
                    continue;
                };
                let own = Group::Bond(host.name.value.clone(), name.clone());
                let ends = bond
                    .nics
                    .iter()
                    .map(|at| other_end(&other_ends, &host.name.value, &at.value));
                let ends: Vec<&CableEnd> = ends.flatten().collect();
                let groups: BTreeSet<Option<Group>> = ends.iter().map(|end| self.group(end)).collect();
                let grouped = groups.iter().flatten().any(|group| matches!(group, Group::Lag(..)));
                let on_switch = ends.iter().find(|end| self.switches.contains_key(&end.host));
                let mode = bond.mode;
                match (mode.partner(), on_switch) {
                    (Partner::Apart, Some(end)) if grouped => found.push((
                        nic.name.span.clone(),
                        format!(
                            "bond `{name}` has mode {mode}, and its ports of switch `{}` are a link aggregation",
                            end.host
                        ),
                        format!(
                            "remove `lags` of that switch, or write `mode = \"802.3ad\"` for {}",
                            words(&own)
                        ),
                    )),
                    (Partner::Static | Partner::Lacp, Some(end)) if groups.len() > 1 || !grouped => {
                        let ports = ends.iter().filter(|other| other.host == end.host);
                        let ports: Vec<String> = ports.map(|end| format!("\"{}\"", end.nic)).collect();
                        found.push((
                            nic.name.span.clone(),
                            format!(
                                "bond `{name}` has mode {mode}, and its ports of switch `{}` are no link aggregation",
                                end.host
                            ),
                            format!(
                                "write `lags = [[{}]]` under `[switches.{}]`",
                                ports.join(", "),
                                end.host
                            ),
                        ));
                    }
                    _ => {}
                }
            }
        }
        let mut lacp: Vec<(HostName, BTreeSet<IfName>)> = Vec::new();
        for switch in &file.switches {
            for lag in &switch.lags {
                let name = &switch.name.value;
                let ports: BTreeSet<IfName> = lag.iter().map(|at| at.value.clone()).collect();
                let ends = ports.iter().filter_map(|port| other_end(&other_ends, name, port));
                let groups: BTreeSet<Option<Group>> = ends.map(|end| self.group(end)).collect();
                let Some(first) = lag.first() else { continue };
                if groups.len() > 1 || groups.contains(&None) {
                    found.push((
                        first.span.clone(),
                        "the ports of this link aggregation do not lead to one bond or one link aggregation".to_owned(),
                        "all of its cables end in the NICs of one bond, or in the ports of one of another switch's `lags`"
                            .to_owned(),
                    ));
                }
                let wants = match groups.into_iter().flatten().next() {
                    Some(Group::Lag(..)) => true,
                    Some(Group::Bond(host, bond)) => {
                        let bond = self
                            .hosts
                            .get(&host)
                            .and_then(|host| host.nics.get(&bond)?.bond.as_ref());
                        bond.is_some_and(|bond| bond.bond.mode.partner() == Partner::Lacp)
                    }
                    None => false,
                };
                if wants {
                    lacp.push((name.clone(), ports));
                }
            }
        }
        for (switch, ports) in lacp {
            if let Some(switch) = self.switches.get_mut(&switch) {
                switch.lags.remove(&Lag {
                    ports: ports.clone(),
                    lacp: false,
                });
                switch.lags.insert(Lag { ports, lacp: true });
            }
        }
        for (span, message, help) in found {
            self.add(&span, message, help);
        }
    }

    /// Returns what a cable's end is a part of.
    fn group(&self, end: &CableEnd) -> Option<Group> {
        if let Some(bond) = self.bond_of(&end.host, &end.nic) {
            return Some(Group::Bond(end.host.clone(), bond.clone()));
        }
        let lags = &self.switches.get(&end.host)?.lags;
        let lag = lags.iter().find(|lag| lag.ports.contains(&end.nic))?;
        Some(Group::Lag(end.host.clone(), lag.ports.clone()))
    }
}

fn other_end<'c>(other_ends: &OtherEnds<'c>, machine: &HostName, nic: &IfName) -> Option<&'c CableEnd> {
    let (host, nic) = (machine.clone(), nic.clone());
    other_ends.get(&CableEnd { host, nic }).copied()
}

fn words(group: &Group) -> String {
    match group {
        Group::Bond(host, bond) => format!("`{host}:{bond}`"),
        Group::Lag(switch, _) => format!("switch `{switch}`"),
    }
}
