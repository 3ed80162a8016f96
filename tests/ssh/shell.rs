//! Commands over ssh.

use std::sync::Arc;

use netlab::transport::{Cmd, CmdError, Shell};
use rustix::process::{Signal, kill_process};

use crate::sshd::{Sshd, children, wait_until};

fn sh(script: &str) -> Cmd {
    Cmd::new(["sh", "-c", script])
}

#[test]
fn eight_megabytes_go_in_and_come_out_on_both_sides_without_a_deadlock() {
    let Some(sshd) = Sshd::new("eight_megabytes") else {
        return;
    };
    let input: Vec<u8> = (0..8_u32 << 20).map(|at| (at % 251) as u8).collect();
    let cmd = sh("cat | tee /dev/stderr").fed(input.clone());
    let output = sshd.shell().unwrap().run(&cmd).unwrap();
    assert_eq!(output.status, 0);
    assert!(output.stdout == input && output.stderr == input);
}

#[test]
fn a_command_that_does_not_read_its_input_is_no_error() {
    let Some(sshd) = Sshd::new("does_not_read") else { return };
    let shell = sshd.shell().unwrap();
    let cmd = Cmd::new(["true"]).fed(vec![b'x'; 8 << 20]);
    assert_eq!(shell.run(&cmd).unwrap().status, 0);
    assert_eq!(shell.check(&sh("echo still here")).unwrap(), b"still here\n");
}

#[test]
fn a_megabyte_of_errors_before_any_input_is_read_is_no_deadlock() {
    let Some(sshd) = Sshd::new("errors_first") else { return };
    let cmd = sh("head -c 8000000 /dev/zero >&2; wc -c").fed(vec![b'x'; 8_000_000]);
    let output = sshd.shell().unwrap().run(&cmd).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "8000000");
    assert_eq!(output.stderr.len(), 8_000_000);
}

#[test]
fn statuses_and_signals_are_those_of_a_shell_here() {
    let Some(sshd) = Sshd::new("statuses") else { return };
    let shell = sshd.shell().unwrap();
    assert_eq!(shell.run(&sh("exit 7")).unwrap().status, 7);
    assert_eq!(shell.run(&sh("kill -9 $$")).unwrap().status, 137);
    assert_eq!(shell.run(&sh("kill -TERM $$")).unwrap().status, 143);
    assert_eq!(shell.run(&sh("exit 127")).unwrap().status, 127);
    let missing = shell.run(&Cmd::new(["netlab-no-such-program"]));
    assert!(
        matches!(&missing, Err(CmdError::NotFound { program }) if program == "netlab-no-such-program"),
        "{missing:?}"
    );
    let failing = shell.check(&sh("echo why >&2; exit 3"));
    assert!(matches!(failing, Err(CmdError::Failed { status: 3, stderr, .. }) if stderr == "why"));
    assert!(shell.run(&Cmd::default()).is_err());
}

#[test]
fn words_of_every_kind_reach_a_program_as_they_are() {
    let Some(sshd) = Sshd::new("words_of_every_kind") else {
        return;
    };
    let words = [
        "", "'", "a b", "$(id)", "`id`", "\\", "a\nb", "*", "~", "-n", "ü", "\"", "!x", "\t",
    ];
    let mut argv = vec!["printf", "%s."];
    argv.extend(words);
    let output = sshd.shell().unwrap().check(&Cmd::new(argv)).unwrap();
    assert_eq!(
        String::from_utf8(output).unwrap(),
        words.map(|word| format!("{word}.")).concat()
    );
}

/// FAULTS 38.
#[test]
fn all_commands_go_over_one_connection_one_at_a_time() {
    // One more than is used: sshd forgets a session a moment after it has said that it is closed.
    // And a startup more: whether sshd listens was asked by connecting, which it may still be at.
    let Some(sshd) = Sshd::with("one_connection", "MaxSessions 2\nMaxStartups 2") else {
        return;
    };
    let shell = sshd.shell().unwrap();
    std::thread::scope(|scope| {
        for at in 0..12 {
            let shell = &shell;
            scope.spawn(move || {
                let text = at.to_string();
                assert_eq!(shell.check(&Cmd::new(["printf", &text])).unwrap(), text.as_bytes());
            });
        }
    });
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "{}", sshd.log());
    assert_eq!(
        sshd.log().matches("Starting session: command").count(),
        1,
        "one shell for all"
    );
}

#[test]
fn a_peer_that_stops_answering_is_found_dead_and_the_next_command_has_a_new_session() {
    let Some(sshd) = Sshd::new("stops_answering") else {
        return;
    };
    let shell = Arc::new(sshd.shell().unwrap());
    let theirs = shell.clone();
    // Not a scoped thread: a peer that is never found dead would hold that for ever.
    let waiting = std::thread::spawn(move || theirs.run(&Cmd::new(["sleep", "50"])).unwrap_err());
    wait_until("the command runs", || sshd.log().contains("Starting session"));
    // What answers keep-alives is the server's process, and below it those that lost the right to.
    let mut stopped = Vec::new();
    for server in sshd.servers() {
        stopped.extend(children(server.as_raw_nonzero().get().try_into().unwrap()));
        stopped.push(server);
    }
    for process in &stopped {
        kill_process(*process, Signal::STOP).unwrap();
    }
    wait_until("the peer is found dead", || waiting.is_finished());
    // A stopped process outlives its server.
    for process in stopped {
        let _ = kill_process(process, Signal::KILL);
    }
    let error = waiting.join().unwrap();
    assert!(format!("{error}").contains("stopped answering"), "{error}");
    assert_eq!(shell.check(&Cmd::new(["echo", "back"])).unwrap(), b"back\n");
}

#[test]
fn a_silent_command_of_a_living_peer_is_waited_for() {
    let Some(sshd) = Sshd::new("silent_command") else {
        return;
    };
    let output = sshd.shell().unwrap().check(&sh("sleep 11; echo done")).unwrap();
    assert_eq!(output, b"done\n");
}

#[test]
fn a_killed_connection_is_an_error_at_once() {
    let Some(sshd) = Sshd::new("killed_connection") else {
        return;
    };
    let shell = sshd.shell().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| shell.run(&Cmd::new(["sleep", "5"])));
        wait_until("the command runs", || sshd.log().contains("Starting session"));
        for server in sshd.servers() {
            for process in children(server.as_raw_nonzero().get().try_into().unwrap()) {
                let _ = kill_process(process, Signal::KILL);
            }
            let _ = kill_process(server, Signal::KILL);
        }
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(error, CmdError::Ssh { .. }), "{error}");
    });
    assert_eq!(shell.check(&Cmd::new(["echo", "back"])).unwrap(), b"back\n");
}
