//! A host as a user's own machine is one: `connect = "local"`, with NICs, links and domains that are not netlab's. It
//! is made of an emulated host, inside which netlab then runs a second time.

use std::collections::BTreeSet;
use std::process::Output;

use crate::support::lab::{Bench, said};

const MACHINE: &str = r#"
name = "LABNAME"
[hosts.machine]
nics.eth0 = { address = "172.16.99.108/24", gateway = "172.16.99.1" }
nics.eth1 = {}
"#;

/// Such a machine.
pub struct Local(pub Bench);

impl Local {
    /// A machine of its own, or none where there can be none.
    pub fn new(test: &str, tag: &str) -> Option<Self> {
        let bench = Bench::new(test, tag, MACHINE)?;
        bench.good(&["-q", "up", bench.file()]);
        std::fs::create_dir(bench.path("labs")).unwrap();
        Some(Self(bench))
    }

    /// Writes a lab file for a lab `name` on this machine; gives its path.
    pub fn lab(&self, name: &str, rest: &str) -> String {
        let path = self.0.path("labs").join(format!("{name}.toml"));
        // The machine's default route is on eth0.
        let host = "[hosts.here]\nconnect = \"local\"\nnics.eth0.takeover = true\nnics.eth1 = {}\n";
        std::fs::write(&path, format!("name = \"{name}\"\n{host}{rest}")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs netlab on the machine.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.0.enter("machine");
        command
            .arg(env!("CARGO_BIN_EXE_netlab"))
            .args(arguments)
            .env("NETLAB_STATE_DIR", self.0.path("local"))
            .env("NETLAB_CACHE_DIR", Bench::cache());
        command.output().unwrap()
    }

    /// Runs netlab and insists on success; gives all that was said.
    pub fn good(&self, arguments: &[&str]) -> String {
        said(&self.run(arguments), 0)
    }

    /// Runs netlab and insists on status 1; gives all that was said.
    pub fn bad(&self, arguments: &[&str]) -> String {
        said(&self.run(arguments), 1)
    }

    /// Runs a command on the machine; gives its output.
    pub fn do_(&self, command: &[&str]) -> String {
        self.0.inside("machine", command)
    }

    /// Returns everything that netlab could change here, as text to compare.
    pub fn snapshot(&self) -> String {
        // A new IPv6 address is tentative for a second or two (RFC 4862, 5.4).
        for _ in 0..100 {
            if self
                .0
                .inside("machine", &["ip", "-o", "address", "show", "tentative"])
                .is_empty()
            {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let commands: [&[&str]; 9] = [
            &["ip", "-o", "link"],
            &["ip", "-o", "address"],
            &["ip", "route", "show", "table", "all"],
            &["ip", "rule"],
            &["nft", "list", "ruleset"],
            &["cat", "/proc/sys/net/ipv4/ip_forward"],
            &["virsh", "-q", "list", "--all", "--name"],
            &["virsh", "-q", "pool-list", "--all", "--name"],
            &["find", "/var/lib/libvirt/images", "/run/netlab"],
        ];
        let shown = commands.map(|command| {
            let output = self.0.enter("machine").args(command).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        shown.concat()
    }

    /// Asserts that the machine equals the snapshot `before`; shows only what differs.
    pub fn assert_unchanged(&self, before: &str, after: &str) {
        let now = self.snapshot();
        let (was, is): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), now.lines().collect());
        let gone: Vec<_> = was.difference(&is).collect();
        let new: Vec<_> = is.difference(&was).collect();
        assert!(before == now, "gone: {gone:#?}\nnew: {new:#?}\nafter: {after}");
    }

    /// Removes the machine; nothing is left of it.
    pub fn end(self) {
        self.0.good(&["-q", "down", &self.0.name]);
        self.0.assert_as_before();
    }
}
