//! `connect = "local"`: netlab as a user runs it on a machine with a libvirt of its own, which has never probed its QEMU
//! and runs it as an unprivileged user.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::daemon::{Daemon, mini, until};

const LAB: &str = r#"
name = "here"
[hosts.machine]
connect = "local"
nics.eth0.takeover = true     # the default route is on it
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
bridge = "br1"
gateway = { address = "10.0.1.1", on = "machine" }
[vms.vm]
host = "machine"
count = 2
memory = "96MiB"
nics = [{ network = "service" }]
"#;

/// A machine with a NIC, a libvirt daemon, and netlab.
struct Machine {
    daemon: Daemon,
    lab: PathBuf,
}

impl Machine {
    fn new(test: &str) -> Option<Self> {
        let daemon = Daemon::usual(test)?;
        // A copy: libvirt gives a guest's files to QEMU's user while it runs, and other tests have daemons of their own.
        mini();
        let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache/images");
        let folder = daemon.folder.path().to_owned();
        fs::create_dir(folder.join("netlab")).unwrap();
        daemon.sh(&format!(
            "cp -r --preserve=mode {} {}/netlab/images",
            images.display(),
            folder.display()
        ));
        daemon.sh(
            "ip link add eth0 type veth peer name far && ip link set far up && ip link set eth0 up && \
             ip address add 192.0.2.7/24 dev eth0 && ip route add default via 192.0.2.1",
        );
        let lab = folder.join("lab.toml");
        fs::write(&lab, LAB).unwrap();
        Some(Self { daemon, lab })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let folder = self.daemon.folder.path();
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.daemon.pid.to_string(), "--net", "--mount", "--pid"])
            .arg(env!("CARGO_BIN_EXE_netlab"))
            .args(arguments)
            .env("NETLAB_STATE_DIR", folder.join("state"))
            .env("NETLAB_CACHE_DIR", folder.join("netlab"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "netlab {arguments:?}: {}\n{text}\n{said}",
            output.status
        );
        text
    }

    /// Runs netlab, which must exit with status 1, and returns what it printed.
    fn bad(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    fn lab(&self) -> &str {
        self.lab.to_str().unwrap()
    }

    fn template(&self) -> PathBuf {
        let folder = self.daemon.folder.path().join("state/templates");
        fs::create_dir_all(&folder).unwrap();
        folder.join("domain.xml")
    }

    /// Everything on the machine that a lab could change or leave behind.
    fn snapshot(&self) -> BTreeSet<String> {
        let state = self.daemon.folder.path().join("state");
        let found = self.daemon.sh(&format!(
            "ip -o link; ip -o -4 address; ip route; cat /proc/sys/net/ipv4/ip_forward; \
             virsh -q list --all; virsh -q pool-list --all; virsh -q net-list --all; \
             ps -e -o args= | grep qemu-system | grep -v grep; \
             find /etc/libvirt /var/lib/libvirt /var/log/libvirt /run/libvirt {state} 2>/dev/null | \
             grep -E 'here|netlab[.]' ; \
             stat -c '%n %U %G %a' {images}/mini/*; true",
            state = state.display(),
            images = self.daemon.folder.path().join("netlab/images").display(),
        ));
        // Lifetime of what the kernel learned by itself.
        found
            .lines()
            .map(|line| line.replace("qdisc noqueue", "qdisc"))
            .collect()
    }
}

#[test]
fn a_lab_on_this_machine_itself_comes_up_answers_and_is_removed_without_a_trace() {
    let Some(machine) = Machine::new("a_lab_on_this_machine_itself_comes_up_answers_and_is_removed_without_a_trace")
    else {
        return;
    };
    let before = machine.snapshot();
    // The first call to a libvirt that has never probed its QEMU takes long and is waited for.
    machine.good(&["up", machine.lab()]);
    machine.good(&["verify", machine.lab()]);
    let who = machine
        .daemon
        .sh("ps -e -o user:20=,args= | grep qemu-system | grep -v grep | cut -d' ' -f1 | sort -u");
    assert_eq!(who, "libvirt-qemu\n", "or this proves nothing about rights");
    assert!(machine.good(&["up", machine.lab()]).contains("nothing to do"));
    let log = "/var/log/libvirt/netlab.here";
    let modes = machine.daemon.sh(&format!("stat -c %a {log} {log}/*"));
    assert_eq!(modes, "700\n600\n600\n");
    let status = machine.good(&["status", "here"]);
    assert!(
        status.contains("vncviewer 127.0.0.1::59") && status.contains(&format!("{log}/vm-1.console.log")),
        "{status}"
    );

    // One guest's QEMU is killed, the other is shut off.
    machine.daemon.sh("kill -9 $(cat /run/libvirt/qemu/here.vm-1.pid)");
    let status = until("the crash to be seen", || {
        let status = machine.good(&["status", "here"]);
        status.contains("crashed").then_some(status)
    });
    assert!(
        status
            .lines()
            .any(|line| line.starts_with("vm-1") && line.contains("crashed")),
        "{status}"
    );
    let qemu = machine.daemon.sh("cat /run/libvirt/qemu/here.vm-2.pid");
    let plan = machine.good(&["plan", machine.lab()]);
    assert!(
        plan.matches("\n  + ").count() == 2 && !plan.contains("vm-2"),
        "start and configure vm-1:\n{plan}"
    );
    machine.good(&["up", machine.lab()]);
    machine.good(&["verify", machine.lab()]);
    assert_eq!(
        machine.daemon.sh("cat /run/libvirt/qemu/here.vm-2.pid"),
        qemu,
        "vm-2 was left alone"
    );
    machine.daemon.sh("virsh destroy here.vm-2");
    let status = machine.good(&["status", "here"]);
    assert!(
        status
            .lines()
            .any(|line| line.starts_with("vm-2") && line.contains("shut off")),
        "{status}"
    );

    machine.good(&["down", "here"]);
    let after = machine.snapshot();
    assert_eq!(after, before, "something was changed or left behind");
    assert!(machine.good(&["down", "here"]).contains("nothing to do"));
}

