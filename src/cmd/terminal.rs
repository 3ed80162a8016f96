//! What may be written for people: which characters, whether colors, how wide. By POSIX's locale variables, `TERM`,
//! `NO_COLOR` (no-color.org) and the size that the terminal reports.

use std::borrow::Cow;
use std::io::{IsTerminal, stderr, stdout};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What the terminals of this process show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Abilities {
    unicode: bool,
    escapes: bool,
    color: bool,
}

impl Abilities {
    /// Reads them by a function that returns environment variables.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        // POSIX, 8.2: the first of these that is set and not empty counts; without any, the locale is "C".
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let codeset = locale.unwrap_or_default().to_ascii_lowercase();
        let escapes = set("TERM").is_none_or(|term| term != "dumb");
        Self {
            unicode: escapes && (codeset.contains("utf-8") || codeset.contains("utf8")),
            escapes,
            color: escapes && set("NO_COLOR").is_none(),
        }
    }
}

fn abilities() -> Abilities {
    static ABILITIES: OnceLock<Abilities> = OnceLock::new();
    *ABILITIES.get_or_init(|| Abilities::of(|name| std::env::var(name).ok()))
}

/// Whether other characters than those of ASCII may be written.
pub fn unicode() -> bool {
    abilities().unicode
}

/// Whether standard error shows bars that move.
pub fn bars() -> bool {
    abilities().escapes && stderr().is_terminal()
}

/// Whether standard output is in color.
pub fn color() -> bool {
    abilities().color && stdout().is_terminal()
}

/// Whether somebody may still read standard output: the other end of a pipe is not closed.
pub fn is_read() -> bool {
    let output = stdout();
    let mut fds = [PollFd::new(&output, PollFlags::empty())];
    // The error condition is reported without being asked for: poll(2).
    let _ = poll(&mut fds, Some(&Timespec::default()));
    !fds[0].revents().contains(PollFlags::ERR)
}

/// The columns of standard output; none where it is no terminal.
pub fn columns() -> Option<usize> {
    columns_of(stdout())
}

/// The columns of standard error; none where it is no terminal.
pub fn error_columns() -> Option<usize> {
    columns_of(stderr())
}

fn columns_of(terminal: impl IsTerminal + AsFd) -> Option<usize> {
    let size = terminal.is_terminal().then(|| rustix::termios::tcgetwinsize(terminal));
    // A terminal that does not know its size reports 0.
    size?
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
}

/// Has miette draw with the same characters and colors.
pub fn prepare_diagnostics() {
    let Abilities { unicode, color, .. } = abilities();
    let color = color && stderr().is_terminal();
    let options = move || miette::MietteHandlerOpts::new().unicode(unicode).color(color);
    // Set once, at the start: it cannot have been set before.
    let _ = miette::set_hook(Box::new(move |_| Box::new(options().build())));
}

/// Returns text in the characters that may be written.
pub fn shown(text: &str) -> Cow<'_, str> {
    if unicode() { text.into() } else { ascii(text) }
}

/// Returns text in ASCII: what netlab itself writes by its usual substitute, every other character as an escape.
fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '±' => out.push('~'),
            '…' => out.push_str("..."),
            '→' => out.push_str("->"),
            '−' | '–' | '—' => out.push('-'),
            '·' => out.push('*'),
            '×' => out.push('x'),
            '✓' => out.push_str("ok"),
            '✗' => out.push('X'),
            one if one.is_ascii() => out.push(one),
            one => out.extend(one.escape_unicode()),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> (bool, bool, bool) {
        let found = |name: &str| variables.iter().find(|(one, _)| *one == name);
        let Abilities {
            unicode,
            escapes,
            color,
        } = Abilities::of(|name| found(name).map(|(_, value)| (*value).to_owned()));
        (unicode, escapes, color)
    }

    #[test]
    fn the_first_locale_variable_decides_about_unicode() {
        assert!(with(&[("LANG", "de_DE.UTF-8")]).0);
        assert!(with(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]).0);
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]).0);
        assert!(!with(&[("LANG", "de_DE")]).0);
        assert!(!with(&[]).0);
    }

    #[test]
    fn a_dumb_terminal_gets_neither_color_nor_unicode_and_no_color_leaves_the_characters() {
        assert_eq!(with(&[("LANG", "C.UTF-8"), ("TERM", "dumb")]), (false, false, false));
        assert_eq!(with(&[("LANG", "C.UTF-8"), ("NO_COLOR", "1")]), (true, true, false));
        assert_eq!(with(&[("LANG", "C.UTF-8"), ("NO_COLOR", "")]), (true, true, true));
    }

    #[test]
    fn ascii_replaces_every_other_character() {
        assert_eq!(ascii("a… → b – grün"), "a... -> b - gr\\u{fc}n");
        assert!(ascii("…→–—·×✓✗█\u{202e}").is_ascii());
    }
}
