//! What the user wrote: takes the text of lab.toml, gives a [`Lab`] in which every name is checked and every
//! reference resolves, or every problem of the file at once, each with its place. Never touches a host.

pub mod model;
pub mod names;

pub use model::*;
pub use names::*;
