//! A host's links, addresses and routes at one moment, in six commands, or seven where there are VXLAN devices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::json::{RawAddresses, RawForward, RawLink, RawRoute, parse, query};
use super::ovs::{self, Ovs};
use crate::lab::ETHERNET_MTU;
use crate::linux::tc::{self, RawQdisc};
use crate::plan::lines::ROUTE_MARK;
use crate::transport::{Cmd, CmdError, Shell};

/// Links with their addresses, and routes of every table and family.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub links: Vec<RawLink>,
    pub routes: Vec<RawRoute>,
    /// What Open vSwitch has; its bridges and ports are among the links.
    pub ovs: Ovs,
    /// Forwarding databases; read only where a link is a VXLAN device.
    forwards: Vec<RawForward>,
    /// The queueing disciplines of its links.
    pub qdiscs: Vec<RawQdisc>,
    /// The kernel's name for the time since the host booted (proc_sys_kernel(5), `random/boot_id`).
    pub boot: String,
}

impl Snapshot {
    /// Takes a snapshot of the host that `shell` runs commands on. One round trip.
    pub fn take(shell: &dyn Shell) -> Result<Self, CmdError> {
        let cmds = [
            &["ip", "-json", "-details", "link", "show"][..],
            &["ip", "-json", "address", "show"],
            &["ip", "-json", "route", "show", "table", "all"],
            &["cat", "/proc/sys/kernel/random/boot_id"],
        ];
        let cmds = cmds.map(|argv| Cmd::new(argv.iter().copied()));
        let [links, addresses, routes, boot] = cmds;
        let ovs = Cmd::script(ovs::QUERY, [""; 0]);
        let cmds = [links, addresses, routes, boot, ovs, tc::query()];
        let printed = shell.check_all(&cmds)?;
        let printed = |at: usize| printed.get(at).map(Vec::as_slice).unwrap_or_default();
        let mut links: Vec<RawLink> = parse(&cmds[0], printed(0))?;
        let addresses: Vec<RawAddresses> = parse(&cmds[1], printed(1))?;
        let mut addresses: BTreeMap<u32, _> = addresses.into_iter().map(|of| (of.ifindex, of.addr_info)).collect();
        for link in &mut links {
            link.addr_info = addresses.remove(&link.ifindex).unwrap_or_default();
        }
        let ovs = Ovs::parse(&cmds[4], printed(4))?;
        ovs.show(&mut links);
        let has_tunnels = links.iter().any(|link| link.kind() == Some("vxlan"));
        let forwards = if has_tunnels {
            query(shell, &["bridge", "-json", "fdb", "show"])?
        } else {
            Vec::new()
        };
        Ok(Self {
            links,
            ovs,
            forwards,
            routes: parse(&cmds[2], printed(2))?,
            qdiscs: parse(&cmds[5], printed(5))?,
            boot: String::from_utf8_lossy(printed(3)).trim().to_owned(),
        })
    }

    /// Returns whether the kernel has IPv6 (it may have been booted with `ipv6.disable=1`).
    pub fn has_ipv6(&self) -> bool {
        self.links.iter().any(|link| link.inet6_addr_gen_mode.is_some())
    }

    /// Returns the remote ends that a VXLAN device sends frames without a known destination to.
    pub fn remotes(&self, name: &str) -> BTreeSet<Ipv4Addr> {
        let own = self.forwards.iter().filter(|entry| entry.ifname == name);
        let ends = own
            .filter(|entry| entry.mac == "00:00:00:00:00:00")
            .filter_map(|entry| entry.dst);
        ends.filter_map(|end| match end {
            IpAddr::V4(end) => Some(end),
            IpAddr::V6(_) => None,
        })
        .collect()
    }

    /// Returns the default route through a link that a lab gave the host.
    pub fn default_route(&self, name: &str) -> Option<Ipv4Addr> {
        let is_it = |route: &&RawRoute| {
            route.dst == "default"
                && route.table.is_none()
                && route.dev.as_deref() == Some(name)
                && route.protocol.as_deref() == Some(ROUTE_MARK)
        };
        match self.routes.iter().find(is_it)?.gateway? {
            IpAddr::V4(gateway) => Some(gateway),
            IpAddr::V6(_) => None,
        }
    }

    /// Returns whether the MTU of a bridge is less than Ethernet's and that of each of its ports: the kernel, or Open vSwitch,
    /// gives it the smallest of theirs, until somebody sets another one.
    pub fn is_lowered(&self, bridge: &RawLink) -> bool {
        let smallest = |mtu: u32| {
            let ports = self.links.iter();
            let mut ports = ports.filter(|port| port.master.as_deref() == Some(bridge.ifname.as_str()));
            mtu < u32::from(ETHERNET_MTU) && ports.all(|port| port.mtu.is_none_or(|of_port| mtu < of_port))
        };
        matches!(bridge.kind(), Some("bridge" | ovs::BRIDGE)) && bridge.mtu.is_some_and(smallest)
    }

    /// Returns the link of that name.
    pub fn link(&self, name: &str) -> Option<&RawLink> {
        self.links.iter().find(|link| link.ifname == name)
    }
}
