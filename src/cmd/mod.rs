//! One file per verb; the only place that prints.

pub mod error;
pub mod output;
pub mod progress;

pub use error::Failure;
pub use output::table;
pub use progress::{Progress, Timings};
