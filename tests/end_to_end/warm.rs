//! Guests that are started from the saved state of one of their kind.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::support::lab::{Bench, EMPTY, PATIENT, said};

/// Two guests of a kind of their own: no other test has guests of this size.
fn lab(memory: u32) -> String {
    let guest = |name: &str| format!("[vms.{name}]\nmemory = \"{memory}MiB\"\nnics = [{{ network = \"service\" }}]\n");
    format!("{EMPTY}{}{}", guest("a"), guest("b"))
}

fn states() -> Vec<PathBuf> {
    let files = std::fs::read_dir(Bench::cache().join("saved")).into_iter().flatten();
    let files = files.flatten().map(|file| file.path());
    files
        .filter(|file| file.extension().is_some_and(|end| end == "state"))
        .collect()
}

/// Counts the guests on node1 whose QEMU has restored them.
fn restored(bench: &Bench) -> usize {
    let guests = bench.inside("node1", &["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'"]);
    guests.lines().filter(|argument| *argument == "-incoming").count()
}

#[test]
fn guests_of_one_kind_are_restored_from_one_saved_state_and_are_different_guests() {
    let test = "guests_of_one_kind_are_restored_from_one_saved_state_and_are_different_guests";
    let Some(bench) = Bench::new(test, "warm", &lab(101)) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(restored(&bench), 2);
    let verified = bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    assert!(verified.contains(" as expected"), "{verified}");
    assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));
    let ask = |vm: &str, what: &str| bench.good(&["exec", &bench.name, vm, "--", what]).trim().to_owned();
    let of_both = |what: &str| (ask("a", what), ask("b", what));
    assert_eq!(of_both("hostname"), ("a".to_owned(), "b".to_owned()));
    for random in [
        "cat /proc/sys/kernel/random/boot_id",
        "head -c 16 /dev/urandom | md5sum",
    ] {
        let (a, b) = of_both(random);
        assert_ne!(a, b, "{random}");
    }
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let clock: u64 = ask("a", "date +%s").parse().unwrap();
    assert!(clock.abs_diff(now) < 60, "the guest's clock is {clock}, not {now}");

    // A guest that somebody has paused goes on, and is not restored.
    let uptime = || -> f64 { ask("b", "cut -d' ' -f1 /proc/uptime").parse().unwrap() };
    ask("b", "echo kept >/tmp/mine");
    let before = uptime();
    bench.inside("node1", &["virsh", "-q", "suspend", &format!("{}.b", bench.name)]);
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(ask("b", "cat /tmp/mine"), "kept");
    assert!(uptime() > before);

    // A run that was killed before it configured a guest leaves it with the clock of the saved state.
    ask("b", "date -s @1000000000");
    let unset = [
        "virsh",
        "-q",
        "metadata",
        "--live",
        "--remove",
        "--uri",
        "urn:netlab:configured:1",
        "--domain",
    ];
    let domain = format!("{}.b", bench.name);
    bench.inside("node1", &[&unset[..], &[&domain]].concat());
    bench.good(&["-q", "up", bench.file()]);
    let clock: u64 = ask("b", "date +%s").parse().unwrap();
    assert!(clock.abs_diff(now) < 600, "the guest's clock is {clock}, not {now}");

    // A guest that is cut off comes back, whatever it was restored from.
    bench.good(&["-q", "restart", &bench.name, "a"]);
    assert_eq!(restored(&bench), 1, "it boots");
    let verified = bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    assert!(verified.contains(" as expected"), "{verified}");
    bench.good(&["-q", "down", &bench.name]);
    bench.good(&["-q", "up", "--cold", bench.file()]);
    assert_eq!(restored(&bench), 0, "with --cold every guest boots");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn a_saved_state_that_was_cut_off_is_thrown_away_and_the_guest_boots() {
    let test = "a_saved_state_that_was_cut_off_is_thrown_away_and_the_guest_boots";
    damaged(test, 103, &[|whole| whole[..whole.len() / 2].to_vec()]);
}

