//! Transfers a command's output intact over a screen, from which text scrolls off: in pages. A pager in the guest's
//! own shell shows numbered rows, waits until their number is typed, and shows the page again when anything else is.
//! Every row has the command's mark, its number, its length and an end sign, so that a page counts only when it was
//! read intact; rows that were missed, or split by a kernel message, are shown again.

use super::LINE_LIMIT;
use super::embedded::code;
use super::error::SessionFault;
use super::frame::fresh_nonce;

/// Rows of a page: fewer than a screen has, with space for what is typed.
const ROWS: usize = 20;

/// The pager's name in the guest's shell, with the number of its version.
pub(super) const NAME: &str = "nlp1";

/// The pager, for any POSIX shell: it needs no other program. It is typed once per session.
///
/// A row is `mark number kind length text|`. Kinds: `m` a line that continues in the next row, `l` the end of a line,
/// `x` the same for a line with other than printable ASCII characters, in hexadecimal, `e` the exit status. A row has
/// at most 56 characters of text, so that the cursor never reaches the last column. An empty answer ends the pager: a
/// user who finds it waiting can leave it by Enter.
const PAGER: &str = include_str!("pager.sh");

/// One command's output, as far as received.
#[derive(Debug)]
pub(super) struct Pages {
    mark: String,
    /// Kinds and texts of the rows that arrived intact, without a gap.
    rows: Vec<(char, String)>,
    acknowledged: usize,
    /// The unfinished line.
    line: String,
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for more.
    Wait,
    /// Type this: the page was read intact.
    Acknowledge(String),
    /// Everything was received: what acknowledges it, the exit status and the text.
    Done(String, Option<i32>, String),
}

impl Pages {
    pub(super) fn new() -> Self {
        // 32 bits, which a guest does not know before its command runs. A whole nonce would take a fifth of every row.
        let nonce = fresh_nonce();
        Self {
            mark: format!("n{}", &nonce[nonce.len() - 8..]),
            rows: Vec::new(),
            acknowledged: 0,
            line: String::new(),
        }
    }

    /// Returns the lines that define the pager.
    pub(super) fn pager() -> String {
        code(PAGER)
    }

    /// Returns the lines to type for `script`: one compound command, which the shell reads to its end before it runs any of
    /// it. The script runs in a subshell.
    pub(super) fn wrap(&self, script: &str) -> Result<Vec<String>, SessionFault> {
        let mark = &self.mark;
        let mut lines: Vec<String> = script.lines().map(str::to_owned).collect();
        match lines.first_mut() {
            Some(first) => first.insert_str(0, "{ { ( "),
            None => lines.push("{ { (".to_owned()),
        }
        // The empty line before the status ends a last line without a newline; it is removed again.
        let status = format!("printf '\\n%s\\n' {mark}$?");
        lines.push(format!(") </dev/null 2>&1 3<&-; {status}; }} | {NAME} {mark}; }} 3<&0"));
        match lines.iter().map(String::len).find(|&length| length > LINE_LIMIT) {
            Some(length) => Err(SessionFault::LineTooLong(length)),
            None => Ok(lines),
        }
    }

    /// Makes the pager show its page again. A shell takes it for a comment.
    pub(super) const AGAIN: &'static str = "#\n";

