//! Debian's installer for the network, a kernel and an initial RAM file system that a user fetches and starts without a disk.

use std::process::Command;
use std::time::Instant;

use crate::support::lab::{Bench, PATIENT, STATIC_AND_LEASED};
use crate::support::{kept, report, skip};

/// `init=/bin/sh`: the installer's /init loads the drivers and then starts that instead of the installer's dialogue.
const LAB: &str = r##"
name = "LABNAME"
[images.installer]
kernel = "FOLDER/linux"
initrd = "FOLDER/initrd.gz"
cmdline = "console=ttyS0 quiet init=/bin/sh no_timer_check"
machine = { memory = "384MiB" }
console = { prompt = "# ", boot_seconds = 900 }
[vms.di]
image = "installer"
nics = [{ network = "service", address = "10.0.1.5" }, { network = "leased" }]
files = [{ path = "/etc/hello", content = "{{ vm }} {{ address }}\n" }]
run = ["cat /etc/hello >/ran"]
"##;

#[test]
#[ignore = "soak: Debian's installer is fetched, and boots twice in emulation"]
fn debians_installer_starts_from_its_kernel_and_has_both_addresses_after_each_start() {
    let test = "debians_installer_starts_from_its_kernel_and_has_both_addresses_after_each_start";
    let folder = kept("debian-netboot");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fetch-netboot");
    let fetched = Command::new(script).arg(&folder).output().unwrap();
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
        return skip(test, said.lines().last().unwrap_or("no package of Debian's installer"));
    }
    let lab = LAB.replace("FOLDER", folder.to_str().unwrap()) + STATIC_AND_LEASED;
    let Some(bench) = Bench::new(test, "di", &lab) else {
        return;
    };
    let name = bench.name.as_str();
    let began = Instant::now();
    bench.good(&["-q", "up", bench.file()]);
    let up = began.elapsed().as_secs();
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    let verified = began.elapsed().as_secs();
    report(&format!(
        "FIGURES: Debian's installer: up {up} s, verified {verified} s"
    ));
    let is_as_given = || {
        let seen = "cat /etc/hello /ran; hostname; ip -4 -o addr show scope global | sed 's/.*inet \\([^ ]*\\).*/\\1/'";
        let seen = bench.good(&["exec", name, "di", "-n", "--", seen]);
        let expected = "di 10.0.1.5\ndi 10.0.1.5\ndi\n10.0.1.5/24\n10.0.2.";
        assert!(seen.starts_with(expected), "{seen}");
    };
    is_as_given();
    // Its file system is its memory: a restart loses all of it, and it is given again.
    bench.good(&["-q", "restart", name, "di"]);
    is_as_given();
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));
    bench.good(&["-q", "down", name]);
    bench.assert_as_before();
    bench.good(&["image", "rm", "installer", "--lab", bench.file()]);
}
