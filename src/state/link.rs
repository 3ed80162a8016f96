//! Links of a host, the NICs attached to them, and kernel settings.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::lab::{Bond, Datapath, IfName, MacAddr, TunnelKind, VlanId};

/// Start of the purpose of an Open vSwitch bridge that only has a NIC, for the networks with VLANs on it.
pub(crate) const PROVIDER: &str = "uplink ";

/// A link that netlab creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// The bridge it is a port of.
    pub master: Option<IfName>,
    /// Its own addresses: the lab's, not those that came with an uplink.
    pub addresses: BTreeSet<IpNet>,
    /// Its MTU in bytes, where its network states one; absent: the kernel's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The default route through it that the lab gives the host, beside what came with an uplink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// What it is for, e.g. `network service`; stored in the alias after the owner.
    pub purpose: String,
}

/// The kinds of link that netlab creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// A Linux bridge.
    Bridge {
        /// Spanning tree with this forward delay, in seconds; absent: none, and no delay.
        stp: Option<u8>,
        /// Its MAC address; absent: that of its uplink.
        mac: Option<MacAddr>,
    },
    /// A bond of the kernel's. Its members are uplinks, with it as their bridge.
    Bond(Bond),
    /// A bond of Open vSwitch's: a port of its bridge that consists of several NICs.
    OvsBond {
        /// Its settings.
        bond: Bond,
        /// Its members, which are uplinks as well.
        members: BTreeSet<IfName>,
    },
    /// A bridge of Open vSwitch.
    OvsBridge {
        /// What forwards its packets.
        datapath: Datapath,
        /// Spanning tree with this forward delay, in seconds; absent: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stp: Option<u8>,
        /// Its MAC address; absent: that of its uplink.
        mac: Option<MacAddr>,
    },
    /// A patch of Open vSwitch: two ports, of which one is on this link's bridge, and the other one an access port of the
    /// bridge that has the NIC.
    OvsPatch {
        /// That bridge.
        provider: IfName,
        /// The VLAN of the port there.
        tag: VlanId,
    },
    /// A port of Open vSwitch that is the end of a tunnel.
    OvsTunnel {
        /// The protocol.
        protocol: TunnelKind,
        /// VNI or GRE key.
        key: u32,
        /// The source of what it sends.
        local: Ipv4Addr,
        /// The remote end.
        remote: Ipv4Addr,
    },
    /// An 802.1Q device over another link.
    ///
    /// It has the MTU of its parent, usually 1500: the tag's 4 bytes are not counted, and frames of 1518 bytes pass
    /// (IEEE 802.3ac; the kernel's is_skb_forwardable() and every NIC with VLAN_HLEN to spare), so guests keep 1500
    /// and full-size pings of 1472 bytes pass. From a parent with a smaller MTU the device inherits that, and the bridge
    /// has the smallest of its ports': what the host itself sends or routes is then fragmented. A guest does not learn
    /// it: its full frames are dropped at the bridge until its network states that MTU, too.
    Vlan {
        /// The tagged link.
        parent: IfName,
        /// The tag.
        id: VlanId,
    },
    /// The end of VXLAN tunnels (RFC 7348). What has no known destination is sent to each remote end: static entries
    /// in the device's forwarding database, no multicast.
    Vxlan {
        /// The VXLAN network identifier.
        vni: u32,
        /// The source of what it sends.
        local: Ipv4Addr,
        /// The remote ends.
        remotes: BTreeSet<Ipv4Addr>,
    },
}

/// A NIC of the host that is attached to one of the lab's bridges or bonds: the only object changed that netlab did not
/// create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// The bridge, or the bond, that it is attached to. The NIC itself, which is only ever observed: attaching or detaching it was
    /// interrupted, or somebody detached it; it is detached and attached again.
    pub bridge: IfName,
    /// What was configured on the NIC before, moved to the bridge meanwhile and restored exactly.
    pub was: NicConfig,
    /// It is a member of a bond, and no port of a bridge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bonded: bool,
    /// What of that somebody has deleted from the bridge since; only ever observed, and never there in a desired state.
    #[serde(default, skip_serializing_if = "Missing::is_empty")]
    pub missing: Missing,
}

/// Addresses and routes that a bridge took over from its uplink and no longer has. IPv4 only: the kernel and routers
/// add and remove those of IPv6 by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The addresses.
    pub addresses: Vec<IpNet>,
    /// The routes.
    pub routes: Vec<Route>,
}

impl Missing {
    /// Nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.routes.is_empty()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let routes = self
            .routes
            .iter()
            .map(|route| match (route.to.prefix_len(), route.via) {
                (0, Some(via)) => format!("the default route via {via}"),
                (_, Some(via)) => format!("the route to {} via {via}", route.to),
                (_, None) => format!("the route to {}", route.to),
            });
        f.write_str(&addresses.chain(routes).collect::<Vec<_>>().join(", "))
    }
}

/// What is configured on a host's NIC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicConfig {
    /// Administratively up.
    pub up: bool,
    /// Global addresses, in the kernel's order (the first of a subnet is the primary one).
    pub addresses: Vec<IpNet>,
    /// Routes through it that the kernel did not create by itself, in the kernel's order.
    pub routes: Vec<Route>,
}

/// A route of the main table through one link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Destination; `0.0.0.0/0` is the default route.
    pub to: IpNet,
    /// Next hop; absent: on the link.
    pub via: Option<IpAddr>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Metric; absent: the kernel's 0 (IPv4) or 1024 (IPv6).
    pub metric: Option<u32>,
    /// The routing protocol field, e.g. `dhcp`, `static`, `boot`, as iproute2 prints it.
    pub protocol: Option<String>,
}

/// Kernel settings that netlab may change. An enum: no other can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sysctl {
    /// `net.ipv4.ip_forward`: the host routes between its networks.
    Ipv4Forward,
    /// `net.ipv4.conf.all.arp_ignore`: the host answers ARP only by the link that has the address. Frames that Open
    /// vSwitch reads in user space reach the kernel by the NIC or tap as well, and it would answer them there, too.
    ArpIgnore,
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl Sysctl {
    /// Returns the setting's name for sysctl(8).
    pub fn key(self) -> &'static str {
        match self {
            Self::Ipv4Forward => "net.ipv4.ip_forward",
            Self::ArpIgnore => "net.ipv4.conf.all.arp_ignore",
        }
    }
}
