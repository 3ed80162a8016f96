//! Further disks of a guest, and a CD: what is written on a disk stays, and the user's files are never written.

use std::os::unix::fs::MetadataExt as _;

use crate::support::lab::{Bench, EMPTY};

fn guest(keys: &str) -> String {
    format!("[vms.vm1]\nmemory = \"96MiB\"\nnics = [{{ network = \"service\" }}]\n{keys}\n")
}

#[test]
fn a_guest_has_further_disks_that_keep_what_is_written_on_them() {
    let test = "a_guest_has_further_disks_that_keep_what_is_written_on_them";
    let both = "disks = [{ size = \"1GiB\" }, { file = \"data.img\" }]\ncdrom = \"tools.iso\"";
    let Some(bench) = Bench::new(test, "disks", &format!("{EMPTY}{}", guest(both))) else {
        return;
    };
    let missing = bench.bad(&["plan", bench.file()], 1);
    assert!(missing.contains("data.img cannot be a guest's disk or CD"), "{missing}");

    let (data, cd) = (bench.path("data.img"), bench.path("tools.iso"));
    let mut content = b"data of the user".to_vec();
    content.resize(32 << 20, 0);
    std::fs::write(&data, &content).unwrap();
    let mut iso = vec![0; 64 << 10];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    std::fs::write(&cd, &iso).unwrap();
    let state = || {
        let found = data.metadata().unwrap();
        (found.uid(), found.mode(), found.mtime(), found.ino())
    };
    let before = state();

    let plan = bench.good(&["plan", bench.file()]);
    assert!(
        plan.contains("create disk 1 of vm1 (1024 MiB, empty at first)"),
        "{plan}"
    );
    assert!(plan.contains("create disk 2 of vm1 (over "), "{plan}");
    let script = bench.good(&["script", bench.file(), "node1"]);
    for wanted in [
        format!("-b {} -F raw /", data.display()),
        format!("file=\"{}\"", cd.display()),
        format!("{}.vm1.1.qcow2 1024M", bench.name),
    ] {
        assert!(script.contains(&wanted), "{wanted}:\n{script}");
    }
    bench.good(&["-q", "up", bench.file()]);
    // A guest that boots from a kernel has no other disk: its further ones are the first.
    let said = |command: &str| bench.good(&["exec", &bench.name, "vm1", "--", command]);
    assert_eq!(said("cat /sys/block/vda/size /sys/block/vdb/size"), "2097152\n65536\n");
    assert_eq!(said("head -c 16 /dev/vdb; echo"), "data of the user\n");
    said("echo kept | dd of=/dev/vda seek=1000000 2>/dev/null; echo new | dd of=/dev/vdb 2>/dev/null; sync");
    let drives = bench.inside("node1", &["virsh", "-q", "domblklist", &format!("{}.vm1", bench.name)]);
    assert!(drives.contains("hdc") && drives.contains("tools.iso"), "{drives}");
    assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));

    bench.good(&["-q", "restart", &bench.name, "vm1"]);
    let read = "dd if=/dev/vda skip=1000000 count=1 2>/dev/null | head -c 5; head -c 4 /dev/vdb";
    assert_eq!(said(read), "kept\nnew\n");

    bench.good(&["-q", "down", &bench.name]);
    assert!(std::fs::read(&data).unwrap() == content, "the user's file is unchanged");
    assert_eq!(state(), before, "and so is its owner");
    bench.assert_as_before();
}

#[test]
#[ignore = "soak: a guest boots after each of many edits"]
fn further_disks_keep_what_is_written_on_them_when_others_are_removed_grown_or_in_another_order() {
    let test = "further_disks_keep_what_is_written_on_them_when_others_are_removed_grown_or_in_another_order";
    let both = "disks = [{ size = \"1GiB\" }, { file = \"data.img\" }]\ncdrom = \"tools.iso\"";
    let Some(bench) = Bench::new(test, "edit", &format!("{EMPTY}{}", guest(both))) else {
        return;
    };
    let (data, cd) = (bench.path("data.img"), bench.path("tools.iso"));
    std::fs::write(&data, vec![0; 32 << 20]).unwrap();
    let mut iso = vec![0; 64 << 10];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    std::fs::write(&cd, &iso).unwrap();
    bench.good(&["-q", "up", bench.file()]);
    let said = |command: &str| bench.good(&["exec", &bench.name, "vm1", "--", command]);
    said("echo kept | dd of=/dev/vda seek=1000000 2>/dev/null; echo new | dd of=/dev/vdb 2>/dev/null; sync");

    // Without the first one, the second stays with what is on it; and back.
    let plan_with = |disks: &str| {
        bench.write(&format!("{EMPTY}{}", guest(disks)));
        bench.good(&["plan", bench.file()])
    };
    let plan = plan_with("disks = [{ file = \"data.img\" }]");
    assert!(
        plan.contains("delete disk 1 of vm1 with all data on it (1024 MiB") && !plan.contains("disk 2 of vm1"),
        "{plan}"
    );
    let plan = plan_with("disks = [{ file = \"data.img\" }, { size = \"1GiB\" }]\ncdrom = \"tools.iso\"");
    assert!(!plan.contains("disk 1 of") && !plan.contains("disk 2 of"), "{plan}");
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(said("head -c 4 /dev/vda; cat /sys/block/vdb/size"), "new\n2097152\n");

    bench.write(&format!("{EMPTY}{}", guest("disks = [{ size = \"2GiB\" }]")));
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("grow disk 1 of vm1 to 2048 MiB"), "{plan}");
    assert!(
        plan.contains("delete disk 2 of vm1 with all data on it (over "),
        "{plan}"
    );
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(
        said("cat /sys/block/vda/size; ls /sys/block | grep -c vd"),
        "4194304\n1\n"
    );
    assert_eq!(
        said("dd if=/dev/vda skip=1000000 count=1 2>/dev/null | head -c 5"),
        "kept\n"
    );

    // The first of two is removed: its file is deleted, and no other one.
    bench.write(&format!(
        "{EMPTY}{}",
        guest("disks = [{ size = \"2GiB\" }, { file = \"data.img\" }]")
    ));
    bench.good(&["-q", "up", bench.file()]);
    said("echo mine | dd of=/dev/vdb 2>/dev/null; sync");
    bench.write(&format!("{EMPTY}{}", guest("disks = [{ file = \"data.img\" }]")));
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(said("head -c 5 /dev/vda; ls /sys/block | grep -c vd"), "mine\n1\n");
    let folder = format!("/var/lib/libvirt/images/netlab.{}", bench.name);
    let files = bench.inside("node1", &["ls", &folder]);
    assert!(
        files.contains("vm1.2.qcow2") && !files.contains("vm1.1.qcow2"),
        "{files}"
    );

    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
