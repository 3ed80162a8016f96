//! Compares expectations with answers: a cell each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::Expectation;
use crate::guest::{Answer, NO_ROUTE, Reply};
use crate::lab::{Asked, VmName};

/// The result of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As expected, with every ping counted.
    Pass,
    /// The opposite of what was expected.
    Fail,
    /// Should be reachable, and some pings were lost.
    Lossy,
    /// No result: the source could not be asked, or its answer proves nothing.
    Unknown,
}

/// The replies by source; for a source that could not be asked, the reason.
pub type Replies = BTreeMap<Asked, Result<BTreeMap<IpAddr, Reply>, String>>;

/// One question, what was expected and what was answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// The question.
    #[serde(flatten)]
    pub expectation: Expectation,
    /// The result.
    pub verdict: Verdict,
    /// How often the question was asked.
    pub asked: u32,
    /// Echo requests sent the last time, where counted.
    pub sent: Option<u32>,
    /// Echo replies received the last time, where counted.
    pub received: Option<u32>,
    /// Mean round trip in milliseconds, where there was one.
    pub rtt_ms: Option<f64>,
    /// Why it is not a pass.
    pub reason: Option<String>,
    /// Small packets pass and full ones do not.
    pub small_only: bool,
    /// Where the packets stop, as far as the hosts show it.
    pub cause: Option<String>,
}

/// The connectivity matrix, in the order of the expectations.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Matrix {
    /// The cells.
    pub cells: Vec<Cell>,
    /// The number of cells of the lab, where only a sample of them was asked.
    pub sample_of: Option<usize>,
}

impl Matrix {
    /// Makes the answered cells of `vm` to `addresses` failures: full packets reach those in fragments only.
    pub fn fragmented(&mut self, vm: &VmName, addresses: &BTreeSet<IpAddr>) {
        let from = Asked::Vm(vm.clone());
        for cell in self.cells.iter_mut().filter(|cell| cell.expectation.from == from) {
            let answered = matches!(cell.verdict, Verdict::Pass | Verdict::Lossy) && cell.expectation.reach;
            if answered && addresses.contains(&cell.expectation.address) {
                cell.verdict = Verdict::Fail;
                cell.small_only = true;
                cell.reason = Some("full packets pass in fragments only: the path MTU is too small".to_owned());
            }
        }
    }

    /// Compares `expectations` with `replies`; the cells of a source that failed or did not answer are unknown.
    pub fn new(expectations: Vec<Expectation>, replies: &Replies) -> Self {
        let cells = expectations.into_iter().map(|expectation| {
            let reply = reply_to(&expectation, replies);
            cell(expectation, reply)
        });
        Self {
            cells: cells.collect(),
            sample_of: None,
        }
    }

    /// Whether every cell is a pass; unknown and lossy cells are not. A matrix without cells proves nothing.
    pub fn is_as_expected(&self) -> bool {
        !self.cells.is_empty() && self.passed() == self.cells.len()
    }

    /// Returns how many cells are a pass.
    pub fn passed(&self) -> usize {
        self.cells.iter().filter(|cell| cell.verdict == Verdict::Pass).count()
    }
}

/// The reply to one question.
pub(super) fn reply_to(expectation: &Expectation, replies: &Replies) -> Reply {
    let unknown = |why: &str| Reply::from(Answer::Unknown(why.to_owned()));
    match replies.get(&expectation.from) {
        None => unknown("it was not asked"),
        Some(Err(error)) => unknown(error),
        Some(Ok(given)) => given
            .get(&expectation.address)
            .cloned()
            .unwrap_or_else(|| unknown("it gave no answer for this address")),
    }
}

/// Evaluates one reply.
pub(super) fn cell(expectation: Expectation, Reply { answer, small }: Reply) -> Cell {
    let nothing = |answer: &Answer| matches!(answer, Answer::Counted { received: 0, sent, .. } if *sent > 0);
    let something = |answer: &Answer| matches!(answer, Answer::Counted { received, .. } if *received > 0);
    let (answer, small_only) = match small {
        Some(small) if nothing(&answer) && something(&small) => (small, true),
        _ => (answer, false),
    };
    let mut cell = evaluate(expectation, answer);
    // Lost small packets are another fault, which comes first.
    if small_only && cell.verdict == Verdict::Pass && cell.expectation.reach {
        cell.verdict = Verdict::Fail;
        cell.small_only = true;
        cell.reason = Some("small packets pass, full ones do not: the path MTU is too small".to_owned());
    }
    cell
}

/// A cell whose one ping was not answered, for what else is asked on its path.
pub(super) fn unanswered(expectation: Expectation) -> Cell {
    evaluate(
        expectation,
        Answer::Counted {
            sent: 1,
            received: 0,
            rtt_ms: None,
            said: None,
        },
    )
}

