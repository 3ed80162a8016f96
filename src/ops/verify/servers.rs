//! Asks on every network with DHCP whether another server than the lab's answers there: the next guest that asks for an
//! address, or renews its lease, may be given that one's.

use std::net::Ipv4Addr;
use std::thread;

use crate::host::NamedHosts;
use crate::lab::{HostName, IfName, NetworkName};
use crate::linux::dnsmasq::{answered, probe};
use crate::topology::Topology;
use crate::verify::{Concerns, Fault};

/// Returns a fault for each other server that answers; two seconds, on all hosts at the same time. A host that cannot ask
/// (it has no perl) is left out.
pub(super) fn strangers(topology: &Topology, hosts: &NamedHosts) -> Vec<Fault> {
    let serving = topology.hosts.iter().map(|(host, here)| {
        let segments = here.segments.iter().filter(|(_, segment)| segment.dhcp.is_some());
        let bridges = segments.filter_map(|(network, segment)| Some((network, &segment.bridge, segment.gateway?)));
        (host, bridges.collect::<Vec<_>>())
    });
    let serving = serving.filter(|(_, bridges)| !bridges.is_empty());
    thread::scope(|scope| {
        let asked: Vec<_> = serving
            .map(|(host, bridges)| scope.spawn(move || on_host(hosts, host, &bridges)))
            .collect();
        asked
            .into_iter()
            .flat_map(|asked| asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn on_host(hosts: &NamedHosts, host: &HostName, bridges: &[(&NetworkName, &IfName, Ipv4Addr)]) -> Vec<Fault> {
    let cmd = probe(bridges.iter().map(|(_, bridge, gateway)| (*bridge, *gateway)));
    let output = hosts.get(host).and_then(|at| at.ask(&cmd).ok());
    let answers = output.iter().flat_map(answered);
    answers
        .filter_map(|(bridge, address)| {
            let (network, ..) = bridges
                .iter()
                .find(|(_, own, gateway)| own.as_str() == bridge && *gateway != address)?;
            let text = format!(
                "{host}: another DHCP server answers on network {network}, from {address}: guests that ask or renew may get \
                 its addresses; shown by `tcpdump -eni {bridge} port 67` on {host}; fix: end the server, or detach it from \
                 {bridge}"
            );
            let concerns = Concerns::NoPing;
            Some(Fault { text, concerns })
        })
        .collect()
}
