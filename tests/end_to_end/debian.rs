//! A Debian 12 of the distribution's own packages, with systemd and cloud-init: what a user brings first.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::into::Agent;
use crate::support::lab::{Bench, PATIENT, STATIC_AND_LEASED};
use crate::support::{kept, report, skip};

const TEST: &str = "debian_takes_accounts_keys_files_and_commands_and_keeps_them_over_a_reboot";
const BY_UEFI: &str = "debian_starts_by_uefi_and_again_after_a_power_cut";
const PASSWORD: &str = "Pa55-of-alice";

/// The disk; built where it is missing. The script holds a lock meanwhile.
fn disk() -> Result<PathBuf, String> {
    let folder = kept("debian-12");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/build-debian");
    let began = Instant::now();
    let built = Command::new(script).arg(&folder).output();
    let built = built.map_err(|error| error.to_string())?;
    if built.status.success() {
        let took = began.elapsed().as_secs();
        if took > 0 {
            report(&format!("FIGURES: Debian 12: built in {took} s"));
        }
        return Ok(folder.join("debian.qcow2"));
    }
    let said = String::from_utf8_lossy(&built.stderr);
    Err(format!(
        "Debian cannot be built: {}",
        said.lines().last().unwrap_or_default()
    ))
}

/// The entry of the image `name`, with `keys` of its own.
fn image(name: &str, disk: &str, keys: &str) -> String {
    format!(
        r#"
[images.{name}]
mirrors = ["{disk}"]
format = "qcow2"
cloud_init = true
console = {{ prompt = "$ ", login = {{ user = "netlab", password = "netlab" }}, boot_seconds = 3000 }}
{keys}
"#
    )
}

fn lab(disk: &str, run: &str, port: u16) -> String {
    let image = image("debian", disk, "machine = { memory = \"512MiB\" }");
    format!(
        r#"
name = "LABNAME"
[vars]
domain = "example.org"
{image}{STATIC_AND_LEASED}[vms.deb]
image = "debian"
user = "alice"
password = "{PASSWORD}"
user_data = "more.yaml"
disk = "3GiB"
serve = [{{ tcp = 80, text = "from Debian" }}]
forward = [{{ host = {port}, guest = 80 }}]
nics = [{{ network = "service", address = "10.0.1.5" }}, {{ network = "leased" }}]
files = [
  {{ path = "/etc/netlab/hello", content = "{{{{ vm }}}}.{{{{ vars.domain }}}} {{{{ address }}}}\n", mode = "0600" }},
  {{ path = "/opt/blob", from = "blob" }},
]
run = [{run}]
"#
    )
}

const MORE: &str = "#cloud-config
write_files:
  - path: /etc/from-user-data
    content: \"Zürich\\n\"
users:
  - name: bob
    lock_passwd: true
runcmd:
  - echo ran > /etc/runcmd-ran
";

/// Boots the image alone, as a person does without netlab; returns how long it takes to the login prompt.
fn by_hand(bench: &Bench, disk: &str) -> Duration {
    let (overlay, log) = (bench.path("hand.qcow2"), bench.path("hand.log"));
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", disk])
        .arg(&overlay)
        .status();
    assert!(made.unwrap().success());
    let drive = format!("if=virtio,format=qcow2,file={}", overlay.display());
    let serial = format!("file:{}", log.display());
    let began = Instant::now();
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-accel", "tcg", "-m", "512", "-nic", "none", "-display", "none", "-monitor", "none",
        ])
        .args(["-drive", &drive, "-serial", &serial])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    while !std::fs::read(&log).is_ok_and(|text| String::from_utf8_lossy(&text).contains(" login: ")) {
        assert!(began.elapsed() < Duration::from_secs(3000), "no login");
        std::thread::sleep(Duration::from_millis(200));
    }
    let took = began.elapsed();
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    took
}

/// The caller's key logs in; the seed has the password's hash only.
fn logs_in(bench: &Bench, key: &Path) {
    let key = key.to_str().unwrap();
    let mut ssh = vec!["ssh", "-i", key, "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"];
    ssh.extend(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.extend(["alice@10.0.1.5", "sudo -n id -u"]);
    assert_eq!(bench.inside("node1", &ssh), "0\n");
    let name = bench.name.as_str();
    let seed = format!("/var/lib/libvirt/images/netlab.{name}/{name}.deb.seed.iso");
    assert_eq!(bench.inside("node1", &["grep", "-c", "hashed_passwd", &seed]), "1\n");
    bench.inside("node1", &["sh", "-c", &format!("! grep -q {PASSWORD} {seed}")]);
}

/// The file system has grown with the disk, and a port of this machine leads to what the guest serves.
fn grows_and_serves(guest: &dyn Fn(&str) -> String, port: u16) {
    let size: u64 = guest("df --output=size -B1M / | tail -n1").trim().parse().unwrap();
    assert!(size > 2500, "the root file system has {size} MiB of a disk of 3 GiB");
    let url = format!("http://127.0.0.1:{port}/");
    let curl = Command::new("curl")
        .args(["-sS", "--max-time", "60", &url])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&curl.stderr);
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "from Debian\n", "{errors}");
}

