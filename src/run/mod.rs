//! Runs a plan: hosts in parallel, steps in order, intent on disk first. Takes no decisions; whatever happens, the
//! answer is what was done, what was not, and how to go on.

pub mod event;

pub use event::{Event, Events};
