//! Bridges, their ports, uplinks and kernel settings of one host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::datapath;
use crate::lab::{Class, Connect, Datapath, ETHERNET_MTU, HostName, IfName, LabBond, LabName, NetworkName};
use crate::state::survey::BONDING;
use crate::state::{HostState, Link, LinkKind, Missing, NicConfig, PROVIDER, Survey, Sysctl, Uplink};
use crate::topology::{Segment, SegmentTunnel, TopologyHost, derive};

/// A host of the lab, and what is known of it.
pub(super) struct OfHost<'a> {
    pub lab: &'a LabName,
    pub name: &'a HostName,
    pub host: &'a TopologyHost,
    pub survey: Option<&'a Survey>,
}

impl OfHost<'_> {
    /// Returns the host's bridges, ports, uplinks and settings; `was` returns what is configured on a NIC of it.
    pub fn network(&self, was: impl Fn(&IfName) -> NicConfig) -> HostState {
        let mut state = HostState::default();
        for (network, segment) in &self.host.segments {
            self.segment(&mut state, network, segment, &was);
        }
        // Those below VLAN devices and kernel's tunnels, and those that carry no network.
        for nic in self.host.nics.keys() {
            if let Some(bond) = self.bond(nic).filter(|_| !state.links.contains_key(nic)) {
                self.add_bond(&mut state, nic, bond, None, &was);
            }
        }
        let in_user_space = |link: &Link| {
            matches!(
                link.kind,
                LinkKind::OvsBridge {
                    datapath: Datapath::Netdev,
                    ..
                }
            )
        };
        if state.links.values().any(in_user_space) {
            state.sysctls.insert(Sysctl::ArpIgnore, "1".to_owned());
        }
        state
    }

    fn segment(
        &self,
        state: &mut HostState,
        network: &NetworkName,
        segment: &Segment,
        was: &impl Fn(&IfName) -> NicConfig,
    ) {
        // `netlab status` reads the class from here: it queries the hosts, not the lab file.
        let purpose = match segment.class {
            Class::Service => format!("network {network}"),
            class => format!("{class} network {network}"),
        };
        // What the bridge takes over from its uplink is not added once more, e.g. where the host is the gateway with its
        // own address.
        let attached = segment.uplink.as_ref().filter(|_| segment.vlan.is_none()).map(was);
        let moved = attached.into_iter().flat_map(|nic| nic.addresses);
        let moved: BTreeSet<IpAddr> = moved.map(|net| net.addr()).collect();
        let own = segment.gateway.into_iter().chain(segment.address);
        let own = own.filter(|address| !moved.contains(&IpAddr::V4(*address)));
        let own = own.filter_map(|address| Ipv4Net::new(address, segment.subnet.prefix_len()).ok());
        if segment.gateway.is_some() {
            state.sysctls.insert(Sysctl::Ipv4Forward, "1".to_owned());
        }
        let datapath = datapath(segment.switch, self.survey);
        let over_bond = segment.attached(datapath).is_some_and(|nic| self.bond(nic).is_some());
        let kind = match datapath {
            None => LinkKind::Bridge {
                stp: segment.stp,
                mac: segment
                    .mac
                    .or_else(|| over_bond.then(|| derive::bridge_mac(self.lab, self.name, &segment.bridge))),
            },
            Some(datapath) => LinkKind::OvsBridge {
                datapath,
                stp: segment.stp,
                mac: self.mac(datapath, &segment.bridge, segment.mac, over_bond),
            },
        };
        let bridge = Link {
            kind,
            master: None,
            addresses: own.map(IpNet::from).collect(),
            mtu: segment.mtu,
            gateway: None,
            purpose: purpose.clone(),
        };
        state.links.insert(segment.bridge.clone(), bridge);

        if let Some(tunnel) = &segment.tunnel {
            match datapath {
                None => {
                    let device = vxlan(tunnel, segment, &purpose);
                    state.links.insert(tunnel.device.clone(), device);
                }
                Some(datapath) => {
                    state.links.extend(ovs_tunnels(tunnel, segment, &purpose));
                    // In user space, tunnels leave by the bridge that has their address: the kernel's NIC is not asked.
                    if let (Datapath::Netdev, Some(nic)) = (datapath, &tunnel.nic) {
                        self.provider(state, datapath, nic, was);
                    }
                }
            }
        }
        match (&segment.uplink, segment.vlan, datapath) {
            (None, _, _) => {}
            (Some(nic), None, datapath) => self.attach(state, nic, &segment.bridge, datapath, was),
            (Some(nic), Some(id), datapath) => {
                let kind = match datapath {
                    None => LinkKind::Vlan {
                        parent: nic.clone(),
                        id,
                    },
                    Some(datapath) => LinkKind::OvsPatch {
                        provider: self.provider(state, datapath, nic, was),
                        tag: id,
                    },
                };
                let device = Link {
                    kind,
                    master: Some(segment.bridge.clone()),
                    addresses: BTreeSet::new(),
                    // A patch is no device and has none.
                    mtu: segment.mtu.filter(|_| datapath.is_none()),
                    gateway: None,
                    purpose,
                };
                state.links.insert(derive::vlan_device(nic, id), device);
            }
        }
    }

    /// Adds the bridge that has `nic` as its port, and returns its name: that of the untagged network on the NIC, or one of
    /// its own.
    fn provider(
        &self,
        state: &mut HostState,
        datapath: Datapath,
        nic: &IfName,
        was: &impl Fn(&IfName) -> NicConfig,
    ) -> IfName {
        let untagged = self.host.segments.values().find(|segment| {
            let own = segment.uplink.as_ref() == Some(nic) && segment.vlan.is_none();
            own && segment.switch.is_ovs()
        });
        if let Some(segment) = untagged {
            return segment.bridge.clone();
        }
        let bridge = derive::provider_bridge(nic);
        let link = Link {
            kind: LinkKind::OvsBridge {
                datapath,
                stp: None,
                mac: self.mac(datapath, &bridge, None, self.bond(nic).is_some()),
            },
            master: None,
            addresses: BTreeSet::new(),
            mtu: None,
            gateway: None,
            purpose: format!("{PROVIDER}{nic}"),
        };
        state.links.entry(bridge.clone()).or_insert(link);
        self.attach(state, nic, &bridge, Some(datapath), was);
        bridge
    }

    /// Returns the bond of that name which netlab creates. One that a real host has already is a NIC like any other.
    fn bond(&self, nic: &IfName) -> Option<&LabBond> {
        let bond = self.host.nics.get(nic)?.bond.as_ref()?;
        let exists = || self.survey.is_some_and(|survey| survey.nics.contains_key(nic));
        (self.host.connect == Connect::Emulated || !exists()).then_some(bond)
    }

    /// Makes a NIC, or a bond, a port of a bridge, which then has its address.
    fn attach(
        &self,
        state: &mut HostState,
        nic: &IfName,
        bridge: &IfName,
        datapath: Option<Datapath>,
        was: &impl Fn(&IfName) -> NicConfig,
    ) {
        match self.bond(nic) {
            None => _ = state.uplinks.insert(nic.clone(), uplink(bridge, was(nic))),
            Some(bond) => self.add_bond(state, nic, bond, Some((bridge, datapath)), was),
        }
    }

    /// Adds a bond and its members. Its address is on the bridge that it is a port of, else on itself.
    fn add_bond(
        &self,
        state: &mut HostState,
        name: &IfName,
        LabBond { nics, bond }: &LabBond,
        port_of: Option<(&IfName, Option<Datapath>)>,
        was: &impl Fn(&IfName) -> NicConfig,
    ) {
        let lacking = self
            .survey
            .is_some_and(|survey| survey.missing_modules.contains(BONDING));
        let in_ovs = lacking && port_of.is_some_and(|(_, datapath)| datapath.is_some());
        let kind = if in_ovs {
            LinkKind::OvsBond {
                bond: bond.of_ovs(),
                members: nics.clone(),
            }
        } else {
            LinkKind::Bond(bond.of_kernel())
        };
        let mut link = Link {
            kind,
            master: port_of.map(|(bridge, _)| bridge.clone()),
            addresses: BTreeSet::new(),
            mtu: self.mtu_of(name).filter(|_| !in_ovs),
            gateway: None,
            purpose: format!("bond {name}"),
        };
        let described = self.host.nics.get(name);
        let address = described.and_then(|nic| nic.address);
        let gateway = described.and_then(|nic| nic.gateway);
        let holder = match port_of.and_then(|(bridge, _)| state.links.get_mut(bridge)) {
            Some(bridge) => bridge,
            None => &mut link,
        };
        // Where the host is the gateway with that address, the bridge has it already.
        holder.addresses.extend(address.map(IpNet::from));
        holder.gateway = gateway;
        state.links.insert(name.clone(), link);
        for nic in nics {
            let member = Uplink {
                bonded: true,
                ..uplink(name, was(nic))
            };
            state.uplinks.insert(nic.clone(), member);
        }
    }

    /// Returns the MTU of a bond, in bytes: that of the largest network on it; none where that is Ethernet's.
    fn mtu_of(&self, nic: &IfName) -> Option<u16> {
        let carried = |segment: &Segment| {
            let tunnel = segment
                .tunnel
                .as_ref()
                .filter(|tunnel| tunnel.nic.as_ref() == Some(nic));
            match tunnel {
                Some(tunnel) => Some(segment.mtu?.saturating_add(tunnel.kind.overhead())),
                None => segment.mtu.filter(|_| segment.uplink.as_ref() == Some(nic)),
            }
        };
        let mtus = self.host.segments.values().filter_map(carried);
        mtus.max().filter(|mtu| *mtu > ETHERNET_MTU)
    }

    /// Returns the MAC address of a bridge. In user space it is never that of the uplink: the kernel would take frames to
    /// it that arrive at the NIC as its own, besides those that the bridge hands it. Nor is it over a bond that netlab creates.
    fn mac(
        &self,
        datapath: Datapath,
        bridge: &IfName,
        own: Option<crate::lab::MacAddr>,
        over_bond: bool,
    ) -> Option<crate::lab::MacAddr> {
        let derived = || derive::bridge_mac(self.lab, self.name, bridge);
        own.or_else(|| (over_bond || datapath == Datapath::Netdev).then(derived))
    }
}

