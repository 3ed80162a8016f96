//! The way to a host cut at every single command of an `up`.

use crate::machines::{Machines, said};

/// Stands before timeout(1), by which netlab runs every command: counts them, and at one of them ends all connections,
/// before the command is run or when its answer is on its way.
const CUT: &str = r#"#!/bin/sh
count=$(($(cat /run/cut/count) + 1)); echo "$count" >/run/cut/count
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

fn cut(machines: &Machines, at: u32, when: &str) {
    let script = format!("cd /run/cut && echo {at} >at && echo {when} >when && echo 0 >count");
    machines.run("node1", &["sh", "-c", &script]);
}

fn commands(machines: &Machines) -> u32 {
    machines
        .run("node1", &["cat", "/run/cut/count"])
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn a_way_cut_at_any_command_of_up_is_set_right_by_up_or_by_down() {
    let Some(machines) = Machines::new("any command") else {
        return;
    };
    write_lab(&machines);
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    machines.run("node1", &["mount", "-t", "tmpfs", "tmpfs", "/usr/local/bin"]);
    let put = "mkdir -p /run/cut && printf %s \"$1\" >/usr/local/bin/timeout && chmod 755 /usr/local/bin/timeout";
    machines.run("node1", &["sh", "-c", put, "sh", CUT]);
    let before = machines.snapshot();
    cut(&machines, 0, "never");
    machines.good(&["up", lab]);
    let all = commands(&machines);
    assert!(all > 5, "{all} commands");
    let up = machines.snapshot();
    assert!(up.iter().any(|line| line.contains("10.0.1.1/24")), "{up:#?}");
    machines.good(&["down", &machines.name]);
    assert_eq!(machines.snapshot(), before);

    // Looking comes first, and a cut there is like another.
    for at in (1..=all).filter(|at| *at > all / 2 || at % 4 == 1) {
        let when = if at % 2 == 0 { "before" } else { "after" };
        cut(&machines, at, when);
        let output = machines.output(&["up", "--keep", lab]);
        let said = said(&output);
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{when} command {at}: {said}"
        );
        assert!(commands(&machines) >= at, "not cut {when} command {at}: {said}");
        cut(&machines, 0, "never");
        // One after the other, and each behind cuts of both kinds.
        if at % 4 < 2 {
            machines.good(&["up", lab]);
            assert_eq!(machines.snapshot(), up, "up, cut {when} command {at}: {said}");
        }
        machines.good(&["down", lab]);
        assert_eq!(machines.snapshot(), before, "down, cut {when} command {at}: {said}");
    }
}
