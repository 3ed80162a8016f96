//! Labs of guests that have only a screen and a keyboard and boot from an IDE disk that a server provides: from `up` to
//! `down`, as a user runs it.

use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::Digest as _;

use super::bench::{guest_files, skipped};
use crate::support::lab::{Bench, PATIENT, said};
use crate::support::server::{Act, Server};

/// Two hosts and a network.
pub const HOSTS: &str = r#"
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
"#;

/// A guest on each host.
const GUESTS: &str = r#"
[vms.vm]
hosts = ["node1", "node2"]
count = 2
nics = [{ network = "service" }]
"#;

/// Returns `[images.NAME]` with the disk `file` from `server`, the NIC `model`, and `login` in its console.
fn image(name: &str, server: &Server, file: &[u8], [model, login]: [&str; 2]) -> String {
    let console = format!("kind = \"vga\"{login}");
    format!("[images.{name}]\n{}", image_of(server, file, model, &console))
}

/// Returns the table of an image: the disk `file` from `server`, with the NIC `model` and `console`.
pub fn image_of(server: &Server, file: &[u8], model: &str, console: &str) -> String {
    let sum: Vec<String> = sha2::Sha256::digest(file)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let sum = sum.concat();
    format!(
        "mirrors = [\"{}\"]\nsha256 = \"{sum}\"\ncompression = \"bzip2\"\nformat = \"raw\"\n\
         unpacked = {{ at_most = \"32MiB\" }}\n\
         machine = {{ arch = \"i686\", disk_bus = \"ide\", nic_model = \"{model}\", memory = \"128MiB\" }}\n\
         console = {{ {console}, prompt = \"vga# \", boot_seconds = 240 }}\n",
        server.url()
    )
}

/// Returns the built guest's `disk`, compressed.
pub fn compressed(disk: &str) -> Vec<u8> {
    let built = guest_files().unwrap();
    let bzip2 = Command::new("bzip2")
        .args(["--stdout", "--keep", "-1"])
        .arg(built.join(disk))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(bzip2.status.success());
    bzip2.stdout
}

/// Returns the bench of a lab, where the guest is available.
pub fn lab(test: &str, tag: &str, text: &str) -> Option<Bench> {
    if let Err(why) = guest_files() {
        skipped(test, &why);
        return None;
    }
    Bench::new(test, tag, text)
}

/// Checks that every cell of the matrix is as expected; returns how many there are.
pub fn verified(bench: &Bench) -> usize {
    let output = bench.run(&["verify", "--wait", PATIENT, "--json", bench.file()]);
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{said}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let cells = report["cells"].as_array().unwrap();
    assert!(cells.iter().all(|cell| cell["verdict"] == "pass"), "{text}");
    cells.len()
}

/// Runs `command` in a guest, checks its status and returns its output.
pub fn exec(bench: &Bench, vm: &str, command: &[&str], status: i32) -> String {
    let arguments = [&["exec", &bench.name, vm, "--"], command].concat();
    said(&bench.run(&arguments), status)
}

/// Brings a lab of `disk` up, verifies it, calls `meanwhile`, and removes it completely.
fn up_and_down(test: &str, tag: &str, disk: &str, console: [&str; 2], meanwhile: impl FnOnce(&Bench)) {
    let Some(bench) = lab(test, tag, HOSTS) else {
        return;
    };
    let file = compressed(disk);
    let server = Server::start(&file, &[Act::Cut(file.len() / 2), Act::Give]);
    // A unique image name: all tests share the cache.
    bench.write(&format!(
        "image = \"{tag}\"\n{HOSTS}{GUESTS}{}",
        image(tag, &server, &file, console)
    ));
    bench.good(&["-q", "up", bench.file()]);
    assert!(bench.good(&["up", bench.file()]).contains("nothing to do"));
    // Each guest with the other and with the gateway, and both hosts.
    assert!(verified(&bench) >= 4);
    let status: Value = serde_json::from_str(&bench.good(&["status", "--json", &bench.name])).unwrap();
    assert_eq!(status["state"], "up", "{status:#}");
    assert_eq!(status["vms"].as_array().unwrap().len(), 2, "{status:#}");
    meanwhile(&bench);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    bench.good(&["image", "rm", tag, "--lab", bench.file()]);
}

#[test]
#[ignore = "soak: two boots of guests with a screen, brought up twice"]
fn a_lab_of_guests_with_a_shell_on_the_screen_goes_up_and_down() {
    let test = "a_lab_of_guests_with_a_shell_on_the_screen_goes_up_and_down";
    up_and_down(test, "vsh", "shell.img", ["ne2k_pci", ""], |bench| {
        assert_eq!(exec(bench, "vm-1", &["hostname; exit 3"], 3), "vm-1\n");
        exec(
            bench,
            "vm-1",
            &["ifconfig eth0 mtu 1400; route del default; hostname other"],
            0,
        );
        let plan = bench.good(&["plan", bench.file()]);
        for found in [
            "an MTU of 1400 bytes, not 1500",
            "there is no default route via 10.0.1.1",
            "the host name is other instead of vm-1",
        ] {
            assert!(plan.contains(found), "{plan}");
        }
        bench.good(&["-q", "up", bench.file()]);
        assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));
        let picture = bench.path("screen.png");
        bench.good(&["screenshot", &bench.name, "vm-1", picture.to_str().unwrap()]);
        assert!(std::fs::read(picture).unwrap().starts_with(b"\x89PNG"));
    });
}

