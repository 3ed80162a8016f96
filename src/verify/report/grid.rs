//! The matrix as rows and columns: sources and targets by kind, network and name, and groups of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::lab::Asked;
use crate::topology::Topology;
use crate::verify::{Cell, Matrix, Verdict};

/// The networks of each guest by its name: where it is in a matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, Vec<String>>);

/// A kind of source or target, and the group within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    kind: u8,
    name: Vec<Piece>,
    pub text: String,
}

impl Group {
    fn new(kind: u8, text: String) -> Self {
        let name = natural(&text);
        Self { kind, name, text }
    }
}

/// A part of a name: `vm10` comes after `vm9`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    Number(u64),
    Text(String),
}

impl Places {
    /// Collects the networks of a topology's guests.
    pub fn of(topology: &Topology) -> Self {
        let guests = topology.guests.iter().map(|(name, guest)| {
            let networks = guest.nics.iter().map(|nic| nic.network.to_string());
            (name.to_string(), networks.collect())
        });
        Self(guests.collect())
    }

    #[cfg(test)]
    pub(super) fn from_networks(guests: BTreeMap<String, Vec<String>>) -> Self {
        Self(guests)
    }

    /// Returns the group of a source: guests of the same networks, hosts, or routers.
    pub(super) fn source(&self, from: &Asked) -> Group {
        match from {
            Asked::Vm(vm) => {
                let networks = self.0.get(vm.as_str()).map(|networks| networks.join("+"));
                Group::new(0, networks.unwrap_or_default())
            }
            Asked::Host(_) => Group::new(1, "hosts".to_owned()),
            Asked::Router(_) => Group::new(2, "routers".to_owned()),
        }
    }

    /// Returns the group of a target: guests' addresses in one network, gateways, or other addresses.
    pub(super) fn target(&self, to: &str) -> Group {
        let (guest, network) = to
            .split_once('/')
            .map_or((to, None), |(guest, network)| (guest, Some(network)));
        match (self.0.get(guest), network) {
            (Some(_), Some(network)) => Group::new(0, network.to_owned()),
            (Some(networks), None) => Group::new(0, networks.join("+")),
            (None, _) if to.starts_with("gw ") => Group::new(1, "gateways".to_owned()),
            (None, _) => Group::new(2, "addresses".to_owned()),
        }
    }
}

/// Splits a name into its numbers and the rest.
pub(super) fn natural(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest
            .find(|one: char| one.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(match piece.parse() {
            Ok(number) if digits => Piece::Number(number),
            _ => Piece::Text(piece.to_owned()),
        });
        rest = after;
    }
    pieces
}

/// The matrix as rows and columns.
pub(super) struct Grid<'a> {
    /// The sources of the pings: guests by network and name, hosts, routers.
    pub rows: Vec<String>,
    /// The targets: guests by network and name, gateways, other addresses.
    pub columns: Vec<&'a str>,
    /// The cell of each source and target, where there is one.
    pub cells: BTreeMap<(String, &'a str), &'a Cell>,
}

impl<'a> Grid<'a> {
    /// Sorts the cells of `matrix` into rows and columns.
    pub fn of(matrix: &'a Matrix, places: &Places) -> Self {
        Self::from_cells(matrix.cells.iter(), places)
    }

    fn from_cells(all: impl Iterator<Item = &'a Cell>, places: &Places) -> Self {
        let (mut rows, mut columns) = (BTreeMap::new(), BTreeMap::new());
        let mut cells: BTreeMap<(String, &str), &Cell> = BTreeMap::new();
        for cell in all {
            let (from, to) = (cell.expectation.from.to_string(), cell.expectation.to.as_str());
            if !rows.contains_key(&from) {
                let key = (places.source(&cell.expectation.from), natural(&from));
                rows.insert(from.clone(), key);
            }
            columns.entry(to).or_insert_with(|| (places.target(to), natural(to)));
            // Where a guest has two addresses in one network, the worse one is shown; each is listed with its cause.
            let shown = cells.entry((from, to)).or_insert(cell);
            if shown.verdict == Verdict::Pass {
                *shown = cell;
            }
        }
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by(|(_, a), (_, b)| a.cmp(b));
        let mut columns: Vec<_> = columns.into_iter().collect();
        columns.sort_by(|(_, a), (_, b)| a.cmp(b));
        Self {
            rows: rows.into_iter().map(|(name, _)| name).collect(),
            columns: columns.into_iter().map(|(name, _)| name).collect(),
            cells,
        }
    }

