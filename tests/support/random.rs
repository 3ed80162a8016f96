//! Random numbers that are the same again for the same seed.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

/// Sets the seed, to repeat a run.
const SEED: &str = "NETLAB_SEED";

/// Sebastiano Vigna's SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// By the seed of the environment, else one of its own; gives the seed as well.
    pub fn from_env() -> (u64, Self) {
        let given = std::env::var(SEED).ok().map(|text| text.parse().expect("a number"));
        let seed =
            given.unwrap_or_else(|| std::collections::hash_map::RandomState::new().build_hasher().finish() >> 32);
        (seed, Self(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Up to `longest`.
    pub fn moment(&mut self, longest: Duration) -> Duration {
        let longest = u64::try_from(longest.as_micros()).unwrap();
        Duration::from_micros(self.below(longest + 1))
    }
}