/// By ssh with the caller's key: a command, and 10 MiB in both directions with equal sums.
fn copies(bench: &Bench, key: &Path, home: &Path) {
    let agent = Agent::with(key);
    let netlab = |arguments: &[&str]| {
        let mut command = bench.netlab(arguments);
        command
            .env("SSH_AUTH_SOCK", &agent.socket)
            .env("HOME", home)
            .env_remove("SUDO_USER");
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "netlab {arguments:?}: {errors}");
        assert!(!errors.contains("console"), "not by ssh: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let lab = bench.name.as_str();
    let (big, back) = (bench.path("big"), bench.path("back"));
    let content: Vec<u8> = (0..10_u32 << 20)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    std::fs::write(&big, &content).unwrap();
    let began = Instant::now();
    netlab(&["cp", lab, big.to_str().unwrap(), "deb:/tmp/big"]);
    let sum = Command::new("sha256sum").arg(&big).output().unwrap();
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    let inside = netlab(&["ssh", lab, "deb", "--", "sha256sum /tmp/big"]);
    assert_eq!(inside.split(' ').next(), sum.split(' ').next());
    netlab(&["cp", lab, "deb:/tmp/big", back.to_str().unwrap()]);
    assert!(std::fs::read(&back).unwrap() == content);
    report(&format!(
        "FIGURES: Debian 12: 10 MiB there and back in {} s",
        began.elapsed().as_secs()
    ));
}

/// A key of a user whose folder is `home`.
fn new_key(home: &Path) -> PathBuf {
    let key = home.join(".ssh/id_ed25519");
    std::fs::create_dir_all(home.join(".ssh")).unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "me@here", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    key
}

/// Reboots the guest from inside and waits until it answers again.
fn reboots(bench: &Bench, guest: &dyn Fn(&str) -> String, meanwhile: impl FnOnce()) {
    let boot = guest("cat /proc/sys/kernel/random/boot_id");
    guest("sudo systemctl reboot --no-block");
    meanwhile();
    let rebooted = Instant::now();
    while !bench
        .netlab(&[
            "exec",
            &bench.name,
            "deb",
            "--within",
            "60",
            "--",
            "cat /proc/sys/kernel/random/boot_id",
        ])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout != boot.as_bytes())
    {
        assert!(rebooted.elapsed() < Duration::from_secs(3000), "it does not come back");
    }
}

#[test]
#[ignore = "soak: a Debian is built, and boots three times in emulation"]
fn debian_takes_accounts_keys_files_and_commands_and_keeps_them_over_a_reboot() {
    let disk = match disk() {
        Ok(disk) => disk.display().to_string(),
        Err(why) => return skip(TEST, &why),
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let twice = "\"echo ran >>/root/count\", \"id -u >/root/uid\"";
    let Some(bench) = Bench::new(TEST, "deb", &lab(&disk, twice, port)) else {
        return;
    };
    let home = bench.path("home");
    let key = new_key(&home);
    std::fs::write(bench.path("more.yaml"), MORE).unwrap();
    std::fs::write(bench.path("blob"), [0, 255, 10, 13].repeat(1000)).unwrap();
    let netlab = |arguments: &[&str]| {
        let mut command = bench.netlab(arguments);
        command
            .env("HOME", &home)
            .env_remove("SUDO_USER")
            .env_remove("SSH_AUTH_SOCK");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "netlab {arguments:?}:\n{text}\n{errors}");
        text
    };
    let guest = |command: &str| netlab(&["exec", &bench.name, "deb", "--", command]);

    let hand = by_hand(&bench, &disk);
    let began = Instant::now();
    netlab(&["-q", "up", "--allow-unverified", bench.file()]);
    let up = began.elapsed();
    netlab(&["verify", "--wait", PATIENT, bench.file()]);
    report(&format!(
        "FIGURES: Debian 12: login by hand {} s, up with files and commands {} s, verified {} s",
        hand.as_secs(),
        up.as_secs(),
        began.elapsed().as_secs()
    ));

    assert_eq!(guest("id -un; sudo -n id -u; hostname"), "alice\n0\ndeb\n");
    let addresses = guest("ip -4 -o addr show scope global | awk '{ print $4 }'");
    assert_eq!(addresses.lines().count(), 2, "{addresses}");
    assert!(addresses.starts_with("10.0.1.5/24\n10.0.2."), "{addresses}");
    let given = "sudo cat /etc/netlab/hello; stat -c '%a %U' /etc/netlab/hello; stat -c %s /opt/blob";
    assert_eq!(guest(given), "deb.example.org 10.0.1.5\n600 root\n4000\n");
    assert_eq!(
        guest("cat /etc/from-user-data /etc/runcmd-ran; id -un bob"),
        "Zürich\nran\nbob\n"
    );
    assert_eq!(guest("sudo cat /root/count /root/uid"), "ran\n0\n");
    assert!(guest("sudo grep ^alice: /etc/shadow").starts_with("alice:$6$"));

    logs_in(&bench, &key);
    grows_and_serves(&guest, port);
    copies(&bench, &key, &home);
    let name = bench.name.as_str();
    // Another caller, with another key or none, changes nothing.
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("nothing to do"), "{plan}");

    // A reboot from inside keeps everything; a command that is added runs, those before it do not run again.
    reboots(&bench, &guest, || {
        bench.write(&lab(
            &disk,
            &format!("{twice}, \"cat /root/count > /root/third\""),
            port,
        ));
    });
    netlab(&["-q", "up", "--allow-unverified", bench.file()]);
    assert_eq!(
        guest("sudo cat /root/count /root/third; cat /etc/runcmd-ran"),
        "ran\nran\nran\n"
    );
    assert!(netlab(&["up", "--allow-unverified", bench.file()]).contains("nothing to do"));
    let began = Instant::now();
    assert_eq!(netlab(&["-q", "restart", name, "deb"]), "deb: restarted\n");
    report(&format!(
        "FIGURES: Debian 12: restarted in {} s",
        began.elapsed().as_secs()
    ));
    assert_eq!(guest("sudo cat /root/count; cat /etc/runcmd-ran"), "ran\nran\n");
    netlab(&["verify", "--wait", PATIENT, bench.file()]);
    netlab(&["-q", "down", name]);
    bench.assert_as_before();
    netlab(&["image", "rm", "debian", "--lab", bench.file()]);
}

