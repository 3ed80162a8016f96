//! FAULTS 33, 34 and 50: what a host lacks is reported before anything is changed.

use std::process::Command;

use super::local::Local;
use crate::support::lab::{Bench, EMPTY};
use crate::support::skip;

/// FAULTS 33.
#[test]
fn a_missing_nic_is_refused_with_the_list_of_nics() {
    let Some(machine) = Local::new("a_missing_nic_is_refused_with_the_list_of_nics", "nn") else {
        return;
    };
    let before = machine.snapshot();
    let path = machine.lab("mine", "");
    let text = "name = \"mine\"\n[hosts.here]\nconnect = \"local\"\nnics.eth7 = {}\n[networks.n]\n\
                subnet = \"10.0.1.0/24\"\nuplink = \"eth7\"\ngateway = { address = \"10.0.1.1\" }\n";
    std::fs::write(&path, text).unwrap();
    let said = machine.bad(&["up", &path]);
    assert!(
        said.contains("NIC eth7") && said.contains("does not exist") && said.contains("eth0, eth1"),
        "{said}"
    );
    assert!(said.contains("here:"), "the host is named: {said}");
    machine.assert_unchanged(&before, "");
    machine.end();
}

/// FAULTS 34: a program.
#[test]
fn a_program_that_one_host_lacks_is_reported_for_that_host_before_any_change() {
    let test = "a_program_that_one_host_lacks_is_reported_for_that_host_before_any_change";
    let two = format!("{EMPTY}[hosts.node2]\nnics.eth0.address = \"172.16.99.109/24\"\n");
    let Some(bench) = Bench::new(test, "np", &two) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    // Its own programs without `ip`: an overlay in which that one is deleted.
    let script = "set -e; mkdir /run/layer; mount -t tmpfs tmpfs /run/layer; mkdir /run/layer/up /run/layer/work; \
                  mount -t overlay overlay -o lowerdir=/usr,upperdir=/run/layer/up,workdir=/run/layer/work /usr; \
                  rm -f /usr/bin/ip /usr/sbin/ip";
    let layer = bench.enter("node1").args(["sh", "-c", script]).output().unwrap();
    if !layer.status.success() {
        let why = String::from_utf8_lossy(&layer.stderr);
        skip(test, &format!("no overlay here: {}", why.trim()));
        return;
    }
    bench.write(&two.replace("10.0.1.", "10.0.2."));
    let said = bench.bad(&["up", bench.file()], 1);
    assert!(said.contains("node1:") && said.contains("`ip`"), "{said}");
    assert!(!said.contains("node2:"), "the other host has it: {said}");
    bench.inside("node1", &["umount", "--lazy", "/usr"]);
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// Hides `programs` from an emulated host: an overlay over its /usr in which they are deleted. False where there can be
/// no overlay.
fn hide(bench: &Bench, host: &str, programs: &[&str]) -> bool {
    let script = "set -e; mkdir /run/layer; mount -t tmpfs tmpfs /run/layer; mkdir /run/layer/up /run/layer/work; \
                  mount -t overlay overlay -o lowerdir=/usr,upperdir=/run/layer/up,workdir=/run/layer/work /usr; \
                  cd /usr; for one; do rm -f bin/$one sbin/$one; done";
    let mut command = bench.enter(host);
    let output = command
        .args(["sh", "-c", script, "sh"])
        .args(programs)
        .output()
        .unwrap();
    output.status.success()
}

/// FAULTS 34: the packet filter, the DHCP server and QEMU are really not there.
#[test]
fn nft_dnsmasq_and_an_emulator_that_a_host_lacks_are_reported_for_that_host_before_any_change() {
    let test = "nft_dnsmasq_and_an_emulator_that_a_host_lacks_are_reported_for_that_host_before_any_change";
    let two = format!("{EMPTY}[hosts.node2]\nnics.eth0.address = \"172.16.99.109/24\"\n");
    let Some(bench) = Bench::new(test, "nq", &two) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    if !hide(
        &bench,
        "node1",
        &["nft", "dnsmasq", "qemu-system-x86_64", "qemu-system-i386"],
    ) {
        skip(test, "no overlay here");
        return;
    }
    let network = "bridge = \"br1\"\n";
    let more = "[[nat]]\non = \"node1\"\nfrom = [\"service\"]\nout = \"eth0\"\n\
                [vms.vm]\nhosts = [\"node1\", \"node2\"]\ncount = 2\nmemory = \"96MiB\"\nnics = [{ network = \"service\" }]\n";
    bench.write(&format!(
        "{}{more}",
        two.replace(network, &format!("{network}dhcp = true\n"))
    ));
    for verb in ["up", "doctor"] {
        let said = bench.bad(&[verb, bench.file()], 1);
        for part in ["`nft`", "`dnsmasq`", "QEMU cannot run"] {
            let line = said.lines().find(|line| line.contains(part));
            assert!(
                line.is_some_and(|line| line.starts_with("node1")),
                "{verb}: no {part} in {said}"
            );
        }
        let of_node2 = |line: &str| line.starts_with("node2") && line.contains("QEMU");
        assert!(!said.lines().any(of_node2), "the other host has it: {said}");
    }
    bench.inside("node1", &["umount", "--lazy", "/usr"]);
    bench.write(&two);
    assert!(
        bench.good(&["plan", bench.file()]).contains("nothing to do"),
        "nothing was changed"
    );
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// A lab with an image of its own, with what libvirt would refuse when the guest is defined.
fn with_machine(machine: &str) -> String {
    format!(
        "{EMPTY}[images.own]\nmirrors = [\"http://127.0.0.1:9/x\"]\nsha256 = \"{}\"\nformat = \"raw\"\n\
         machine = {{ {machine}, memory = \"96MiB\" }}\nconsole = {{ prompt = \"# \" }}\n\
         [vms.vm1]\nhost = \"node1\"\nimage = \"own\"\nnics = [{{ network = \"service\" }}]\n",
        "0".repeat(64)
    )
}

/// FAULTS 34: architectures, machine types and controllers, on hosts that exist and on those that do not yet.
#[test]
fn what_qemu_cannot_build_is_refused_before_anything_is_fetched_or_changed() {
    let test = "what_qemu_cannot_build_is_refused_before_anything_is_fetched_or_changed";
    let Some(bench) = Bench::new(test, "qm", EMPTY) else {
        return;
    };
    let cases = [
        ("arch = \"alpha\"", &["QEMU cannot run alpha guests", "x86_64"][..]),
        (
            "arch = \"x86_64\", machine = \"pc-i440fx-0.1\"",
            &["no machine type `pc-i440fx-0.1`", "pc,", "q35"],
        ),
        (
            "machine = \"q35\", disk_bus = \"ide\"",
            &["`q35`", "no IDE controller", "sata"],
        ),
    ];
    for state in ["not up", "up"] {
        for (machine, parts) in cases {
            bench.write(&with_machine(machine));
            for verb in ["plan", "doctor", "up"] {
                let said = bench.bad(&[verb, bench.file()], 1);
                for part in parts {
                    assert!(said.contains(part), "{state}, {verb}: no {part} in {said}");
                }
                assert!(said.contains("node1"), "{said}");
            }
        }
        bench.write(EMPTY);
        // The first `up` also makes the list of machine types known to this bench's cache, if it was not.
        bench.good(&["-q", "up", bench.file()]);
    }
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// FAULTS 34: a part of the kernel.
#[test]
fn a_kernel_without_vlans_is_refused_with_the_modules_name() {
    let test = "a_kernel_without_vlans_is_refused_with_the_modules_name";
    let tagged = EMPTY.replace("uplink = \"eth0\"", "uplink = \"eth0\"\nvlan = 10");
    let Some(bench) = Bench::new(test, "nv", &tagged) else {
        return;
    };
    let there = Command::new("modprobe").args(["-n", "8021q"]).output();
    if std::path::Path::new("/proc/net/vlan").exists() || there.is_ok_and(|output| output.status.success()) {
        skip(test, "this kernel has 802.1Q");
        return;
    }
    let said = bench.bad(&["up", bench.file()], 1);
    assert!(said.contains("node1:") && said.contains("8021q"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    bench.assert_as_before();
}

/// FAULTS 50.
#[test]
fn five_hundred_guests_on_a_host_with_memory_for_fifty_are_refused_with_the_sum() {
    let test = "five_hundred_guests_on_a_host_with_memory_for_fifty_are_refused_with_the_sum";
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024;
    let each = total / 50;
    let vms = format!(
        "[networks.n]\nsubnet = \"10.8.0.0/16\"\n[vms.v]\ncount = 500\nmemory = \"{each}MiB\"\nnics = [{{ network = \"n\" }}]\n"
    );
    let Some(bench) = Bench::new(test, "big", &format!("{EMPTY}{vms}")) else {
        return;
    };
    let said = bench.bad(&["up", bench.file()], 1);
    assert!(said.contains("500 guests"), "{said}");
    assert!(said.contains(&format!("{} MiB", 500 * each)), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    bench.assert_as_before();
}
