//! A topology as a graph in Graphviz's DOT language, which `dot -Tsvg` draws.

use std::fmt::{Display, Write as _};

use super::{Tunnel, bonded, lags, nics_of, tunnels};
use crate::lab::{Class, HostName, IfName, NetworkName, PortMode};
use crate::topology::{OnHost, Segment, Topology};

/// Returns the graph: hosts as boxes with their guests, bridges and NICs, cables between them.
pub fn dot(topology: &Topology) -> String {
    let mut out = Out::default();
    out.line(format_args!("graph {} {{", id(&topology.lab)));
    out.line("    graph [rankdir=LR, compound=true, fontname=\"sans-serif\"];");
    out.line("    node [shape=box, style=filled, fillcolor=white, fontname=\"sans-serif\", fontsize=11];");
    out.line("    edge [fontname=\"sans-serif\", fontsize=10];");
    let by_host = topology.by_host();
    for name in topology.hosts.keys() {
        out.host(topology, name, &by_host[name]);
    }
    for (name, switch) in &topology.switches {
        let ports = switch.ports.iter().filter_map(|(port, mode)| match mode {
            PortMode::Open => None,
            PortMode::Access(vlan) => Some(format!("{port}: access {vlan}")),
            PortMode::Trunk(vlans) => {
                let vlans: Vec<String> = vlans.iter().map(ToString::to_string).collect();
                Some(format!("{port}: trunk {}", vlans.join(", ")))
            }
        });
        let head = std::iter::once(format!("switch {name}"));
        let label: Vec<String> = head.chain(lags(switch)).chain(ports).collect();
        out.line(format_args!(
            "    {} [shape=box3d, label={}];",
            id(name),
            label_of(&label)
        ));
    }
    for (name, router) in &topology.routers {
        let outside = router.outside.iter().map(|net| format!("outside: {}", net.addr()));
        let label: Vec<String> = std::iter::once(format!("router {name}")).chain(outside).collect();
        out.line(format_args!(
            "    {} [shape=ellipse, label={}];",
            id(name),
            label_of(&label)
        ));
    }
    for Tunnel { network, ends, label } in tunnels(topology) {
        let [a, b] = ends.map(|host| id(bridge(host, network)));
        out.line(format_args!("    {a} -- {b} [style=dashed, label=\"{label}\"];"));
    }
    for cable in &topology.cables {
        let [a, b] = cable.ends.each_ref().map(|end| {
            if topology.hosts.contains_key(&end.host) {
                id(nic(&end.host, &end.nic))
            } else {
                id(&end.host)
            }
        });
        out.line(format_args!("    {a} -- {b} [style=bold];"));
    }
    out.line("}");
    out.0
}

#[derive(Default)]
struct Out(String);

impl Out {
    fn line(&mut self, line: impl Display) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn host(&mut self, topology: &Topology, name: &HostName, on_host: &OnHost<'_>) {
        let host = &topology.hosts[name];
        self.line(format_args!("    subgraph {} {{", id(format_args!("cluster {name}"))));
        self.line(format_args!(
            "        label={}; style=rounded; bgcolor=\"#f4f4f4\";",
            id(name)
        ));
        for one in nics_of(host, on_host) {
            let described = host.nics.get(one).and_then(|nic| nic.address);
            let nat = host.nat.iter().any(|rule| rule.out == *one).then(|| "NAT".to_owned());
            let bond = host.nics.get(one).and_then(|nic| nic.bond.as_ref());
            let mode = bond.map(|bond| format!("bond, {}", bond.bond.mode));
            let address = described.map(|address| address.to_string());
            let label = [Some(one.to_string()), mode, address, nat];
            let label: Vec<String> = label.into_iter().flatten().collect();
            self.line(format_args!(
                "        {} [shape=component, label={}];",
                id(nic(name, one)),
                label_of(&label)
            ));
        }
        for (bond, member) in bonded(host) {
            let [bond, member] = [bond, member].map(|end| id(nic(name, end)));
            self.line(format_args!("        {bond} -- {member} [style=bold];"));
        }
        for (network, segment) in &host.segments {
            self.segment(name, network, segment);
        }
        for (vm, guest) in &on_host.guests {
            let addresses = guest.nics.iter().map(|nic| nic.address.addr().to_string());
            let floating = guest
                .floating
                .iter()
                .map(|floating| format!("floating {}", floating.address));
            let label: Vec<String> = std::iter::once(vm.to_string())
                .chain(addresses)
                .chain(floating)
                .collect();
            self.line(format_args!(
                "        {} [label={}];",
                id(format_args!("vm {vm}")),
                label_of(&label)
            ));
            for nic in &guest.nics {
                let ends = (id(format_args!("vm {vm}")), id(bridge(name, &nic.network)));
                self.line(format_args!("        {} -- {};", ends.0, ends.1));
            }
        }
        self.line("    }");
    }

    fn segment(&mut self, host: &HostName, network: &NetworkName, segment: &Segment) {
        let addresses = segment.gateway.iter().chain(&segment.address).map(ToString::to_string);
        let dhcp = segment.dhcp.iter().map(|_| "DHCP".to_owned());
        let head = [format!("{} ({network})", segment.bridge), segment.subnet.to_string()];
        let label: Vec<String> = head.into_iter().chain(addresses).chain(dhcp).collect();
        let bridge = id(bridge(host, network));
        let color = color(segment.class);
        self.line(format_args!(
            "        {bridge} [fillcolor=\"{color}\", label={}];",
            label_of(&label)
        ));
        if let Some(uplink) = &segment.uplink {
            let tag = segment
                .vlan
                .map(|vlan| format!(" [label=\"VLAN {vlan}\"]"))
                .unwrap_or_default();
            self.line(format_args!("        {bridge} -- {}{tag};", id(nic(host, uplink))));
        }
    }
}

/// The color of a class.
fn color(class: Class) -> &'static str {
    match class {
        Class::Public => "#ffd6d6",
        Class::Management => "#fff0c2",
        Class::Storage => "#e2d9f3",
        Class::Service => "#d6eaff",
    }
}

fn nic(host: &HostName, nic: &IfName) -> String {
    format!("{host}:{nic}")
}

fn bridge(host: &HostName, network: &NetworkName) -> String {
    format!("{host}/{network}")
}

/// A quoted name. All names are checked ones, without quotes.
fn id(name: impl Display) -> String {
    format!("\"{name}\"")
}

/// Lines of a label.
fn label_of(lines: &[String]) -> String {
    format!("\"{}\"", lines.join("\\n"))
}
