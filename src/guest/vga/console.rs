//! A screen and a keyboard as a console.

use std::time::{Duration, Instant};

use super::page::stands_at;
use super::stream::Follower;
use super::{Frame, Page, Screen, chord, keys};
use crate::guest::{Console, ConsoleError};

/// Between two looks at a screen on which nothing happens.
const PAUSE: Duration = Duration::from_millis(20);
/// For QEMU to press and release the keys of one go, a millisecond each.
const GO: Duration = Duration::from_millis(6);
/// Between two keys whose effect is not seen: under load 5 ms were enough for 200 of 200.
const UNSEEN: Duration = Duration::from_millis(10);
/// For a guest to show what was typed. A guest that shares its processor with many may stand still for seconds.
const ECHO_WITHIN: Duration = Duration::from_secs(10);
/// For what was typed to stand where it should. Then it is looked for where the screen may have scrolled it.
const STANDS_WITHIN: Duration = Duration::from_millis(150);
/// How often a line that came out wrong is erased and typed again.
const TRIES: u32 = 3;
/// For a shell to show its next prompt after Enter. Not needed, only a little tidier on the screen.
const PROMPT_WITHIN: Duration = Duration::from_millis(250);
/// A boot loader may show a picture for a while. After this time it stays.
const PICTURE_STAYS: Duration = Duration::from_secs(15);
/// Takes away what is on the line, in a terminal and in a shell's line editor.
const ERASE: char = '\x15';

/// A [`Console`] over a [`Screen`].
pub struct VgaConsole<S> {
    screen: S,
    follower: Follower,
    unread: String,
    /// What was typed on the line so far.
    line: String,
    picture_since: Option<Instant>,
}

impl<S: Screen> VgaConsole<S> {
    /// A console over `screen`.
    pub fn new(screen: S) -> Self {
        Self {
            screen,
            follower: Follower::default(),
            unread: String::new(),
            line: String::new(),
            picture_since: None,
        }
    }

    /// What the screen shows; `None` for a picture, which is an error once it stays.
    fn look(&mut self) -> Result<Option<Page>, ConsoleError> {
        match self.screen.look()? {
            Frame::Text(page) => {
                self.picture_since = None;
                self.unread.push_str(&self.follower.follow(&page));
                Ok(Some(page))
            }
            Frame::Picture => {
                let since = *self.picture_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= PICTURE_STAYS {
                    return Err(ConsoleError::Picture);
                }
                Ok(None)
            }
        }
    }

    /// Types `text` on the line and sees it there, or erases the line and begins again.
    fn type_seen(&mut self, text: &str) -> Result<(), ConsoleError> {
        let mut to_type = text.to_owned();
        for attempt in 1.. {
            let goes = keys::goes(&to_type).map_err(untypable)?;
            let mut rest = to_type.as_str();
            let mut seen = true;
            let mut place = self.look()?.map(|page| page.place());
            for (characters, chords) in goes {
                let (typed, after) = rest.split_at(characters);
                rest = after;
                self.line.push_str(typed);
                for chord in &chords {
                    self.screen.press(chord)?;
                }
                std::thread::sleep(GO);
                if let Some(at) = place
                    && self.stands_soon(at, typed)?
                {
                    place = Some(at + characters);
                    continue;
                }
                seen = self.wait_for_line()?;
                if !seen {
                    break;
                }
                place = self.look()?.map(|page| page.place());
            }
            if seen && (to_type.is_empty() || self.wait_for_line()?) {
                return Ok(());
            }
            if attempt == TRIES {
                break;
            }
            to_type = std::mem::take(&mut self.line) + rest;
            self.screen.press(&keys::RELEASE_SHIFT)?;
            self.press(ERASE)?;
            std::thread::sleep(PROMPT_WITHIN);
        }
        let line = std::mem::take(&mut self.line);
        Err(ConsoleError::Failed(format!(
            "the guest's screen does not show what is typed, tried {TRIES} times: {line}"
        )))
    }

    /// Waits a little until `text` stands at its place in the buffer. A blank at its end shows only with what follows.
    fn stands_soon(&mut self, place: usize, text: &str) -> Result<bool, ConsoleError> {
        let began = Instant::now();
        while began.elapsed() < STANDS_WITHIN {
            if stands_at(&self.screen.glance()?, place, text.trim_end()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits until the screen shows the line at the cursor.
    fn wait_for_line(&mut self) -> Result<bool, ConsoleError> {
        let began = Instant::now();
        loop {
            if self.look()?.is_some_and(|page| page.ends_with(&self.line)) {
                return Ok(true);
            }
            if began.elapsed() >= ECHO_WITHIN {
                return Ok(false);
            }
        }
    }

    /// Presses the keys of one character and leaves the guest time to fetch them.
    fn press(&mut self, character: char) -> Result<(), ConsoleError> {
        let chord = chord(character).ok_or_else(|| untypable(character))?;
        self.screen.press(&chord.codes())?;
        std::thread::sleep(UNSEEN);
        Ok(())
    }

    /// Ends the line.
    fn enter(&mut self) -> Result<(), ConsoleError> {
        let before = self.look()?;
        self.press('\n')?;
        self.line.clear();
        let began = Instant::now();
        while began.elapsed() < PROMPT_WITHIN {
            let page = self.look()?;
            let prompt = page
                .as_ref()
                .and_then(Page::cursor)
                .is_some_and(|(_, column)| column > 0);
            if prompt && page != before {
                break;
            }
        }
        Ok(())
    }
}

fn untypable(character: char) -> ConsoleError {
    ConsoleError::Failed(format!("{character:?} cannot be typed on a US keyboard"))
}

fn text_of(bytes: &[u8]) -> Result<&str, ConsoleError> {
    std::str::from_utf8(bytes).map_err(|_| ConsoleError::Failed("bytes that are no text cannot be typed".to_owned()))
}

impl<S: Screen> Console for VgaConsole<S> {
    fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ConsoleError> {
        let began = Instant::now();
        loop {
            self.look()?;
            if !self.unread.is_empty() {
                return Ok(std::mem::take(&mut self.unread).into_bytes());
            }
            let left = wait.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            std::thread::sleep(left.min(PAUSE));
        }
    }

    fn send(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        for piece in text_of(text)?.split_inclusive(char::is_control) {
            let control = piece.chars().next_back().filter(|last| last.is_control());
            let printable = control.map_or(piece, |last| &piece[..piece.len() - last.len_utf8()]);
            self.type_seen(printable)?;
            match control {
                Some('\n') => self.enter()?,
                Some(other) => {
                    self.press(other)?;
                    self.line.clear();
                }
                None => {}
            }
        }
        Ok(())
    }

    fn send_unseen(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        text_of(text)?.chars().try_for_each(|character| self.press(character))
    }

    fn is_screen(&self) -> bool {
        true
    }

    fn screenshot(&mut self) -> Result<Option<Vec<u8>>, ConsoleError> {
        self.screen.picture().map(Some)
    }
}
