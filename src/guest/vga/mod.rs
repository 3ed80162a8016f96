//! A guest that has only a screen and a keyboard, as a [`Console`](super::Console): keys are pressed and read back
//! from the screen before Enter, successive looks at the screen become a stream of new lines. Takes a [`Screen`], the
//! way to one guest's hardware; knows no libvirt.

mod console;
mod keys;
mod page;
mod png;
mod stream;

use super::ConsoleError;

pub use console::VgaConsole;
pub use keys::{Chord, chord, named, with_alt};
pub use page::{COLUMNS, MEMORY, Page, ROWS};
pub use png::{PictureError, to_png};

/// What a screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Text.
    Text(Page),
    /// A picture: the video card is in graphics mode.
    Picture,
}

/// A guest's screen and keyboard.
pub trait Screen: Send {
    /// What the screen shows now. An error when the guest or the way to it has gone.
    fn look(&mut self) -> Result<Frame, ConsoleError>;

    /// The text buffer alone: [`MEMORY`] bytes, a character and its attribute in turn. Faster than a look.
    fn glance(&mut self) -> Result<Vec<u8>, ConsoleError>;

    /// Presses keys one after the other, each held while the next ones are pressed, then releases all: at most 16
    /// Linux key codes (linux/input-event-codes.h). Returns before the guest has seen them.
    fn press(&mut self, keys: &[u32]) -> Result<(), ConsoleError>;

    /// A picture of the screen, as PNG.
    fn picture(&mut self) -> Result<Vec<u8>, ConsoleError>;
}
