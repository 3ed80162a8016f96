//! A two-host lab over ssh, from nothing to nothing.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::machines::{Machines, NODES};
use crate::sshd::{children, wait_until};

#[test]
fn a_lab_on_two_machines_comes_up_answers_and_goes_without_a_trace() {
    let Some(machines) = Machines::new("two machines") else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    machines.good(&["up", lab]);
    assert!(NODES.iter().all(|node| machines.restored(node)), "a guest booted");
    machines.good(&["verify", lab]);
    let again = machines.good(&["up", lab]);
    assert!(again.contains("nothing to do"), "{again}");
    let status = machines.good(&["status", &machines.name]);
    assert_eq!(status.matches("running").count(), 2, "{status}");
    // Of what is saved there, too, nothing is left.
    machines.good(&["save", &machines.name]);
    machines.good(&["restore", &machines.name]);
    machines.good(&["verify", lab]);
    // `down` needs the name only.
    std::fs::remove_file(machines.lab()).unwrap();
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}

/// What runs in a machine under that name, as numbers that this machine's /proc knows.
fn processes(machines: &Machines, machine: &str, command: &str) -> Vec<Pid> {
    let namespace = std::fs::read_link(format!("/proc/{}/ns/pid", machines.pid(machine))).unwrap();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| {
        let pid: i32 = process.file_name().to_str()?.parse().ok()?;
        let is_in = std::fs::read_link(process.path().join("ns/pid")).ok()? == namespace;
        let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
        (is_in && name.trim() == command).then(|| Pid::from_raw(pid)).flatten()
    })
    .collect()
}

/// Reads what netlab says until a line holds `text`; the rest is read by a thread, so that netlab never waits for us.
fn until(up: &mut Child, text: &str) -> JoinHandle<String> {
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines();
    let mut said = String::new();
    loop {
        let Some(line) = lines.next() else {
            panic!("netlab ended with {} and never said {text}: {said}", up.wait().unwrap());
        };
        let line = line.unwrap();
        said.push_str(&line);
        said.push('\n');
        if line.contains(text) {
            break;
        }
    }
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            said.push_str(&line);
            said.push('\n');
        }
        said
    })
}

/// Waits for the end of netlab, whose exit status and words it gives.
fn end_of(mut up: Child, said: JoinHandle<String>) -> (Option<i32>, String) {
    wait_until("netlab ends", || up.try_wait().unwrap().is_some());
    (up.wait().unwrap().code(), said.join().unwrap())
}

#[test]
#[ignore = "soak: guests boot again and again"]
fn a_connection_that_drops_in_the_middle_heals_or_stops_the_run_and_up_or_down_sets_it_right() {
    let Some(machines) = Machines::new("dropped") else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    for sets_right in ["up", "down"] {
        let mut up = machines.spawn(&["up", "--keep", lab]);
        let said = until(&mut up, "node1: start ");
        for server in processes(&machines, "node1", "sshd") {
            // The listener stays: a connection's servers are below it.
            if !children(server.as_raw_nonzero().get().try_into().unwrap()).is_empty() {
                continue;
            }
            kill_process(server, Signal::KILL).unwrap();
        }
        let (status, said) = end_of(up, said);
        // libvirt's connection is made again through a new session; a console or a running command is not.
        assert!(matches!(status, Some(0 | 1)), "{status:?}: {said}");
        assert!(said.contains("node1"), "{said}");
        if sets_right == "up" {
            machines.good(&["up", lab]);
            machines.good(&["verify", lab]);
        }
        machines.good(&["down", &machines.name]);
        machines.assert_as_after(&before, &format!("after {sets_right}"));
    }
}

#[test]
fn a_cable_pulled_while_it_runs_ends_the_run() {
    let Some(machines) = Machines::new("pulled") else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    let mut up = machines.spawn(&["up", lab]);
    let said = until(&mut up, "node1: start ");
    machines.run("ctl", &["ip", "link", "set", "eth1", "down"]);
    // 8 s of silence, what another host's guest takes to answer, and the attempts to go back.
    let (status, said) = end_of(up, said);
    assert_eq!(status, Some(1), "{said}");
    machines.run("ctl", &["ip", "link", "set", "eth1", "up"]);
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}

/// FAULTS 13.
#[test]
#[ignore = "soak: guests boot again and again"]
fn a_libvirt_daemon_killed_while_guests_start_fails_cleanly_or_not_at_all() {
    let Some(machines) = Machines::new("daemon") else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    let mut up = machines.spawn(&["up", "--keep", lab]);
    let said = until(&mut up, "node2: start ");
    for daemon in processes(&machines, "node2", "libvirtd") {
        kill_process(daemon, Signal::KILL).unwrap();
    }
    let (status, said) = end_of(up, said);
    assert!(matches!(status, Some(0 | 1)), "{status:?}: {said}");
    wait_until("libvirt is back", || {
        std::process::Command::new("nsenter")
            .args([
                "-t",
                &machines.pid("node2").to_string(),
                "-m",
                "-p",
                "-n",
                "virsh",
                "-q",
                "list",
            ])
            .output()
            .is_ok_and(|output| output.status.success())
    });
    machines.good(&["up", lab]);
    machines.good(&["verify", lab]);
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}

