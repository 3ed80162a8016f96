//! A screen and a keyboard as a console.

use std::time::{Duration, Instant};

use super::page::is_at;
use super::stream::Follower;
use super::{Frame, Page, Screen, chord, keys};
use crate::guest::{Console, ConsoleError};

/// Between two reads of a screen on which nothing happens.
const PAUSE: Duration = Duration::from_millis(20);
/// For QEMU to press and release the keys of one burst, a millisecond each.
const BURST: Duration = Duration::from_millis(6);
/// Between two keys whose effect is not checked: under load 5 ms were enough for 200 of 200.
const UNSEEN: Duration = Duration::from_millis(10);
/// For a guest to echo what was typed. A guest that shares its processor with many may pause for seconds.
const ECHO_WITHIN: Duration = Duration::from_secs(10);
/// For what was typed to appear at the cursor. After that it is searched where the screen may have scrolled it.
const IN_PLACE_WITHIN: Duration = Duration::from_millis(150);
/// How often a line is typed whose echo is wrong; it is erased in between.
const ATTEMPTS: u32 = 3;
/// For a shell to show its next prompt after Enter. Not needed, only tidier on the screen.
const PROMPT_WITHIN: Duration = Duration::from_millis(250);
/// After this time a picture is an error; a boot loader may show one for a while.
const PICTURE_STAYS: Duration = Duration::from_secs(15);
/// Erases the line, in a terminal and in a shell's line editor.
const ERASE: char = '\x15';

/// A [`Console`] over a [`Screen`].
pub struct VgaConsole<S> {
    screen: S,
    follower: Follower,
    unread: String,
    /// What was typed on the line so far.
    line: String,
    picture_since: Option<Instant>,
    until: Option<Instant>,
}

impl<S: Screen> VgaConsole<S> {
    /// Returns a console over `screen`.
    pub fn new(screen: S) -> Self {
        Self {
            screen,
            follower: Follower::default(),
            unread: String::new(),
            line: String::new(),
            picture_since: None,
            until: None,
        }
    }

    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Reads the screen; `None` for a picture, which becomes an error after a while.
    fn observe(&mut self) -> Result<Option<Page>, ConsoleError> {
        match self.screen.frame()? {
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

    /// Types `text` on the line and checks its echo; where that is wrong, erases the line and types it again.
    fn type_echoed(&mut self, text: &str) -> Result<(), ConsoleError> {
        let mut to_type = text.to_owned();
        for attempt in 1.. {
            let bursts = keys::bursts(&to_type).map_err(ConsoleError::Untypable)?;
            let mut rest = to_type.as_str();
            let mut echoed = true;
            let mut place = self.observe()?.map(|page| page.place());
            for (characters, chords) in bursts {
                let (typed, after) = rest.split_at(characters);
                rest = after;
                self.line.push_str(typed);
                for chord in &chords {
                    self.screen.press(chord)?;
                }
                std::thread::sleep(BURST);
                if let Some(at) = place
                    && self.is_soon_at(at, typed)?
                {
                    place = Some(at + characters);
                    continue;
                }
                echoed = self.wait_for_line()?;
                if !echoed {
                    break;
                }
                place = self.observe()?.map(|page| page.place());
            }
            if echoed && (to_type.is_empty() || self.wait_for_line()?) {
                return Ok(());
            }
            if attempt == ATTEMPTS || self.is_late() {
                break;
            }
            to_type = std::mem::take(&mut self.line) + rest;
            self.screen.press(&keys::RELEASE_SHIFT)?;
            self.press(ERASE)?;
            std::thread::sleep(PROMPT_WITHIN);
        }
        let line = std::mem::take(&mut self.line);
        Err(ConsoleError::NoEcho {
            line,
            attempts: ATTEMPTS,
        })
    }

    /// Waits briefly until `text` is at its place in the buffer. A blank at its end shows only with what follows.
    fn is_soon_at(&mut self, place: usize, text: &str) -> Result<bool, ConsoleError> {
        let began = Instant::now();
        while began.elapsed() < IN_PLACE_WITHIN {
            if is_at(&self.screen.text_memory()?, place, text.trim_end()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits until the screen shows the line at the cursor.
    fn wait_for_line(&mut self) -> Result<bool, ConsoleError> {
        let began = Instant::now();
        loop {
            if self.observe()?.is_some_and(|page| page.ends_with(&self.line)) {
                return Ok(true);
            }
            if began.elapsed() >= ECHO_WITHIN || self.is_late() {
                return Ok(false);
            }
        }
    }

    /// Presses the keys of one character and gives the guest time to fetch them.
    fn press(&mut self, character: char) -> Result<(), ConsoleError> {
        let chord = chord(character).ok_or(ConsoleError::Untypable(character))?;
        self.screen.press(&chord.codes())?;
        std::thread::sleep(UNSEEN);
        Ok(())
    }

    /// Ends the line.
    fn enter(&mut self) -> Result<(), ConsoleError> {
        let before = self.observe()?;
        self.press('\n')?;
        self.line.clear();
        let began = Instant::now();
        while began.elapsed() < PROMPT_WITHIN {
            let page = self.observe()?;
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

fn text_of(bytes: &[u8]) -> Result<&str, ConsoleError> {
    std::str::from_utf8(bytes).map_err(|_| ConsoleError::NotText)
}

impl<S: Screen> Console for VgaConsole<S> {
    fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ConsoleError> {
        let began = Instant::now();
        loop {
            self.observe()?;
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
            self.type_echoed(printable)?;
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

    fn until(&mut self, deadline: Option<Instant>) {
        self.until = deadline;
    }

    fn obstacle(&mut self) -> Option<String> {
        self.screen.obstacle()
    }

    fn screenshot(&mut self) -> Result<Option<Vec<u8>>, ConsoleError> {
        self.screen.screenshot().map(Some)
    }
}
