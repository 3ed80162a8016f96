//! What differs between two matrices of one lab. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::{Cell, Matrix, Verdict};
use crate::lab::Asked;

/// A cell whose result is another one than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The source.
    pub from: String,
    /// The target, as in its cell.
    pub to: String,
    /// The address.
    pub address: IpAddr,
    /// The result before; absent: it was not asked.
    pub before: Option<Verdict>,
    /// The result now.
    pub after: Verdict,
}

/// The cells whose results are others than before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<(Asked, IpAddr), Change>);

impl Changes {
    /// Compares the cells of two matrices; cells that are not asked any more are left out.
    pub fn between(before: &Matrix, after: &Matrix) -> Self {
        let key = |cell: &Cell| (cell.expectation.from.clone(), cell.expectation.address);
        let old: BTreeMap<_, Verdict> = before.cells.iter().map(|cell| (key(cell), cell.verdict)).collect();
        let changed = after.cells.iter().filter_map(|cell| {
            let before = old.get(&key(cell)).copied();
            let change = Change {
                from: cell.expectation.from.to_string(),
                to: cell.expectation.to.clone(),
                address: cell.expectation.address,
                before,
                after: cell.verdict,
            };
            (before != Some(cell.verdict)).then(|| (key(cell), change))
        });
        Self(changed.collect())
    }

    /// Whether this cell changed.
    pub fn contains(&self, cell: &Cell) -> bool {
        // The common case, without an allocation.
        !self.0.is_empty()
            && self
                .0
                .contains_key(&(cell.expectation.from.clone(), cell.expectation.address))
    }

    /// Returns the changes by source and address.
    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::matrix::tests::{counted, one};

    #[test]
    fn a_cell_with_another_result_is_a_change_and_one_with_another_round_trip_is_none() {
        let before = one(true, counted(2, 2));
        let mut after = before.clone();
        after.cells[0].rtt_ms = Some(9.0);
        assert_eq!(Changes::between(&before, &after), Changes::default());
        let after = one(true, counted(2, 0));
        let changes = Changes::between(&before, &after);
        assert!(changes.contains(&after.cells[0]));
        let seen: Vec<_> = changes.iter().map(|one| (one.before, one.after)).collect();
        assert_eq!(seen, [(Some(Verdict::Pass), Verdict::Fail)]);
        assert_eq!(Changes::between(&Matrix::default(), &after).iter().count(), 1);
    }
}
