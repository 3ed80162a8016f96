//! Guests behind ssh that are started from a saved state, which is made and kept on their host.

use crate::machines::{Machines, kill};
use crate::sshd::wait_until;

const FOLDER: &str = "/var/cache/netlab/saved";

/// One guest on node1, which has the keys `vm`; `more` is added.
fn write_lab(machines: &Machines, vm: &str, more: &str) {
    let text = format!(
        r#"
name = "{}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
[networks.inside]
subnet = "10.0.1.0/24"
gateway = {{ address = "10.0.1.1" }}
[vms.vm1]
{vm}
nics = [{{ network = "inside" }}]
{more}
"#,
        machines.name
    );
    std::fs::write(machines.lab(), text).unwrap();
}

/// Modes of what is in saved states.
fn states(machines: &Machines) -> String {
    machines.run("node1", &["find", FOLDER, "-path", "*.state/*", "-printf", "%m %f\n"])
}

#[test]
#[ignore = "soak: five starts of a guest"]
fn a_guest_behind_ssh_is_restored_from_a_state_on_its_host_or_boots_where_none_can_be_made_or_used() {
    let Some(machines) = Machines::new("warm") else {
        return;
    };
    // Of a kind that no other test has.
    write_lab(&machines, "memory = \"99MiB\"", "");
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    // Not the folder that all tests share.
    machines.run("node1", &["umount", FOLDER]);
    let before = machines.snapshot();
    let up = || {
        let said = machines.good(&["up", lab]);
        machines.good(&["verify", lab]);
        let plan = machines.good(&["plan", lab]);
        assert!(plan.contains("nothing to do"), "{plan}");
        let restored = machines.restored("node1");
        machines.good(&["down", &machines.name]);
        machines.assert_as(&before);
        (restored, said)
    };

    // Killed while it is made.
    let making = machines.spawn(&["up", lab]);
    wait_until("the state is being saved", || {
        !machines.run("node1", &["ls", FOLDER]).is_empty()
    });
    kill(making);
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);

    let (warm, said) = up();
    assert!(warm, "{said}");
    assert_eq!(states(&machines), "600 memory\n");

    // Damaged: libvirt, or QEMU, refuses it.
    let cut =
        "cd $1 && for state in *.state; do head -c 20000000 \"$state/memory\" >cut && mv cut \"$state/memory\"; done";
    machines.run("node1", &["sh", "-c", cut, "sh", FOLDER]);
    let (warm, said) = up();
    assert!(!warm && said.contains("no saved state can be used: "), "{said}");
    assert_eq!(states(&machines), "");

    // No space for it.
    machines.run("node1", &["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", FOLDER]);
    let (warm, said) = up();
    assert!(!warm && said.contains("no saved state can be used: "), "{said}");
    assert_eq!(machines.run("node1", &["ls", FOLDER]), "");
}

#[test]
#[ignore = "soak: two starts of a guest"]
fn a_guest_behind_ssh_with_a_disk_is_restored_with_a_disk_of_its_own() {
    let Some(machines) = Machines::new("warm disk") else {
        return;
    };
    let disk = machines.keyring.path("disk");
    std::fs::write(&disk, [b"base".to_vec(), vec![0; 8 << 20]].concat()).unwrap();
    let mini = machines.mini();
    let image = format!(
        r#"
[images.disk]
kernel = "{mini}/kernel"
initrd = "{mini}/initrd"
mirrors = ["{disk}"]
format = "raw"
cmdline = "console=ttyS0 quiet no_timer_check"
warm = true
machine = {{ memory = "101MiB" }}
console = {{ prompt = "mini# " }}
"#,
        mini = mini.display(),
        disk = disk.display(),
    );
    write_lab(&machines, "image = \"disk\"", &image);
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    let exec = |script: &str| machines.good(&["exec", &machines.name, "vm1", "--", script]);
    // Made, then found.
    for _ in 0..2 {
        machines.good(&["up", lab]);
        assert!(machines.restored("node1"));
        assert_eq!(exec("head -c 4 /dev/vda"), "base");
        exec("printf mine >/dev/vda && sync");
        let plan = machines.good(&["plan", lab]);
        assert!(plan.contains("nothing to do"), "{plan}");
        machines.good(&["down", &machines.name]);
        machines.assert_as(&before);
    }
}
