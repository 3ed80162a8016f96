//! Where everything of a picture is. Hosts are in one row, or in two with switches and routers between them, so that no
//! cable crosses a host. Inside a host its guests, bridges and NICs are in tiers, the NICs towards the middle.

use std::collections::BTreeMap;

use super::host::host;
use super::lags;
use crate::lab::{HostName, IfName, NetworkName, PortMode, VmName};
use crate::topology::Topology;

/// All lengths are in CSS pixels. A character of the font, 12 px sans-serif, is hardly ever wider than this.
const CHARACTER: f64 = 7.0;
/// How much wider a bold character is.
const BOLD: f64 = 1.12;
/// The height of a line of text.
pub(super) const LINE: f64 = 15.0;
/// Between boxes of one tier.
pub(super) const GAP: f64 = 14.0;
/// Between hosts.
const BETWEEN_HOSTS: f64 = 36.0;
/// Between the hosts and the devices in the middle, and between switches and routers.
const MIDDLE: f64 = 90.0;
/// Hosts in one row before a second one is begun.
const HOSTS_IN_A_ROW: usize = 4;
/// Below hosts without anything below them: room for the cables between them.
const DIP: f64 = 50.0;
/// The margin around everything.
const MARGIN: f64 = 20.0;

/// A box with lines of text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub lines: Vec<String>,
}

impl Area {
    /// Returns a box around lines of text, of which the first is bold.
    pub fn of(lines: Vec<String>) -> Self {
        let widths = lines.iter().enumerate().map(|(at, line)| match at {
            0 => text_width(line) * BOLD,
            _ => text_width(line),
        });
        Self {
            width: widths.fold(0.0, f64::max) + 16.0,
            height: LINE * count(lines.len()) + 9.0,
            lines,
            ..Self::default()
        }
    }

    pub fn center(&self) -> f64 {
        self.x + self.width / 2.0
    }

    pub fn moved(mut self, x: f64, y: f64) -> Self {
        (self.x, self.y) = (x, y);
        self
    }
}

/// A host and everything in it.
#[derive(Debug, Default)]
pub(super) struct HostArea {
    pub area: Area,
    /// Its NICs are on top, towards the middle of the picture.
    pub upside_down: bool,
    pub guests: BTreeMap<VmName, Area>,
    pub bridges: BTreeMap<NetworkName, Area>,
    pub nics: BTreeMap<IfName, Area>,
}

/// A switch or a router.
#[derive(Debug)]
pub(super) struct Device {
    pub area: Area,
    pub is_router: bool,
    /// Where each port is, on the upper or the lower border, and its text.
    pub ports: BTreeMap<IfName, Port>,
}

/// A port of a device.
#[derive(Debug)]
pub(super) struct Port {
    pub x: f64,
    pub y: f64,
    /// On the upper border.
    pub on_top: bool,
    pub text: String,
}

/// The whole picture.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub width: f64,
    pub height: f64,
    pub hosts: BTreeMap<HostName, HostArea>,
    pub devices: BTreeMap<HostName, Device>,
}

#[expect(clippy::cast_precision_loss, reason = "counts of boxes and characters are small")]
pub(super) fn count(n: usize) -> f64 {
    n as f64
}

pub(super) fn text_width(text: &str) -> f64 {
    count(text.chars().count()) * CHARACTER
}

/// Lays out `topology`; the picture begins `top` below its upper border.
pub(super) fn layout(topology: &Topology, top: f64) -> Layout {
    let names: Vec<&HostName> = topology.hosts.keys().collect();
    let by_host = topology.by_host();
    let host = |name: &HostName, upside_down| host(topology, name, &by_host[name], upside_down);
    let in_first = if names.len() <= HOSTS_IN_A_ROW {
        names.len()
    } else {
        names.len().div_ceil(2)
    };
    let (first, second) = names.split_at(in_first);
    let mut rows = [
        first.iter().map(|name| (*name, host(name, false))).collect::<Vec<_>>(),
        second.iter().map(|name| (*name, host(name, true))).collect(),
    ];
    let row_width = |row: &[(&HostName, HostArea)]| {
        let widths = row.iter().map(|(_, host)| host.area.width + BETWEEN_HOSTS);
        widths.sum::<f64>() - if row.is_empty() { 0.0 } else { BETWEEN_HOSTS }
    };
    let row_height = |row: &[(&HostName, HostArea)]| row.iter().map(|(_, host)| host.area.height).fold(0.0, f64::max);

    let mut devices = [devices_of(topology, false), devices_of(topology, true)];
    let device_width = |row: &[(HostName, Device)]| {
        row.iter()
            .map(|(_, device)| device.area.width + BETWEEN_HOSTS)
            .sum::<f64>()
    };
    let widths = rows
        .iter()
        .map(|row| row_width(row))
        .chain(devices.iter().map(|row| device_width(row)));
    let inner = widths.fold(0.0, f64::max);

    let mut out = Layout {
        width: inner + 2.0 * MARGIN,
        ..Layout::default()
    };
    // The first row of hosts, aligned at its lower border.
    let mut y = top + MARGIN;
    let height = row_height(&rows[0]);
    let mut x = MARGIN + (inner - row_width(&rows[0])) / 2.0;
    for (name, host) in rows[0].drain(..) {
        let (at, next) = (y + height - host.area.height, x + host.area.width + BETWEEN_HOSTS);
        out.hosts.insert(name.clone(), host.moved(x, at));
        x = next;
    }
    y += height;
    // What is in the middle.
    let mut tiers = 0;
    for row in &mut devices {
        if row.is_empty() {
            continue;
        }
        tiers += 1;
        y += MIDDLE;
        let height = row.iter().map(|(_, device)| device.area.height).fold(0.0, f64::max);
        let mut x = MARGIN + (inner - device_width(row)) / 2.0 + BETWEEN_HOSTS / 2.0;
        for (name, device) in row.drain(..) {
            let next = x + device.area.width + BETWEEN_HOSTS;
            out.devices.insert(name, device.moved(x, y));
            x = next;
        }
        y += height;
    }
    let direct = topology
        .cables
        .iter()
        .any(|cable| cable.ends.iter().all(|end| topology.hosts.contains_key(&end.host)));
    if !rows[1].is_empty() && (tiers > 0 || direct) {
        y += MIDDLE;
    } else if direct {
        y += DIP;
    }
    // The second row, aligned at its upper border.
    let height = row_height(&rows[1]);
    let mut x = MARGIN + (inner - row_width(&rows[1])) / 2.0;
    for (name, host) in rows[1].drain(..) {
        let next = x + host.area.width + BETWEEN_HOSTS;
        out.hosts.insert(name.clone(), host.moved(x, y));
        x = next;
    }
    out.height = y + height + MARGIN;
    place_ports(topology, &mut out);
    out
}

