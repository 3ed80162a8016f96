//! The marks around one command. A frame is found intact or not at all: neither the terminal's echo, nor late output
//! of an earlier command, nor a kernel message inside a mark can be taken for one.

use std::hash::{BuildHasher as _, RandomState};

use super::LINE_LIMIT;
use super::error::SessionFault;

/// More bytes than any end mark has.
const MARK_LIMIT: usize = 80;

/// One command's marks.
#[derive(Debug)]
pub(super) struct Frame {
    nonce: String,
}

/// An intact end mark in what the guest printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// The exit status; absent when the shell does not know it, because it is not the one that ran the command.
    pub(super) status: Option<i32>,
    /// The output between the marks; absent when the begin mark did not arrive intact.
    pub(super) text: Option<String>,
    /// The first end mark did not arrive intact; this is the answer to [`Frame::ask_again`], and `text` holds the
    /// rest of that mark.
    pub(super) asked_again: bool,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self { nonce: fresh_nonce() }
    }

    /// Returns the lines to type for `script`, which may have several.
    ///
    /// One compound command: the shell reads it to its end before it runs any of it, so a truncated script does
    /// nothing and the shell's prompts for more (`> `) precede the begin mark. `''` keeps the echo of a mark
    /// different from the mark. Standard input is empty: the script could consume what is typed next.
    pub(super) fn wrap(&self, script: &str) -> Result<Vec<String>, SessionFault> {
        let nonce = &self.nonce;
        let mut lines = vec![format!("{{ netlab=; echo {nonce}''B")];
        lines.extend(script.lines().map(str::to_owned));
        lines.push(format!("}} </dev/null; netlab=$?; {}", self.end("Z")));
        match lines.iter().map(String::len).find(|&length| length > LINE_LIMIT) {
            Some(length) => Err(SessionFault::LineTooLong(length)),
            None => Ok(lines),
        }
    }

    /// Returns the mark behind which the command's own output begins.
    pub(super) fn begin(&self) -> String {
        format!("{}B", self.nonce)
    }

    /// Returns the line that makes the shell print the end mark again, once it is idle.
    pub(super) fn ask_again(&self) -> String {
        self.end("R")
    }

    /// The status is printed twice, so that inserted digits cannot change it.
    fn end(&self, kind: &str) -> String {
        let nonce = &self.nonce;
        format!("echo {nonce}''E$netlab,$netlab,{nonce}''{kind}")
    }

    /// Finds an intact end mark in `received`; what precedes `from` was searched before.
    pub(super) fn find(&self, received: &str, from: usize) -> Option<Ended> {
        let mut from = from.saturating_sub(MARK_LIMIT).min(received.len());
        while !received.is_char_boundary(from) {
            from -= 1;
        }
        let sign = format!("{}E", self.nonce);
        received[from..].match_indices(&sign).find_map(|(at, _)| {
            let (status, kind) = self.read_end(&received[from + at + sign.len()..])?;
            Some(Ended {
                status,
                text: self.after_begin(&received[..from + at]),
                asked_again: kind == 'R',
            })
        })
    }

    fn read_end(&self, mark: &str) -> Option<(Option<i32>, char)> {
        let (once, rest) = mark.split_once(',')?;
        let (twice, rest) = rest.split_once(',')?;
        let kind = rest.strip_prefix(&self.nonce)?.chars().next()?;
        if once != twice || !"ZR".contains(kind) {
            return None;
        }
        if once.is_empty() {
            return Some((None, kind));
        }
        // An exit status has 8 bits (POSIX wait()), so at most three digits.
        let plain = once.len() <= 3 && once.bytes().all(|digit| digit.is_ascii_digit());
        plain
            .then(|| once.parse().ok())
            .flatten()
            .map(|status| (Some(status), kind))
    }

    fn after_begin(&self, received: &str) -> Option<String> {
        let (_, text) = received.split_once(&self.begin())?;
        let text = text.strip_prefix('\n').unwrap_or(text);
        // Where the echo could not be turned off, it is there, too.
        Some(text.replace(&(self.ask_again() + "\n"), ""))
    }
}