#[test]
fn a_lab_that_cannot_come_up_leaves_nothing_and_a_killed_daemon_does_not_stop_a_run() {
    let test = "a_lab_that_cannot_come_up_leaves_nothing_and_a_killed_daemon_does_not_stop_a_run";
    let Some(machine) = Machine::new(test) else {
        return;
    };
    let before = machine.snapshot();
    let unchanged = |what: &str| assert_eq!(machine.snapshot(), before, "{what}");

    // An error in the template is reported with its line, before anything is changed.
    let good = include_str!("../../templates/domain.xml");
    fs::write(machine.template(), good.replace("  <vcpu/>\n", "  <vcpu>4</vcpu>\n")).unwrap();
    let said = machine.bad(&["up", machine.lab()]);
    assert!(
        said.contains("templates/domain.xml:6:3: <vcpu> is filled in by netlab"),
        "{said}"
    );
    unchanged("a wrong template");

    // Defined, but it does not start: everything is rolled back, and the error names the cause.
    let missing = "<disk type=\"file\" device=\"cdrom\"><source file=\"/nowhere.iso\"/>\
                   <target dev=\"hdc\" bus=\"ide\"/></disk>";
    fs::write(
        machine.template(),
        good.replace("<disk/>", &format!("<disk/>{missing}")),
    )
    .unwrap();
    let said = machine.bad(&["up", machine.lab()]);
    assert!(
        said.contains("a file that it needs is missing") && said.contains("/nowhere.iso"),
        "{said}"
    );
    assert!(said.contains("restored to its state before this run"), "{said}");
    fs::remove_file(machine.template()).unwrap();
    machine.good(&["-q", "down", "here"]);
    unchanged("a start that failed");

    // A foreign domain of that name is left unchanged.
    machine.daemon.sh(
        "echo '<domain type=\"qemu\"><name>here.vm-1</name><memory>8192</memory><os><type>hvm</type></os></domain>' \
         > /run/foreign && virsh define /run/foreign",
    );
    let foreign = machine.daemon.sh("virsh dumpxml here.vm-1");
    let said = machine.bad(&["up", machine.lab()]);
    assert!(
        said.contains("domain here.vm-1 already belongs to someone else"),
        "{said}"
    );
    machine.good(&["-q", "down", "here"]);
    assert_eq!(machine.daemon.sh("virsh dumpxml here.vm-1"), foreign);
    machine.daemon.sh("virsh undefine here.vm-1");
    unchanged("a foreign domain");

    // The daemon is killed while a guest boots.
    let mut up = machine.command(&["up", machine.lab()]);
    let mut up = up.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    let mut killed = false;
    for line in BufReader::new(up.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if !killed && line.contains(": start ") {
            machine.daemon.kill_libvirtd();
            killed = true;
        }
        said += &(line + "\n");
    }
    assert!(killed && up.wait().unwrap().success(), "{said}");
    machine.good(&["verify", machine.lab()]);
    let qemus = machine.daemon.sh("cat /run/libvirt/qemu/here.*.pid");
    machine.daemon.kill_libvirtd();
    machine.daemon.wait_for_libvirtd();
    assert!(machine.good(&["up", machine.lab()]).contains("nothing to do"));
    assert_eq!(machine.daemon.sh("cat /run/libvirt/qemu/here.*.pid"), qemus);
    machine.good(&["down", "here"]);
    unchanged("the whole");
}
