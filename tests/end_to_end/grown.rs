//! FAULTS 58: guests keep what they were given when their lab changes.

use crate::support::lab::Bench;

/// The host is the gateway with its own address, which its bridge takes over from the uplink.
const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0.address = "10.0.1.1/24"
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
gateway = { address = "10.0.1.1" }
"#;

fn vm(name: &str, nic: &str) -> String {
    format!("[vms.{name}]\nmemory = \"96MiB\"\nnics = [{{ network = \"service\"{nic} }}]\n")
}

#[test]
fn a_guest_keeps_its_address_when_the_lab_grows_also_while_it_does_not_run() {
    let test = "a_guest_keeps_its_address_when_the_lab_grows_also_while_it_does_not_run";
    let Some(bench) = Bench::new(test, "grow", &format!("{LAB}{}", vm("b", ""))) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let plan = || bench.good(&["plan", bench.file()]);
    assert!(plan().contains("nothing to do"), "the host's own address: {}", plan());

    bench.write(&format!("{LAB}{}", vm("b", ", address = \"10.0.1.9\"")));
    let changed = plan();
    assert!(changed.contains("10.0.1.9/24 (was 10.0.1.2/24)"), "{changed}");

    // `a` is before `b` and has the lower address in a new lab.
    let grown = format!("{LAB}{}{}", vm("a", ""), vm("b", ""));
    bench.write(&grown);
    let running = plan();
    assert!(
        running.contains("configure a over its console: 10.0.1.3/24"),
        "{running}"
    );
    assert_eq!(
        running.matches("\n  + ").count(),
        3,
        "define, start and configure a:\n{running}"
    );

    bench.inside("node1", &["virsh", "-q", "destroy", &format!("{}.b", bench.name)]);
    let stopped = plan();
    assert!(
        stopped.contains("configure b over its console: 10.0.1.2/24"),
        "{stopped}"
    );
    assert!(
        stopped.contains("configure a over its console: 10.0.1.3/24"),
        "{stopped}"
    );
    let graph = bench.good(&["graph", bench.file()]);
    assert!(graph.contains("label=\"b\\n10.0.1.2\""), "{graph}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
