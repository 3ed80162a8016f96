//! Chooses the pairs whose packets are followed: of cells that failed without a cause, one for each pair of machines.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::Env;
use super::Answered;
use super::capture::{self, Pair};
use crate::lab::Asked;
use crate::topology::Topology;
use crate::verify::{Cell, Verdict, path};

/// Pairs whose packets are followed at most: all at the same time.
const MOST_FOLLOWED: usize = 8;

/// Follows the packets of cells without a cause: of one cell for each pair of machines, which the others are given, too.
pub(super) fn follow(env: &Env, answered: &mut Answered) {
    let without = |cell: &Cell| {
        let failed = matches!(cell.verdict, Verdict::Fail | Verdict::Lossy);
        failed && cell.expectation.reach && cell.cause.is_none()
    };
    let topology = &answered.topology;
    let group = |cell: &Cell| {
        (
            machine(topology, &cell.expectation.from),
            place(topology, cell),
            cell.small_only,
        )
    };
    let mut groups = BTreeMap::new();
    for (at, cell) in answered
        .matrix
        .cells
        .iter()
        .enumerate()
        .filter(|(_, cell)| without(cell))
    {
        groups.entry(group(cell)).or_insert_with(Vec::new).push(at);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().take(MOST_FOLLOWED).collect();
    if groups.is_empty() || env.cancel.is_requested() {
        return;
    }
    let evidence = answered.evidence();
    let pairs: Vec<Pair<'_>> = groups
        .iter()
        .map(|cells| {
            let cell = &answered.matrix.cells[cells[0]];
            let hops = path(&evidence, cell);
            Pair { cell, hops }
        })
        .collect();
    let (followed, _) = capture::follow(env, answered, &pairs);
    for (cells, followed) in groups.into_iter().zip(followed) {
        let cause = followed.finding.map(|finding| finding.to_string());
        for at in cells {
            answered.matrix.cells[at].cause.clone_from(&cause);
        }
    }
}

/// The machine that asks.
fn machine(topology: &Topology, from: &Asked) -> String {
    match from {
        Asked::Vm(vm) => topology
            .guests
            .get(vm)
            .map_or_else(String::new, |guest| guest.host.to_string()),
        Asked::Host(name) | Asked::Router(name) => format!("{name} itself"),
    }
}

/// Where the target of a cell is: the host and network of a guest, else its address.
fn place(topology: &Topology, cell: &Cell) -> String {
    let mut guests = topology.guests.values();
    let found = guests.find_map(|guest| {
        let nic = guest
            .nics
            .iter()
            .find(|nic| IpAddr::from(nic.address.addr()) == cell.expectation.address)?;
        Some(format!("{} {}", guest.host, nic.network))
    });
    found.unwrap_or_else(|| cell.expectation.address.to_string())
}
