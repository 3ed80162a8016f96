//! Kernel settings that two labs share, on a host with a `/run` of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use netlab::lab::LabName;
use netlab::linux::ip;
use netlab::linux::sysctl::SysctlMarks;
use netlab::plan::Step;
use netlab::state::Sysctl;
use netlab::transport::cmd::Cmd;
use netlab::transport::{NamespaceShell, Shell};

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// A process in network, mount and PID namespaces of its own, ended with the test.
struct Host {
    process: Child,
    shell: NamespaceShell,
}

impl Host {
    fn new(test: &str) -> Option<Self> {
        let script = "mount -t tmpfs tmpfs /run && mount -t proc proc /proc && echo $$ && exec cat";
        let mut process = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                script,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        // unshare forked: the namespaces' init is its only child.
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        let init = std::fs::read_to_string(children)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let shell = NamespaceShell::of_process(init.unwrap_or_default());
        let host = Self { process, shell };
        if line.trim() == "1" && init.is_some() {
            return Some(host);
        }
        crate::namespace::skip(test, "no mount and PID namespace can be made");
        None
    }

    fn forwards(&self) -> String {
        let text = self.shell.check(&Cmd::new(["cat", FORWARD])).unwrap();
        String::from_utf8(text).unwrap().trim().to_owned()
    }

    fn write(&self, value: &str) {
        self.shell.check(&Cmd::new(["tee", FORWARD]).fed(value)).unwrap();
    }

    fn left_behind(&self) -> String {
        // That it does not exist is no error here.
        let find = Cmd::new(["find", "/run/netlab"]);
        String::from_utf8(self.shell.run(&find).unwrap().stdout).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The init reads its standard input to the end; --kill-child sees to the rest.
        drop(self.process.stdin.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn labs() -> [LabName; 2] {
    ["one", "two"].map(|name| LabName::new(name).unwrap())
}

#[test]
fn a_setting_goes_back_to_what_it_was_when_the_last_lab_gives_it_up() {
    let Some(host) = Host::new("a_setting_goes_back_to_what_it_was_when_the_last_lab_gives_it_up") else {
        return;
    };
    let set = [Step::SetSysctl(Sysctl::Ipv4Forward, "1".to_owned())];
    let restore = [Step::RestoreSysctl(Sysctl::Ipv4Forward)];
    let [one, two] = labs();
    for before in ["0", "1"] {
        host.write(before);
        assert!(ip::observe(&host.shell, &one).unwrap().sysctls.is_empty());
        for lab in [&one, &two, &one] {
            ip::apply(&host.shell, lab, &set).unwrap();
            let seen = ip::observe(&host.shell, lab).unwrap().sysctls;
            assert_eq!(seen, [(Sysctl::Ipv4Forward, "1".to_owned())].into());
        }
        ip::apply(&host.shell, &one, &restore).unwrap();
        assert_eq!(host.forwards(), "1");
        assert!(ip::observe(&host.shell, &one).unwrap().sysctls.is_empty());
        ip::apply(&host.shell, &one, &restore).unwrap();
        assert_eq!(host.forwards(), "1", "what is given up twice is given up once");
        ip::apply(&host.shell, &two, &restore).unwrap();
        assert_eq!(host.forwards(), before);
        assert_eq!(host.left_behind(), "");
    }
}

#[test]
fn a_setting_that_somebody_changed_meanwhile_is_observed_as_it_is() {
    let Some(host) = Host::new("a_setting_that_somebody_changed_meanwhile_is_observed_as_it_is") else {
        return;
    };
    let [one, _] = labs();
    let marks = SysctlMarks {
        folder: "/run/another place".into(),
    };
    marks.set(&host.shell, &one, Sysctl::Ipv4Forward, "1").unwrap();
    host.write("0");
    let seen = marks.observe(&host.shell, &one).unwrap();
    assert_eq!(seen, [(Sysctl::Ipv4Forward, "0".to_owned())].into());
    assert!(
        ip::observe(&host.shell, &one).unwrap().sysctls.is_empty(),
        "other marks"
    );
    marks.restore(&host.shell, &one, Sysctl::Ipv4Forward).unwrap();
    assert!(marks.observe(&host.shell, &one).unwrap().is_empty());
}

#[test]
fn a_value_that_the_kernel_refuses_is_an_error_and_can_be_given_up() {
    let Some(host) = Host::new("a_value_that_the_kernel_refuses_is_an_error_and_can_be_given_up") else {
        return;
    };
    let [one, _] = labs();
    let marks = SysctlMarks::default();
    let before = host.forwards();
    assert!(marks.set(&host.shell, &one, Sysctl::Ipv4Forward, "$(reboot)").is_err());
    marks.restore(&host.shell, &one, Sysctl::Ipv4Forward).unwrap();
    assert_eq!(host.forwards(), before);
    assert_eq!(host.left_behind(), "");
}
