//! Turns a console's output into readable text: without escape sequences, carriage returns and other controls, with
//! bytes that are not UTF-8 replaced.

/// Turns a console's bytes into text. Sequences and characters may be split between two calls.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    state: State,
    undecoded: Vec<u8>,
}

/// The position in an escape sequence (ECMA-48, 5.3 to 5.6).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte, e.g. `ESC (`.
    Intermediate,
    /// In a control sequence, after `ESC [`.
    Control,
    /// In a command string, e.g. a window title; ends at BEL or `ESC \`.
    Command,
}

impl Cleaner {
    /// Returns the text of `bytes`; an incomplete end is returned by the next call.
    pub(super) fn clean(&mut self, bytes: &[u8]) -> String {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                // No sequence spans lines: one that was split by a kernel message must not swallow what follows.
                (_, b'\n') | (State::Text, _) if byte != 0x1b => {
                    self.undecoded.push(byte);
                    State::Text
                }
                (State::Command, 0x07) => State::Text,
                (_, 0x1b) => State::Escape,
                (State::Escape, b'[') => State::Control,
                (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') | (State::Command, _) => State::Command,
                (State::Escape | State::Intermediate, 0x20..=0x2f) => State::Intermediate,
                (State::Control, 0x40..=0x7e) | (State::Text | State::Escape | State::Intermediate, _) => State::Text,
                (State::Control, _) => State::Control,
            };
        }
        let mut text = self.decode();
        text.retain(|c| c == '\n' || c == '\t' || !c.is_control());
        text
    }

    fn decode(&mut self) -> String {
        let mut text = String::new();
        let bytes = std::mem::take(&mut self.undecoded);
        let mut rest = bytes.as_slice();
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(wrong) = error.error_len() else {
                self.undecoded = after.to_vec();
                return text;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &after[wrong..];
        }
    }
}

/// Returns the last `count` lines that are not empty in a console's raw output, e.g. in the log file of a guest that
/// stopped before its console was opened.
pub fn last_lines(raw: &[u8], count: usize) -> Vec<String> {
    let text = Cleaner::default().clean(raw);
    let mut lines: Vec<String> = text
        .lines()
        .rev()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .take(count)
        .map(str::to_owned)
        .collect();
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_carriage_returns_disappear() {
        let raw = b"~ # \x1b[6n\x1b[1;32mls\x1b[0m\r\r\n\x1b]0;title\x07a\x1b(Bb\tc\x1bM\x08d\r\n\x1b]2;t\x1b\\e";
        assert_eq!(Cleaner::default().clean(raw), "~ # ls\nab\tcd\ne");
    }

    #[test]
    fn an_unfinished_sequence_ends_with_its_line() {
        assert_eq!(Cleaner::default().clean(b"a\x1b]0;never\nb\x1b[12\nc"), "a\nb\nc");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(Cleaner::default().clean(b"a\xff\xc3(b"), "a\u{fffd}\u{fffd}(b");
    }

    #[test]
    fn the_text_does_not_depend_on_how_the_bytes_are_split() {
        let raw = "x\u{1b}[31mgrün \u{1f600}\u{1b}]0;t\u{7}\r\nend\u{1b}[6n\n".as_bytes();
        let whole = Cleaner::default().clean(raw);
        assert_eq!(whole, "xgrün \u{1f600}\nend\n");
        for cut in 0..raw.len() {
            let mut cleaner = Cleaner::default();
            let pieces = cleaner.clean(&raw[..cut]) + &cleaner.clean(&raw[cut..]);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }

    #[test]
    fn empty_lines_are_not_among_the_last_lines() {
        assert_eq!(last_lines(b"a\r\nb\r\n\r\nc \r\n", 2), ["b", "c"]);
        assert_eq!(last_lines(b"", 2), Vec::<String>::new());
    }
}
