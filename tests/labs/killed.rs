//! FAULTS 1 for switches and routers: killed anywhere, they are found again.

use crate::support::lab::Bench;

/// A host and a router at a switch; no network, no guest.
const WIRED: &str = r#"
name = "LABNAME"
[routers.home]
nics.eth0.address = "192.168.99.1/24"
outside = "203.0.113.1/32"
[switches.rack]
[hosts.node1]
nics.eth0 = { address = "192.168.99.108/24", gateway = "192.168.99.1" }
[[cables]]
ends = ["home:eth0", "rack"]
[[cables]]
ends = ["node1:eth0", "rack"]
[networks.inner]
subnet = "10.0.1.0/24"
gateway = { address = "10.0.1.1", on = "node1" }
[[verify.ping]]
from = ["node1"]
to = "203.0.113.1"
"#;

/// More than the boundaries that there are.
const MANY: u32 = 100;

#[test]
#[ignore = "soak: every step boundary"]
fn an_up_killed_at_any_boundary_is_finished_by_up_and_cleaned_by_down() {
    let test = "an_up_killed_at_any_boundary_is_finished_by_up_and_cleaned_by_down";
    let Some(bench) = Bench::new(test, "wk", WIRED) else {
        return;
    };
    let met = (1..MANY).take_while(|at| {
        let killed = bench.killed(&["-q", "up", bench.file()], *at);
        if at % 2 == 0 {
            bench.good(&["-q", "up", bench.file()]);
            bench.good(&["-q", "verify", bench.file()]);
        }
        bench.good(&["-q", "down", &bench.name]);
        bench.assert_as_before();
        killed
    });
    assert!(met.count() > 5, "too few boundaries were met");
}

#[test]
#[ignore = "soak: every step boundary"]
fn a_down_killed_at_any_boundary_is_finished_by_down() {
    let test = "a_down_killed_at_any_boundary_is_finished_by_down";
    let Some(bench) = Bench::new(test, "wd", WIRED) else {
        return;
    };
    let met = (1..MANY).take_while(|at| {
        bench.good(&["-q", "up", bench.file()]);
        let killed = bench.killed(&["-q", "down", &bench.name], *at);
        bench.good(&["-q", "down", &bench.name]);
        bench.assert_as_before();
        killed
    });
    assert!(met.count() > 3, "too few boundaries were met");
}
