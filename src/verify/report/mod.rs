//! The matrix as text, HTML and JUnit XML; its JSON is [`serde::Serialize`]'s. Takes a matrix and the drift, returns
//! a string; writes no file.

mod checks;
mod grid;
mod html;
mod junit;
mod table;
mod text;

use std::collections::BTreeMap;

use super::{Cell, Changes, CheckResult, FaultReport, Matrix, Verdict};

pub use grid::Places;
pub use html::{Page, html};
pub use junit::junit;
pub use text::{Style, text};

/// What is written of a result.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Faults that were observed.
    pub faults: &'a [FaultReport],
    /// Questions about services and paths.
    pub checks: &'a [CheckResult],
    /// Who reached whom.
    pub matrix: &'a Matrix,
    /// The networks of the guests.
    pub places: &'a Places,
    /// The cells that are marked as changed.
    pub changes: &'a Changes,
}

/// The text of a cell.
fn label(cell: &Cell) -> String {
    match (cell.verdict, cell.rtt_ms, cell.sent, cell.received) {
        (Verdict::Pass, ..) if !cell.expectation.reach => "isolated".to_owned(),
        (Verdict::Pass, Some(rtt), ..) => format!("ok {rtt:.1}"),
        (Verdict::Pass, None, ..) => "ok".to_owned(),
        (Verdict::Fail, ..) if cell.small_only => "MTU".to_owned(),
        (Verdict::Lossy, _, Some(sent), Some(received)) => format!("lossy {received}/{sent}"),
        (verdict, ..) => name(verdict).to_owned(),
    }
}

/// The text of a verdict.
fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "ok",
        Verdict::Fail => "FAIL",
        Verdict::Lossy => "lossy",
        Verdict::Unknown => "?",
    }
}

/// Why a cell is no pass, how often it was probed if more than once, and where its packets stop: a text each.
fn explanation(cell: &Cell) -> Vec<String> {
    let asked = (cell.asked > 1 && cell.verdict != Verdict::Pass).then(|| format!("asked {} times", cell.asked));
    let texts = cell.reason.iter().cloned().chain(asked).chain(cell.cause.clone());
    texts.collect()
}

/// Cells that are not as expected for one reason, in the order of the matrix.
struct Group<'a> {
    /// What they have in common: their cause, or what was answered where no cause is known.
    cause: &'a str,
    /// The cells, each of which is in one group; none where all that a fault concerns have another cause, too.
    cells: Vec<&'a Cell>,
}

/// Groups the cells that are not as expected by their cause, the largest group first; a fault that is the cause of no cell
/// is a group without cells.
fn groups<'a>(matrix: &'a Matrix, faults: &'a [FaultReport]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut add = |cause: &'a str, cell: Option<&'a Cell>| {
        let at = *at.entry(cause).or_insert_with(|| {
            groups.push(Group {
                cause,
                cells: Vec::new(),
            });
            groups.len() - 1
        });
        groups[at].cells.extend(cell);
    };
    for fault in faults {
        add(&fault.text, None);
    }
    for cell in matrix.cells.iter().filter(|cell| cell.verdict != Verdict::Pass) {
        let cause = cell.cause.as_deref().or(cell.reason.as_deref());
        add(cause.unwrap_or_default(), Some(cell));
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.cells.len()));
    groups
}

/// The number of cells in words.
fn cells(count: usize) -> String {
    match count {
        0 => "fault".to_owned(),
        1 => "1 cell".to_owned(),
        count => format!("{count} cells"),
    }
}

/// The summary: how many cells are as expected, how many of them took more than one attempt, and of how many they are a
/// sample.
fn summary(matrix: &Matrix) -> String {
    let passes = matrix.cells.iter().filter(|cell| cell.verdict == Verdict::Pass);
    let again = passes.filter(|cell| cell.asked > 1).count();
    if matrix.cells.is_empty() {
        return "nothing was asked, so nothing is proved".to_owned();
    }
    let text = format!("{} of {} as expected", matrix.passed(), matrix.cells.len());
    let text = match again {
        0 => text,
        again => format!("{text}, {again} of them only when asked again"),
    };
    match matrix.sample_of {
        None => text,
        Some(all) => format!("{text}: a sample of the lab's {all} cells; `--full` asks all of them"),
    }
}

/// Text from a guest or a host on one line, with what a terminal would act on escaped.
fn printable(text: &str) -> String {
    crate::lab::readable(&text.replace(['\n', '\r', '\t'], " "))
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::guest::{Answer, Reply};
    use crate::lab::Asked;
    use crate::verify::{Expectation, Replies};

    /// A lab of `guests` in two networks, the first half in net0, that are isolated from each other, each guest with its
    /// gateway; the cells `wrong`, by the numbers of source and target, have the opposite of the expected result.
    pub fn lab(guests: usize, wrong: &[(usize, usize)]) -> (Matrix, Places) {
        let name = |at: usize| format!("vm{}", at + 1);
        let network = |at: usize| format!("net{}", usize::from(at >= guests.div_ceil(2)));
        let address = |at: usize| {
            let at = u8::try_from(at).unwrap();
            IpAddr::from(Ipv4Addr::new(10, 0, 0, at))
        };
        let mut expectations = Vec::new();
        let mut replies = Replies::new();
        for from in 0..guests {
            let source = Asked::Vm(name(from).parse().unwrap());
            let mut given = BTreeMap::new();
            let mut add = |to: String, address: IpAddr, reach: bool, answers: bool| {
                let answer = Answer::Counted {
                    sent: 2,
                    received: if answers { 2 } else { 0 },
                    rtt_ms: answers.then_some(0.42),
                    said: None,
                };
                given.insert(address, Reply::from(answer));
                expectations.push(Expectation {
                    from: source.clone(),
                    to,
                    address,
                    reach,
                });
            };
            for to in (0..guests).filter(|to| *to != from) {
                let reach = network(from) == network(to);
                add(name(to), address(to), reach, reach != wrong.contains(&(from, to)));
            }
            let gateway = if from < guests.div_ceil(2) { 250 } else { 251 };
            add(format!("gw {}", network(from)), address(gateway), true, true);
            replies.insert(source, Ok(given));
        }
        let places = (0..guests).map(|at| (name(at), vec![network(at)]));
        (
            Matrix::new(expectations, &replies),
            Places::from_networks(places.collect()),
        )
    }
}
