//! `netlab script`: run by hand on a fresh host, it makes what `up` makes there.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::lab::Bench;
use crate::support::skip;

/// Everything that a host of this kernel can be asked for, on two emulated hosts.
const HOSTS: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0 = { address = "172.16.99.108/24", gateway = "172.16.99.1" }
nics.eth1.address = "192.168.99.108/24"
[hosts.node2]
nics.eth0.address = "172.16.99.109/24"
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
"#;
const NETWORKS: &str = r#"
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
bridge = "br1"
gateway = { address = "10.0.1.1", on = "node1" }
dhcp = true
[networks.inside]
subnet = "10.0.2.0/24"
stp = true
bridge_mac = { node1 = "02:00:00:00:00:05" }
addresses = { node1 = "10.0.2.9" }
[[nat]]
on = "node1"
from = ["service", "172.16.99.0/24"]
out = "eth1"
source = "192.168.99.108"
[vms.vm1]
host = "node1"
memory = "96MiB"
nics = [{ network = "service" }]
floating = "192.168.99.50"
"#;

/// What `node1` is, but for what netlab notes on it for itself.
fn seen(bench: &Bench) -> Value {
    let json = |command: &[&str]| -> Value { serde_json::from_str(&bench.inside("node1", command)).unwrap() };
    let links = json(&["ip", "-json", "-details", "address"]);
    let links = links.as_array().unwrap().iter().map(|link| {
        let addresses = link["addr_info"].as_array().unwrap().iter();
        let addresses = addresses.map(|address| {
            let keys = ["family", "local", "prefixlen", "broadcast", "scope"];
            keys.map(|key| address[key].clone())
        });
        let info = &link["linkinfo"]["info_data"];
        let bridge = ["stp_state", "forward_delay", "mcast_snooping"].map(|key| info[key].clone());
        json!({
            "name": link["ifname"],
            "kind": link["linkinfo"]["info_kind"],
            "up": link["flags"].as_array().unwrap().contains(&json!("UP")),
            "master": link["master"],
            "bridge": bridge,
            "addresses": addresses.collect::<Vec<_>>(),
        })
    });
    let mut links: Vec<Value> = links.collect();
    links.sort_by_key(|link| link["name"].to_string());
    let mac = |link: &str| bench.inside("node1", &["cat", &format!("/sys/class/net/{link}/address")]);
    let inside = links.iter().find(|link| link["bridge"][0] == json!(1)).unwrap();
    json!({
        "macs": [mac("br1"), mac(inside["name"].as_str().unwrap())],
        "links": links,
        "routes": bench.inside("node1", &["ip", "route"]).lines().map(str::trim).collect::<Vec<_>>(),
        "rules": bench.inside("node1", &["nft", "list", "ruleset"]),
        "forward": bench.inside("node1", &["cat", "/proc/sys/net/ipv4/ip_forward"]),
        "domains": bench.inside("node1", &["virsh", "-q", "list", "--name"]),
        "server": bench.inside("node1", &["pgrep", "-c", "-x", "dnsmasq"]),
    })
}

/// Runs a script on `node1`: whether it ended well, and what it said.
fn run(bench: &Bench, script: &str) -> (bool, String) {
    let mut shell = bench.enter("node1");
    let mut shell = shell
        .arg("sh")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

#[test]
fn a_script_run_by_hand_makes_what_up_makes() {
    let test = "a_script_run_by_hand_makes_what_up_makes";
    let Some(bench) = Bench::new(test, "scr", &format!("{HOSTS}{NETWORKS}")) else {
        return;
    };
    bench.good(&["up", bench.file()]);
    let by_up = seen(&bench);
    bench.good(&["down", &bench.name]);
    let script = bench.good(&["script", bench.file(), "node1"]);

    // The hosts alone.
    bench.write(HOSTS);
    bench.good(&["up", bench.file()]);
    let (ended_well, said) = run(&bench, &script);
    assert!(ended_well, "{said}\n{script}");
    let by_hand = seen(&bench);
    assert_eq!(by_hand, by_up, "{script}");

    // What a person made is a person's: netlab takes it for nothing of its own, and says so.
    bench.write(&format!("{HOSTS}{NETWORKS}"));
    let refused = bench.bad(&["up", bench.file()], 1);
    assert!(refused.contains("br1"), "{refused}");
    bench.good(&["down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn a_host_that_the_lab_does_not_have_is_named_with_those_it_has() {
    let Some(bench) = Bench::new("a_host_that_the_lab_does_not_have_is_named", "scn", HOSTS) else {
        return;
    };
    let said = bench.bad(&["script", bench.file(), "node3"], 2);
    assert!(said.contains("node1, node2"), "{said}");
}

/// What xorriso(1) says of the seed disk of `vm1`, and what cloud-init would read from it.
const READ_SEED: &str = r#"cd "$(mktemp -d)"
xorriso -report_about WARNING -osirrox on -indev "$1" -pvd_info -extract / seed
cat seed/meta-data seed/network-config seed/user-data
"#;

#[test]
fn a_guest_with_cloud_init_gets_its_seed_disk_from_the_script_too() {
    let test = "a_guest_with_cloud_init_gets_its_seed_disk_from_the_script_too";
    let Some(bench) = Bench::new(test, "sci", HOSTS) else {
        return;
    };
    if Command::new("xorriso").arg("-version").output().is_err() {
        skip(test, "xorriso is not installed");
        return;
    }
    // Nothing boots from it, and nothing has to.
    let disk = bench.path("empty.img");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let guest = format!(
        r#"
[networks.service]
subnet = "10.0.1.0/24"
[vms.vm1]
host = "node1"
image = "cloud"
nics = [{{ network = "service", address = "10.0.1.7" }}]
[images.cloud]
mirrors = ["{}"]
format = "raw"
cloud_init = true
console = {{ kind = "serial", prompt = "$ ", login = {{ user = "me", password = "it's: \"me\"" }} }}
"#,
        disk.display()
    );
    bench.good(&["up", bench.file()]);
    bench.write(&format!("{HOSTS}{guest}"));
    let script = bench.good(&["script", bench.file(), "node1"]);
    let (ended_well, said) = run(&bench, &script);
    assert!(!ended_well && said.contains("see `netlab image`"), "{said}");
    bench.good(&["down", &bench.name]);

    bench.good(&["image", "pull", "--lab", bench.file(), "--allow-unverified", "cloud"]);
    bench.write(HOSTS);
    bench.good(&["up", bench.file()]);
    let (ended_well, said) = run(&bench, &script);
    assert!(ended_well, "{said}\n{script}");

    let domain = format!("{}.vm1", bench.name);
    let xml = bench.inside("node1", &["virsh", "-q", "dumpxml", &domain]);
    let seed = format!("/var/lib/libvirt/images/{domain}.seed.iso");
    assert!(xml.contains(&format!("<source file='{seed}'")), "{xml}");
    let said = bench.inside("node1", &["sh", "-euc", READ_SEED, "sh", &seed]);
    for word in [
        "cidata",
        "local-hostname: \"vm1\"",
        "10.0.1.7/24",
        "hashed_passwd: \"$6$",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("it's: "), "the password is there as a hash only: {said}");
    bench.good(&["down", &bench.name]);
    bench.assert_as_before();
}
