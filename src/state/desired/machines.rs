//! Emulated machines, with the NICs that they have after boot.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net};

use crate::lab::{Connect, ETHERNET_MTU, HostName, IfName, LabHostNic};
use crate::state::{Machine, MachineKind, MachineNic, NicConfig, Route};
use crate::topology::{Segment, Topology, derive};

/// Returns the emulated hosts, with the NICs that the lab gives them and those that only a cable creates, and the switches
/// and routers between them.
pub(super) fn machines(topology: &Topology) -> BTreeMap<HostName, Machine> {
    let emulated = topology
        .hosts
        .iter()
        .filter(|(_, host)| host.connect == Connect::Emulated);
    let mut machines: BTreeMap<_, _> = emulated
        .map(|(name, host)| (name.clone(), machine(MachineKind::Host, machine_nics(&host.nics))))
        .collect();
    machines.extend(topology.switches.iter().map(|(name, switch)| {
        let ports = switch.ports.iter().map(|(port, mode)| {
            let nic = MachineNic {
                port: mode.clone(),
                ..MachineNic::default()
            };
            (port.clone(), nic)
        });
        let machine = Machine {
            stp: switch.stp,
            lags: switch.lags.clone(),
            ..machine(MachineKind::Switch, ports.collect())
        };
        (name.clone(), machine)
    }));
    machines.extend(topology.routers.iter().map(|(name, router)| {
        let machine = Machine {
            outside: router.outside.clone(),
            to_host: router.to_host.then(|| derive::router_end(&topology.lab, name)),
            names: router.names.clone(),
            changed: BTreeSet::new(),
            ..machine(MachineKind::Router, machine_nics(&router.nics))
        };
        (name.clone(), machine)
    }));
    for end in topology.cables.iter().flat_map(|cable| &cable.ends) {
        if let Some(machine) = machines.get_mut(&end.host) {
            machine.nics.entry(end.nic.clone()).or_default();
        }
    }
    let mtu = largest_mtu(topology);
    for nic in machines.values_mut().flat_map(|machine| machine.nics.values_mut()) {
        nic.mtu = mtu;
    }
    machines
}

/// Returns the largest MTU of the networks that leave their host, in bytes; none where that is Ethernet's. What is
/// emulated carries it everywhere, as switches for jumbo frames do: which cables a network passes is not computed.
fn largest_mtu(topology: &Topology) -> Option<u16> {
    let segments = topology.hosts.values().flat_map(|host| host.segments.values());
    let carried = |segment: &Segment| match (&segment.uplink, &segment.tunnel) {
        (Some(_), _) => segment.mtu,
        (None, Some(tunnel)) => Some(segment.mtu?.saturating_add(tunnel.kind.overhead())),
        (None, None) => None,
    };
    segments.filter_map(carried).max().filter(|mtu| *mtu > ETHERNET_MTU)
}

fn machine(kind: MachineKind, nics: BTreeMap<IfName, MachineNic>) -> Machine {
    Machine {
        kind,
        nics,
        outside: BTreeSet::new(),
        to_host: None,
        names: BTreeMap::new(),
        stp: false,
        lags: BTreeSet::new(),
        changed: BTreeSet::new(),
        alive: true,
    }
}

fn machine_nics(nics: &BTreeMap<IfName, LabHostNic>) -> BTreeMap<IfName, MachineNic> {
    let made = nics.iter().filter(|(_, nic)| nic.bond.is_none()).map(|(name, wanted)| {
        let nic = MachineNic {
            address: wanted.address,
            gateway: wanted.gateway,
            ..MachineNic::default()
        };
        (name.clone(), nic)
    });
    made.collect()
}

/// Returns what is configured on an emulated host's NIC after boot.
pub(super) fn boot_config(nic: &MachineNic) -> NicConfig {
    let default_route = nic.gateway.map(|gateway| Route {
        to: Ipv4Net::default().into(),
        via: Some(gateway.into()),
        source: None,
        metric: None,
        protocol: None,
    });
    NicConfig {
        up: true,
        addresses: nic.address.into_iter().map(IpNet::from).collect(),
        routes: default_route.into_iter().collect(),
    }
}
