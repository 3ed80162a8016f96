//! Images that users bring: a kernel and an initial RAM file system of their own, UEFI, and a disk that nothing starts.

use crate::guest::initramfs;
use crate::support::lab::{Bench, EMPTY, PATIENT};
use crate::support::skip;

const IMAGES: &str = r##"
[images.blank]
mirrors = ["blank.img"]
format = "raw"
console = { prompt = "# ", boot_seconds = 300 }
[images.own]
kernel = "KERNEL"
initrd = { mirrors = ["initrd"] }
mirrors = ["blank.img"]
format = "raw"
cmdline = "console=ttyS0 quiet no_timer_check"
machine = { firmware = "efi", memory = "256MiB", video = "cirrus" }
console = { prompt = "# ", boot_seconds = 300 }
"##;
const BLANK: &str = "[vms.vm1]\nimage = \"blank\"\nnics = [{ network = \"service\" }]\n";
const OWN: &str = "[vms.vm2]\nimage = \"own\"\ndisk = \"64MiB\"\nnics = [{ network = \"service\" }]\n";

/// FAULTS 65.
#[test]
fn a_disk_that_does_not_start_is_reported_from_the_screen_and_a_kernel_of_the_users_own_starts_by_uefi() {
    let test = "a_disk_that_does_not_start_is_reported_from_the_screen_and_a_kernel_of_the_users_own_starts_by_uefi";
    if !std::path::Path::new("/usr/share/qemu/firmware/60-edk2-x86_64.json").exists() {
        skip(test, "no UEFI firmware (package ovmf)");
        return;
    }
    let boot = match initramfs::ensure() {
        Ok(boot) => boot,
        Err(why) => return skip(test, &why),
    };
    let images = IMAGES.replace("KERNEL", boot.kernel.to_str().unwrap());
    let Some(bench) = Bench::new(test, "own", &format!("{EMPTY}{BLANK}{images}")) else {
        return;
    };
    std::fs::write(bench.path("blank.img"), vec![0; 1 << 20]).unwrap();
    std::fs::write(bench.path("initrd"), boot.initrd).unwrap();
    let said = bench.bad(&["-q", "up", bench.file()], 1);
    assert!(said.contains("the guest is not bootable: No bootable device"), "{said}");

    // Another guest of the same lab; the one without a boot loader is removed.
    bench.write(&format!("{EMPTY}{OWN}{images}"));
    bench.good(&["-q", "up", bench.file()]);
    let firmware = bench.good(&["exec", &bench.name, "vm2", "--", "ls /sys/firmware/efi"]);
    assert!(firmware.contains("fw_platform_size"), "{firmware}");
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("nothing to do"), "{plan}");
    let disk = format!("/var/lib/libvirt/images/netlab.{}/{0}.vm2.qcow2", bench.name);
    let size = bench.inside("node1", &["qemu-img", "info", "-U", &disk]);
    assert!(size.contains("virtual size: 64 MiB"), "{size}");
    let variables = format!("/var/lib/libvirt/qemu/nvram/{}.vm2_VARS.fd", bench.name);
    bench.inside("node1", &["test", "-e", &variables]);
    // Without the guest its variables are removed, too, while its host goes on.
    bench.write(EMPTY);
    bench.good(&["-q", "up", bench.file()]);
    bench.inside("node1", &["test", "!", "-e", &variables]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

const ACCOUNT: &str = r#"
[images.account]
kernel = "KERNEL"
initrd = { mirrors = ["initrd"] }
cmdline = "console=ttyS0 quiet no_timer_check account=netlab"
machine = { memory = "256MiB" }
console = { prompt = "$ ", boot_seconds = 300 }
[vms.vm1]
image = "account"
nics = [{ network = "service" }]
"#;

#[test]
fn a_guest_whose_account_is_not_root_is_configured_and_pings_by_sudo() {
    let test = "a_guest_whose_account_is_not_root_is_configured_and_pings_by_sudo";
    let boot = match initramfs::ensure() {
        Ok(boot) => boot,
        Err(why) => return skip(test, &why),
    };
    let image = ACCOUNT.replace("KERNEL", boot.kernel.to_str().unwrap());
    let Some(bench) = Bench::new(test, "acc", &format!("{EMPTY}{image}")) else {
        return;
    };
    std::fs::write(bench.path("initrd"), boot.initrd).unwrap();
    bench.good(&["-q", "up", "--allow-unverified", bench.file()]);
    // The account itself can neither ping nor see what only root sees.
    let alone = "id -un; ping -c1 -W1 10.0.1.1 >/dev/null 2>&1 || echo cannot ping";
    assert_eq!(
        bench.good(&["exec", &bench.name, "vm1", "--", alone]),
        "netlab\ncannot ping\n"
    );
    let verified = bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    assert!(
        verified.contains("1 of 1 as expected") || verified.contains("2 of 2 as expected"),
        "{verified}"
    );
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    bench.good(&["image", "rm", "account", "--lab", bench.file()]);
}
