//! Delays and losses of a lab's links, by a kernel with netem.

use serde_json::Value;

use crate::bonds::written;
use crate::kernel;
use crate::labs::{OBSERVE, WITHIN};

/// Two hosts whose cable the lab file delays by 100 ms in each direction.
const LAB: &str = r#"
name = "delayed"
[hosts.node1]
nics.eth0.address = "172.16.99.108/24"
[hosts.node2]
nics.eth0.address = "172.16.99.109/24"
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
delay = "100ms"
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
addresses = { node1 = "10.0.1.1", node2 = "10.0.1.2" }
[[verify.ping]]
from = ["node1"]
to = "10.0.1.2"
"#;

/// The round trip of the only cell, in ms, or the cell.
fn cell(matrix: &str) -> Result<f64, String> {
    let matrix: Value = serde_json::from_str(matrix).unwrap();
    let cell = &matrix["cells"][0];
    cell["rtt_ms"].as_f64().ok_or_else(|| cell.to_string())
}

#[test]
#[ignore = "soak: several runs of netlab in a user-mode Linux"]
fn cables_and_links_are_delayed_and_lossy_as_the_file_or_a_request_says() {
    let test = "cables_and_links_are_delayed_and_lossy_as_the_file_or_a_request_says";
    let file = written("uml-delayed", LAB);
    let up = format!("netlab -q up {file}");
    let verify = format!("netlab -q --json verify {file} || true");
    let link = |words: &str| format!("netlab -q link delayed {words}");
    let requested = format!(
        "{}\n{}\nnetlab plan {file}",
        link("node1:eth0 --delay 400ms --jitter 1ms"),
        link("node2:eth0 --loss 50%")
    );
    let parts = [
        ("before", OBSERVE),
        ("up", &*up),
        ("stated", &verify),
        ("requested", &requested),
        ("status", "netlab status delayed"),
        (
            "slow",
            "ip netns exec netlab.delayed.node1 ping -q -c 100 -i 0.02 -W 10 10.0.1.2 || true",
        ),
        // Somebody deletes what delays the cable.
        (
            "drift",
            &format!("tc -n netlab.delayed.node1 qdisc del dev eth0 root\nnetlab plan {file}"),
        ),
        ("down", "netlab -q down delayed"),
        ("after", OBSERVE),
    ];
    let Some(printed) = kernel::good(test, &parts, WITHIN) else {
        return;
    };
    assert!(cell(printed.by("stated")).unwrap() >= 200.0, "{}", printed.by("stated"));
    let requested = printed.by("requested");
    assert!(requested.contains("nothing to do"), "{requested}");
    for row in [
        "node1:eth0  delay 400ms ~ 1ms      request",
        "node2:eth0  delay 100ms, loss 50%  request",
    ] {
        assert!(printed.by("status").contains(row), "{}", printed.by("status"));
    }
    let (received, fastest) = pinged(printed.by("slow"));
    assert!(
        (20..=80).contains(&received) && fastest >= 490.0,
        "{}",
        printed.by("slow")
    );
    let drift = printed.by("drift");
    assert!(
        drift.contains("+ limit link eth0 of node1: delay 400ms ~ 1ms"),
        "{drift}"
    );
    assert_eq!(printed.by("after"), printed.by("before"), "something was left behind");
}

/// How many replies came, and the fastest in ms, of what ping(8) prints at its end.
fn pinged(said: &str) -> (u32, f64) {
    let (sent, _) = said.split_once(" received").unwrap();
    let (_, received) = sent.rsplit_once(' ').unwrap();
    let (_, times) = said.split_once("min/avg/max/mdev = ").unwrap();
    let (fastest, _) = times.split_once('/').unwrap();
    (received.parse().unwrap(), fastest.parse().unwrap())
}
