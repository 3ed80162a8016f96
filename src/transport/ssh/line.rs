//! A command as one line for the shell that runs on a host. Pure.

use std::time::Duration;

use crate::transport::cmd::Cmd;
use crate::transport::quote;

/// Input up to this many bytes is part of a line; sh reads those byte by byte.
const LINE_LIMIT: usize = 64 * 1024;
/// What the shell runs: each line that it reads, until none comes for a minute. The line is read by a shell of its own,
/// which timeout(1) can end. One line itself, without a backslash, a newline or `!`, because the user's login shell,
/// whichever it is, parses it.
pub(super) const LOOP: &str =
    r#"sh -c 'while line=$(timeout 60 sh -c "$0"); do eval "$line"; done' 'IFS= read -r line && printf %s "$line"'"#;
/// For how long after a command the shell is certainly there for the next one.
pub(super) const REUSED_WITHIN: Duration = Duration::from_secs(30);
/// What every line relies on: PATH and language as for local commands, and a variable that holds a newline.
pub(super) const PRELUDE: &str =
    r"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH; LC_ALL=C; export LC_ALL; n=$(printf '\nx'); n=${n%x}";

/// Quotes text without a newline in the result, for a shell that has run [`PRELUDE`].
fn quote_in_line(text: &str) -> String {
    quote(text).replace('\n', "'\"$n\"'")
}

/// Returns the line that runs a command within its limit, for a shell that has run [`PRELUDE`]. The limit also bounds what a
/// lost connection leaves running: sshd(8) does not end a command whose client has disconnected.
pub(super) fn line(cmd: &Cmd) -> String {
    let words: Vec<String> = cmd.argv.iter().map(|argument| quote_in_line(argument)).collect();
    let seconds = cmd.within.as_secs().max(1);
    format!("timeout -k 5 {seconds} {}", words.join(" "))
}

/// Returns the script that runs a command when it has read `length` bytes of input, unless the process `pid`, the shell of
/// the same session, has ended meanwhile: then the next run may already have observed the host.
pub(super) fn line_after_input(cmd: &Cmd, length: usize, pid: &str) -> String {
    // A file without a name, so that nobody has to remove it; opened again to read it from its begin.
    format!(
        "{PRELUDE}; f=$(mktemp) && exec 8<>\"$f\" && rm -f \"$f\" && cat >&8 && \
         [ \"$(wc -c </proc/self/fd/8)\" -eq {length} ] && kill -0 {pid} && exec {} </proc/self/fd/8 8<&-",
        line(cmd)
    )
}

/// Returns the line that runs a command with its input; `None` where the input is too long or is not text.
pub(super) fn line_with_input(cmd: &Cmd) -> Option<String> {
    let line = line(cmd);
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
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;
    use crate::transport::{LocalShell, Shell};

    /// Returns what a shell prints that is fed the line of `argv`.
    fn run(argv: &[String]) -> String {
        let line = line(&Cmd::new(argv.iter().cloned()));
        assert!(!line.contains('\n'), "{line}");
        let cmd = Cmd::new(["sh", "-c", LOOP]);
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
    fn the_shell_ends_after_a_while_without_a_line() {
        let hasty = LOOP.replace("timeout 60 ", "timeout 1 ");
        assert_ne!(hasty, LOOP);
        let mut shell = Command::new("sh")
            .args(["-c", &hasty])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Open until the end of the test, as on a host that does not notice that its peer is dead.
        let mut input = shell.stdin.take().unwrap();
        input.write_all(b"echo begun\necho not all of a li").unwrap();
        let output = shell.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "begun\n");
        drop(input);
    }

    /// Runs a command that is fed `input` of `length` bytes in a session whose shell is the process `pid`.
    fn fed(input: &str, length: usize, pid: &str) -> (i32, String) {
        let script = line_after_input(&Cmd::new(["cat"]), length, pid);
        let output = LocalShell.run(&Cmd::new(["sh", "-c", &script]).fed(input)).unwrap();
        (output.status, String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn a_command_is_not_run_with_a_part_of_its_input_or_after_the_shell_of_its_session() {
        let alive = std::process::id().to_string();
        assert_eq!(fed("all of it", 9, &alive), (0, "all of it".to_owned()));
        assert_eq!(fed("all o", 9, &alive), (1, String::new()));
        let mut ended = Command::new("true").spawn().unwrap();
        let pid = ended.id().to_string();
        ended.wait().unwrap();
        assert_eq!(fed("all of it", 9, &pid).1, "");
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