    /// Takes what the screen showed.
    pub(super) fn feed(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            self.line.push_str(piece);
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.line);
                if let Some((number, kind, text)) = self.row(&line)
                    && number == self.rows.len() + 1
                {
                    self.rows.push((kind, text));
                }
            }
        }
    }

    /// Returns number, kind and text of an intact row.
    fn row(&self, line: &str) -> Option<(usize, char, String)> {
        let rest = line.strip_prefix(&self.mark)?.strip_prefix(' ')?;
        let mut fields = rest.splitn(4, ' ');
        let number = fields.next()?.parse().ok()?;
        let kind = fields.next()?;
        let length: usize = fields.next()?.parse().ok()?;
        let rest = fields.next()?;
        let text = rest.get(..length)?;
        rest[length..].starts_with('|').then_some(())?;
        let kind = kind.chars().next().filter(|_| kind.len() == 1)?;
        "mlxe".contains(kind).then(|| (number, kind, text.to_owned()))
    }

    /// Returns the next action.
    pub(super) fn next(&mut self) -> Next {
        let number = self.rows.len();
        if let Some(('e', status)) = self.rows.last() {
            // An exit status has 8 bits (POSIX wait()).
            let status = status.parse::<u8>().ok().map(i32::from);
            return Next::Done(format!("{number}\n"), status, self.text());
        }
        if number > 0 && number.is_multiple_of(ROWS) && number > self.acknowledged {
            self.acknowledged = number;
            return Next::Acknowledge(format!("{number}\n"));
        }
        Next::Wait
    }

    /// Makes an acknowledged page be acknowledged again, should it be shown again.
    pub(super) fn ask_again(&mut self) {
        self.acknowledged = 0;
    }

    /// The output.
    fn text(&self) -> String {
        let mut text = Vec::new();
        let mut line = String::new();
        for (kind, part) in &self.rows {
            line.push_str(part);
            match kind {
                'l' => text.extend(std::mem::take(&mut line).into_bytes()),
                'x' => text.extend(from_hex(&std::mem::take(&mut line))),
                _ => continue,
            }
            text.push(b'\n');
        }
        text.pop();
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16).unwrap_or(b'?');
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// Runs a script in a real shell under the pager; `garble` changes what the screen shows each time.
    fn paged(shell: &[&str], script: &str, mut garble: impl FnMut(String) -> String) -> Option<(Option<i32>, String)> {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().ok()?;
        let (mut keyboard, mut screen) = (child.stdin.take()?, child.stdout.take()?);
        let mut pages = Pages::new();
        for line in Pages::pager()
            .lines()
            .map(str::to_owned)
            .chain(pages.wrap(script).unwrap())
        {
            writeln!(keyboard, "{line}").unwrap();
        }
        let (sender, shown) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                let _ = sender.send(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
        });
        let mut quiet = 0;
        let done = loop {
            match shown.recv_timeout(std::time::Duration::from_millis(100)) {
                Ok(text) => pages.feed(&garble(text)),
                Err(error) if quiet == 100 => panic!("no more output: {error}; {pages:?}"),
                Err(_) => {
                    quiet += 1;
                    pages.ask_again();
                    keyboard.write_all(Pages::AGAIN.as_bytes()).unwrap();
                }
            }
            match pages.next() {
                Next::Wait => {}
                Next::Acknowledge(keys) => keyboard.write_all(keys.as_bytes()).unwrap(),
                Next::Done(keys, status, text) => {
                    keyboard.write_all(keys.as_bytes()).unwrap();
                    break (status, text);
                }
            }
        };
        drop(keyboard);
        child.wait().unwrap();
        Some(done)
    }

    /// Runs a script in each installed shell. None of them is needed to build netlab.
    fn in_each_shell(script: &str, status: i32, text: &str) {
        for shell in [&["busybox", "sh"][..], &["dash"], &["bash"], &["sh"]] {
            if let Some(found) = paged(shell, script, |text| text) {
                assert_eq!(found, (Some(status), text.to_owned()), "{shell:?}: {script}");
            }
        }
    }

    #[test]
    fn output_and_status_arrive_unchanged() {
        in_each_shell("true", 0, "");
        in_each_shell("printf 'no end'; exit 42", 42, "no end");
        in_each_shell(
            "echo; echo ' a  b '; printf '%s\\n' '| \\t \\\\ %s $x `y` | '",
            0,
            "\n a  b \n| \\t \\\\ %s $x `y` | \n",
        );
        in_each_shell(
            "printf 'tab\\tgr\\303\\274n \\033[31m\\n'; (exit 7)",
            7,
            "tab\tgrün \x1b[31m\n",
        );
    }

    #[test]
    fn many_and_long_lines_arrive_intact() {
        let lines: String = (1..=130)
            .map(|number| format!("line {number}\n"))
            .collect::<Vec<_>>()
            .concat();
        in_each_shell(
            "i=0; while [ $i -lt 130 ]; do i=$((i+1)); echo line $i; done",
            0,
            &lines,
        );
        for length in [55, 56, 57, 112, 1200] {
            in_each_shell(&format!("printf '%{length}d\\n' 1"), 0, &format!("{:>length$}\n", 1));
        }
    }

    #[test]
    fn a_background_process_does_not_delay_the_answer() {
        in_each_shell("sleep 5 & echo begun; read x; echo \"[$x]\"", 0, "begun\n[]\n");
    }

    #[test]
    fn a_page_split_by_a_kernel_message_is_shown_again() {
        let mut calls = 0;
        let garble = |text: String| {
            calls += 1;
            if calls % 2 == 0 {
                text
            } else {
                text.replacen(" 7 ", "[  1.0] eth0: up\n 7 ", 1)
                    .replacen("|\n", "\n", 1)
            }
        };
        let lines: String = (1..=45)
            .map(|number| format!("{number}\n"))
            .collect::<Vec<_>>()
            .concat();
        assert_eq!(
            paged(
                &["sh"],
                "i=0; while [ $i -lt 45 ]; do i=$((i+1)); echo $i; done",
                garble
            )
            .unwrap()
            .1,
            lines
        );
    }

    #[test]
    fn no_line_of_the_pager_is_too_long_for_a_terminal() {
        assert!(Pages::pager().lines().all(|line| line.len() < 160));
        let long = Pages::new().wrap(&"x".repeat(LINE_LIMIT + 1));
        assert!(matches!(long, Err(SessionFault::LineTooLong(_))));
    }

    proptest! {
        #[test]
        fn noise_in_a_row_never_changes_it(
            place in any::<prop::sample::Index>(),
            noise in "[ -{}~]{0,30}\n",
        ) {
            let mut pages = Pages::new();
            let row = format!("{} 1 l 9 some text|\n", pages.mark);
            let mut text = row.clone();
            text.insert_str(place.index(text.len()), &noise);
            pages.feed(&text);
            prop_assert!(pages.rows.is_empty() || pages.rows == [('l', "some text".to_owned())], "{:?}", pages.rows);
        }
    }
}
