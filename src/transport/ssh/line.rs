//! A command as one line for the shell that runs on a host. Pure.

use crate::transport::cmd::Cmd;
use crate::transport::quote;

/// How long a command may take there, in seconds. It bounds what a lost connection leaves running: sshd(8) does not
/// end a command whose client has disconnected.
const COMMAND_SECONDS: u32 = 60;
/// Input up to this many bytes is part of a line; sh reads those byte by byte.
const LINE_LIMIT: usize = 64 * 1024;
/// What the shell runs: each line that it reads. One line itself, without a backslash, a newline or `!`, because the
/// user's login shell, whichever it is, parses it.
pub(super) const LOOP: &str = "exec sh -c 'while IFS= read -r line; do eval \"$line\"; done'";
/// What every line relies on: PATH and language as for local commands, and a variable that holds a newline.
pub(super) const PRELUDE: &str =
    r"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH; LC_ALL=C; export LC_ALL; n=$(printf '\nx'); n=${n%x}";

/// Quotes text without a newline in the result, for a shell that has run [`PRELUDE`].
fn quote_in_line(text: &str) -> String {
    quote(text).replace('\n', "'\"$n\"'")
}

/// Returns the line that runs `argv` for a limited time, for a shell that has run [`PRELUDE`].
pub(super) fn line(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|argument| quote_in_line(argument)).collect();
    format!("timeout -k 5 {COMMAND_SECONDS} {}", words.join(" "))
}

/// Returns the line that runs a command with its input; `None` where the input is too long or is not text.
pub(super) fn line_with_input(cmd: &Cmd) -> Option<String> {
    let line = line(&cmd.argv);
    if cmd.stdin.is_empty() {
        return Some(format!("{line} </dev/null"));
    }
    let text = std::str::from_utf8(&cmd.stdin).ok()?;
    let fits = text.len() <= LINE_LIMIT && !text.contains('\0');
    // A builtin: the input is no argument of a program, so its length is limited by nothing else.
    fits.then(|| format!("printf %s {} | {line}", quote_in_line(text)))
}

/// Returns whether several commands fit on one line.
pub(super) fn fit(lines: &[String]) -> bool {
    lines.iter().map(String::len).sum::<usize>() <= LINE_LIMIT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::{LocalShell, Shell};

    /// Returns what a shell prints that is fed the line of `argv`.
    fn run(argv: &[String]) -> String {
        let line = line(argv);
        assert!(!line.contains('\n'), "{line}");
        let cmd = Cmd::new(["sh", "-c", &LOOP["exec sh -c '".len()..LOOP.len() - 1]]);
        let output = LocalShell.check(&cmd.fed(format!("{PRELUDE}\n{line}\n"))).unwrap();
        String::from_utf8(output).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn arguments_reach_a_program_unchanged(arguments in prop::collection::vec("(?s)[^\0]{0,40}", 1..6)) {
            let mut argv = vec!["printf".to_owned(), "%s\\0".to_owned()];
            argv.extend(arguments.iter().cloned());
            let text = run(&argv);
            let got: Vec<&str> = text.strip_suffix('\0').unwrap().split('\0').collect();
            prop_assert_eq!(got, arguments);
        }
    }

    #[test]
    fn special_arguments_reach_a_program_unchanged() {
        for argument in [
            "", "'", "''", "\\", "'\\''", "$(id)", "`id`", "a\nb", "\n", "*", "~", "-n", "!x", "\u{fe0f}", "\t ", "$n",
        ] {
            assert_eq!(
                run(&["printf", "%s.", argument].map(ToOwned::to_owned)),
                format!("{argument}.")
            );
        }
    }
}
