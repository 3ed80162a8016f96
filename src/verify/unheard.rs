//! Answered pings whose target nobody answers for by ARP: the sender only remembers its hardware address, and will lose it.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::faults::{Concerns, Fault};
use super::{Cell, Evidence, Expectation, Matrix, Verdict, arp_questions, diagnose};
use crate::guest::GuestView;
use crate::lab::{Asked, VmName};
use crate::topology::Topology;

/// Returns the questions of the answered cells whose guest asked by ARP for the target, too, and got no answer.
pub fn unheard(topology: &Topology, guests: &BTreeMap<VmName, GuestView>, matrix: &Matrix) -> Vec<Expectation> {
    let cells = unheard_cells(topology, guests, matrix);
    cells.into_iter().map(|cell| cell.expectation.clone()).collect()
}

/// Returns a fault for each such cell, with what the path shows.
pub fn unheard_faults(evidence: &Evidence<'_>, matrix: &Matrix) -> Vec<Fault> {
    let cells = unheard_cells(evidence.topology, evidence.guests, matrix);
    let fault = |cell: &Cell| {
        let failed = Cell {
            verdict: Verdict::Fail,
            ..cell.clone()
        };
        let Expectation { from, address, .. } = &cell.expectation;
        let why = diagnose(evidence, &failed).map_or_else(String::new, |why| format!(": {why}"));
        Fault {
            text: format!("guest {from}: nobody answers its ARP requests for {address}, which it only remembers{why}"),
            concerns: Concerns::One(from.clone(), *address),
        }
    };
    cells.into_iter().map(fault).collect()
}

fn unheard_cells<'m>(topology: &Topology, guests: &BTreeMap<VmName, GuestView>, matrix: &'m Matrix) -> Vec<&'m Cell> {
    let mut silent: BTreeMap<VmName, BTreeSet<IpAddr>> = BTreeMap::new();
    for (vm, questions) in arp_questions(topology) {
        let Some(view) = guests.get(&vm) else { continue };
        let own = questions.iter().filter(|one| !one.foreign && one.forged.is_none());
        let unanswered =
            own.filter(|one| view.asked.contains(&one.address) && !view.replies.contains_key(&one.address));
        silent.insert(vm, unanswered.map(|one| one.address.into()).collect());
    }
    let cells = matrix.cells.iter();
    cells
        .filter(|cell| cell.verdict == Verdict::Pass && cell.expectation.reach)
        .filter(|cell| match &cell.expectation.from {
            Asked::Vm(vm) => silent
                .get(vm)
                .is_some_and(|silent| silent.contains(&cell.expectation.address)),
            Asked::Host(_) | Asked::Router(_) => false,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example::{topology, vm};
    use crate::verify::expected;

    #[test]
    fn an_answered_cell_without_an_answer_by_arp_is_asked_again_and_an_unanswered_one_is_not() {
        let topology = topology();
        let mut matrix = Matrix::new(expected(&topology), &BTreeMap::new());
        for cell in &mut matrix.cells {
            cell.verdict = Verdict::Pass;
        }
        let view = |asked: &[[u8; 4]]| GuestView {
            asked: asked.iter().map(|address| (*address).into()).collect(),
            replies: [([10, 0, 1, 3].into(), BTreeSet::new())].into(),
            ..GuestView::default()
        };
        let of = |view, matrix: &Matrix| -> Vec<String> {
            let found = unheard(&topology, &[(vm("vm1"), view)].into(), matrix);
            found.iter().map(|one| format!("{} {}", one.from, one.to)).collect()
        };
        assert_eq!(of(view(&[[10, 0, 1, 1], [10, 0, 1, 3]]), &matrix), ["vm1 gw service"]);
        assert_eq!(of(view(&[]), &matrix), [""; 0], "it has no program for it");
        for cell in &mut matrix.cells {
            cell.verdict = Verdict::Fail;
        }
        assert_eq!(of(view(&[[10, 0, 1, 1], [10, 0, 1, 3]]), &matrix), [""; 0]);
    }
}
