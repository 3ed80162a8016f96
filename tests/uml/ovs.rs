//! Open vSwitch with the data path of the kernel's module: GRE, and tags on a cable.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::bonds::written;
use crate::capture;
use crate::kernel;
use crate::labs::{OBSERVE, cells, live_with};
use crate::support::frames::{Frame, frames};

/// Two hosts without guests, with a network in tunnels and one with a tag.
const LAB: &str = r#"
name = "system"
[hosts.node1]
nics.eth0.address = "172.16.99.108/24"
[hosts.node2]
nics.eth0.address = "172.16.99.109/24"
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
[networks.tunneled]
subnet = "10.0.1.0/24"
switch = "ovs"
datapath = "system"
tunnel = "gre"
key = 1001
underlay = "eth0"
addresses = { node1 = "10.0.1.1", node2 = "10.0.1.2" }
[networks.tagged]
subnet = "10.0.2.0/24"
switch = "ovs"
uplink = "eth0"
vlan = 10
addresses = { node1 = "10.0.2.1", node2 = "10.0.2.2" }
"#;

/// What tcpdump prints of an echo request in a tunnel with the key 1001.
fn is_in_gre(frame: &Frame, request: &str) -> bool {
    frame.carries("> 172.16.99.109: GREv0, key=0x3e9") && frame.carries(request)
}

#[test]
fn gre_and_tags_of_the_kernels_open_vswitch_are_on_the_cable() {
    let test = "gre_and_tags_of_the_kernels_open_vswitch_are_on_the_cable";
    let file = written("uml-system", LAB);
    let up = format!("netlab -q up {file}");
    let ping = "on() { host=$1; shift; ip netns exec \"netlab.system.$host\" \"$@\"; }
                on node1 ping -c2 -i0.5 -W10 10.0.1.2; on node1 ping -c2 -i0.5 -W10 10.0.2.2";
    let cable = format!(
        "{}\n{ping}\n{}",
        capture::begin("system", "node1", "eth0"),
        capture::END
    );
    let parts = [
        // With its module come devices of GRE, which stay.
        ("module", "modprobe -a openvswitch vport-gre"),
        ("before", OBSERVE),
        ("up", up.as_str()),
        ("cable", &cable),
        ("device", "ip -n netlab.system.node1 -br link show type gretap"),
        ("down", "netlab -q down system"),
        ("after", OBSERVE),
    ];
    let Some(printed) = kernel::good(test, &parts, Duration::from_secs(500)) else {
        return;
    };
    let (_, captured) = printed.by("cable").split_once(capture::BEGIN).unwrap();
    let frames = frames(captured);
    let request = "10.0.1.1 > 10.0.1.2: ICMP echo request";
    assert!(frames.iter().any(|frame| is_in_gre(frame, request)), "{captured}");
    let tagged = |frame: &Frame| frame.vlan == Some(10) && frame.carries("10.0.2.1 > 10.0.2.2: ICMP echo request");
    assert!(frames.iter().any(tagged), "{captured}");
    assert!(printed.by("device").contains("gre_sys"), "{}", printed.by("device"));
    assert_eq!(printed.by("after"), printed.by("before"), "something was left behind");
}

#[test]
#[ignore = "soak: QEMU inside a user-mode Linux"]
fn guests_reach_each_other_by_gre_of_the_kernels_open_vswitch() {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/ovs-gre.toml");
    let text = fs::read_to_string(lab).unwrap();
    let text = text.replace("switch = \"ovs\"\n", "switch = \"ovs\"\ndatapath = \"system\"\n");
    let test = "guests_by_gre_of_the_kernel";
    let Some((printed, frames)) = live_with(
        "openvswitch vport-gre",
        test,
        &written(test, &text),
        "ip -n netlab.ovs-gre.node1 -br link show type gretap",
    ) else {
        return;
    };
    let cells = cells(printed.by("matrix"));
    assert!(
        cells.len() == 4 && cells.values().all(|cell| *cell == (true, true)),
        "{cells:?}"
    );
    let request = "10.0.1.2 > 10.0.1.3: ICMP echo request";
    assert!(frames.iter().any(|frame| is_in_gre(frame, request)), "{frames:?}");
}
