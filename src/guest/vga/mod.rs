//! A guest that has only a screen and a keyboard, as a [`Console`](super::Console): keys are pressed and read back
//! from the screen before Enter, successive frames become a stream of new lines. Takes a [`Screen`], the interface to
//! one guest's hardware; does not depend on libvirt.

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

/// The content of a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Text.
    Text(Page),
    /// A picture: the video card is in graphics mode.
    Picture,
}

/// A guest's screen and keyboard.
pub trait Screen: Send {
    /// Reads the screen. Fails when the guest has stopped or the connection to it broke.
    fn frame(&mut self) -> Result<Frame, ConsoleError>;

    /// Reads the text buffer alone: [`MEMORY`] bytes, a character and its attribute in turn. Faster than [`Self::frame`].
    fn text_memory(&mut self) -> Result<Vec<u8>, ConsoleError>;

    /// Presses keys in sequence, each held while the next ones are pressed, then releases all: at most 16 Linux key
    /// codes (linux/input-event-codes.h). Returns before the guest has read them.
    fn press(&mut self, keys: &[u32]) -> Result<(), ConsoleError>;

    /// Takes a screenshot, as PNG.
    fn screenshot(&mut self) -> Result<Vec<u8>, ConsoleError>;

    /// Returns why the guest cannot answer, where that can be seen from outside of it; see
    /// [`Console::obstacle`](super::Console::obstacle).
    fn obstacle(&mut self) -> Option<String> {
        None
    }
}