impl Device {
    fn moved(mut self, x: f64, y: f64) -> Self {
        self.area = self.area.moved(x, y);
        self
    }
}

/// Returns the switches, or the routers, with a width that has room for the texts of all their ports in one line.
fn devices_of(topology: &Topology, routers: bool) -> Vec<(HostName, Device)> {
    let device = |name: &HostName, lines: Vec<String>, texts: Vec<(IfName, String)>| {
        let mut area = Area::of(lines);
        let ports = texts.iter().map(|(_, text)| text_width(text) + GAP).sum::<f64>();
        area.width = area.width.max(ports + GAP);
        // A line of port texts above and one below those of the device.
        area.height += 2.0 * LINE;
        let port = |text| Port {
            x: 0.0,
            y: 0.0,
            on_top: true,
            text,
        };
        let device = Device {
            area,
            is_router: routers,
            ports: texts.into_iter().map(|(nic, text)| (nic, port(text))).collect(),
        };
        (name.clone(), device)
    };
    if routers {
        let router = |(name, router): (&HostName, &crate::lab::Router)| {
            let outside = router.outside.iter().map(|net| format!("outside {}", net.addr()));
            let lines = std::iter::once(format!("router {name}")).chain(outside).collect();
            let texts = router.nics.iter().map(|(nic, config)| {
                let address = config.address.map(|address| format!(" {address}")).unwrap_or_default();
                (nic.clone(), format!("{nic}{address}"))
            });
            device(name, lines, texts.collect())
        };
        return topology.routers.iter().map(router).collect();
    }
    let switch = |(name, switch): (&HostName, &crate::lab::Switch)| {
        let texts = switch
            .ports
            .iter()
            .map(|(port, mode)| (port.clone(), port_text(port, mode)));
        let lines = std::iter::once(format!("switch {name}")).chain(lags(switch));
        device(name, lines.collect(), texts.collect())
    };
    topology.switches.iter().map(switch).collect()
}

fn port_text(port: &IfName, mode: &PortMode) -> String {
    match mode {
        PortMode::Open => port.to_string(),
        PortMode::Access(vlan) => format!("{port} access {vlan}"),
        PortMode::Trunk(vlans) => {
            let vlans: Vec<String> = vlans.iter().map(ToString::to_string).collect();
            format!("{port} trunk {}", vlans.join(","))
        }
    }
}

/// Puts each port on the border that faces its cable's other end, in the order of the other ends.
fn place_ports(topology: &Topology, layout: &mut Layout) {
    let mut towards: BTreeMap<(HostName, IfName), (f64, f64)> = BTreeMap::new();
    for cable in &topology.cables {
        for (end, other) in [(0, 1), (1, 0)].map(|(a, b)| (&cable.ends[a], &cable.ends[b])) {
            let host = layout.hosts.get(&other.host).map(|host| {
                let area = host.nics.get(&other.nic).unwrap_or(&host.area);
                (area.center(), area.y)
            });
            let device = || {
                layout
                    .devices
                    .get(&other.host)
                    .map(|device| (device.area.center(), device.area.y))
            };
            if let Some(place) = host.or_else(device) {
                towards.insert((end.host.clone(), end.nic.clone()), place);
            }
        }
    }
    for (name, device) in &mut layout.devices {
        let area = device.area.clone();
        let place = |port: &IfName| towards.get(&(name.clone(), port.clone())).copied();
        for top in [true, false] {
            let faces_up = |port: &IfName| place(port).is_none_or(|(_, y)| y < area.y + 1.0);
            let mut side: Vec<(IfName, f64)> = device
                .ports
                .keys()
                .filter(|port| faces_up(port) == top)
                .map(|port| (port.clone(), place(port).map_or(0.0, |(x, _)| x)))
                .collect();
            side.sort_by(|a, b| a.1.total_cmp(&b.1));
            let texts = side.iter().filter_map(|(port, _)| device.ports.get(port));
            let total = texts.map(|port| text_width(&port.text) + GAP).sum::<f64>();
            let mut x = area.center() - total / 2.0;
            for (name, _) in side {
                if let Some(port) = device.ports.get_mut(&name) {
                    let width = text_width(&port.text) + GAP;
                    (port.x, port.on_top) = (x + width / 2.0, top);
                    port.y = if top { area.y } else { area.y + area.height };
                    x += width;
                }
            }
        }
    }
}
