//! FAULTS 51: `up` killed while a command of its goes on at a host, and FAULTS 36: nothing of it keeps running there.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::machines::{Machines, kill};
use crate::sshd::wait_until;

/// A host with a DHCP server whose bridge has a port, so that it is first probed for others, which takes two seconds.
fn write_lab(machines: &Machines) {
    let text = format!(
        r#"
name = "{}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
nics.eth0 = {{}}
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
gateway = {{ address = "10.0.1.1", on = "node1" }}
dhcp = true
"#,
        machines.name
    );
    std::fs::write(machines.lab(), text).unwrap();
}

/// Whether a process on node1 has arguments that begin with `begin`.
fn runs(machines: &Machines, begin: &str) -> bool {
    let processes = machines.run("node1", &["ps", "-e", "-o", "args="]);
    processes.lines().any(|arguments| arguments.starts_with(begin))
}

/// What a session's shell waits for its next line with.
const READER: &str = "timeout 60 sh -c IFS= read -r line";
/// What probes for DHCP servers.
const PROBE: &str = "perl -e ";

/// Starts `up` and waits until its probe for DHCP servers runs on node1.
fn probing(machines: &Machines) -> std::process::Child {
    let lab = machines.lab();
    let up = machines.spawn(&["up", lab.to_str().unwrap()]);
    wait_until("node1 probes for DHCP servers", || runs(machines, PROBE));
    up
}

#[test]
fn an_up_that_was_killed_while_it_probes_for_dhcp_servers_is_finished_by_up_at_once_and_removed_by_down() {
    let Some(machines) = Machines::new("dhcp killed") else {
        return;
    };
    write_lab(&machines);
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    // In the middle of the probe, and when it is about to start the server.
    for after in [300, 1900] {
        let up = probing(&machines);
        sleep(Duration::from_millis(after));
        kill(up);
        machines.good(&["up", lab]);
        let plan = machines.good(&["plan", lab]);
        assert!(plan.contains("nothing to do"), "killed after {after} ms: {plan}");
        machines.good(&["down", &machines.name]);
        machines.assert_as(&before);
    }
}

#[test]
fn a_down_ends_what_a_killed_up_still_runs_on_the_host() {
    let Some(machines) = Machines::new("probe killed") else {
        return;
    };
    write_lab(&machines);
    let before = machines.snapshot();
    kill(probing(&machines));
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
    sleep(Duration::from_secs(3));
    machines.assert_as(&before);
}

/// Starts `up` and cuts node1 off in the middle of a command; the error must come within ten seconds.
fn cut_off(machines: &Machines) -> Instant {
    let up = probing(machines);
    machines.run("ctl", &["ip", "link", "set", "eth1", "down"]);
    let cut = Instant::now();
    let journal = machines.keyring.path(&format!("s/labs/{}/journal", machines.name));
    wait_until("the journal has the error", || {
        std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("stopped answering"))
    });
    assert!(cut.elapsed() < Duration::from_secs(12), "{:?}", cut.elapsed());
    kill(up);
    cut
}

#[test]
fn a_host_that_is_cut_off_is_found_dead_in_ten_seconds_and_the_next_run_ends_what_is_left_there() {
    let Some(machines) = Machines::new("cut off host") else {
        return;
    };
    write_lab(&machines);
    let before = machines.snapshot();
    cut_off(&machines);
    assert!(runs(&machines, READER), "nothing was left");
    machines.run("ctl", &["ip", "link", "set", "eth1", "up"]);
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}

#[test]
#[ignore = "soak: a minute without a line"]
fn on_a_host_that_is_cut_off_nothing_keeps_running_for_longer_than_a_minute() {
    let Some(machines) = Machines::new("cut off host") else {
        return;
    };
    write_lab(&machines);
    let before = machines.snapshot();
    let cut = cut_off(&machines);
    // The command ends by itself; its shell waits for the next line, and ends, too.
    wait_until("nothing of netlab's runs on node1 but its DHCP server", || {
        !runs(&machines, READER) && !runs(&machines, PROBE)
    });
    assert!(cut.elapsed() < Duration::from_secs(75), "{:?}", cut.elapsed());
    machines.run("ctl", &["ip", "link", "set", "eth1", "up"]);
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}