#[test]
fn images_are_sent_once_per_content_and_are_whole() {
    let Some(machines) = Machines::new("images") else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let list = |node: &str| {
        let script = "cd /var/lib/libvirt/images/netlab-images && stat -c '%n %i %Z' *";
        machines.run(node, &["sh", "-c", script])
    };
    machines.good(&["up", lab]);
    let sent = list("node1");
    assert_eq!(sent.lines().count(), 2, "kernel and initrd: {sent}");
    let check = "cd /var/lib/libvirt/images/netlab-images && for f in *; do echo \"${f%%.*}  $f\"; done | sha256sum -c";
    machines.run("node1", &["sh", "-c", check]);
    machines.good(&["down", &machines.name]);
    assert_eq!(list("node1"), sent, "they stay, as in the cache here");

    // A run that was cut off left a part of one, and the other was deleted.
    let break_it = "cd /var/lib/libvirt/images/netlab-images && for f in *; do head -c 1000 \"$f\" >\"$f.part\"; rm \"$f\"; break; done";
    machines.run("node1", &["sh", "-c", break_it]);
    machines.good(&["up", lab]);
    let again = list("node1");
    assert_eq!(again.lines().count(), 2, "{again}");
    machines.run("node1", &["sh", "-c", check]);
    let kept = sent.lines().filter(|line| again.contains(line)).count();
    assert_eq!(kept, 1, "only the one that was missing was sent: {sent} {again}");
}

#[test]
fn a_full_disk_is_said_and_nothing_is_left() {
    let Some(machines) = Machines::new("full disk") else {
        return;
    };
    let folder = "/var/lib/libvirt/images/netlab-images";
    machines.run("node2", &["mkdir", "-p", folder]);
    machines.run("node2", &["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]);
    let before = machines.snapshot();
    let lab = machines.lab();
    let said = machines.bad(&["up", lab.to_str().unwrap()]);
    assert!(said.contains("node2") && said.contains("3 MiB are free"), "{said}");
    machines.assert_as(&before);
    assert_eq!(machines.run("node2", &["ls", folder]), "");
}

#[test]
fn an_unknown_host_key_stops_it_before_anything_is_changed() {
    let Some(machines) = Machines::new("unknown key") else {
        return;
    };
    let known = machines.keyring.path("known");
    let line = format!(
        "10.200.1.2 {}\n10.200.2.2 {}\n",
        machines.keyring.public("host"),
        machines.keyring.public("other")
    );
    std::fs::write(&known, line).unwrap();
    let before = machines.snapshot();
    let lab = machines.lab();
    let said = machines.bad(&["up", lab.to_str().unwrap()]);
    assert!(
        said.contains("has changed") && said.contains("SHA256:") && said.contains("ssh-keygen -R"),
        "{said}"
    );
    machines.assert_as(&before);
}

#[test]
fn a_host_is_reached_through_another_with_libvirt_and_all() {
    let Some(machines) = Machines::new("jump lab") else {
        return;
    };
    // node1 is asked to go to node2, to which only it has a route.
    machines.run("node1", &["ip", "addr", "add", "10.200.3.1/24", "dev", "eth0"]);
    machines.run("node2", &["ip", "addr", "add", "10.200.3.2/24", "dev", "eth0"]);
    machines.run("ctl", &["ip", "link", "set", "eth2", "down"]);
    machines.listen("node2", "10.200.3.2");
    machines
        .keyring
        .configure("Host node2-far\n  HostName 10.200.3.2\n  ProxyJump root@10.200.1.2\n");
    machines
        .keyring
        .know(&format!("10.200.3.2 {}", machines.keyring.public("host")));
    let text = format!(
        "name = \"{}\"\n[hosts.node2]\nconnect = \"ssh://root@node2-far\"\n[networks.inside]\nsubnet = \"10.0.1.0/24\"\n\
         gateway = {{ address = \"10.0.1.1\" }}\n[vms.vm1]\nhost = \"node2\"\nmemory = \"96MiB\"\nnics = [{{ network = \"inside\" }}]\n",
        machines.name
    );
    let lab = machines.lab();
    std::fs::write(&lab, text).unwrap();
    machines.good(&["up", lab.to_str().unwrap()]);
    machines.good(&["verify", lab.to_str().unwrap()]);
    machines.good(&["down", &machines.name]);
    assert_eq!(machines.run("node2", &["virsh", "-q", "list", "--all"]).trim(), "");
}

#[test]
fn the_same_lab_comes_up_with_all_hosts_emulated() {
    let Some(machines) = Machines::new("emulate") else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    machines.good(&["up", "--emulate", lab]);
    machines.good(&["verify", "--emulate", lab]);
    let on_nodes = |lines: &BTreeSet<String>| -> BTreeSet<String> {
        lines.iter().filter(|line| line.starts_with("node")).cloned().collect()
    };
    assert_eq!(
        on_nodes(&machines.snapshot()),
        on_nodes(&before),
        "nothing was done over ssh"
    );
    let said = machines.bad(&["up", lab]);
    assert!(said.contains("netlab down"), "{said}");
    machines.good(&["down", &machines.name]);
}
