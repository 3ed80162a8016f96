//! Gateway, address translation and DHCP on machines behind ssh, and a guest there asked by hand.

use std::io::{Read, Write as _};
use std::process::Stdio;

use crate::machines::Machines;

#[test]
fn guests_behind_ssh_get_addresses_names_and_a_default_route() {
    let Some(machines) = Machines::new("services") else {
        return;
    };
    let text = format!(
        r#"
name = "{}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
nics.eth0 = {{}}
nics.mgmt = {{}}
[hosts.node2]
connect = "ssh://root@10.200.2.2"
nics.eth0 = {{}}
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
gateway = {{ address = "10.0.1.1", on = "node1" }}
dhcp = true
[[nat]]
on = "node1"
from = ["service"]
out = "mgmt"
[vms.vm1]
host = "node1"
memory = "96MiB"
nics = [{{ network = "service" }}]
[vms.vm2]
host = "node2"
memory = "96MiB"
nics = [{{ network = "service" }}]
[verify]
outside = ["10.200.1.1"]
"#,
        machines.name
    );
    let lab = machines.lab();
    std::fs::write(&lab, text).unwrap();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    machines.good(&["up", lab]);
    machines.good(&["verify", lab]);
    // `ctl` has no route to 10.0.1.0/24: it answers because it is asked by node1's address.
    let vm = |name, command| machines.good(&["exec", &machines.name, name, "--", command]);
    for name in ["vm1", "vm2"] {
        let said = vm(name, "ping -c 2 -W 5 10.200.1.1");
        assert!(said.contains(" 0% packet loss"), "{said}");
    }
    captured(&machines);
    machines.good(&["link", &machines.name, "vm2", "--rate", "1mbit"]);
    assert!(machines.good(&["status", &machines.name]).contains("rate 1mbit"));
    assert!(machines.good(&["plan", lab]).contains("nothing to do"));
    let refused = machines.bad(&["link", &machines.name, "node1:eth0", "down"]);
    assert!(refused.contains("node1 is not emulated"), "{refused}");
    let said = vm("vm2", "nslookup vm1 10.0.1.1");
    assert!(said.contains("Name:") && said.contains("10.0.1."), "{said}");
    assert_eq!(
        machines
            .output(&["exec", &machines.name, "vm2", "--", "sh", "-c", "exit 7"])
            .status
            .code(),
        Some(7)
    );

    let mut console = machines.netlab(&["console", &machines.name, "vm2"]);
    let mut console = console
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = console.stdin.take().unwrap();
    // The echo has it in two words.
    keys.write_all(b"\necho by''hand\n").unwrap();
    let text = until_said(console.stdout.take().unwrap(), "byhand");
    // Ctrl-]
    keys.write_all(b"\x1d").unwrap();
    assert!(console.wait().unwrap().success(), "{text}");

    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}

/// What was printed until `text` came; the end of the output before it is a failure.
/// Packets of a guest's tap are captured on its machine, and nothing is left there.
fn captured(machines: &Machines) {
    let mut capture = machines.netlab(&["capture", &machines.name, "vm2", "-c", "2", "icmp"]);
    let mut capture = capture.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = until_said(capture.stderr.take().unwrap(), "Ctrl-C ends");
    machines.run("node1", &["ping", "-c", "3", "-W", "5", &address_of(machines, "vm2")]);
    let output = capture.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.lines().count() == 2, "{said}\n{text}");
    assert!(text.contains("ICMP echo request"), "{text}");
    let left = "for i in $(seq 100); do pgrep -x tcpdump >/dev/null || exit 0; sleep 0.1; done; pgrep -af tcpdump";
    assert_eq!(machines.run("node2", &["sh", "-c", left]), "");
}

fn address_of(machines: &Machines, vm: &str) -> String {
    let status: serde_json::Value =
        serde_json::from_str(&machines.good(&["status", "--json", &machines.name])).unwrap();
    let vms = status["vms"].as_array().unwrap();
    let found = vms.iter().find(|one| one["name"] == vm).unwrap();
    let address = found["addresses"][0].as_str().unwrap();
    address.split('/').next().unwrap().to_owned()
}

fn until_said(mut out: impl Read + Send + 'static, text: &str) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&said).contains(text) {
        let got = out.read(&mut buffer).unwrap();
        assert!(got > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..got]);
    }
    // What comes later is thrown away, so that nobody waits for us.
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    String::from_utf8_lossy(&said).into_owned()
}