    /// Returns the cell of a source and a target.
    pub fn cell(&self, from: &str, to: &'a str) -> Option<&'a Cell> {
        self.cells.get(&(from.to_owned(), to)).copied()
    }

    /// Returns the rows and columns that have a cell which is no pass.
    pub fn exceptions(&self, places: &Places) -> Self {
        let bad = self.cells.iter().filter(|(_, cell)| cell.verdict != Verdict::Pass);
        let (from, to): (BTreeSet<&str>, BTreeSet<&str>) = bad.map(|((from, to), _)| (from.as_str(), *to)).unzip();
        let cells = self.cells.iter();
        let cells = cells.filter(|((row, column), _)| from.contains(row.as_str()) && to.contains(column));
        Self::from_cells(cells.map(|(_, cell)| *cell), places)
    }
}

/// How many cells of each result two groups have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub reached: usize,
    pub isolated: usize,
    pub failed: usize,
    pub lossy: usize,
    pub unknown: usize,
}

impl Counts {
    fn add(&mut self, cell: &Cell) {
        *match cell.verdict {
            Verdict::Pass if cell.expectation.reach => &mut self.reached,
            Verdict::Pass => &mut self.isolated,
            Verdict::Fail => &mut self.failed,
            Verdict::Lossy => &mut self.lossy,
            Verdict::Unknown => &mut self.unknown,
        } += 1;
    }

    /// The worst result.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self { failed: 1.., .. } => Verdict::Fail,
            Self { lossy: 1.., .. } => Verdict::Lossy,
            Self { unknown: 1.., .. } => Verdict::Unknown,
            _ => Verdict::Pass,
        }
    }

    /// The counts in words, the worst first.
    pub fn text(&self) -> String {
        let counts = [
            (self.failed, "FAIL"),
            (self.lossy, "lossy"),
            (self.unknown, "?"),
            (self.reached, "ok"),
            (self.isolated, "isolated"),
        ];
        let some = counts.into_iter().filter(|(count, _)| *count > 0);
        let texts: Vec<String> = some.map(|(count, name)| format!("{count} {name}")).collect();
        texts.join(", ")
    }
}

/// The matrix with a row and a column per group.
pub(super) struct Fold {
    /// Groups of sources, each with its number of sources.
    pub rows: Vec<(Group, usize)>,
    /// Groups of targets, each with its number of targets.
    pub columns: Vec<(Group, usize)>,
    /// The counts, by row and column, where anything was asked.
    pub counts: BTreeMap<(usize, usize), Counts>,
}

impl Fold {
    /// Counts the cells of `matrix` by the groups of `places`.
    pub fn of(matrix: &Matrix, places: &Places) -> Self {
        let (mut sources, mut targets) = (BTreeMap::new(), BTreeMap::new());
        for cell in &matrix.cells {
            let asked = &cell.expectation;
            sources.entry(&asked.from).or_insert_with(|| places.source(&asked.from));
            targets.entry(&asked.to).or_insert_with(|| places.target(&asked.to));
        }
        let count = |groups: Vec<&Group>| {
            let mut counted: BTreeMap<&Group, usize> = BTreeMap::new();
            for group in groups {
                *counted.entry(group).or_default() += 1;
            }
            let counted = counted.into_iter().map(|(group, count)| (group.clone(), count));
            counted.collect::<Vec<_>>()
        };
        let rows = count(sources.values().collect());
        let columns = count(targets.values().collect());
        let at = |groups: &[(Group, usize)], group: &Group| groups.partition_point(|(one, _)| one < group);
        let rows_of: BTreeMap<_, _> = sources.iter().map(|(name, group)| (*name, at(&rows, group))).collect();
        let columns_of: BTreeMap<_, _> = targets
            .iter()
            .map(|(name, group)| (*name, at(&columns, group)))
            .collect();
        let mut counts: BTreeMap<(usize, usize), Counts> = BTreeMap::new();
        for cell in &matrix.cells {
            let at = (rows_of[&cell.expectation.from], columns_of[&cell.expectation.to]);
            counts.entry(at).or_default().add(cell);
        }
        Self { rows, columns, counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let mut names = ["vm10", "vm9", "vm1", "a2b10", "a2b9", "vm", "10", "9"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["9", "10", "a2b9", "a2b10", "vm", "vm1", "vm9", "vm10"]);
    }
}