#[test]
#[ignore = "soak: the same lab again, with a login"]
fn a_lab_of_guests_behind_a_login_on_the_screen_goes_up_and_down() {
    let test = "a_lab_of_guests_behind_a_login_on_the_screen_goes_up_and_down";
    let login = ", login = { user = \"root\", password = \"secret\" }";
    up_and_down(test, "vlog", "login.img", ["rtl8139", login], |bench| {
        let transcripts = bench.state().join("labs").join(&bench.name).join("transcripts");
        for vm in ["vm-1", "vm-2"] {
            let transcript = std::fs::read_to_string(transcripts.join(format!("{vm}.log"))).unwrap();
            assert!(!transcript.contains("secret"), "{transcript}");
        }
    });
}

#[test]
#[ignore = "soak: two boots of guests with a screen"]
fn a_vga_image_replaces_the_labs_image_by_an_option_and_exec_reaches_both_kinds_of_console() {
    let test = "a_vga_image_replaces_the_labs_image_by_an_option_and_exec_reaches_both_kinds_of_console";
    let Some(bench) = lab(test, "vby", HOSTS) else {
        return;
    };
    let file = compressed("shell.img");
    let server = Server::start(&file, &[Act::Give]);
    // A guest that names its image keeps it.
    let guests = "[vms.screen]\nhost = \"node1\"\nnics = [{ network = \"service\" }]\n\
                  [vms.port]\nimage = \"mini\"\nmemory = \"96MiB\"\nhost = \"node2\"\n\
                  nics = [{ network = \"service\" }]\n";
    bench.write(&format!(
        "{HOSTS}{guests}{}",
        image("vby", &server, &file, ["ne2k_pci", ""])
    ));
    bench.good(&["-q", "up", bench.file(), "--image", "vby"]);
    let plan = bench.good(&["plan", bench.file(), "--image", "vby"]);
    assert!(plan.contains("nothing to do"), "{plan}");
    // The lab file does not name the image of the running lab; `verify` knows it.
    assert!(verified(&bench) >= 4);

    assert_eq!(exec(&bench, "screen", &["uname -m; exit 3"], 3), "i686\n");
    assert_eq!(exec(&bench, "port", &["uname", "-m"], 0), "x86_64\n");
    let arguments = ["printf", "%s|", "a b", "$x", "it's", ""];
    assert_eq!(exec(&bench, "port", &arguments, 0), "a b|$x|it's||");
    assert_eq!(exec(&bench, "port", &["seq 3; exit 42"], 42), "1\n2\n3\n");
    bench.bad(&["exec", "--within", "1", &bench.name, "port", "--", "sleep 100"], 124);
    assert_eq!(exec(&bench, "port", &["echo", "still"], 0), "still\n");
    let unknown = bench.bad(&["exec", &bench.name, "prt", "--", "true"], 125);
    assert!(unknown.contains("`port`"), "{unknown}");

    let in_use = bench.bad(&["image", "rm", "vby", "--lab", bench.file()], 1);
    assert!(in_use.contains(&bench.name), "{in_use}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    bench.good(&["image", "rm", "vby", "--lab", bench.file()]);
}

#[test]
#[ignore = "soak: a guest with a screen boots twice"]
fn a_guest_that_takes_nothing_from_its_keyboard_is_reset_once() {
    let test = "a_guest_that_takes_nothing_from_its_keyboard_is_reset_once";
    let Some(bench) = lab(test, "vdeaf", HOSTS) else {
        return;
    };
    let file = compressed("deaf.img");
    let server = Server::start(&file, &[Act::Give]);
    let guest = "[vms.vm]\nimage = \"vdeaf\"\nhost = \"node1\"\nnics = [{ network = \"service\" }]\n";
    bench.write(&format!(
        "{HOSTS}{guest}{}",
        image("vdeaf", &server, &file, ["ne2k_pci", ""])
    ));
    // The keyboard of the first boot is dead: only a second one can have configured it.
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(exec(&bench, "vm", &["ls /heard"], 0), "/heard\n");
    let transcript = bench.state().join(format!("labs/{}/transcripts/vm.log", bench.name));
    let transcript = std::fs::read_to_string(transcript).unwrap();
    assert!(transcript.matches("SeaBIOS").count() >= 2, "{transcript}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    bench.good(&["image", "rm", "vdeaf", "--lab", bench.file()]);
}
