//! Checkpoints of a lab: saved, restored, refused, and runs that are killed meanwhile.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use rustix::process::Signal;

use crate::support::lab::{Bench, EMPTY, GUEST, PATIENT};

/// Two hosts; on each a guest, of which one has a disk.
const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0.address = "172.16.99.108/24"
[hosts.node2]
nics.eth0.address = "172.16.99.109/24"
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
bridge = "br1"
gateway = { address = "10.0.1.1", on = "node1" }
[vms.plain]
host = "node1"
memory = "96MiB"
nics = [{ network = "service" }]
[vms.disk]
host = "node2"
memory = "96MiB"
disks = [{ size = "64MiB" }]
nics = [{ network = "service" }]
"#;

fn ask(bench: &Bench, vm: &str, what: &str) -> String {
    bench.good(&["exec", &bench.name, vm, "--", what]).trim().to_owned()
}

/// The folder of the lab's checkpoints on an emulated host, as a path of this machine.
fn saved(bench: &Bench, host: &str) -> PathBuf {
    let machine = bench.state().join(format!("labs/{}/hosts/{host}", bench.name));
    machine.join(format!("var/lib/libvirt/images/netlab.{}.saved", bench.name))
}

#[test]
fn a_lab_comes_back_to_a_checkpoint_with_the_memory_and_the_disks_of_all_its_guests() {
    let test = "a_lab_comes_back_to_a_checkpoint_with_the_memory_and_the_disks_of_all_its_guests";
    let Some(bench) = Bench::new(test, "cp", LAB) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "link", bench.file(), "plain:service", "--rate", "50mbit"]);
    assert!(bench.good(&["save", &bench.name, "--list"]).contains("no checkpoint"));
    let set = |text: &str| {
        for vm in ["plain", "disk"] {
            ask(&bench, vm, &format!("echo {text} >/tmp/memory"));
        }
        ask(
            &bench,
            "disk",
            &format!("echo {text} | dd of=/dev/vda 2>/dev/null; sync"),
        );
    };
    let is = |text: &str| {
        for vm in ["plain", "disk"] {
            assert_eq!(ask(&bench, vm, "cat /tmp/memory"), text, "memory of {vm}");
        }
        // Read from the disk, not from the guest's cache.
        let read = "echo 3 >/proc/sys/vm/drop_caches; head -n 1 /dev/vda";
        assert_eq!(ask(&bench, "disk", read), text, "the disk");
    };
    set("one");
    let answer = bench.good(&["save", &bench.name, "one"]);
    assert!(answer.contains("saved as one: 2 VMs in "), "{answer}");
    is("one");
    set("two");
    bench.good(&["-q", "save", &bench.name]);
    set("three");
    let list = bench.good(&["save", &bench.name, "--list"]);
    let names: Vec<_> = list
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, ["one", "saved-1"], "{list}");
    let again = bench.bad(&["save", &bench.name, "one"], 1);
    assert!(again.contains("has a checkpoint one already"), "{again}");
    for host in ["node1", "node2"] {
        let modes = bench.inside(
            host,
            &["sh", "-c", "stat -c '%U %a' /var/lib/libvirt/images/*.saved/*/*"],
        );
        assert!(modes.lines().all(|line| line == "root 600"), "{modes}");
    }

    // The newest, then an older one, from a guest that is off and one that runs.
    bench.good(&["restore", &bench.name]);
    is("two");
    bench.good(&["-q", "stop", &bench.name, "disk"]);
    bench.good(&["restore", &bench.name, "one"]);
    is("one");
    for vm in ["plain", "disk"] {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        let clock: u64 = ask(&bench, vm, "date +%s").parse().unwrap();
        assert!(clock.abs_diff(now) <= 4, "the clock of {vm} is {clock}, not {now}");
    }
    let status = bench.good(&["status", &bench.name]);
    assert!(
        status.contains("rate 50mbit"),
        "the limit of a NIC that was made again: {status}"
    );
    assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));
    let verified = bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    assert!(verified.contains(" as expected"), "{verified}");

    bench.good(&["save", &bench.name, "--remove", "one"]);
    let missing = bench.bad(&["restore", &bench.name, "one"], 1);
    assert!(missing.contains("has no checkpoint one"), "{missing}");
    assert!(!saved(&bench, "node1").join("one").exists());
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn what_cannot_be_saved_or_restored_is_refused_and_the_guest_runs_on() {
    let test = "what_cannot_be_saved_or_restored_is_refused_and_the_guest_runs_on";
    let Some(bench) = Bench::new(test, "cr", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    ask(&bench, "vm1", "echo kept >/tmp/mine");
    let folder = saved(&bench, "node1");
    let inside = format!("/var/lib/libvirt/images/netlab.{}.saved", bench.name);
    let mount = |size: &str| {
        let script = format!("mkdir -p {inside} && mount -t tmpfs -o size={size} tmpfs {inside}");
        bench.inside("node1", &["sh", "-c", &script]);
    };
    let unmount = || _ = bench.inside("node1", &["umount", &inside]);

    // Too little space, seen before; and space that somebody else takes meanwhile.
    mount("20m");
    let refused = bench.bad(&["save", &bench.name, "full"], 1);
    assert!(refused.contains("not enough space on host node1"), "{refused}");
    assert!(refused.contains("96 MiB needed, 20 MiB free"), "{refused}");
    unmount();
    mount("100m");
    let fill = format!("while [ ! -d {inside}/full ]; do :; done; fallocate -l 60M {inside}/full/else");
    let mut fill = bench.enter("node1").args(["sh", "-c", &fill]).spawn().unwrap();
    let failed = bench.bad(&["save", &bench.name, "full"], 1);
    assert!(fill.wait().unwrap().success());
    assert!(
        failed.contains("every guest runs on, and nothing of the checkpoint is left"),
        "{failed}"
    );
    assert!(bench.good(&["save", &bench.name, "--list"]).contains("no checkpoint"));
    assert_eq!(bench.inside("node1", &["ls", &format!("{inside}/full")]), "else\n");
    unmount();
    assert_eq!(ask(&bench, "vm1", "cat /tmp/mine"), "kept");

    // Files that are not what was saved.
    bench.good(&["-q", "save", &bench.name, "good"]);
    let state = folder.join("good/vm1.state");
    let sums = folder.join("good/vm1.sums");
    let (memory, recorded) = (std::fs::read(&state).unwrap(), std::fs::read_to_string(&sums).unwrap());
    let refused = |expected: &str| {
        let said = bench.bad(&["restore", &bench.name], 1);
        assert!(
            said.contains(expected) && said.contains("nothing was changed"),
            "{said}"
        );
        assert_eq!(ask(&bench, "vm1", "cat /tmp/mine"), "kept");
    };
    let mut damaged = memory.clone();
    damaged[memory.len() / 2] ^= 1;
    std::fs::write(&state, &damaged).unwrap();
    refused("vm1.state of checkpoint good is damaged");
    std::fs::remove_file(&state).unwrap();
    refused("vm1.state is missing");
    std::fs::write(&state, &memory).unwrap();
    std::fs::write(&sums, recorded.replacen("QEMU ", "QEMU 1", 1)).unwrap();
    refused("checkpoint good was saved by QEMU 1");
    std::fs::remove_file(&sums).unwrap();
    refused("vm1.sums is missing");
    std::fs::write(&sums, &recorded).unwrap();

    // Another lab.
    bench.write(&format!("{EMPTY}{}", GUEST.replace("96MiB", "97MiB")));
    bench.good(&["-q", "up", bench.file()]);
    let changed = bench.bad(&["restore", &bench.name], 1);
    assert!(changed.contains("VM vm1 is defined differently"), "{changed}");
    bench.good(&["-q", "stop", &bench.name, "vm1"]);
    let off = bench.bad(&["save", &bench.name], 1);
    assert!(off.contains("VM vm1 of lab") && off.contains("is shut off"), "{off}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn a_save_or_restore_that_is_killed_loses_nothing_and_the_next_one_ends() {
    let test = "a_save_or_restore_that_is_killed_loses_nothing_and_the_next_one_ends";
    let Some(bench) = Bench::new(test, "ck", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    ask(&bench, "vm1", "echo kept >/tmp/mine");
    // Each run gets one boundary further than the one before could.
    let save = ["-q", "save", &bench.name, "one"];
    let killed = (1..50).take_while(|at| bench.killed(&save, *at)).count();
    assert!(killed >= 6, "only {killed} runs were killed");
    assert_eq!(ask(&bench, "vm1", "cat /tmp/mine"), "kept");
    // In the middle of a step.
    let run = bench.until(&["save", &bench.name, "two"], "pause vm1");
    run.signal(Signal::KILL);
    run.end();
    assert!(bench.good(&["status", &bench.name]).contains("paused; `netlab resume`"));
    let incomplete = bench.bad(&["restore", &bench.name, "two"], 1);
    assert!(incomplete.contains("checkpoint two of lab"), "{incomplete}");
    bench.good(&["-q", "resume", &bench.name]);
    assert_eq!(ask(&bench, "vm1", "cat /tmp/mine"), "kept");

    ask(&bench, "vm1", "echo later >/tmp/mine");
    let restore = ["-q", "restore", &bench.name, "one"];
    let killed = (1..50).step_by(2).take_while(|at| bench.killed(&restore, *at)).count();
    assert!(killed >= 4, "only {killed} runs were killed");
    assert_eq!(ask(&bench, "vm1", "cat /tmp/mine"), "kept");
    // A guest that is off is started by `up`, and a restore is stopped by a signal between two steps.
    assert!(bench.killed(&restore, 3));
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&restore);
    let run = bench.until(&["save", &bench.name, "three"], "pause vm1");
    run.signal(Signal::INT);
    let (status, text) = run.end();
    if status != Some(0) {
        assert_eq!(status, Some(130), "{text}");
        assert!(!bench.good(&["save", &bench.name, "--list"]).contains("three"));
    }
    assert_eq!(ask(&bench, "vm1", "cat /tmp/mine"), "kept");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
