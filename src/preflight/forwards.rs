//! Ports of the machine that netlab runs on that lead to guests.

use std::collections::BTreeMap;

use super::{Obstacle, Severity};
use crate::lab::HostName;
use crate::state::{Site, Survey, desired, localhost, unreached};
use crate::topology::Topology;

/// Returns the ports that somebody else listens on, and the guests that no host is connected to.
pub(super) fn check(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, observed: &Site) -> Vec<Obstacle> {
    if topology.guests.values().all(|guest| guest.forward.is_empty()) {
        return Vec::new();
    }
    let localhost = localhost();
    let error = |what: String, help: String| Obstacle {
        severity: Severity::Error,
        host: localhost.clone(),
        what,
        help,
    };
    let own = |port: &u16| {
        observed
            .get(&localhost)
            .is_some_and(|state| state.forwards.contains_key(port))
    };
    let listening = |port: &u16| {
        surveys
            .get(&localhost)
            .is_some_and(|survey| survey.listening.contains(port))
    };
    let mut obstacles = Vec::new();
    for (vm, guest) in &topology.guests {
        let taken = guest.forward.iter().map(|forward| forward.host);
        let taken = taken.filter(|port| listening(port) && !own(port));
        obstacles.extend(taken.map(|port| {
            error(
                format!("port {port} of 127.0.0.1, which is to lead to VM {vm}, is in use"),
                format!("choose another port; `ss -ltnp 'sport = :{port}'` shows who listens"),
            )
        }));
    }
    let unreached = unreached(topology, &desired(topology, surveys));
    obstacles.extend(unreached.into_iter().map(|vm| {
        error(
            format!("no port can be forwarded to VM {vm}: no host of the lab has an address in its networks"),
            "give one of its networks a `gateway`, or a host an address there".to_owned(),
        )
    }));
    obstacles
}
