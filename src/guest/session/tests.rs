use super::*;
use crate::guest::LINE_LIMIT;
use crate::guest::scripted::{PROMPT, Scripted, Shell, open};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
const CHATTER: &str = "[    4.123456] virtio_net virtio0: link up\r\n";

fn simple() -> Scripted {
    Scripted::new(Shell::simple())
}

/// A guest whose first `times` answers to scripts with `command` are changed by `what`, e.g. split by a kernel message.
fn split(command: &'static str, times: u32, what: fn(&str) -> String) -> Scripted {
    let (mut seen, mut left) = (false, times);
    simple().garbled(move |text| {
        seen |= text.starts_with(command);
        let hit = seen && text.contains('B') && left > 0 && text.starts_with("} <");
        left -= u32::from(hit);
        if hit { what(&text) } else { text }
    })
}

fn split_after(text: &str, after: &str) -> String {
    let at = text.rfind(after).unwrap() + after.len();
    format!("{}{CHATTER}{}", &text[..at], &text[at..])
}

#[test]
fn a_command_gives_its_own_output_and_status() {
    for guest in [simple(), simple().in_pieces_of(1), simple().in_pieces_of(7)] {
        let mut session = open(guest);
        let output = session.run("echo hello", PATIENCE).unwrap();
        assert_eq!((output.status, output.text.as_str()), (0, "hello\n"));
        for status in [0, 1, 42, 255] {
            assert_eq!(
                session.run(&format!("(exit {status})"), PATIENCE).unwrap().status,
                status
            );
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    let output = open(simple()).run("echo a\x01b", PATIENCE).unwrap();
    assert_eq!((output.status, output.text.as_str()), (0, "a\u{fffd}b\n"));
}

#[test]
fn an_end_mark_that_a_kernel_message_split_is_requested_again() {
    let mut session = open(split("echo a", 1, |text| split_after(text, "E0,")));
    let output = session.run("echo a", PATIENCE).unwrap();
    assert_eq!(output.status, 0);
    assert!(output.text.starts_with("a\n"), "{}", output.text);
    assert_eq!(session.run("echo b", PATIENCE).unwrap().text, "b\n");
}

#[test]
fn a_script_with_a_split_frame_is_run_again_only_if_it_is_idempotent() {
    let split_begin = |text: &str| text.replacen("B\r\n", &format!("{CHATTER}B\r\n"), 1);
    let error = open(split("echo a", 1, split_begin))
        .run("echo a", PATIENCE)
        .unwrap_err();
    assert_eq!(
        error.fault,
        SessionFault::Garbled {
            command: "echo a".into()
        }
    );
    for what in [split_begin, |text: &str| split_after(text, "E0,")] {
        let output = open(split("echo a", 2, what))
            .run_idempotent("echo a", PATIENCE)
            .unwrap();
        assert_eq!((output.status, output.text.as_str()), (0, "a\n"));
        let error = open(split("echo a", 9, what))
            .run_idempotent("echo a", PATIENCE)
            .unwrap_err();
        assert_eq!(
            error.fault,
            SessionFault::Garbled {
                command: "echo a".into()
            }
        );
    }
}

#[test]
fn a_kernel_message_in_the_output_does_not_change_the_status() {
    let guest = simple().garbled(|text| text.replacen("hel", &format!("hel{CHATTER}"), 1));
    let output = open(guest).run("echo hello", PATIENCE).unwrap();
    assert_eq!(output.status, 0);
    assert!(output.text.ends_with("link up\nlo\n"), "{}", output.text);
}

#[test]
fn late_output_of_an_earlier_command_is_not_taken_for_an_answer() {
    let mut late = String::new();
    let mut session = open(simple().garbled(move |text| {
        // The answer to `slow` comes only with what is printed next.
        if text.contains("slow\r\n") && text.starts_with("} <") {
            late = text;
            return String::new();
        }
        std::mem::take(&mut late) + &text
    }));
    let error = session.run("echo slow", Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error.fault, SessionFault::Deadline { .. }), "{error}");
    assert_eq!(session.run("echo right", PATIENCE).unwrap().text, "right\n");
}

#[test]
fn a_restarted_shell_is_not_taken_for_success() {
    let error = restarted("");
    assert!(matches!(error.fault, SessionFault::Garbled { .. }), "{error}");
}

#[test]
fn a_guest_that_restarts_during_a_command_says_so() {
    let error = restarted("[  939.817012] reboot: Restarting system\r\n");
    assert_eq!(
        error.fault.to_string(),
        "the guest printed `reboot: Restarting system` while it ran `echo a`"
    );
}

/// Returns the error of a command during which a guest prints `said` and starts another shell.
fn restarted(said: &'static str) -> SessionError {
    let mut lines = 0;
    let mut shell = Shell::simple();
    let guest = move |line: &str| {
        use crate::guest::scripted::Guest as _;
        if line.starts_with("} <") {
            lines += 1;
        }
        // The frame of the second script begins, and init starts another shell.
        if lines == 2 && line.starts_with("} <") {
            shell = Shell::simple();
            return Some(format!("\r\n{said}{PROMPT}"));
        }
        shell.line(line)
    };
    open(Scripted::new(guest)).run("echo a", PATIENCE).unwrap_err()
}

#[test]
fn a_guest_that_stops_during_a_command_is_reported_at_once() {
    let mut shell = Shell::simple();
    let guest = move |line: &str| {
        use crate::guest::scripted::Guest as _;
        (line != "die").then(|| shell.line(line)).flatten()
    };
    let error = open(Scripted::new(guest)).run("die", PATIENCE).unwrap_err();
    assert_eq!(error.fault, SessionFault::Console(ConsoleError::Closed));
    assert!(!error.screen.is_empty());
}

#[test]
fn a_panic_counts_only_if_the_guest_is_silent_after_it() {
    let panic = "[    9.1] Kernel panic - not syncing: Attempted to kill init!";
    let quoted = open(simple()).run(&format!("echo {panic}"), PATIENCE).unwrap();
    assert_eq!(quoted.text, format!("{panic}\n"));
    let mut dead = false;
    let mut session = open(simple().garbled(move |text| {
        let dies = !dead && text.starts_with("echo die");
        dead |= dies;
        if dies {
            format!("{panic}\r\n")
        } else if dead {
            String::new()
        } else {
            text
        }
    }));
    let error = session.run("echo die", PATIENCE).unwrap_err();
    assert!(
        matches!(&error.fault, SessionFault::Panic(line) if line.ends_with(panic)),
        "{error}"
    );
}

#[test]
fn a_guest_that_does_not_answer_fails_at_the_deadline() {
    let mut mute = false;
    let mut session = open(simple().garbled(move |text| {
        mute |= text.contains("sleep");
        if mute { String::new() } else { text }
    }));
    let mute = session.run("echo sleep", SECOND).unwrap_err();
    let SessionFault::Deadline { command, within } = mute.fault else {
        panic!("{mute}")
    };
    assert_eq!((command.as_str(), within), ("echo sleep", SECOND));
}

/// FAULTS 22.
#[test]
fn nothing_of_a_script_with_a_too_long_line_is_sent() {
    let mut session = open(simple());
    let script = format!("echo a\necho {}", "x".repeat(LINE_LIMIT));
    let error = session.run(&script, PATIENCE).unwrap_err();
    assert_eq!(error.fault, SessionFault::LineTooLong(LINE_LIMIT + 5));
    assert!(!session.last_lines().iter().any(|line| line.contains("echo a")));
}

#[test]
fn the_echo_is_on_again_when_a_session_ends() {
    let (sender, typed) = std::sync::mpsc::channel();
    let mut shell = Shell::simple();
    drop(open(Scripted::new(move |line: &str| {
        use crate::guest::scripted::Guest as _;
        sender.send(line.to_owned()).unwrap();
        shell.line(line)
    })));
    assert!(typed.iter().last().unwrap().ends_with("; stty echo"));
}
