//! Which cells a fault makes worthless.

use std::net::IpAddr;

use serde::Serialize;

use super::{Concerns, Fault};
use crate::lab::{Asked, VmName};
use crate::topology::Topology;
use crate::verify::parts::{Part, part};
use crate::verify::{Expectation, Matrix, Verdict};

/// A fault in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultReport {
    /// What is wrong and where.
    pub text: String,
    /// How many cells it makes worthless.
    pub cells: usize,
}

/// Makes each cell that a fault concerns a failure with the fault as its cause. Returns the faults, the one that concerns
/// the most cells first.
pub fn apply(topology: &Topology, matrix: &mut Matrix, faults: Vec<Fault>) -> Vec<FaultReport> {
    let mut reports: Vec<FaultReport> = Vec::new();
    for Fault { text, concerns } in faults {
        let mut cells = 0;
        let concerned = matrix.cells.iter_mut();
        for cell in concerned.filter(|cell| is_concerned(topology, &concerns, &cell.expectation)) {
            cells += 1;
            if cell.verdict == Verdict::Pass {
                cell.verdict = Verdict::Fail;
                let reason = if cell.expectation.reach {
                    "the replies prove nothing"
                } else {
                    "no reply, which proves nothing"
                };
                cell.reason = Some(reason.to_owned());
            }
            if cell.verdict != Verdict::Unknown && cell.cause.is_none() {
                cell.cause = Some(text.clone());
            }
        }
        reports.push(FaultReport { text, cells });
    }
    reports.sort_by_key(|fault| std::cmp::Reverse(fault.cells));
    reports
}

fn is_concerned(topology: &Topology, concerns: &Concerns, asked: &Expectation) -> bool {
    let parts = |vm: &VmName| -> Vec<Part> {
        let guest = topology.guests.get(vm);
        let nics = guest
            .into_iter()
            .flat_map(|guest| guest.nics.iter().map(move |nic| (guest, nic)));
        nics.map(|(guest, nic)| part(topology, &nic.network, &guest.host))
            .collect()
    };
    let target = || {
        topology.guests.iter().find_map(|(vm, guest)| {
            let nic = guest
                .nics
                .iter()
                .find(|nic| IpAddr::from(nic.address.addr()) == asked.address)?;
            Some((vm, part(topology, &nic.network, &guest.host)))
        })
    };
    match concerns {
        Concerns::Between(a, b) => match (&asked.from, target()) {
            (Asked::Vm(from), Some((_, to))) => {
                let from = parts(from);
                (from.contains(a) && !from.contains(b) && to == *b)
                    || (from.contains(b) && !from.contains(a) && to == *a)
            }
            _ => false,
        },
        Concerns::NoPing => false,
        Concerns::To(address) => asked.reach && asked.address == *address,
        Concerns::Guest(vm) => {
            asked.reach && (asked.from == Asked::Vm(vm.clone()) || target().is_some_and(|(to, _)| to == vm))
        }
        Concerns::Apart(within) => match &asked.from {
            Asked::Vm(from) => !asked.reach && parts(from).contains(within),
            Asked::Host(_) | Asked::Router(_) => false,
        },
        Concerns::Within(within) => {
            let from = match &asked.from {
                Asked::Vm(from) => parts(from).contains(within),
                Asked::Host(_) | Asked::Router(_) => false,
            };
            asked.reach && (from || target().is_some_and(|(_, to)| to == *within))
        }
        Concerns::Routed(within, address) => {
            let from = match &asked.from {
                Asked::Vm(vm) => parts(vm),
                Asked::Host(_) | Asked::Router(_) => Vec::new(),
            };
            let own = || {
                let Asked::Vm(vm) = &asked.from else { return false };
                let guest = topology.guests.get(vm);
                guest.is_some_and(|guest| {
                    guest
                        .nics
                        .iter()
                        .any(|nic| IpAddr::from(nic.address.addr()) == *address)
                })
            };
            let inside = target().is_some_and(|(_, to)| to == *within);
            asked.reach && ((asked.address == *address && !from.contains(within)) || (own() && !inside))
        }
        Concerns::One(from, address) => asked.from == *from && asked.address == *address,
    }
}
