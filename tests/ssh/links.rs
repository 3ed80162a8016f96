//! Links of machines behind ssh: limited by request, with a fault, and what passes them.

use std::io::Read as _;
use std::process::Child;

use rustix::process::{Signal, kill_process};

use crate::machines::{Machines, kill};
use crate::sshd::{children, wait_until};

/// Seconds for which lossy cells are asked again: guests on a busy machine lose pings.
const PATIENT: &str = "120";

/// A file that cannot be run, in place of a program of one machine.
fn hide(machines: &Machines, node: &str, program: &str) {
    let script =
        "file=$(command -v \"$1\") && : >/run/hidden && mount --bind /run/hidden \"$file\" && ! command -v \"$1\"";
    machines.run(node, &["sh", "-c", script, "sh", program]);
}

/// A capture that listens.
fn capturing(machines: &Machines, words: &[&str]) -> Child {
    let mut child = machines.spawn(&[&["capture", &machines.name], words].concat());
    let mut errors = child.stderr.take().unwrap();
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&said).contains("Ctrl-C ends") {
        assert_eq!(errors.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    child
}

fn printed(mut capture: Child) -> String {
    let mut text = String::new();
    capture.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(capture.wait().unwrap().success(), "{text}");
    text
}

#[test]
fn links_of_machines_behind_ssh_are_limited_and_captured_and_nothing_is_left() {
    let Some(machines) = Machines::new("links") else {
        return;
    };
    let lab = machines.lab();
    let (lab, name) = (lab.to_str().unwrap(), machines.name.as_str());
    let before = machines.snapshot();
    machines.good(&["up", lab]);
    machines.good(&["verify", "--wait", PATIENT, lab]);

    // Limits of a guest's NIC and of a machine's own, which is not set down.
    machines.good(&["link", name, "vm1", "--rate", "1mbit"]);
    machines.good(&["link", name, "node2:eth0", "--rate", "10mbit"]);
    let status = machines.good(&["status", name]);
    assert!(
        status.contains("rate 1mbit") && status.contains("node2:eth0"),
        "{status}"
    );
    let said = machines.bad(&["link", name, "node1:eth0", "down"]);
    assert!(
        said.contains("cannot be set down") && said.contains("nothing was changed"),
        "{said}"
    );
    assert!(machines.good(&["plan", lab]).starts_with("nothing to do"));
    machines.good(&["link", name, "vm2", "down"]);
    let said = machines.bad(&["verify", lab]);
    assert!(said.contains("down by request"), "{said}");
    machines.good(&["link", name, "vm1,vm2,node2:eth0", "--clear"]);
    machines.good(&["verify", "--wait", PATIENT, lab]);

    let up = machines.snapshot();

    // By tcpdump, and where that is not installed by the reader of packet sockets.
    let ping = || {
        machines.run(
            "node1",
            &["sh", "-c", "ping -c 3 -i 0.3 -W 10 10.0.1.3 >/dev/null || true"],
        )
    };
    for hidden in [false, true] {
        let filter: &[&str] = if hidden { &[] } else { &["icmp"] };
        let capture = capturing(&machines, &[&["vm2", "-c", "2"], filter].concat());
        ping();
        let text = printed(capture);
        assert!(text.contains(" 10.0.1.3"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
        if !hidden {
            hide(&machines, "node2", "tcpdump");
        }
    }
    let said = machines.bad(&["capture", name, "vm2", "icmp"]);
    assert!(
        said.contains("a filter needs tcpdump") && said.contains("apt-get install tcpdump"),
        "{said}"
    );

    // Along the path, one machine with tcpdump and one without; Ctrl-C ends it.
    let file = machines.keyring.path("path.pcapng");
    let path = file.to_str().unwrap();
    let capture = capturing(&machines, &["--both-ends", "vm1", "vm2", "-w", path]);
    machines.good(&["exec", name, "vm1", "--", "ping -c 3 10.0.1.3"]);
    for netlab in children(capture.id()) {
        kill_process(netlab, Signal::INT).unwrap();
    }
    capture.wait_with_output().unwrap();
    let read = std::process::Command::new("tcpdump")
        .args(["-n", "-r", path])
        .output()
        .unwrap();
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    assert_eq!(
        read.matches("ICMP echo request").count(),
        12,
        "three at each of four links: {read}"
    );

    // Killed: the programs there end as well.
    let capture = capturing(&machines, &["node1:eth0,node2:eth0"]);
    kill(capture);
    wait_until("no program that captures", || {
        let left = |node: &str, of: &str| machines.run(node, &["sh", "-c", &format!("pgrep -f '{of}' || true")]);
        left("node1", "[t]cpdump -i eth0").is_empty() && left("node2", "[l]istening on").is_empty()
    });
    machines.run("node2", &["umount", "/usr/bin/tcpdump"]);
    machines.run("node2", &["rm", "/run/hidden"]);
    machines.assert_as(&up);
    machines.good(&["down", name]);
    machines.assert_as(&before);
}

#[test]
#[ignore = "soak: many runs of verify over ssh"]
fn faults_are_put_into_machines_behind_ssh_only_when_that_is_asked_for() {
    let Some(machines) = Machines::new("faults") else {
        return;
    };
    let lab = machines.lab();
    let (lab, name) = (lab.to_str().unwrap(), machines.name.as_str());
    let before = machines.snapshot();
    machines.good(&["up", lab]);
    machines.good(&["verify", "--wait", PATIENT, lab]);
    let said = machines.bad(&["break", name]);
    assert!(said.contains("--real"), "{said}");
    for (level, seed) in [("1", "1"), ("2", "2"), ("3", "3")] {
        let said = machines.good(&["break", name, "--real", "--level", level, "--seed", seed]);
        let fault = machines.good(&["break", name, "--reveal"]);
        let fault = fault.lines().next().unwrap();
        assert!(!said.contains(fault), "{said}");
        machines.bad(&["verify", "--wait", "20", lab]);
        machines.good(&["break", name, "--heal"]);
        assert!(machines.good(&["plan", lab]).starts_with("nothing to do"), "{fault}");
        machines.good(&["verify", "--wait", PATIENT, lab]);
    }
    machines.good(&["down", name]);
    machines.assert_as(&before);
}