#[test]
#[ignore = "soak: guests boot again and again"]
fn a_saved_state_that_is_damaged_is_thrown_away_and_the_guest_boots() {
    let test = "a_saved_state_that_is_damaged_is_thrown_away_and_the_guest_boots";
    damaged(test, 104, &[|_| b"netlab".to_vec(), |_| Vec::new()]);
}

/// Returns a damaged file in place of a whole one.
type Damage = fn(&[u8]) -> Vec<u8>;

/// Damages the saved state of guests with that much memory, in MiB, in each of these kinds.
fn damaged(test: &str, memory: u32, kinds: &[Damage]) {
    let Some(bench) = Bench::new(test, "torn", &lab(memory)) else {
        return;
    };
    let own = || -> Vec<_> {
        let all = states().into_iter();
        all.filter(|state| has(state, &format!("{}</memory>", memory << 10)))
            .collect()
    };
    // Of an earlier run that failed.
    for state in own() {
        std::fs::remove_dir_all(state).unwrap();
    }
    // Made ahead of the first `up`, once.
    let warm = || {
        let answer = bench.good(&["-q", "image", "warm", "mini", "--lab", bench.file()]);
        assert!(answer.contains("1 kind of VMs can be restored"), "{answer}");
        let made = own().into_iter().map(|state| std::fs::metadata(state).unwrap().ino());
        made.collect::<Vec<_>>()
    };
    let made = warm();
    assert_eq!(made.len(), 1);
    assert_eq!(warm(), made, "it is not made again");
    let first = said(&bench.run(&["up", "--timings", bench.file()]), 0);
    for vm in ["a", "b"] {
        assert!(first.contains(&format!("restored  node1: {vm}\n")), "{first}");
    }
    bench.good(&["-q", "down", &bench.name]);
    let own = own();
    let [state] = &own[..] else {
        panic!("states of this kind: {own:?}");
    };
    let state = &state.join("memory");
    let whole = std::fs::read(state).unwrap();
    for damage in kinds {
        let damaged = damage(&whole);
        // Of which the second guest may have removed the folder, and not have made another one.
        std::fs::create_dir_all(state.parent().unwrap()).unwrap();
        std::fs::write(state, &damaged).unwrap();
        let up = said(&bench.run(&["up", "--timings", bench.file()]), 0);
        assert!(up.contains(" boots: no saved state can be used: "), "{up}");
        assert!(up.contains("booted  "), "{up}");
        let verified = bench.good(&["verify", "--wait", PATIENT, bench.file()]);
        assert!(verified.contains(" as expected"), "{verified}");
        bench.good(&["-q", "down", &bench.name]);
        // The second guest may have made another one.
        let kept = std::fs::read(state).is_ok_and(|now| now == damaged);
        assert!(!kept, "it is still used");
    }
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(restored(&bench), 2);
    assert!(state.exists());
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    let _ = std::fs::remove_dir_all(state.parent().unwrap());
}

/// Whether the head of a saved state has this text.
fn has(state: &Path, text: &str) -> bool {
    use std::io::Read as _;
    let mut head = Vec::new();
    let file = std::fs::File::open(state.join("memory"));
    let read = file.and_then(|file| file.take(64 << 10).read_to_end(&mut head));
    read.is_ok() && String::from_utf8_lossy(&head).contains(text)
}

/// A machine with PCI Express, a NIC that is not virtio, and a kernel that is not netlab's.
const OTHERS: &str = r#"
[networks.two]
subnet = "10.0.2.0/24"
gateway = { address = "10.0.2.1", on = "node1" }
[images.express]
recipe = "mini"
cmdline = "console=ttyS0 quiet no_timer_check"
machine = { machine = "q35", memory = "107MiB" }
console = { prompt = "mini# " }
[images.other]
kernel = "KERNEL"
initrd = "INITRD"
cmdline = "console=ttyS0 quiet no_timer_check"
warm = true
machine = { nic_model = "e1000", memory = "109MiB" }
console = { prompt = "mini# " }
[vms.a]
image = "express"
nics = [{ network = "service" }, { network = "two" }]
[vms.b]
image = "other"
nics = [{ network = "two" }, { network = "service" }]
"#;