const UEFI: &str = r#"
name = "LABNAME"
[hosts.node1]
[networks.service]
subnet = "10.0.1.0/24"
gateway = { address = "10.0.1.1", on = "node1" }
[vms.deb]
image = "debian-uefi"
nics = [{ network = "service", address = "10.0.1.5" }]
"#;

#[test]
#[ignore = "soak: a Debian is built, and boots twice in emulation"]
fn debian_starts_by_uefi_and_again_after_a_power_cut() {
    if !Path::new("/usr/share/qemu/firmware/60-edk2-x86_64.json").exists() {
        return skip(BY_UEFI, "no UEFI firmware (package ovmf)");
    }
    let disk = match disk() {
        Ok(disk) => disk.display().to_string(),
        Err(why) => return skip(BY_UEFI, &why),
    };
    let keys = "machine = { memory = \"512MiB\", machine = \"q35\", firmware = \"efi\" }";
    let text = format!("{UEFI}{}", image("debian-uefi", &disk, keys));
    let Some(bench) = Bench::new(BY_UEFI, "uefi", &text) else {
        return;
    };
    let name = bench.name.as_str();
    let began = Instant::now();
    bench.good(&["-q", "up", "--allow-unverified", bench.file()]);
    let up = began.elapsed().as_secs();
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    let verified = began.elapsed().as_secs();
    report(&format!("FIGURES: Debian 12 by UEFI: up {up} s, verified {verified} s"));
    let seen = "id -un; sudo -n id -u; test -e /sys/firmware/efi/fw_platform_size && echo by UEFI; sudo sh -c 'echo kept >/root/kept; sync'";
    assert_eq!(
        bench.good(&["exec", name, "deb", "-n", "--", seen]),
        "netlab\n0\nby UEFI\n"
    );
    bench.good(&["-q", "stop", name, "deb"]);
    assert!(bench.good(&["status", name]).contains("shut off"));
    bench.good(&["-q", "start", name, "deb"]);
    let kept = "sudo cat /root/kept; test -e /sys/firmware/efi/fw_platform_size && echo by UEFI";
    assert_eq!(bench.good(&["exec", name, "deb", "-n", "--", kept]), "kept\nby UEFI\n");
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    bench.good(&["-q", "down", name]);
    bench.assert_as_before();
    bench.good(&["image", "rm", "debian-uefi", "--lab", bench.file()]);
}

const WARM: &str = r#"
name = "LABNAME"
[vms.deb]
image = "debian-warm"
user = "alice"
password = "Pa55-of-alice"
nics = [{ network = "service", address = "10.0.1.5" }, { network = "leased" }]
files = [{ path = "/etc/netlab/hello", content = "{{ vm }}\n" }]
run = ["echo ran >>/root/count"]
[vms.twin]
image = "debian-warm"
user = "bob"
password = "Pa55-of-bob"
nics = [{ network = "leased" }, { network = "service", address = "10.0.1.6" }]
"#;

