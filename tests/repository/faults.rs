//! The table of faults, `docs/faults.md`, and the tests that refer to its rows.

use std::collections::BTreeSet;

use crate::support::sources::{files, read};

/// How a test refers to rows.
const WORD: &str = "FAULTS ";

/// Returns the numbers after each `FAULTS` of a text, e.g. of `FAULTS 4, 11 and 12`.
fn cited(text: &str) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    for after in text.split(WORD).skip(1) {
        let list = after.split(|c: char| !(c.is_ascii_digit() || " ,and".contains(c)));
        let list = list.take(1).flat_map(|list| list.split(|c: char| !c.is_ascii_digit()));
        numbers.extend(list.filter_map(|number| number.parse::<u32>().ok()));
    }
    numbers
}

#[test]
fn every_fault_has_a_test_and_every_number_that_a_test_cites_is_a_fault() {
    let page = read("docs/faults.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let rows: Vec<u32> = rows.filter_map(|row| row.split(' ').next()?.parse().ok()).collect();
    let faults: BTreeSet<u32> = rows.iter().copied().collect();
    assert_eq!(faults.len(), rows.len(), "a number occurs twice");
    let sources = ["src", "tests"].into_iter().flat_map(files);
    // This file's own tests cite what they please.
    let sources = sources.filter(|source| !source.path.ends_with("repository/faults.rs"));
    let cited: BTreeSet<u32> = sources.flat_map(|source| cited(&source.text)).collect();
    let missing: Vec<_> = faults.difference(&cited).collect();
    assert!(missing.is_empty(), "no test cites {missing:?}");
    let unknown: Vec<_> = cited.difference(&faults).collect();
    assert!(unknown.is_empty(), "docs/faults.md has no {unknown:?}");
}

#[test]
fn numbers_are_read_from_a_list_and_not_from_what_follows_it() {
    assert_eq!(cited("// FAULTS 4, 11 and 12: two of 30"), BTreeSet::from([4, 11, 12]));
    assert_eq!(cited("/// FAULTS 9."), BTreeSet::from([9]));
    assert_eq!(cited("no fault 3"), BTreeSet::new());
}
