//! FAULTS 5, 15, 16, 18, 19 and 20: guests that are killed, cannot start, stay silent, panic, or whose console is taken.

use std::path::Path;

use crate::support::lab::{Bench, EMPTY, GUEST};

const SECOND: &str = "[vms.vm2]\nmemory = \"96MiB\"\nnics = [{ network = \"service\" }]\n";

/// QEMU's process id, as the host counts.
fn qemu(bench: &Bench, vm: &str) -> String {
    let domain = format!("guest={}.{vm},", bench.name);
    let found = bench.inside("node1", &["pgrep", "-f", &domain]);
    assert_eq!(found.lines().count(), 1, "{found}");
    found.trim().to_owned()
}

/// FAULTS 15.
#[test]
fn a_guest_that_was_killed_is_shown_and_only_it_is_started_again() {
    let test = "a_guest_that_was_killed_is_shown_and_only_it_is_started_again";
    let Some(bench) = Bench::new(test, "crash", &format!("{EMPTY}{GUEST}{SECOND}")) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let other = qemu(&bench, "vm2");
    bench.inside("node1", &["kill", "-KILL", &qemu(&bench, "vm1")]);
    // libvirt notices at its own pace; until then the guest seems to run.
    let mut status = String::new();
    for _ in 0..200 {
        status = bench.good(&["status", &bench.name]);
        if status.contains("crashed") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(
        status
            .lines()
            .any(|line| line.starts_with("vm1") && line.contains("crashed")),
        "{status}"
    );
    let said = bench.bad(&["verify", bench.file()], 1);
    assert!(said.contains("vm1"), "{said}");
    let plan = bench.good(&["plan", bench.file()]);
    assert_eq!(plan.matches("\n  + ").count(), 2, "start and configure:\n{plan}");
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(qemu(&bench, "vm2"), other, "the other guest was left alone");
    bench.good(&["-q", "verify", bench.file()]);

    // Stopped and started by command; the file is the one that the lab came up from.
    let said = bench.good(&["stop", &bench.name, "vm1"]);
    assert_eq!(said, "vm1: stopped\n");
    assert_eq!(bench.good(&["stop", &bench.name, "vm1"]), "vm1: not running\n");
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("start domain"), "{plan}");
    assert!(bench.bad(&["restart", &bench.name, "vm9"], 1).contains("vm9"));
    assert_eq!(bench.good(&["-q", "start", &bench.name, "vm1"]), "vm1: started\n");
    assert_eq!(
        bench.good(&["start", &bench.name, "vm1", "vm2"]),
        "vm1, vm2: running already\n"
    );
    assert_eq!(qemu(&bench, "vm2"), other, "the other guest was left alone");

    // FAULTS 5: a domain that was undefined by hand.
    bench.inside("node1", &["virsh", "-q", "destroy", &format!("{}.vm1", bench.name)]);
    bench.inside("node1", &["virsh", "-q", "undefine", &format!("{}.vm1", bench.name)]);
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "verify", bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// The emulated host sees `content` in the place of one of the image's files.
fn spoil(bench: &Bench, file: &str, content: Option<&str>) {
    let image = Bench::cache().join("images/mini").join(file);
    let fake = bench.path(&format!("fake-{file}"));
    std::fs::write(&fake, content.unwrap_or_default()).unwrap();
    let (fake, image) = (fake.to_str().unwrap(), image.to_str().unwrap());
    bench.inside("node1", &["mount", "--bind", fake, image]);
}

/// An emulated host without guests, whose lab file then gets one.
fn with_a_guest_to_come(test: &str, tag: &str) -> Option<Bench> {
    let bench = Bench::new(test, tag, EMPTY)?;
    // The image is made here, so that it is there to be spoilt.
    bench.good(&["-q", "image", "build", "mini"]);
    bench.good(&["-q", "up", bench.file()]);
    bench.write(&format!("{EMPTY}{GUEST}"));
    Some(bench)
}

/// FAULTS 16.
#[test]
fn a_guest_that_is_defined_and_does_not_start_is_undefined_again() {
    let Some(bench) = with_a_guest_to_come("a_guest_that_is_defined_and_does_not_start_is_undefined_again", "nst")
    else {
        return;
    };
    spoil(&bench, "kernel", None);
    let said = bench.bad(&["up", bench.file()], 1);
    assert!(said.contains("start") && said.contains("vm1"), "{said}");
    assert!(said.contains("restored to its state before this run"), "{said}");
    let domains = bench.inside("node1", &["virsh", "-q", "list", "--all", "--name"]);
    assert_eq!(domains.trim(), "", "it is not defined any more");
    // The host itself was there before, and still is.
    bench.inside("node1", &["ip", "link", "show", "dev", "br1"]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// FAULTS 19.
#[test]
fn a_guest_that_panics_is_reported_with_its_last_lines() {
    let Some(bench) = with_a_guest_to_come("a_guest_that_panics_is_reported_with_its_last_lines", "pan") else {
        return;
    };
    spoil(&bench, "initrd", Some("this is no initramfs\n"));
    let said = bench.bad(&["up", bench.file()], 1);
    assert!(said.contains("vm1") && said.contains("Kernel panic"), "{said}");
    assert!(said.contains("last lines") && said.contains("transcripts"), "{said}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// FAULTS 18.
#[test]
fn a_guest_that_prints_nothing_or_no_prompt_fails_at_its_deadline() {
    let test = "a_guest_that_prints_nothing_or_no_prompt_fails_at_its_deadline";
    let guest = |vm: &str, image: &str| {
        format!("[vms.{vm}]\nimage = \"{image}\"\nmemory = \"96MiB\"\nnics = [{{ network = \"service\" }}]\n")
    };
    let image = |name: &str, console: &str, prompt: &str, within: u32| {
        format!(
            "[images.{name}]\nrecipe = \"mini\"\ncmdline = \"console={console} no_timer_check\"\n\
             console = {{ prompt = \"{prompt}\", boot_seconds = {within} }}\n"
        )
    };
    let lab = [
        EMPTY,
        &guest("mute", "mute"),
        &guest("odd", "odd"),
        &image("mute", "tty0", "mini# ", 10),
        // Its kernel prints a line for every driver, so there is something to show however busy the machine is.
        &image("odd", "ttyS0", "other> ", 20),
    ];
    let Some(bench) = Bench::new(test, "mute", &lab.concat()) else {
        return;
    };
    let said = bench.bad(&["up", bench.file()], 1);
    let about = |vm: &str| {
        let begin = said.find(&format!("configure {vm} over its console: 10.0.1."));
        let begin = begin.unwrap_or_else(|| panic!("{said}"));
        &said[begin..]
    };
    assert!(about("mute").contains("printed nothing in 10 s"), "{said}");
    assert!(
        about("odd").contains("did not show its prompt `other> ` within 20 s"),
        "{said}"
    );
    assert!(about("odd").contains("the guest's last lines:\n  | "), "{said}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// FAULTS 20.
#[test]
fn a_console_that_is_open_elsewhere_stays_open() {
    let Some(bench) = Bench::new(
        "a_console_that_is_open_elsewhere_stays_open",
        "con",
        &format!("{EMPTY}{GUEST}"),
    ) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    // `virsh console` wants a terminal: script(1) is one.
    let virsh = format!("virsh console {}.vm1", bench.name);
    let mut user = bench
        .enter("node1")
        .args(["script", "-qfec", &virsh, "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = std::io::BufReader::new(user.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("Escape character") {
        line.clear();
        assert_ne!(
            std::io::BufRead::read_line(&mut screen, &mut line).unwrap(),
            0,
            "virsh console ended"
        );
    }
    let said = bench.bad(&["verify", bench.file()], 1);
    assert!(said.contains("is already open"), "{said}");
    assert!(user.try_wait().unwrap().is_none(), "the user still has the console");
    // How virsh is left; the shell in the guest does not notice.
    std::io::Write::write_all(&mut user.stdin.take().unwrap(), b"\x1d").unwrap();
    user.wait().unwrap();
    bench.good(&["-q", "verify", bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// FAULTS 49: netlab measures time by the monotonic clock only. That a wall clock is nowhere read in its sources is
/// checked by clippy (`disallowed-methods` in clippy.toml), for every build and every path; setting this machine's
/// clock in a test would hit all that runs on it, and a time namespace cannot shift the wall clock.
#[test]
fn the_wall_clock_is_forbidden_in_clippy_toml() {
    let rules = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("clippy.toml")).unwrap();
    assert!(rules.contains("std::time::SystemTime::now"), "{rules}");
}

const TWO_HOSTS: &str = r#"
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
gateway = { address = "10.0.1.1", on = "node1" }
[vms.vm1]
host = "node1"
memory = "96MiB"
nics = [{ network = "service" }]
[vms.vm2]
host = "node2"
memory = "96MiB"
nics = [{ network = "service" }]
"#;

#[test]
#[ignore = "soak: guests boot again and again"]
fn an_emulated_host_that_is_stopped_is_removed_with_its_guests_and_comes_back_with_them() {
    let test = "an_emulated_host_that_is_stopped_is_removed_with_its_guests_and_comes_back_with_them";
    let Some(bench) = Bench::new(test, "power", TWO_HOSTS) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let other = qemu(&bench, "vm1");
    let namespace = format!("/run/netns/netlab.{}.node2", bench.name);
    assert_eq!(bench.good(&["-q", "stop", &bench.name, "node2"]), "node2: stopped\n");
    assert!(!Path::new(&namespace).exists());
    let status = bench.good(&["status", &bench.name]);
    let host = status.lines().find(|line| line.contains("node2"));
    assert!(host.is_some_and(|line| line.contains("stopped by request")), "{status}");
    assert!(!status.contains("vm2"), "{status}");
    assert_eq!(
        bench.good(&["-q", "stop", &bench.name, "node2"]),
        "node2: not running\n"
    );
    let refused = bench.bad(&["start", &bench.name, "vm2"], 1);
    assert!(refused.contains("node2, which was stopped"), "{refused}");
    assert_eq!(bench.good(&["-q", "start", &bench.name, "node2"]), "node2: started\n");
    assert_eq!(qemu(&bench, "vm1"), other, "the guest of the other host was left alone");
    assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));
    assert!(!bench.good(&["status", &bench.name]).contains("stopped"));
    bench.good(&["-q", "verify", bench.file()]);
    assert_eq!(
        bench.good(&["-q", "restart", &bench.name, "node2"]),
        "node2: restarted\n"
    );
    bench.good(&["-q", "verify", bench.file()]);
    // What is down with a stopped host is forgotten with the lab.
    bench.good(&["-q", "stop", &bench.name, "node2"]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