#[test]
#[ignore = "soak: a Debian is built, and boots five times in emulation"]
fn debian_is_restored_from_a_saved_state_with_a_name_keys_and_addresses_of_its_own() {
    let test = "debian_is_restored_from_a_saved_state_with_a_name_keys_and_addresses_of_its_own";
    let disk = match disk() {
        Ok(disk) => disk.display().to_string(),
        Err(why) => return skip(test, &why),
    };
    let image = image("debian-warm", &disk, "warm = true\nmachine = { memory = \"496MiB\" }");
    let text = format!("{WARM}{image}{STATIC_AND_LEASED}");
    let Some(bench) = Bench::new(test, "dwarm", &text) else {
        return;
    };
    let home = bench.path("home");
    let agent = Agent::with(&new_key(&home));
    let netlab = |arguments: &[&str]| {
        let mut command = bench.netlab(arguments);
        command
            .env("SSH_AUTH_SOCK", &agent.socket)
            .env("HOME", &home)
            .env_remove("SUDO_USER");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "netlab {arguments:?}:\n{text}");
        text
    };
    let name = bench.name.as_str();
    let ask = |vm: &str, what: &str| bench.good(&["exec", name, vm, "-n", "--", what]);
    let as_described = || {
        let verified = netlab(&["verify", "--wait", PATIENT, bench.file()]);
        assert!(verified.contains(" as expected"), "{verified}");
    };
    let up = |how: &[&str], started: &str| {
        let began = Instant::now();
        let arguments = [&["up", "--timings", "--allow-unverified"], how, &[bench.file()]].concat();
        let timings = netlab(&arguments);
        for vm in ["deb", "twin"] {
            assert!(timings.contains(&format!("{started}  node1: {vm}\n")), "{timings}");
        }
        as_described();
        began.elapsed()
    };
    let first = up(&[], "restored");
    assert!(netlab(&["plan", bench.file()]).contains("nothing to do"));

    // Each is a guest of its own, and nothing is left of the one that was saved.
    assert_eq!(ask("deb", "id -un; sudo -n id -u; hostname"), "alice\n0\ndeb\n");
    assert_eq!(ask("twin", "id -un; sudo -n id -u; hostname"), "bob\n0\ntwin\n");
    for own in [
        "cat /etc/machine-id",
        "cat /etc/ssh/ssh_host_ed25519_key.pub",
        "sudo cat /etc/ssh/ssh_host_rsa_key",
        "cat /run/cloud-init/.instance-id",
    ] {
        let both = (ask("deb", own), ask("twin", own));
        assert!(both.0.len() > 30 && both.0 != both.1, "{own}: {both:?}");
    }
    for vm in ["deb", "twin"] {
        let left =
            "sudo grep -rl netlab-seed /etc /var/lib/cloud /home; sudo ls /run/netlab; systemctl --failed --no-legend";
        let left = ask(vm, &format!("({left}) 2>/dev/null; true"));
        assert_eq!(left, "", "{vm}");
    }
    let addresses = |vm: &str| ask(vm, "ip -4 -o addr show scope global | awk '{ print $4 }' | sort");
    let of_both = (addresses("deb"), addresses("twin"));
    assert!(of_both.0.contains("10.0.1.5/24\n10.0.2."), "{of_both:?}");
    assert!(of_both.1.contains("10.0.1.6/24\n10.0.2."), "{of_both:?}");
    assert_eq!(ask("deb", "cat /etc/netlab/hello; sudo cat /root/count"), "deb\nran\n");
    assert!(netlab(&["ssh", name, "deb", "--", "sudo -n id -u"]).contains("0\n"));

    // What it is stays over a reboot.
    let identity = "cat /etc/machine-id /etc/ssh/*.pub; sudo cat /root/count";
    let before = ask("deb", identity);
    reboots(&bench, &|command| ask("deb", command), || ());
    assert_eq!((ask("deb", identity), addresses("deb")), (before, of_both.0));
    as_described();
    netlab(&["-q", "down", name]);
    bench.assert_as_before();

    let warm = up(&[], "restored");
    netlab(&["-q", "down", name]);
    let cold = up(&["--cold"], "booted");
    report(&format!(
        "FIGURES: Debian 12, two guests up and verified: the first time {} s, restored {} s, booted {} s, ratio {:.2}",
        first.as_secs(),
        warm.as_secs(),
        cold.as_secs(),
        warm.as_secs_f64() / cold.as_secs_f64()
    ));
    netlab(&["-q", "down", name]);
    bench.assert_as_before();
    netlab(&["image", "rm", "debian-warm", "--lab", bench.file()]);
}
