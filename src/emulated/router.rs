//! An emulated router: a network namespace that forwards between its NICs. It has no routes to the lab's inner subnets,
//! as a router on the Internet would not: traffic that returns through it had its source address translated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::Deserialize;

use super::batch::batch;
use super::error::EmulatedError;
use super::links::Link;
use super::namespace::{links, name};
use super::{Emulator, names, nics, shaping};
use crate::lab::{HostName, IfName, LabName};
use crate::linux::ip::query;
use crate::state::{Machine, MachineKind, MachineNic};
use crate::topology::derive;
use crate::transport::{Cmd, CmdError, NamespaceShell, Shell};

/// The loopback device, which has the addresses outside of the lab.
const LOOPBACK: &str = "lo";

/// A route as `ip -json route` prints it.
#[derive(Debug, Deserialize)]
pub(super) struct DefaultRoute {
    pub gateway: Option<Ipv4Addr>,
    pub dev: Option<String>,
}

/// Reads the default routes in a network namespace.
pub(super) fn default_routes(shell: &dyn Shell, namespace: &str) -> Result<Vec<DefaultRoute>, CmdError> {
    query(
        shell,
        &["ip", "-n", namespace, "-4", "-json", "route", "show", "default"],
    )
}

impl Emulator {
    /// Configures addresses and default routes of a router's NICs, the addresses outside of the lab on its loopback
    /// device, and its DNS server; creates NICs without a cable.
    pub(crate) fn configure_router(
        &self,
        lab: &LabName,
        router: &HostName,
        wanted: &Machine,
    ) -> Result<(), EmulatedError> {
        let existing = links(&self.shell, lab, router)?;
        let exists = |nic: &IfName| existing.iter().any(|link| link.ifname == nic.as_str());
        let mut lines = Vec::new();
        for (nic, config) in &wanted.nics {
            lines.extend(nics::lines_for(lab, router, nic, config, !exists(nic)));
        }
        lines.push(format!("address flush dev {LOOPBACK} scope global"));
        let outside = wanted.outside.iter();
        lines.extend(outside.map(|address| format!("address add {address} dev {LOOPBACK}")));
        batch(&self.shell, Some(&name(lab, router)), &lines)?;
        if let Some(inside) = wanted.to_host {
            self.connect_to_host(lab, router, inside)?;
        }
        names::serve(lab, router, &wanted.names, wanted.to_host.is_some())
    }

    /// Reads a router with the links `links`; it is alive as long as it forwards.
    pub(super) fn observe_router(
        &self,
        lab: &LabName,
        router: &HostName,
        links: &[Link],
    ) -> Result<Machine, EmulatedError> {
        let namespace = name(lab, router);
        let routes = default_routes(&self.shell, &namespace)?;
        let forward = Cmd::new(["cat", "/proc/sys/net/ipv4/ip_forward"]);
        let forward = NamespaceShell::of_network(&namespace).check(&forward)?;

        let held = shaping::held_down(lab, router, links)?;
        let counts = |link: &&Link| link.is_up() || held.iter().any(|nic| nic.as_str() == link.ifname);
        let to_host = derive::to_host_link(lab, router);
        let (mut nics, mut outside, mut connected) = (BTreeMap::new(), BTreeSet::new(), None);
        for link in links.iter().filter(counts) {
            if link.ifname == to_host.as_str() {
                connected = link.ipv4_addresses().next();
            } else if link.ifname == LOOPBACK {
                outside.extend(link.ipv4_addresses());
            } else if let Ok(nic) = IfName::new(&link.ifname) {
                let route = routes.iter().find(|route| route.dev.as_ref() == Some(&link.ifname));
                let config = MachineNic {
                    address: link.ipv4_addresses().next(),
                    mtu: nics::large_mtu(link),
                    gateway: route.and_then(|route| route.gateway),
                    ..MachineNic::default()
                };
                nics.insert(nic, config);
            }
        }
        if let Some(inside) = connected
            && !self.is_connected_to_host(lab, router, inside)?
        {
            connected = None;
        }
        Ok(Machine {
            to_host: connected,
            stp: false,
            lags: BTreeSet::new(),
            kind: MachineKind::Router,
            nics,
            outside,
            names: names::observe(lab, router),
            changed: BTreeSet::new(),
            alive: forward.trim_ascii() == b"1",
        })
    }

    /// Returns a shell in a switch's or router's network namespace, after checking that it is the lab's.
    pub(crate) fn inside_router(&self, lab: &LabName, router: &HostName) -> Result<NamespaceShell, EmulatedError> {
        links(&self.shell, lab, router)?;
        Ok(NamespaceShell::of_network(&name(lab, router)))
    }
}
