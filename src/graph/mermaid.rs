//! A topology in Mermaid's language, which GitHub, GitLab and many wikis draw.

use std::fmt::{Display, Write as _};

use super::{Tunnel, bonded, lags, nics_of, tunnels};
use crate::topology::Topology;

/// Returns the flowchart: hosts as subgraphs with their guests, bridges and NICs, cables between them.
pub fn mermaid(topology: &Topology) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut line = |text: std::fmt::Arguments| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "{text}");
    };
    let by_host = topology.by_host();
    for (name, host) in &topology.hosts {
        line(format_args!("  subgraph {}[\"{name}\"]", id("host", name)));
        for nic in nics_of(host, &by_host[name]) {
            let address = host.nics.get(nic).and_then(|nic| nic.address);
            let address = address.map(|address| format!("<br/>{address}")).unwrap_or_default();
            let bond = host.nics.get(nic).and_then(|nic| nic.bond.as_ref());
            let mode = bond
                .map(|bond| format!("<br/>bond, {}", bond.bond.mode))
                .unwrap_or_default();
            line(format_args!("    {}[\"{nic}{mode}{address}\"]", id(name, nic)));
        }
        for (bond, member) in bonded(host) {
            line(format_args!("    {} === {}", id(name, bond), id(name, member)));
        }
        for (network, segment) in &host.segments {
            let bridge = id("bridge", format_args!("{name}/{network}"));
            line(format_args!(
                "    {bridge}(\"{}<br/>{network} {}\")",
                segment.bridge, segment.subnet
            ));
            if let Some(uplink) = &segment.uplink {
                let tag = segment.vlan.map(|vlan| format!("|VLAN {vlan}|")).unwrap_or_default();
                line(format_args!("    {bridge} ---{tag} {}", id(name, uplink)));
            }
        }
        for (vm, guest) in &by_host[name].guests {
            let addresses: Vec<String> = guest.nics.iter().map(|nic| nic.address.addr().to_string()).collect();
            let addresses = addresses.join("<br/>");
            line(format_args!("    {}[[\"{vm}<br/>{addresses}\"]]", id("vm", vm)));
            for nic in &guest.nics {
                let bridge = id("bridge", format_args!("{name}/{}", nic.network));
                line(format_args!("    {} --- {bridge}", id("vm", vm)));
            }
        }
        line(format_args!("  end"));
    }
    for (name, switch) in &topology.switches {
        let lines: Vec<String> = std::iter::once(format!("switch {name}")).chain(lags(switch)).collect();
        let text = lines.join("<br/>");
        line(format_args!("  {}[/\"{text}\"/]", id("machine", name)));
    }
    for name in topology.routers.keys() {
        line(format_args!("  {}((\"router {name}\"))", id("machine", name)));
    }
    for Tunnel {
        network,
        ends: [a, b],
        label,
    } in tunnels(topology)
    {
        let end = |host| id("bridge", format_args!("{host}/{network}"));
        line(format_args!("  {} -. {label} .- {}", end(a), end(b)));
    }
    for cable in &topology.cables {
        let [a, b] = cable.ends.each_ref().map(|end| {
            if topology.hosts.contains_key(&end.host) {
                id(&end.host, &end.nic)
            } else {
                id("machine", &end.host)
            }
        });
        line(format_args!("  {a} === {b}"));
    }
    out
}

/// Returns an identifier: letters, digits and underscores; other characters by their number, so that no two are equal.
fn id(kind: impl Display, name: impl Display) -> String {
    let mut id = String::new();
    for one in format!("{kind}:{name}").chars() {
        if one.is_ascii_alphanumeric() {
            id.push(one);
        } else {
            let _ = write!(id, "_{:x}_", u32::from(one));
        }
    }
    id
}
