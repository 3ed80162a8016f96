//! Waits for spanning tree before anything is asked: a port passes no frames until it has listened and learned.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use super::super::Env;
use crate::host::NamedHosts;
use crate::lab::{HostName, IfName};
use crate::topology::Topology;

/// The longest that a port listens and learns: twice the largest forward delay of 30 s (IEEE 802.1D-2004, table 17-1).
const LONGEST: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// Waits while ports of bridges with spanning tree listen or learn; returns what was waited for, in words. Labs without
/// spanning tree are not asked.
pub(super) fn settle(env: &Env, topology: &Topology, hosts: &NamedHosts) -> Vec<String> {
    let bridges: BTreeSet<(&HostName, &IfName)> = topology
        .hosts
        .iter()
        .flat_map(|(host, here)| here.segments.values().map(move |segment| (host, segment)))
        .filter(|(_, segment)| segment.stp.is_some())
        .map(|(host, segment)| (host, &segment.bridge))
        .collect();
    let with_stp: BTreeSet<&HostName> = bridges.iter().map(|(host, _)| *host).collect();
    let began = Instant::now();
    let mut waited = BTreeSet::new();
    while !with_stp.is_empty() && began.elapsed() < LONGEST && !env.cancel.is_requested() {
        let mut changing = BTreeSet::new();
        for host in &with_stp {
            let views = hosts.get(*host).and_then(|one| one.views(&topology.lab).ok());
            for (port, state) in views.into_iter().flatten().flat_map(|(_, view)| view.ports) {
                let ours = bridges
                    .iter()
                    .any(|(at, bridge)| at == host && state.master.as_deref() == Some(bridge.as_str()));
                if ours && matches!(state.stp.as_deref(), Some("listening" | "learning")) {
                    changing.insert(format!("{host}: {port}"));
                }
            }
        }
        if changing.is_empty() {
            break;
        }
        waited.extend(changing);
        thread::sleep(PAUSE);
    }
    if waited.is_empty() {
        return Vec::new();
    }
    let ports: Vec<String> = waited.into_iter().collect();
    let seconds = began.elapsed().as_secs_f32();
    vec![format!(
        "waited {seconds:.0} s for spanning tree: {} listened and learned",
        ports.join(", ")
    )]
}
