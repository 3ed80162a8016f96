//! The connectivity matrix: who must reach whom, who does, and what that looks like. Takes a topology and the
//! answers of the guests; never guesses: no answer is "unknown".

pub mod expected;
pub mod matrix;
pub mod report;

pub use expected::{Expectation, expected};
pub use matrix::{Cell, Matrix, Verdict};
pub use report::text;
