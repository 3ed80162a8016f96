//! A topology as one SVG picture, or as an HTML page that holds it: no script, font or file from elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quick_xml::escape::escape;

use super::layout::{Area, Device, HostArea, LINE, Layout, Port, layout, text_width};
use super::{Condition, Marks, Tunnel, bonded, tunnels};
use crate::lab::{CableEnd, HostName, NetworkName};
use crate::topology::{Segment, Topology};

/// The colors of networks, in their order; red is for what is wrong.
const COLORS: [&str; 8] = [
    "#2f6fab", "#d07a1f", "#2e8b57", "#8257a8", "#16858a", "#8a6142", "#c05a94", "#7f8a1f",
];
const STYLE: &str = include_str!("style.css");
/// Room for the title.
const TITLE: f64 = 30.0;

/// Returns the picture as one `svg` element.
pub fn svg(topology: &Topology, marks: &Marks) -> String {
    let networks = networks(topology);
    let entries: Vec<String> = networks
        .iter()
        .map(|(name, (_, text))| format!("{name} {text}"))
        .collect();
    let legend_width = entries.iter().map(|text| text_width(text) + 44.0).fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "a count of networks is small")]
    let top = TITLE + LINE * 1.3 * networks.len() as f64;
    let mut layout = layout(topology, top);
    layout.width = layout
        .width
        .max(legend_width + 40.0)
        .max(text_width(topology.lab.as_str()) * 2.0 + 80.0);
    let mut out = Out(String::new());
    let (width, height) = (layout.width.ceil(), layout.height.ceil());
    out.line(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"lab {}\" class=\"netlab\">",
        topology.lab
    ));
    out.line(format_args!("<style>\n{STYLE}</style>"));
    out.line(format_args!(
        "<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>"
    ));
    out.line(format_args!(
        "<text class=\"title\" x=\"20\" y=\"26\">lab {}</text>",
        topology.lab
    ));
    let mut y = TITLE + LINE;
    for ((_, (color, _)), text) in networks.iter().zip(&entries) {
        out.line(format_args!(
            "<line x1=\"20\" x2=\"44\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"{color}\" stroke-width=\"4\"/>",
            y - 4.0
        ));
        out.line(format_args!("<text x=\"52\" y=\"{y:.1}\">{}</text>", escape(text)));
        y += LINE * 1.3;
    }
    for (name, host) in &layout.hosts {
        let class = if marks.dead.contains(name) { "host bad" } else { "host" };
        out.area(&host.area, class, "rx=\"10\"", "");
    }
    for cable in &topology.cables {
        out.cable(topology, &layout, &cable.ends, marks);
    }
    for tunnel in tunnels(topology) {
        out.tunnel(&layout, &tunnel, networks[tunnel.network].0);
    }
    for (name, host) in &layout.hosts {
        out.host(topology, name, host, marks, &networks);
    }
    for (name, device) in &layout.devices {
        out.device(name, device, marks);
    }
    out.line(format_args!("</svg>"));
    out.0
}

/// Returns the picture as a page.
pub fn html(topology: &Topology, marks: &Marks) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>lab {}</title>\n</head>\n<body>\n{}</body>\n</html>\n",
        topology.lab,
        svg(topology, marks)
    )
}

type Networks<'a> = BTreeMap<&'a NetworkName, (&'static str, String)>;

/// Returns the color of each network, and its subnet and VLAN for the legend.
fn networks(topology: &Topology) -> Networks<'_> {
    let segments = topology.hosts.values().flat_map(|host| &host.segments);
    let described = |segment: &Segment| match (&segment.tunnel, segment.vlan) {
        (Some(tunnel), _) => format!("{}, {} {}", segment.subnet, tunnel.kind, tunnel.key),
        (None, Some(vlan)) => format!("{}, VLAN {vlan}", segment.subnet),
        (None, None) => segment.subnet.to_string(),
    };
    let all: BTreeMap<&NetworkName, String> = segments.map(|(name, segment)| (name, described(segment))).collect();
    let colors = COLORS.iter().cycle();
    all.into_iter()
        .zip(colors)
        .map(|((name, text), color)| (name, (*color, text)))
        .collect()
}

