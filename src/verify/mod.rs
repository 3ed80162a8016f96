//! The connectivity matrix: who must reach whom, and who does. Takes a topology and the answers of guests, hosts and
//! routers; returns a cell per question. Never guesses: no answer is "unknown".

pub mod diagnose;
pub mod expected;
pub mod matrix;
pub mod report;
mod retry;

pub use diagnose::{Evidence, diagnose, full_packet};
pub use expected::{Expectation, expected};
pub use matrix::{Cell, Matrix, Replies, Reply, Verdict};
pub use report::{html, junit, text};
