//! FAULTS 61: a guest whose disk no longer fits on its host: QEMU pauses it.

use super::labs::{HOSTS, compressed, image_of, lab, verified};
use crate::support::lab::said;
use crate::support::server::{Act, Server};

#[test]
#[ignore = "soak: a guest with a screen boots for a minute"]
fn a_guest_whose_disk_is_full_on_its_host_is_named_and_runs_on_once_there_is_space() {
    let test = "a_guest_whose_disk_is_full_on_its_host_is_named_and_runs_on_once_there_is_space";
    let Some(bench) = lab(test, "fl", HOSTS) else {
        return;
    };
    let file = compressed("shell.img");
    let server = Server::start(&file, &[Act::Give]);
    let image = image_of(&server, &file, "ne2k_pci", "kind = \"vga\"");
    bench.good(&["-q", "up", bench.file()]);
    // A file system of its own, too small for what the guest will write.
    let pool = format!("/var/lib/libvirt/images/netlab.{}", bench.name);
    let small = format!("mkdir -p {pool} && mount -t tmpfs -o size=4m tmpfs {pool}");
    bench.inside("node1", &["sh", "-c", &small]);
    bench.write(&format!(
        "image = \"full\"\n{HOSTS}[vms.vm]\nhost = \"node1\"\nnics = [{{ network = \"service\" }}]\n[images.full]\n{image}"
    ));
    bench.good(&["-q", "up", bench.file()]);

    let named = "QEMU paused it after an I/O error";
    let write = "dd if=/dev/urandom of=/dev/sda bs=64k seek=300 count=150; sync";
    let stopped = bench.run(&["exec", &bench.name, "vm", "--", write]);
    let text = said(&stopped, 125);
    assert!(text.contains(named), "{text}");
    let status = bench.good(&["status", &bench.name]);
    assert!(status.contains(named), "{status}");
    let verify = bench.bad(&["verify", bench.file()], 1);
    assert!(verify.contains(named), "{verify}");
    let exec = bench.bad(&["exec", &bench.name, "vm", "--", "true"], 125);
    assert!(exec.contains("VM vm is not running") && exec.contains(named), "{exec}");

    bench.inside("node1", &["mount", "-o", "remount,size=64m", &pool]);
    bench.good(&["-q", "up", bench.file()]);
    assert!(verified(&bench) >= 1);
    bench.inside("node1", &["umount", "--lazy", &pool]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    bench.good(&["image", "rm", "full", "--lab", bench.file()]);
}
