//! Asking again: which cells have no clear result yet, and what becomes of them when they were asked again. Pure; the
//! caller asks, and decides for how long.

use std::collections::BTreeSet;

use super::matrix::{cell, reply_to};
use super::{Cell, Expectation, Matrix, Replies, Verdict};

impl Matrix {
    /// Returns the questions of the lossy and unknown cells. Passes and failures are clear results, and are not asked
    /// again.
    pub fn unsettled(&self) -> Vec<Expectation> {
        let cells = self.cells.iter();
        cells
            .filter(|cell| is_unsettled(cell.verdict))
            .map(|cell| cell.expectation.clone())
            .collect()
    }

    /// Returns the questions of the cells whose replies may only have been late: lossy ones, and those without a reply
    /// that must be answered, unless the source had no route, or small packets were answered.
    pub fn unclear(&self) -> Vec<Expectation> {
        let late = |cell: &&Cell| match cell.verdict {
            Verdict::Lossy => true,
            Verdict::Fail => {
                let no_route = cell.reason.as_ref().is_some_and(|reason| reason.contains("Network"));
                cell.expectation.reach && cell.received == Some(0) && !cell.small_only && !no_route
            }
            Verdict::Pass | Verdict::Unknown => false,
        };
        let cells = self.cells.iter().filter(late);
        cells.map(|cell| cell.expectation.clone()).collect()
    }

    /// Takes the replies to the questions `asked`. A cell with a new reply has the new result and was asked once more;
    /// where the new reply says nothing, only an unknown cell takes it. Cells of a source that is not in `replies`, and
    /// those that were not asked, are unchanged.
    pub fn merge(&mut self, asked: &[Expectation], replies: &Replies) {
        let asked: BTreeSet<_> = asked.iter().map(|one| (&one.from, one.address)).collect();
        for old in &mut self.cells {
            let asks = &old.expectation;
            if !asked.contains(&(&asks.from, asks.address)) || !replies.contains_key(&asks.from) {
                continue;
            }
            let mut new = cell(old.expectation.clone(), reply_to(&old.expectation, replies));
            new.asked = old.asked + 1;
            if new.verdict == Verdict::Unknown && old.verdict != Verdict::Unknown {
                old.asked = new.asked;
            } else {
                *old = new;
            }
        }
    }
}

fn is_unsettled(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Lossy | Verdict::Unknown => true,
        Verdict::Pass | Verdict::Fail => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use super::*;
    use crate::guest::{Answer, Reply};
    use crate::lab::Asked;

    fn asked(name: &str) -> Asked {
        Asked::Vm(name.parse().unwrap())
    }

    fn address(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    /// The reply of `from` about each address: how many of two pings came back.
    fn replies(from: &str, received: &[(u8, u32)]) -> Replies {
        let reply = |(number, received): &(u8, u32)| {
            let answer = Answer::Counted {
                sent: 2,
                received: *received,
                rtt_ms: None,
                said: None,
            };
            (address(*number), Reply::from(answer))
        };
        [(asked(from), Ok(received.iter().map(reply).collect()))].into()
    }

    /// `a` was asked for four addresses: 1 passes, 2 is lossy, 3 fails, 4 is unknown. `b` could not be asked.
    fn matrix() -> Matrix {
        let expectation = |from: &str, number: u8| Expectation {
            from: asked(from),
            to: format!("to{number}"),
            address: address(number),
            reach: true,
        };
        let mut expectations: Vec<_> = (1..=4).map(|number| expectation("a", number)).collect();
        expectations.push(expectation("b", 1));
        let mut first = replies("a", &[(1, 2), (2, 1), (3, 0)]);
        first.insert(asked("b"), Err("the guest has stopped".to_owned()));
        Matrix::new(expectations, &first)
    }

    fn results(matrix: &Matrix) -> Vec<(Verdict, u32)> {
        let cells = matrix.cells.iter();
        cells.map(|cell| (cell.verdict, cell.asked)).collect()
    }

    #[test]
    fn only_lossy_and_unknown_cells_are_asked_again() {
        let again = matrix().unsettled();
        let again: Vec<_> = again
            .iter()
            .map(|one| (one.from.to_string(), one.to.as_str()))
            .collect();
        let wanted = [("a", "to2"), ("a", "to4"), ("b", "to1")].map(|(from, to)| (from.to_owned(), to));
        assert_eq!(again, wanted);
    }

    #[test]
    fn a_new_reply_replaces_the_result_and_is_counted() {
        use Verdict::{Fail, Pass, Unknown};
        let mut matrix = matrix();
        // What was not asked again, e.g. 1, does not change, whatever the replies say.
        let unsettled = matrix.unsettled();
        matrix.merge(&unsettled, &replies("a", &[(1, 0), (2, 2), (4, 0)]));
        let wanted = [(Pass, 1), (Pass, 2), (Fail, 1), (Fail, 2), (Unknown, 1)];
        assert_eq!(results(&matrix), wanted);
        assert_eq!(matrix.unsettled().len(), 1);
        matrix.merge(&unsettled, &replies("b", &[(1, 2)]));
        assert_eq!(results(&matrix)[4], (Pass, 2));
        assert_eq!(matrix.unsettled(), []);
    }

    #[test]
    fn a_cell_that_stays_without_a_result_counts_every_attempt() {
        use Verdict::{Fail, Lossy, Pass, Unknown};
        let mut matrix = matrix();
        let nothing: Replies = [(asked("a"), Err("no console".to_owned()))].into();
        let unsettled = matrix.unsettled();
        matrix.merge(&unsettled, &nothing);
        matrix.merge(&unsettled, &nothing);
        let wanted = [(Pass, 1), (Lossy, 3), (Fail, 1), (Unknown, 3), (Unknown, 1)];
        assert_eq!(results(&matrix), wanted);
        assert_eq!(matrix.cells[1].received, Some(1), "what was counted is kept");
        matrix.merge(&unsettled, &BTreeMap::new());
        assert_eq!(results(&matrix), wanted);
    }

    #[test]
    fn cells_whose_replies_may_be_late_are_unclear_and_a_lost_answer_does_not_replace_a_failure() {
        use Verdict::{Fail, Pass, Unknown};
        let mut matrix = matrix();
        let unclear = matrix.unclear();
        let names: Vec<_> = unclear.iter().map(|one| one.to.as_str()).collect();
        assert_eq!(names, ["to2", "to3"], "neither passes nor what could not be asked");
        matrix.merge(&unclear, &replies("a", &[(2, 2)]));
        let wanted = [(Pass, 1), (Pass, 2), (Fail, 2), (Unknown, 1), (Unknown, 1)];
        assert_eq!(results(&matrix), wanted);
        matrix.cells[2].reason = Some("no reply to 2 pings: ping printed \"Network is unreachable\"".to_owned());
        assert_eq!(matrix.unclear(), [], "without a route no reply can be late");
    }
}