fn uplink(bridge: &IfName, was: NicConfig) -> Uplink {
    Uplink {
        bridge: bridge.clone(),
        was,
        bonded: false,
        missing: Missing::default(),
    }
}

fn vxlan(tunnel: &SegmentTunnel, segment: &Segment, purpose: &str) -> Link {
    Link {
        kind: LinkKind::Vxlan {
            vni: tunnel.key,
            local: tunnel.local,
            remotes: tunnel.remotes.values().copied().collect(),
        },
        master: Some(segment.bridge.clone()),
        addresses: BTreeSet::new(),
        mtu: segment.mtu,
        gateway: None,
        purpose: purpose.to_owned(),
    }
}

/// Returns a port for each remote host.
fn ovs_tunnels(tunnel: &SegmentTunnel, segment: &Segment, purpose: &str) -> BTreeMap<IfName, Link> {
    let ports = tunnel.remotes.iter().map(|(host, remote)| {
        let link = Link {
            kind: LinkKind::OvsTunnel {
                protocol: tunnel.kind,
                key: tunnel.key,
                local: tunnel.local,
                remote: *remote,
            },
            master: Some(segment.bridge.clone()),
            addresses: BTreeSet::new(),
            mtu: None,
            gateway: None,
            purpose: purpose.to_owned(),
        };
        (derive::tunnel_port(&tunnel.device, host), link)
    });
    ports.collect()
}
