//! A mistake in any value is one error.

use super::{images, parse};

/// A lab with most keys that have a string, each of which something depends on.
const LAB: &str = r##"
name = "t"
image = "fake"

[images.fake]
mirrors = ["fake.img"]
sha256 = "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8"
format = "raw"
cloud_init = true
dialect = "ip"
machine = { arch = "x86_64", machine = "pc", disk_bus = "virtio", nic_model = "virtio", memory = "64MiB" }
console = { kind = "serial", prompt = "# ", login = { user = "netlab", password = "pw" }, boot_seconds = 5 }

[images.kern]
mirrors = ["fake2.img"]
sha256 = "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8"
format = "qcow2"
machine = { memory = "64MiB" }
console = { prompt = "# " }

[routers.home]
nics.eth0.address = "192.168.99.1/24"
outside = "203.0.113.1/32"
names = { "www.example.org" = "203.0.113.1" }
[switches.s]
[switches.s.ports]
p1 = { access = 10 }
[hosts.node1]
nics.eth0 = { address = "172.16.99.108/24" }
nics.eth1 = { address = "192.168.99.108/24", gateway = "192.168.99.1" }
[[cables]]
ends = ["node1:eth1", "home:eth0"]
rate = "1mbit"
[networks.service]
class = "service"
subnet = "10.0.1.0/24"
bridge = "br5"
gateway = { address = "10.0.1.1", on = "node1" }
dhcp = { lease = "12h" }
nameservers = ["8.8.8.8"]
tenant = "red"
rate = "100mbit"
[networks.blue]
subnet = "10.0.2.0/24"
tenant = "blue"
gateway = { address = "10.0.2.1", on = "node1" }
[[route]]
between = ["red", "blue"]
[[nat]]
on = "node1"
from = "service"
out = "eth1"
source = "192.168.99.108"
[vms.v]
host = "node1"
image = "fake"
memory = "96MiB"
nics = [{ network = "service", address = "10.0.1.2", mac = "52:54:00:aa:bb:cc" }]
floating = "192.168.99.50"
[[vms.v.files]]
path = "/etc/motd"
content = "hi"
[verify]
outside = ["203.0.113.1"]
[[verify.ping]]
from = ["home"]
to = "192.168.99.50"
[[verify.check]]
from = ["v"]
to = "203.0.113.1"
tcp = 80
hint = "see the manual"
"##;

/// Values that may have any character: a prompt is compared with what a guest prints, a file is written as it is.
const FREE: [&str; 2] = ["# ", "hi"];

/// The lab with each of its strings replaced by what `change` makes of it, quotes included.
fn each(change: impl Fn(&str) -> String) -> Vec<(String, String)> {
    let mut labs = Vec::new();
    let mut rest = LAB;
    while let Some((before, after)) = rest.split_once('"') {
        let (text, following) = after.split_once('"').unwrap();
        let start = LAB.len() - rest.len() + before.len();
        let end = LAB.len() - following.len();
        let lab = format!("{}{}{}", &LAB[..start], change(&LAB[start..end]), &LAB[end..]);
        labs.push((text.to_owned(), lab));
        rest = following;
    }
    assert!(labs.len() > 50, "{}", labs.len());
    labs
}

#[track_caller]
fn assert_one_error(text: &str, lab: &str) {
    let error = parse("lab.toml", lab, &images()).expect_err(text);
    assert_eq!(error.problems.len(), 1, "{text}: {:#?}", error.problems);
}

#[test]
fn a_lab_with_most_keys_is_accepted() {
    let lab = parse("lab.toml", LAB, &images());
    assert!(lab.is_ok(), "{:#?}", lab.unwrap_err().problems);
}

#[test]
fn a_terminal_escape_in_any_value_is_one_error() {
    let escaped = |quoted: &str| format!("{}\\u001b[31m\"", quoted.strip_suffix('"').unwrap());
    for (text, lab) in each(escaped) {
        if !FREE.contains(&text.as_str()) {
            assert_one_error(&text, &lab);
        }
    }
}

#[test]
fn a_number_in_place_of_any_string_is_one_error() {
    for (text, lab) in each(|_| "5".to_owned()) {
        assert_one_error(&text, &lab);
    }
}

#[test]
fn a_text_without_its_quotes_is_one_error() {
    for (text, lab) in each(|quoted| quoted.trim_matches('"').to_owned()) {
        // Without quotes, this begins a comment.
        if !FREE.contains(&text.as_str()) {
            assert_one_error(&text, &lab);
        }
    }
}
