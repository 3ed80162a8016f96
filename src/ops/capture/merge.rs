//! Frames of several links in time order, while they come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::linux::capture::pcap::Packet;

/// Frames that wait for earlier ones.
pub(super) struct Merge {
    hold: Duration,
    /// Nothing waits where all frames are of one link.
    waits: bool,
    waiting: BinaryHeap<Reverse<Waiting>>,
    number: u64,
}

/// A frame: sorted by its time, then as it came.
struct Waiting {
    time: u64,
    number: u64,
    came: Instant,
    at: usize,
    packet: Packet,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.time, self.number) == (other.time, other.number)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
    }
}

impl Merge {
    pub(super) fn new(hold: Duration, waits: bool) -> Self {
        Self {
            hold,
            waits,
            waiting: BinaryHeap::new(),
            number: 0,
        }
    }

    pub(super) fn add(&mut self, at: usize, packet: Packet) {
        self.number += 1;
        self.waiting.push(Reverse(Waiting {
            time: packet.time,
            number: self.number,
            came: Instant::now(),
            at,
            packet,
        }));
    }

    /// Returns the earliest frame, if it has waited long enough.
    pub(super) fn due(&mut self) -> Option<(usize, Packet)> {
        let Reverse(first) = self.waiting.peek()?;
        if self.waits && first.came.elapsed() < self.hold {
            return None;
        }
        let Reverse(first) = self.waiting.pop()?;
        Some((first.at, first.packet))
    }

    /// Returns all frames that wait, in order.
    pub(super) fn rest(mut self) -> Vec<(usize, Packet)> {
        let mut rest = Vec::new();
        while let Some(Reverse(first)) = self.waiting.pop() {
            rest.push((first.at, first.packet));
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(time: u64) -> Packet {
        Packet {
            time,
            length: 0,
            bytes: Vec::new(),
        }
    }

    #[test]
    fn frames_of_several_links_come_in_the_order_of_their_times() {
        let mut merge = Merge::new(Duration::from_secs(3600), true);
        for (at, time) in [(0, 3), (1, 2), (0, 5), (1, 2)] {
            merge.add(at, packet(time));
        }
        assert!(merge.due().is_none(), "earlier ones may still come");
        let order: Vec<(usize, u64)> = merge.rest().into_iter().map(|(at, packet)| (at, packet.time)).collect();
        assert_eq!(order, [(1, 2), (1, 2), (0, 3), (0, 5)]);
    }

    #[test]
    fn frames_of_one_link_do_not_wait() {
        let mut merge = Merge::new(Duration::from_secs(3600), false);
        merge.add(0, packet(1));
        assert!(merge.due().is_some());
        assert!(merge.due().is_none());
    }
}
