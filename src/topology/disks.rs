//! Which files a guest's further disks are: a disk that exists keeps its file, and so its data, wherever the lab file lists
//! it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Existing, Guest, GuestDisk, Topology};

/// The files of a guest's further disks by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskNumbers {
    /// The number of each disk, in the guest's order; of one that is not here its place, from 1.
    of: Vec<u8>,
    /// Another one might be meant by the disk that is to be deleted.
    pub unclear: bool,
}

impl Topology {
    /// Gives the further disks of guests the numbers that they have in `existing`.
    pub fn number_disks(&mut self, existing: &Existing) {
        for (vm, guest) in &mut self.guests {
            if let Some(existing) = existing.disks.get(vm) {
                guest.disk_numbers = DiskNumbers::keeping(existing, &guest.disks);
            }
        }
    }
}

impl Guest {
    /// Returns the further disks with their numbers, in the guest's order.
    pub fn numbered_disks(&self) -> impl Iterator<Item = (u8, &GuestDisk)> {
        let number = |at: usize| self.disk_numbers.of.get(at).copied().unwrap_or_else(|| place(at));
        self.disks.iter().enumerate().map(move |(at, disk)| (number(at), disk))
    }
}

impl DiskNumbers {
    /// Each of `wanted` is, in this order, an equal disk of `existing`, a smaller one that grows, or a new one; where there
    /// are several, the one at its own place before others.
    fn keeping(existing: &BTreeMap<u8, GuestDisk>, wanted: &[GuestDisk]) -> Self {
        let mut left = existing.clone();
        let mut kept: Vec<Option<u8>> = vec![None; wanted.len()];
        for fits in [is_equal, grows] {
            for (at, (kept, wanted)) in kept.iter_mut().zip(wanted).enumerate() {
                if kept.is_some() {
                    continue;
                }
                let own = place(at);
                let mut fitting = left
                    .iter()
                    .filter(|(_, is)| fits(is, wanted))
                    .map(|(number, _)| *number);
                let number = if left.get(&own).is_some_and(|is| fits(is, wanted)) {
                    Some(own)
                } else {
                    fitting.next()
                };
                drop(fitting);
                if let Some(number) = number {
                    left.remove(&number);
                    *kept = Some(number);
                }
            }
        }
        let might_be = |lost: &GuestDisk| {
            let mut kept = kept.iter().zip(wanted);
            kept.any(|(number, wanted)| {
                let is = number.and_then(|number| existing.get(&number));
                is.is_some_and(|is| is == lost || (is != wanted && grows(lost, wanted)))
            })
        };
        let unclear = left.values().any(might_be);
        let mut taken: BTreeSet<u8> = kept.iter().flatten().copied().collect();
        let of = kept.iter().enumerate().map(|(at, kept)| {
            let new = || {
                let own = place(at);
                let mut free = std::iter::once(own).chain(1..).filter(|number| !taken.contains(number));
                free.next().unwrap_or(own)
            };
            let number = kept.unwrap_or_else(new);
            taken.insert(number);
            number
        });
        Self {
            of: of.collect(),
            unclear,
        }
    }
}

/// Returns the place of a disk, from 1; a lab file has few of them.
fn place(at: usize) -> u8 {
    u8::try_from(at + 1).unwrap_or(u8::MAX)
}

fn is_equal(is: &GuestDisk, wanted: &GuestDisk) -> bool {
    is == wanted
}

fn grows(is: &GuestDisk, wanted: &GuestDisk) -> bool {
    matches!((is, wanted), (GuestDisk::Blank { mib: is }, GuestDisk::Blank { mib: wanted }) if is < wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::BaseDisk;

    fn disk(text: &str) -> GuestDisk {
        match text.parse() {
            Ok(mib) => GuestDisk::Blank { mib },
            Err(_) => GuestDisk::Over(BaseDisk {
                base: text.into(),
                format: "raw".to_owned(),
            }),
        }
    }

    fn numbers(existing: &[&str], wanted: &[&str]) -> (Vec<u8>, bool) {
        let existing = (1..).zip(existing.iter().map(|text| disk(text))).collect();
        let wanted: Vec<_> = wanted.iter().map(|text| disk(text)).collect();
        let found = DiskNumbers::keeping(&existing, &wanted);
        (found.of, found.unclear)
    }

    #[test]
    fn a_disk_keeps_its_file_when_one_before_it_is_removed_or_added() {
        assert_eq!(numbers(&["64", "a"], &["a"]), (vec![2], false));
        assert_eq!(numbers(&["64", "128"], &["128"]), (vec![2], false));
        assert_eq!(numbers(&["64", "a"], &["b", "a", "64"]), (vec![3, 2, 1], false));
        assert_eq!(numbers(&["64", "a"], &["64", "a"]), (vec![1, 2], false));
        assert_eq!(numbers(&["64", "64"], &["64", "64", "64"]), (vec![1, 2, 3], false));
        assert_eq!(numbers(&["64", "64"], &["64", "65"]), (vec![1, 2], false));
    }

    #[test]
    fn a_disk_grows_at_its_own_place_and_another_file_or_a_smaller_size_replaces_it() {
        assert_eq!(numbers(&["64", "a"], &["128"]), (vec![1], false));
        assert_eq!(numbers(&["64", "128"], &["256", "128"]), (vec![1, 2], false));
        assert_eq!(numbers(&["a", "64"], &["b", "64"]), (vec![1, 2], false));
        assert_eq!(numbers(&["64"], &["32"]), (vec![1], false));
    }

    #[test]
    fn which_of_equal_disks_is_removed_is_not_guessed() {
        assert!(numbers(&["64", "64"], &["64"]).1);
        assert!(numbers(&["64", "65"], &["128"]).1, "either may grow");
        assert!(!numbers(&["64", "64"], &[]).1);
        assert!(!numbers(&["64", "65"], &["65"]).1);
    }
}
