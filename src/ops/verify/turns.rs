//! How many guests ping at a time: guests that share the processors of one machine answer late when all of them ping.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::lab::Connect;

/// Guests per processor of this machine that ping at a time, and the least number on any machine.
const PER_PROCESSOR: usize = 8;
const LEAST: usize = 16;

/// The guests that ping now, by the machine that runs them.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The address of a machine, empty for this one, and how many guests ping there.
    busy: Mutex<BTreeMap<String, usize>>,
    ended: Condvar,
}

/// A guest may ping until this value is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    machine: String,
}

impl Turns {
    /// Waits until another guest may ping on the machine that `connect` leads to.
    pub fn wait(&self, connect: Option<&Connect>) -> Turn<'_> {
        let machine = match connect {
            Some(Connect::Ssh(target)) => target.to_string(),
            _ => String::new(),
        };
        let limit = if machine.is_empty() { here() } else { LEAST };
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |busy: &mut BTreeMap<String, usize>| busy.get(&machine).is_some_and(|count| *count >= limit);
        let mut busy = self
            .ended
            .wait_while(busy, full)
            .unwrap_or_else(PoisonError::into_inner);
        *busy.entry(machine.clone()).or_default() += 1;
        Turn { turns: self, machine }
    }
}

fn here() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    (processors * PER_PROCESSOR).max(LEAST)
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut busy = self.turns.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = busy.get_mut(&self.machine) {
            *count -= 1;
        }
        self.turns.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_guests_of_a_machine_ping_at_a_time_than_its_limit() {
        let turns = Turns::default();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 * here() {
                scope.spawn(|| {
                    let _turn = turns.wait(None);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((1..=here()).contains(&most.into_inner()));
        assert!(turns.busy.into_inner().unwrap().values().all(|count| *count == 0));
    }
}