/// Returns an identifier that cannot be guessed and is never used again.
pub(super) fn fresh_nonce() -> String {
    // The keys of `RandomState` come from the operating system and SipHash does not reveal them.
    format!("n{:016x}", RandomState::new().hash_one(std::time::Instant::now()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guest::terminal::Cleaner;

    fn printed(frame: &Frame, text: &str, status: i32) -> String {
        let nonce = &frame.nonce;
        format!("{nonce}B\r\n{text}{nonce}E{status},{status},{nonce}Z\r\n~ # \x1b[6n")
    }

    #[test]
    fn the_echo_of_a_command_is_not_its_answer() {
        let frame = Frame::new();
        let mut echo = frame.wrap("true").unwrap().join("\r\n");
        echo.push_str(&frame.ask_again());
        assert_eq!(frame.find(&echo, 0), None);
        assert_eq!(frame.find(&echo.replace("$netlab", "0"), 0), None);
    }

    #[test]
    fn no_two_frames_share_a_nonce() {
        let nonces: std::collections::BTreeSet<String> = (0..1000).map(|_| Frame::new().nonce).collect();
        assert_eq!(nonces.len(), 1000);
    }

    #[test]
    fn a_script_line_that_a_terminal_could_truncate_is_refused() {
        let frame = Frame::new();
        assert!(frame.wrap(&"x".repeat(LINE_LIMIT)).is_ok());
        let too_long = frame.wrap(&format!("true\n{}", "x".repeat(LINE_LIMIT + 1)));
        assert_eq!(too_long, Err(SessionFault::LineTooLong(LINE_LIMIT + 1)));
    }

    #[test]
    fn output_without_a_final_newline_is_complete() {
        let frame = Frame::new();
        let received = Cleaner::default().clean(printed(&frame, "a\r\nb", 7).as_bytes());
        let ended = frame.find(&received, 0).unwrap();
        assert_eq!((ended.status, ended.text.as_deref()), (Some(7), Some("a\nb")));
    }

    #[test]
    fn an_end_mark_without_a_status_is_reported_as_such() {
        let frame = Frame::new();
        let nonce = &frame.nonce;
        let ended = frame.find(&format!("{nonce}E,,{nonce}R\n"), 0).unwrap();
        assert_eq!((ended.status, ended.text, ended.asked_again), (None, None, true));
    }

    #[test]
    fn a_status_whose_copies_differ_is_ignored() {
        let frame = Frame::new();
        let nonce = &frame.nonce;
        for end in ["0,1", "10,0", "0,10", "-1,-1", "0000,0000", "0x,0x", "0"] {
            assert_eq!(frame.find(&format!("{nonce}E{end},{nonce}Z\n"), 0), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn noise_and_fragments_never_change_the_status(
            status in 0..256i32,
            text in "[ -~\n]{0,200}",
            noise in prop::collection::vec((any::<prop::sample::Index>(), noise()), 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let frame = Frame::new();
            let mut bytes = printed(&frame, &text, status).into_bytes();
            for (place, line) in &noise {
                let at = place.index(bytes.len());
                bytes.splice(at..at, line.bytes());
            }
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            ends.extend([0, bytes.len()]);
            ends.sort_unstable();
            let (mut cleaner, mut received, mut found) = (Cleaner::default(), String::new(), None);
            for pair in ends.windows(2) {
                let from = received.len();
                received.push_str(&cleaner.clean(&bytes[pair[0]..pair[1]]));
                found = found.or_else(|| frame.find(&received, from));
            }
            if noise.is_empty() {
                prop_assert!(found.is_some());
            }
            if let Some(ended) = found {
                prop_assert_eq!(ended.status, Some(status));
                if let (Some(received), true) = (ended.text, noise.is_empty()) {
                    prop_assert_eq!(received, text);
                }
            }
        }
    }

    /// What may be inserted into a line: kernel messages, stray digits, pieces of escape sequences.
    fn noise() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\[ {0,4}[0-9]{1,3}\\.[0-9]{6}\\] [a-z]{1,9}[a-z0-9 :,]{0,40}\r\n",
            "[0-9]{1,3}",
            "[0-9,EBZn\x1b\r\n\\[]{1,6}",
        ]
    }
}
