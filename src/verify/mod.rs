//! The connectivity matrix: who must reach whom, who does, and what that looks like. Takes a topology and the
//! answers of the guests; never guesses: no answer is "unknown".

pub mod diagnose;
pub mod expected;
pub mod html;
pub mod junit;
pub mod matrix;
pub mod report;

pub use diagnose::{Evidence, diagnose, full_packet};
pub use expected::{Expectation, expected};
pub use matrix::{Cell, Matrix, Replies, Reply, Verdict};
pub use report::text;
