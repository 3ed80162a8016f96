//! Hosts, switches and routers, and the cables between them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Check;
use super::addresses::Owner;
use crate::lab::file::{At, CableEndFile, CableFile, HostNicFile, LabFile, RouterFile};
use crate::lab::{Cable, CableEnd, Connect, HostName, IfName, LabHost, LabHostNic, PortMode, Router, Shaping, Switch};

/// The name of the machine that netlab runs on.
pub(super) const LOCALHOST: &str = "localhost";

impl Check<'_> {
    pub(super) fn all_hosts(&mut self, file: &LabFile) {
        if file.hosts.is_empty() && self.problems.is_empty() {
            self.add(&(0..0), "the lab has no hosts", "write `[hosts.node1]`");
        }
        let mut names = BTreeSet::new();
        for host in &file.hosts {
            self.machine_name(&host.name, &mut names);
            let mut nics = self.nics_of(&host.name.value, &host.nics);
            self.bonds(host, &mut nics);
            let made = LabHost {
                connect: host.connect.clone(),
                nics,
            };
            self.hosts.insert(host.name.value.clone(), made);
        }
        for switch in &file.switches {
            self.machine_name(&switch.name, &mut names);
            let ports = switch
                .ports
                .iter()
                .map(|(name, mode)| (name.value.clone(), mode.clone()));
            let made = Switch {
                ports: ports.collect(),
                stp: switch.stp,
                lags: BTreeSet::new(), // `lags`
            };
            self.switches.insert(switch.name.value.clone(), made);
        }
        self.lags(file);
        for router in &file.routers {
            self.machine_name(&router.name, &mut names);
            let nics = self.nics_of(&router.name.value, &router.nics);
            for At { value, span } in &router.outside {
                self.no_edge(value.addr(), *value, span);
                let owner = format!("the outside of router `{}`", router.name.value);
                self.own(value.addr(), span, Owner::other(owner));
            }
            if let Some(span) = &router.to_host {
                self.leads_to_host(router, span, file);
            }
            let outside = router.outside.iter().map(|at| at.value).collect();
            let names = super::verify::names(&router.names);
            let made = Router {
                nics,
                outside,
                to_host: router.to_host.is_some(),
                names,
            };
            self.routers.insert(router.name.value.clone(), made);
        }
    }

    /// A router that leads to this machine's network has its default route there, and what it needs on this machine is the
    /// lab's own, which a host of the lab would be, too.
    fn leads_to_host(&mut self, router: &RouterFile, span: &Range<usize>, file: &LabFile) {
        let name = &router.name.value;
        if router.nics.iter().any(|nic| nic.gateway.is_some()) {
            let message = format!("router `{name}` has a gateway, and its `outside` is this machine");
            self.add(
                span,
                message,
                "remove `gateway` from its NICs: its default route leads to this machine",
            );
        }
        if file.hosts.iter().any(|host| host.connect == Connect::Local) {
            let message = format!("router `{name}` leads to this machine, which is also a host of the lab");
            self.add(
                span,
                message,
                "connect emulated hosts only: remove `connect = \"local\"` from the host",
            );
        }
    }

    /// A name that hosts, switches and routers share.
    fn machine_name(&mut self, name: &At<HostName>, names: &mut BTreeSet<HostName>) {
        let At { value, span } = name;
        if value.as_str() == LOCALHOST {
            let message = format!("`{LOCALHOST}` is a reserved host name");
            self.add(span, message, "choose another name");
        }
        if !names.insert(value.clone()) {
            let message = format!("two machines are called `{value}`");
            self.add(span, message, "hosts, switches and routers share their names");
        }
    }

    fn nics_of(&mut self, whose: &HostName, nics: &[HostNicFile]) -> BTreeMap<IfName, LabHostNic> {
        let mut made = BTreeMap::new();
        for nic in nics {
            if let Some(At { value: subnet, span }) = &nic.address {
                self.no_edge(subnet.addr(), *subnet, span);
                let owner = Owner {
                    nic: Some((whose.clone(), nic.name.value.clone())),
                    ..Owner::other(format!("`{whose}:{}`", nic.name.value))
                };
                self.own(subnet.addr(), span, owner);
            }
            if let Some(gateway) = &nic.gateway
                && !self.broken.contains("address")
                && !nic.address.as_ref().is_some_and(|a| a.value.contains(&gateway.value))
            {
                let message = format!("gateway {} is not reachable through this NIC", gateway.value);
                let help = "it must be inside the NIC's own address and prefix";
                self.add(&gateway.span, message, help);
            } else if let (Some(gateway), Some(own)) = (&nic.gateway, &nic.address) {
                if gateway.value == own.value.addr() {
                    let message = format!("gateway {} is the NIC's own address", gateway.value);
                    self.add(
                        &gateway.span,
                        message,
                        "write the address of the router behind this NIC",
                    );
                }
                self.no_edge(gateway.value, own.value, &gateway.span);
            }
            let checked = LabHostNic {
                address: nic.address.as_ref().map(|at| at.value),
                gateway: nic.gateway.as_ref().map(|at| at.value),
                takeover: nic.takeover,
                bond: None, // `bonds`
                shaping: nic.shaping,
            };
            made.insert(nic.name.value.clone(), checked);
        }
        self.one_subnet_each(whose, nics);
        let mut gateways = nics
            .iter()
            .filter_map(|nic| Some((&nic.name.value, nic.gateway.as_ref()?)));
        if let (Some((first, _)), Some((second, At { span, .. }))) = (gateways.next(), gateways.next()) {
            let message = format!("`{whose}` has gateways behind both {first} and {second}");
            self.add(span, message, "a machine has one default route: remove one of the two");
        }
        made
    }

    /// Warns of NICs of a machine that are in one subnet: its kernel sends by the one whose route was added first.
    fn one_subnet_each(&mut self, whose: &HostName, nics: &[HostNicFile]) {
        let addressed: Vec<_> = nics
            .iter()
            .filter_map(|nic| Some((&nic.name.value, nic.address.as_ref()?)))
            .collect();
        for (place, (nic, At { value: subnet, span })) in addressed.iter().enumerate() {
            let mut before = addressed[..place].iter();
            if let Some((other, _)) = before.find(|(_, other)| other.value.trunc() == subnet.trunc()) {
                let message = format!(
                    "`{whose}` has addresses of `{}` on both {other} and {nic}: what it sends there leaves by one of them only",
                    subnet.trunc()
                );
                self.warn(
                    span,
                    message,
                    "make a bond of the two, or give each NIC a subnet of its own",
                );
            }
        }
    }

    /// Returns the cables, in order, with the limits of those that have some.
    pub(super) fn all_cables(&mut self, file: &LabFile) -> (Vec<Cable>, BTreeMap<Cable, Shaping>) {
        let mut used = BTreeSet::new();
        // Ports that are named somewhere are not given to cables that name none.
        let mut ports = Ports::default();
        for At { value, .. } in file.cables.iter().flat_map(|cable| &cable.ends) {
            let named = value.nic.iter().map(|nic| (value.machine.clone(), nic.clone()));
            ports.named.extend(named);
        }
        let mut cables = Vec::new();
        let mut limits = BTreeMap::new();
        for CableFile { ends, shaping } in &file.cables {
            let [a, b] = ends.each_ref().map(|end| self.cable_end(end, &mut ports));
            for (end, At { span, .. }) in [&a, &b].into_iter().zip(ends) {
                if let Some(end) = end
                    && !used.insert(end.clone())
                {
                    let message = format!("`{}:{}` already has a cable", end.host, end.nic);
                    self.add(span, message, "a NIC takes one cable");
                }
            }
            let (Some(a), Some(b)) = (a, b) else { continue };
            // Between two real hosts a cable describes how they are connected where the lab is emulated.
            if self.is_real(&a.host) != self.is_real(&b.host) {
                let (end, At { span, .. }) = if self.is_real(&a.host) {
                    (&a, &ends[0])
                } else {
                    (&b, &ends[1])
                };
                let message = format!("host `{}` is not emulated: netlab plugs no cable into it", end.host);
                let help = "a cable connects two emulated machines; between two real hosts it describes how they are connected";
                self.add(span, message, help);
            }
            let cable = Cable {
                ends: if a <= b { [a, b] } else { [b, a] },
            };
            limits.extend(shaping.map(|shaping| (cable.clone(), shaping)));
            cables.push((cable, ends.each_ref()));
        }
        self.loops(&cables);
        let mut cables: Vec<Cable> = cables.into_iter().map(|(cable, _)| cable).collect();
        cables.sort();
        (cables, limits)
    }

    /// An end that exists; a switch's port is made by the cable that names it, or names none.
    fn cable_end(&mut self, end: &At<CableEndFile>, ports: &mut Ports) -> Option<CableEnd> {
        let At {
            value: CableEndFile { machine, nic },
            span,
        } = end;
        if let Some(switch) = self.switches.get_mut(machine) {
            let nic = nic.clone().or_else(|| ports.take(machine))?;
            switch.ports.entry(nic.clone()).or_insert(PortMode::Open);
            let host = machine.clone();
            return Some(CableEnd { host, nic });
        }
        let Some(nic) = nic else {
            let help = "write `host:nic`, e.g. `node1:eth0`; only a switch can be named alone";
            self.add(span, format!("`{machine}` is not a cable end"), help);
            return None;
        };
        let there = match self.routers.get(machine) {
            Some(router) if router.nics.contains_key(nic) => true,
            Some(router) => {
                let help = self.suggest(nic.as_str(), router.nics.keys().map(IfName::as_str));
                self.add(span, format!("router `{machine}` has no NIC `{nic}`"), help);
                false
            }
            None => self.host_end(machine, nic, span),
        };
        there.then(|| CableEnd {
            host: machine.clone(),
            nic: nic.clone(),
        })
    }

    fn host_end(&mut self, host: &HostName, nic: &IfName, span: &Range<usize>) -> bool {
        let is_bond = |nic: &LabHostNic| nic.bond.is_some();
        if self
            .hosts
            .get(host)
            .and_then(|host| host.nics.get(nic))
            .is_some_and(is_bond)
        {
            let message = format!("`{host}:{nic}` is a bond");
            self.add(span, message, "plug the cable into one of its NICs");
            return false;
        }
        self.host_nic(host, nic, span)
    }

    fn is_real(&self, host: &HostName) -> bool {
        self.hosts
            .get(host)
            .is_some_and(|host| host.connect != Connect::Emulated)
    }
}

/// Ports of switches that cables have been given.
#[derive(Default)]
struct Ports {
    named: BTreeSet<(HostName, IfName)>,
    /// The number after that of the last port which a cable was given without naming it, by switch.
    next: BTreeMap<HostName, u32>,
}

impl Ports {
    /// Takes the first of `p1`, `p2`, … that no cable has been given; one that is written under `ports` counts as free.
    fn take(&mut self, switch: &HostName) -> Option<IfName> {
        let next = self.next.entry(switch.clone()).or_insert(1);
        loop {
            let port = IfName::new(&format!("p{next}")).ok()?;
            *next += 1;
            if self.named.insert((switch.clone(), port.clone())) {
                return Some(port);
            }
        }
    }
}