#[test]
#[ignore = "soak: a seed and guests of each kind"]
fn machines_with_pci_express_other_nics_and_kernels_of_the_users_own_are_restored_as_well() {
    let test = "machines_with_pci_express_other_nics_and_kernels_of_the_users_own_are_restored_as_well";
    let Some(bench) = Bench::new(test, "pcie", EMPTY) else {
        return;
    };
    bench.good(&["-q", "image", "pull", "mini"]);
    let image = Bench::cache().join("images/mini");
    let text = format!("{EMPTY}{OTHERS}");
    let text = text.replace("KERNEL", image.join("kernel").to_str().unwrap());
    bench.write(&text.replace("INITRD", image.join("initrd").to_str().unwrap()));
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(restored(&bench), 2);
    let verified = bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    assert!(verified.contains(" as expected"), "{verified}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// A disk that guests find at /dev/vda.
const WITH_DISK: &str = r#"
[images.disk]
kernel = "KERNEL"
initrd = "INITRD"
mirrors = ["DISK"]
format = "raw"
cmdline = "console=ttyS0 quiet no_timer_check"
warm = true
machine = { memory = "113MiB" }
console = { prompt = "mini# " }
[vms.a]
image = "disk"
nics = [{ network = "service" }]
[vms.b]
image = "disk"
nics = [{ network = "service" }]
"#;

#[test]
#[ignore = "soak: six starts of guests"]
fn guests_with_disks_are_restored_each_with_a_disk_of_its_own_that_is_never_replaced() {
    let test = "guests_with_disks_are_restored_each_with_a_disk_of_its_own_that_is_never_replaced";
    let Some(bench) = Bench::new(test, "disks", EMPTY) else {
        return;
    };
    bench.good(&["-q", "image", "pull", "mini"]);
    let image = Bench::cache().join("images/mini");
    let disk = Path::new(bench.file()).with_file_name("disk");
    std::fs::write(&disk, [b"base".to_vec(), vec![0; 8 << 20]].concat()).unwrap();
    let text = format!("{EMPTY}{WITH_DISK}").replace("DISK", disk.to_str().unwrap());
    let text = text.replace("KERNEL", image.join("kernel").to_str().unwrap());
    bench.write(&text.replace("INITRD", image.join("initrd").to_str().unwrap()));
    let read = |vm: &str| bench.good(&["exec", &bench.name, vm, "--", "head -c 4 /dev/vda"]);
    let write = |vm: &str, text: &str| {
        bench.good(&[
            "exec",
            &bench.name,
            vm,
            "--",
            &format!("printf {text} >/dev/vda && sync"),
        ]);
    };
    let as_described = || {
        assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));
        let verified = bench.good(&["verify", "--wait", PATIENT, bench.file()]);
        assert!(verified.contains(" as expected"), "{verified}");
    };
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(restored(&bench), 2);
    as_described();
    write("a", "of-a");
    assert_eq!((read("a"), read("b")), ("of-a".to_owned(), "base".to_owned()));
    bench.good(&["-q", "save", &bench.name, "one"]);
    write("a", "late");
    bench.good(&["-q", "restore", &bench.name, "one"]);
    assert_eq!(read("a"), "of-a");
    // Off or gone, a guest boots from the disk that it has.
    bench.inside("node1", &["virsh", "-q", "destroy", &format!("{}.a", bench.name)]);
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(read("a"), "of-a");
    as_described();
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    // What one wrote is in no other one.
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!((restored(&bench), read("a")), (2, "base".to_owned()));
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