struct Out(String);

impl Out {
    fn line(&mut self, line: std::fmt::Arguments) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// Draws a box with its lines of text in the middle; that of a host, at its border.
    fn area(&mut self, area: &Area, class: &str, attributes: &str, style: &str) {
        let Area {
            x,
            y,
            width,
            height,
            lines,
        } = area;
        self.line(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {attributes}{style}/>"
        ));
        if class.starts_with("host") {
            return;
        }
        self.lines(area.center(), y + LINE - 1.0, lines);
    }

    fn lines(&mut self, x: f64, mut y: f64, lines: &[String]) {
        for (at, line) in lines.iter().enumerate() {
            let class = if at == 0 { "name" } else { "detail" };
            self.line(format_args!(
                "<text class=\"{class}\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
                escape(line)
            ));
            y += LINE;
        }
    }

    /// Draws a curve that begins and ends vertically; `bend` is how far it goes in the direction of each end.
    fn curve(&mut self, class: &str, stroke: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64), bend: (f64, f64)) {
        let (a, b) = (y1 + bend.0, y2 + bend.1);
        self.line(format_args!(
            "<path class=\"{class}\"{stroke} d=\"M{x1:.1} {y1:.1} C{x1:.1} {a:.1} {x2:.1} {b:.1} {x2:.1} {y2:.1}\"/>"
        ));
    }

    fn cable(&mut self, topology: &Topology, layout: &Layout, ends: &[CableEnd; 2], marks: &Marks) {
        let broken = ends
            .iter()
            .any(|end| marks.broken.contains(&(end.host.clone(), end.nic.clone())));
        let places = ends.each_ref().map(|end| place(layout, end));
        let [Some(a), Some(b)] = places else { return };
        let direct = ends.iter().all(|end| topology.hosts.contains_key(&end.host));
        let reach = if direct {
            60.0
        } else {
            ((b.y - a.y).abs() / 2.0).max(30.0)
        };
        let class = if broken { "cable bad" } else { "cable" };
        self.curve(
            class,
            "",
            (a.x, a.y),
            (b.x, b.y),
            (reach * a.direction, reach * b.direction),
        );
    }

    /// Draws a tunnel from the network's bridge on one host to that on the other.
    fn tunnel(&mut self, layout: &Layout, tunnel: &Tunnel<'_>, color: &str) {
        let ends = tunnel.ends.map(|host| {
            let host = layout.hosts.get(host)?;
            let bridge = host.bridges.get(tunnel.network)?;
            Some((bridge.center(), bridge.y + bridge.height / 2.0))
        });
        let [Some(a), Some(b)] = ends else { return };
        let stroke = format!(" stroke=\"{color}\" stroke-dasharray=\"6 4\"");
        // Out of the bridges' row, so that the curve does not cross those between the two.
        self.curve("edge", &stroke, a, b, (40.0, 40.0));
    }

    fn host(&mut self, topology: &Topology, name: &HostName, host: &HostArea, marks: &Marks, networks: &Networks) {
        let described = &topology.hosts[name];
        let area = &host.area;
        let title = if host.upside_down {
            area.y + area.height - 7.0
        } else {
            area.y + LINE
        };
        self.line(format_args!(
            "<text class=\"title\" x=\"{:.1}\" y=\"{title:.1}\">{name}</text>",
            area.x + 10.0
        ));
        // The side of a box that faces the NICs, and the other one.
        let near = |area: &Area| if host.upside_down { area.y } else { area.y + area.height };
        let far = |area: &Area| if host.upside_down { area.y + area.height } else { area.y };
        let down = if host.upside_down { -1.0 } else { 1.0 };
        for (network, segment) in &described.segments {
            let (color, _) = networks[network];
            let bridge = &host.bridges[network];
            if let Some(nic) = segment.uplink.as_ref().and_then(|uplink| host.nics.get(uplink)) {
                let (from, to) = ((bridge.center(), near(bridge)), (nic.center(), far(nic)));
                let half = (to.1 - from.1).abs() / 2.0 * down;
                self.curve("edge", &format!(" stroke=\"{color}\""), from, to, (half, -half));
                if let Some(vlan) = segment.vlan {
                    let x = from.0 + (to.0 - from.0) * 0.25;
                    let y = from.1 + (to.1 - from.1) * 0.3 + 4.0;
                    self.line(format_args!(
                        "<text class=\"tag\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{color}\">VLAN {vlan}</text>"
                    ));
                }
            }
        }
        for (bond, member) in bonded(described) {
            if let (Some(bond), Some(member)) = (host.nics.get(bond), host.nics.get(member)) {
                let (from, to) = ((bond.center(), near(bond)), (member.center(), far(member)));
                let half = (to.1 - from.1).abs() / 2.0 * down;
                self.curve("bonded", "", from, to, (half, -half));
            }
        }
        for (vm, area) in &host.guests {
            let nics = topology.guests.get(vm).map_or(&[][..], |guest| &guest.nics);
            let mut x = area.center() - 5.0 * f64::from(u32::try_from(nics.len()).unwrap_or(1).saturating_sub(1));
            for nic in nics {
                if let Some(bridge) = host.bridges.get(&nic.network) {
                    let (color, _) = networks[&nic.network];
                    let (from, to) = ((x, near(area)), (bridge.center(), far(bridge)));
                    let half = (to.1 - from.1).abs() / 2.0 * down;
                    self.curve("edge", &format!(" stroke=\"{color}\""), from, to, (half, -half));
                }
                x += 10.0;
            }
        }
        for (vm, area) in &host.guests {
            let class = match marks.guests.get(vm) {
                None => "vm",
                Some(Condition::Good) => "vm good",
                Some(Condition::Differs) => "vm differs",
                Some(Condition::Bad) => "vm bad",
            };
            self.area(area, class, "rx=\"3\"", "");
        }
        for (network, area) in &host.bridges {
            self.area(
                area,
                "bridge",
                "rx=\"12\"",
                &format!(" stroke=\"{}\"", networks[network].0),
            );
        }
        for (nic, area) in &host.nics {
            let broken = marks.broken.contains(&(name.clone(), nic.clone()));
            self.area(area, if broken { "nic bad" } else { "nic" }, "", "");
        }
    }

    fn device(&mut self, name: &HostName, device: &Device, marks: &Marks) {
        let area = &device.area;
        let round = if device.is_router { "rx=\"24\"" } else { "rx=\"2\"" };
        let class = if marks.dead.contains(name) {
            "device bad"
        } else {
            "device"
        };
        let body = Area {
            lines: Vec::new(),
            ..area.clone()
        };
        self.area(&body, class, round, "");
        self.lines(area.center(), area.y + 2.0 * LINE, &area.lines);
        for Port { x, y, on_top, text } in device.ports.values() {
            let y = if *on_top { y + LINE - 3.0 } else { y - 5.0 };
            self.line(format_args!(
                "<text class=\"detail\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
                escape(text)
            ));
        }
    }
}

/// Where a cable ends, and in which direction it leaves: 1 downwards, -1 upwards.
struct Place {
    x: f64,
    y: f64,
    direction: f64,
}

fn place(layout: &Layout, end: &CableEnd) -> Option<Place> {
    if let Some(host) = layout.hosts.get(&end.host) {
        let nic = host.nics.get(&end.nic)?;
        let (y, direction) = if host.upside_down {
            (nic.y, -1.0)
        } else {
            (nic.y + nic.height, 1.0)
        };
        return Some(Place {
            x: nic.center(),
            y,
            direction,
        });
    }
    let port = layout.devices.get(&end.host)?.ports.get(&end.nic)?;
    Some(Place {
        x: port.x,
        y: port.y,
        direction: if port.on_top { -1.0 } else { 1.0 },
    })
}
