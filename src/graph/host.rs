//! Where everything in one host is: guests, bridges, bonds and NICs in tiers, each in the middle of its tier.

use std::collections::BTreeMap;

use super::layout::{Area, GAP, HostArea, LINE, count, text_width};
use super::nics_of;
use crate::lab::{HostName, IfName, NetworkName, VmName};
use crate::topology::{OnHost, Topology, TopologyHost};

/// Between a host's border and what is in it, in CSS pixels.
const INSIDE: f64 = 14.0;
/// Between tiers: room for an edge and its label.
const TIER: f64 = 46.0;
/// Guests side by side before another row is begun.
const GUESTS_IN_A_ROW: usize = 6;

/// Returns the tiers of a host, from its guests to its NICs.
fn tiers(topology: &Topology, name: &HostName, on_host: &OnHost<'_>) -> Vec<Vec<(Key, Area)>> {
    let described = &topology.hosts[name];
    let order: BTreeMap<&NetworkName, usize> = described.segments.keys().zip(0..).collect();
    let mut guests = on_host.guests.clone();
    // A guest is above its first network's bridge, as far as possible.
    guests.sort_by_key(|(_, guest)| guest.nics.first().and_then(|nic| order.get(&nic.network)));
    let guests: Vec<(VmName, Area)> = guests
        .into_iter()
        .map(|(vm, guest)| {
            let addresses = guest.nics.iter().map(|nic| nic.address.addr().to_string());
            let floating = guest
                .floating
                .iter()
                .map(|floating| format!("floating {}", floating.address));
            let lines = std::iter::once(vm.to_string()).chain(addresses).chain(floating);
            (vm.clone(), Area::of(lines.collect()))
        })
        .collect();
    let bridges: Vec<(NetworkName, Area)> = described
        .segments
        .keys()
        .map(|network| bridge(described, network))
        .collect();
    let nics: Vec<(IfName, Area)> = nics_of(described, on_host)
        .into_iter()
        .map(|nic| {
            let address = described
                .nics
                .get(nic)
                .and_then(|nic| nic.address)
                .map(|address| address.to_string());
            let nat = described
                .nat
                .iter()
                .any(|rule| rule.out == *nic)
                .then(|| "NAT".to_owned());
            let mode = described.nics.get(nic).and_then(|nic| nic.bond.as_ref());
            let mode = mode.map(|bond| format!("bond, {}", bond.bond.mode));
            let lines = [Some(nic.to_string()), mode, address, nat];
            (nic.clone(), Area::of(lines.into_iter().flatten().collect()))
        })
        .collect();
    let is_bond = |nic: &IfName| described.nics.get(nic).is_some_and(|nic| nic.bond.is_some());
    let (bonds, nics): (Vec<_>, Vec<_>) = nics.into_iter().partition(|(nic, _)| is_bond(nic));

    let mut rows: Vec<Vec<(Key, Area)>> = Vec::new();
    for some in guests.chunks(GUESTS_IN_A_ROW) {
        rows.push(
            some.iter()
                .map(|(vm, area)| (Key::Guest(vm.clone()), area.clone()))
                .collect(),
        );
    }
    rows.push(
        bridges
            .into_iter()
            .map(|(name, area)| (Key::Bridge(name), area))
            .collect(),
    );
    for nics in [bonds, nics] {
        rows.push(nics.into_iter().map(|(name, area)| (Key::Nic(name), area)).collect());
    }
    rows.retain(|row| !row.is_empty());
    rows
}

/// Lays out a host at the origin.
pub(super) fn host(topology: &Topology, name: &HostName, on_host: &OnHost<'_>, upside_down: bool) -> HostArea {
    let mut rows = tiers(topology, name, on_host);
    if upside_down {
        rows.reverse();
    }
    let width_of =
        |row: &[(Key, Area)]| row.iter().map(|(_, area)| area.width).sum::<f64>() + GAP * count(row.len() - 1);
    let inner = rows
        .iter()
        .map(|row| width_of(row))
        .fold(text_width(name.as_str()) + 20.0, f64::max);
    let title = LINE + 8.0;
    let mut out = HostArea {
        upside_down,
        ..HostArea::default()
    };
    let mut y = if upside_down { INSIDE } else { title };
    let mut previous_guests = false;
    for (at, row) in rows.into_iter().enumerate() {
        let are_guests = matches!(row.first(), Some((Key::Guest(_), _)));
        if at > 0 {
            y += if are_guests && previous_guests { GAP } else { TIER };
        }
        previous_guests = are_guests;
        let height = row.iter().map(|(_, area)| area.height).fold(0.0, f64::max);
        let mut x = INSIDE + (inner - width_of(&row)) / 2.0;
        for (key, area) in row {
            let next = x + area.width + GAP;
            let area = area.moved(x, y);
            match key {
                Key::Guest(vm) => _ = out.guests.insert(vm, area),
                Key::Bridge(network) => _ = out.bridges.insert(network, area),
                Key::Nic(nic) => _ = out.nics.insert(nic, area),
            }
            x = next;
        }
        y += height;
    }
    out.area = Area {
        width: inner + 2.0 * INSIDE,
        height: y + if upside_down { title } else { INSIDE },
        lines: vec![name.to_string()],
        ..Area::default()
    };
    out
}

/// What a box of a host is.
enum Key {
    Guest(VmName),
    Bridge(NetworkName),
    Nic(IfName),
}

fn bridge(host: &TopologyHost, network: &NetworkName) -> (NetworkName, Area) {
    let segment = &host.segments[network];
    let name = if segment.bridge.as_str() == network.as_str() {
        network.to_string()
    } else {
        format!("{} ({network})", segment.bridge)
    };
    let gateway = segment.gateway.map(|gateway| format!("gateway {gateway}"));
    let address = segment.address.map(|address| address.to_string());
    let dhcp = segment.dhcp.as_ref().map(|_| "DHCP, DNS".to_owned());
    let lines = [Some(name), gateway, address, dhcp].into_iter().flatten().collect();
    (network.clone(), Area::of(lines))
}

impl HostArea {
    pub(super) fn moved(mut self, x: f64, y: f64) -> Self {
        let inner = self
            .guests
            .values_mut()
            .chain(self.bridges.values_mut())
            .chain(self.nics.values_mut());
        for area in inner.chain([&mut self.area]) {
            area.x += x;
            area.y += y;
        }
        self
    }
}