/// Evaluates one answer.
fn evaluate(expectation: Expectation, answer: Answer) -> Cell {
    let (sent, received, rtt_ms, said) = match answer {
        Answer::Counted {
            sent,
            received,
            rtt_ms,
            said,
        } => (sent, received, rtt_ms, said),
        Answer::Unknown(reason) => {
            return Cell {
                expectation,
                verdict: Verdict::Unknown,
                asked: 1,
                sent: None,
                received: None,
                rtt_ms: None,
                reason: Some(reason),
                small_only: false,
                cause: None,
            };
        }
    };
    let (verdict, reason) = if sent == 0 || received > sent {
        (
            Verdict::Unknown,
            Some(format!(
                "{received} replies to {sent} pings: the answer contradicts itself"
            )),
        )
    } else if expectation.reach {
        match received {
            0 => {
                let said = said.map_or_else(String::new, |said| format!(": ping printed \"{said}\""));
                (Verdict::Fail, Some(format!("no reply to {sent} pings{said}")))
            }
            _ if received < sent => (
                Verdict::Lossy,
                Some(format!("{received} of {sent} pings were answered")),
            ),
            _ => (Verdict::Pass, None),
        }
    } else if let Some(reason) = said.filter(|reason| !NO_ROUTE.contains(&reason.as_str())) {
        // Its own kernel drops what it sends: whether it would be answered is not known.
        (
            Verdict::Unknown,
            Some(format!("nothing was sent: ping printed \"{reason}\"")),
        )
    } else if received > 0 {
        (
            Verdict::Fail,
            Some(format!(
                "should be isolated, but {received} of {sent} pings were answered"
            )),
        )
    } else {
        (Verdict::Pass, None)
    };
    Cell {
        expectation,
        verdict,
        asked: 1,
        sent: Some(sent),
        received: Some(received),
        rtt_ms,
        reason,
        small_only: false,
        cause: None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A matrix in which `a` pings `b`, with one answer.
    pub fn one(reach: bool, answer: Option<Result<Answer, &str>>) -> Matrix {
        let address: IpAddr = "10.0.0.2".parse().unwrap();
        let from = Asked::Vm("a".parse().unwrap());
        let answers = answer.map(|answer| {
            let given = answer.map(|answer| BTreeMap::from([(address, Reply::from(answer))]));
            (from.clone(), given.map_err(str::to_owned))
        });
        let expectation = Expectation {
            from: from.clone(),
            to: "b".to_owned(),
            address,
            reach,
        };
        Matrix::new(vec![expectation], &answers.into_iter().collect())
    }

    #[allow(clippy::unnecessary_wraps, reason = "what `one` takes")]
    pub fn counted(sent: u32, received: u32) -> Option<Result<Answer, &'static str>> {
        let rtt_ms = (received > 0).then_some(0.42);
        Some(Ok(Answer::Counted {
            sent,
            received,
            rtt_ms,
            said: None,
        }))
    }

    fn verdict(reach: bool, answer: Option<Result<Answer, &str>>) -> Verdict {
        let matrix = one(reach, answer);
        assert_eq!(matrix.is_as_expected(), matrix.cells[0].verdict == Verdict::Pass);
        matrix.cells[0].verdict
    }

    #[test]
    fn all_replies_pass_where_reach_is_expected_and_fail_where_isolation_is() {
        assert_eq!(verdict(true, counted(2, 2)), Verdict::Pass);
        assert_eq!(verdict(false, counted(2, 2)), Verdict::Fail);
    }

    #[test]
    fn no_reply_fails_where_reach_is_expected_and_passes_where_isolation_is() {
        assert_eq!(verdict(true, counted(2, 0)), Verdict::Fail);
        assert_eq!(verdict(false, counted(2, 0)), Verdict::Pass);
    }

    #[test]
    fn some_replies_never_pass() {
        assert_eq!(verdict(true, counted(2, 1)), Verdict::Lossy);
        assert_eq!(verdict(false, counted(2, 1)), Verdict::Fail);
    }

    #[test]
    fn an_unknown_answer_passes_for_neither_expectation() {
        for reach in [true, false] {
            assert_eq!(verdict(reach, None), Verdict::Unknown);
            assert_eq!(verdict(reach, Some(Err("the guest has stopped"))), Verdict::Unknown);
            assert_eq!(
                verdict(reach, Some(Ok(Answer::Unknown("garbled".into())))),
                Verdict::Unknown
            );
            assert_eq!(verdict(reach, counted(0, 0)), Verdict::Unknown);
            assert_eq!(verdict(reach, counted(1, 2)), Verdict::Unknown);
        }
    }

    fn both_sizes(full: u32, small: u32) -> Cell {
        let answer = |received| counted(2, received).unwrap().unwrap();
        let expectation = one(true, None).cells.remove(0).expectation;
        let reply = Reply {
            answer: answer(full),
            small: Some(answer(small)),
        };
        cell(expectation, reply)
    }

    #[test]
    fn small_packets_that_pass_where_full_ones_do_not_are_a_failure_with_its_reason() {
        let cell = both_sizes(0, 2);
        assert_eq!((cell.verdict, cell.small_only), (Verdict::Fail, true));
        assert!(cell.reason.unwrap().contains("MTU"));
    }

    #[test]
    fn full_packets_that_pass_in_fragments_only_are_a_failure() {
        let mut matrix = one(true, counted(2, 2));
        let to = matrix.cells[0].expectation.address;
        matrix.fragmented(&"a".parse().unwrap(), &[to].into());
        let cell = &matrix.cells[0];
        assert_eq!((cell.verdict, cell.small_only), (Verdict::Fail, true));
        assert!(cell.reason.as_ref().unwrap().contains("in fragments only"));
    }

    #[test]
    fn loss_at_both_sizes_is_lossy_and_silence_at_both_is_a_failure() {
        assert_eq!(both_sizes(1, 2).verdict, Verdict::Lossy);
        assert_eq!(both_sizes(1, 1).verdict, Verdict::Lossy);
        assert_eq!(both_sizes(0, 1).verdict, Verdict::Lossy);
        assert_eq!(both_sizes(0, 0).verdict, Verdict::Fail);
        assert!(!both_sizes(0, 0).small_only);
    }

    #[test]
    fn json_holds_the_question_the_verdict_and_the_round_trip() {
        let json = serde_json::to_value(one(true, counted(2, 2))).unwrap();
        let cell = &json["cells"][0];
        assert_eq!(
            (cell["from"].as_str(), cell["verdict"].as_str()),
            (Some("a"), Some("pass"))
        );
        assert_eq!(cell["rtt_ms"].as_f64(), Some(0.42));
        assert_eq!(cell["asked"].as_u64(), Some(1));
    }
}
