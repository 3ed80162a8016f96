//! Guests with disks on a machine behind ssh: the base goes there once, and each guest's disk is an overlay over it.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::machines::{Machines, kill};
use crate::sshd::wait_until;

/// What the disk of a guest is full of at first.
const CONTENT: &[u8; 16] = b"\xfa\0of each guest\0";

const FOLDER: &str = "/var/lib/libvirt/images/netlab-images";

fn digest(file: &Path) -> String {
    let digest = Sha256::digest(std::fs::read(file).unwrap());
    let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.concat()
}

/// Machines, and a lab of guests on node1 with a disk in that format, beside the kernel that they boot.
fn machines(test: &str, format: &str, guests: usize) -> Option<(Machines, PathBuf)> {
    let machines = Machines::new(test)?;
    let content = machines.keyring.path("content");
    std::fs::write(&content, CONTENT.repeat(4 << 20 >> 4)).unwrap();
    let file = machines.keyring.path(&format!("disk.{format}"));
    let made = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", format])
        .args([&content, &file])
        .status();
    assert!(made.unwrap().success());
    let text = format!(
        r#"
name = "{name}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
[networks.inside]
subnet = "10.0.1.0/24"
[images.ssh-{format}]
kernel = "{mini}/kernel"
initrd = "{mini}/initrd"
cmdline = "console=ttyS0 quiet no_timer_check"
mirrors = ["file://{file}"]
sha256 = "{sum}"
format = "{format}"
machine = {{ memory = "96MiB" }}
console = {{ prompt = "mini# " }}
[vms.vm]
host = "node1"
image = "ssh-{format}"
count = {guests}
nics = [{{ network = "inside" }}]
"#,
        name = machines.name,
        mini = machines.mini().display(),
        file = file.display(),
        sum = digest(&file),
    );
    std::fs::write(machines.lab(), text).unwrap();
    Some((machines, file))
}

/// The files that were brought, each with what changes when it is written again.
fn brought(machines: &Machines) -> Vec<String> {
    let script = format!("cd {FOLDER} 2>/dev/null && stat -c '%n %i %s %Z' *disk* 2>/dev/null || true");
    let text = machines.run("node1", &["sh", "-c", &script]);
    text.lines().map(ToOwned::to_owned).collect()
}

/// The one file that was brought is `file`, whole and by its name.
#[track_caller]
fn assert_is(brought: &[String], file: &Path, machines: &Machines) {
    let [one] = brought else { panic!("{brought:#?}") };
    let digest = digest(file);
    assert!(one.starts_with(&format!("{digest}.ssh-")), "{one}");
    let check = format!("cd {FOLDER} && sha256sum *disk*");
    let sum = machines.run("node1", &["sh", "-c", &check]);
    assert!(sum.starts_with(&digest), "{sum}");
}

#[test]
fn a_base_is_brought_once_for_all_its_guests_whose_disks_are_overlays_over_it() {
    let Some((machines, file)) = machines("base once", "raw", 2) else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    machines.good(&["up", lab]);
    let sent = brought(&machines);
    assert_is(&sent, &file, &machines);
    let base = format!("{FOLDER}/{}", sent[0].split(' ').next().unwrap());
    for vm in ["vm-1", "vm-2"] {
        let overlay = format!("/var/lib/libvirt/images/netlab.{0}/{0}.{vm}.qcow2", machines.name);
        let info = machines.run("node1", &["qemu-img", "info", "-U", "--output", "json", &overlay]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["backing-filename"], *base, "{info:#}");
        assert_eq!(info["backing-filename-format"], "raw", "{info:#}");
        let words = ["exec", "-n", &machines.name, vm, "--", "sha256sum </dev/vda"];
        assert_eq!(machines.good(&words).split(' ').next(), Some(&*digest(&file)));
    }
    let again = machines.good(&["up", lab]);
    assert!(again.contains("nothing to do"), "{again}");
    machines.good(&["down", lab]);
    machines.assert_as(&before);
    assert_eq!(brought(&machines), sent, "it stays, as it does in the cache here");
}

/// Replaces timeout(1), with which netlab runs every command: it waits for a signal before what has arrived is inspected.
const WAIT: &str = r#"#!/bin/sh
case "$*" in
*sha256sum*) touch /usr/local/bin/arrived; while [ ! -e /usr/local/bin/go ]; do sleep 0.1; done ;;
esac
exec /usr/bin/timeout "$@"
"#;

#[test]
fn a_base_that_was_not_uploaded_completely_is_uploaded_again_and_a_complete_one_is_not() {
    let Some((machines, file)) = machines("cut base", "qcow2", 1) else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    machines.run("node1", &["mount", "-t", "tmpfs", "tmpfs", "/usr/local/bin"]);
    let put = "printf %s \"$1\" >/usr/local/bin/timeout && chmod 755 /usr/local/bin/timeout";
    machines.run("node1", &["sh", "-c", put, "sh", WAIT]);
    let before = machines.snapshot();
    let up = machines.spawn(&["up", lab]);
    wait_until("it is there", || arrived(&machines));
    kill(up);
    let cut = brought(&machines);
    assert!(cut.len() == 1 && cut[0].contains(".part "), "{cut:#?}");
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
    // As if it had been killed earlier.
    let script = format!("truncate -s 100000 {FOLDER}/*.part; touch /usr/local/bin/go");
    machines.run("node1", &["sh", "-c", &script]);

    // That the guest boots from it is for another test.
    up_to_the_start(&machines);
    let sent = brought(&machines);
    assert_is(&sent, &file, &machines);
    machines.good(&["down", lab]);
    machines.assert_as(&before);
    machines.run("node1", &["rm", "/usr/local/bin/arrived"]);
    up_to_the_start(&machines);
    assert!(!arrived(&machines), "it was sent again");
    machines.good(&["down", lab]);
    machines.assert_as(&before);
    assert_eq!(brought(&machines), sent);
}

fn arrived(machines: &Machines) -> bool {
    machines.run("node1", &["ls", "/usr/local/bin"]).contains("arrived")
}

/// Kills an `up` when its guest is there.
fn up_to_the_start(machines: &Machines) {
    let lab = machines.lab();
    let up = machines.spawn(&["up", lab.to_str().unwrap()]);
    wait_until("the guest runs", || {
        machines.run("node1", &["virsh", "-q", "list", "--name"]).contains("vm")
    });
    kill(up);
}
