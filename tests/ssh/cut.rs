//! The connection to a host cut at every single command of an `up` and of a `down`.

use crate::machines::{Machines, assert_soon, said};

/// The host of the lab.
const ONE: &[&str] = &["node1"];

/// Replaces timeout(1), with which netlab runs every command: counts them, and at one of them ends all connections,
/// before the command is run or while its answer is being sent.
/// Commands may run at the same time: each has a number of its own.
const CUT: &str = r#"#!/bin/sh
[ "$1" = -k ] || exec /usr/bin/timeout "$@" # which waits for the next command
exec 9>/run/cut/lock; flock 9
count=$(($(cat /run/cut/count) + 1)); echo "$count" >/run/cut/count
exec 9>&-
[ "$count" = "$(cat /run/cut/at)" ] || exec /usr/bin/timeout "$@"
[ "$(cat /run/cut/when)" = before ] || /usr/bin/timeout "$@"
pkill -KILL -f '^sshd[^ ]*: root'
"#;

/// A host without guests, so that an `up` takes no longer than its commands: a NIC taken, a bridge, addresses, rules,
/// a DHCP server.
fn write_lab(machines: &Machines) {
    let text = format!(
        r#"
name = "{}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
nics.eth0 = {{}}
nics.mgmt = {{}}
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
gateway = {{ address = "10.0.1.1", on = "node1" }}
dhcp = true
[[nat]]
on = "node1"
from = ["service"]
out = "mgmt"
"#,
        machines.name
    );
    std::fs::write(machines.lab(), text).unwrap();
}

/// Machines whose node1 counts commands, and the lab for them.
fn machines(test: &str) -> Option<Machines> {
    let machines = Machines::new(test)?;
    write_lab(&machines);
    machines.run("node1", &["mount", "-t", "tmpfs", "tmpfs", "/usr/local/bin"]);
    let put = "mkdir -p /run/cut && printf %s \"$1\" >/usr/local/bin/timeout && chmod 755 /usr/local/bin/timeout";
    machines.run("node1", &["sh", "-c", put, "sh", CUT]);
    machines.run("node1", &["touch", "/run/cut/lock"]);
    uncut(&machines);
    Some(machines)
}

fn set(machines: &Machines, at: u32, when: &str) {
    let script = format!("cd /run/cut && echo {at} >at && echo {when} >when && echo 0 >count");
    machines.run("node1", &["sh", "-c", &script]);
}

fn uncut(machines: &Machines) {
    set(machines, 0, "never");
}

/// Runs netlab with the connection cut at a command, and returns the result; none where the run ended before.
fn cut(machines: &Machines, arguments: &[&str], at: u32) -> Option<String> {
    let when = if at.is_multiple_of(2) { "before" } else { "after" };
    set(machines, at, when);
    let output = machines.output(arguments);
    let count: u32 = machines
        .run("node1", &["flock", "/run/cut/lock", "cat", "/run/cut/count"])
        .trim()
        .parse()
        .unwrap();
    uncut(machines);
    let said = format!("{arguments:?}, cut {when} command {at}: {}", said(&output));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    assert!(count >= at || output.status.success(), "{said}");
    (count >= at).then_some(said)
}

#[test]
fn an_up_whose_connection_is_cut_at_every_sixth_command_is_repaired_by_up_or_by_down() {
    cut_up(6);
}

#[test]
#[ignore = "soak: every command of an up"]
fn an_up_whose_connection_is_cut_at_any_command_is_repaired_by_up_or_by_down() {
    cut_up(1);
}

/// Cuts the connection of an `up` at each `step`th command.
fn cut_up(step: usize) {
    let Some(machines) = machines("cut up") else { return };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let down = machines.snapshot_of(ONE);
    machines.good(&["up", lab]);
    let up = machines.snapshot_of(ONE);
    assert!(up.iter().any(|line| line.contains("10.0.1.1/24")), "{up:#?}");
    machines.good(&["down", lab]);
    assert_soon(&down, "", || machines.snapshot_of(ONE));
    let mut changed = 0;
    for at in (1..).step_by(step) {
        let Some(said) = cut(&machines, &["up", "--keep", lab], at) else {
            break;
        };
        // Observing comes first, and leaves nothing to repair.
        if machines.snapshot_of(ONE) == down {
            continue;
        }
        changed += 1;
        // One after the other, and each behind cuts of both kinds.
        if at % 4 < 2 {
            machines.good(&["up", lab]);
            assert_soon(&up, &format!("up after {said}"), || machines.snapshot_of(ONE));
        }
        machines.good(&["down", lab]);
        assert_soon(&down, &format!("down after {said}"), || machines.snapshot_of(ONE));
    }
    assert!(changed > 5 / step, "{changed}");
}

#[test]
#[ignore = "soak: every command of a down"]
fn a_down_whose_connection_is_cut_at_any_command_is_repaired_by_down() {
    let Some(machines) = machines("cut down") else { return };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let down = machines.snapshot_of(ONE);
    machines.good(&["up", lab]);
    let up = machines.snapshot_of(ONE);
    let mut changed = 0;
    for at in 1.. {
        let Some(said) = cut(&machines, &["down", lab], at) else {
            break;
        };
        if machines.snapshot_of(ONE) == up {
            continue;
        }
        changed += 1;
        machines.good(&["down", lab]);
        assert_soon(&down, &format!("down after {said}"), || machines.snapshot_of(ONE));
        machines.good(&["up", lab]);
        assert_soon(&up, &format!("up after {said}"), || machines.snapshot_of(ONE));
    }
    assert!(changed > 5, "{changed}");
}
