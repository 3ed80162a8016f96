//! Many guests on a machine that is busy with them.

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::lab::Bench;

/// A lab of 16 guests in two networks on two hosts.
fn many() -> String {
    let mut text = String::from(
        r#"
name = "LABNAME"
hosts.node1 = { nics.eth0 = {}, nics.eth1 = {} }
hosts.node2 = { nics.eth0 = {}, nics.eth1 = {} }
cables = [{ ends = ["node1:eth0", "node2:eth0"] }, { ends = ["node1:eth1", "node2:eth1"] }]
networks.red = { subnet = "10.0.1.0/24", uplink = "eth0", gateway = { address = "10.0.1.1", on = "node1" } }
networks.blue = { subnet = "10.0.2.0/24", uplink = "eth1", gateway = { address = "10.0.2.1", on = "node2" } }
"#,
    );
    for network in ["red", "blue"] {
        write!(
            text,
            "[vms.{network}]\nhosts = [\"node1\", \"node2\"]\ncount = 8\nmemory = \"96MiB\"\n\
             nics = [{{ network = \"{network}\" }}]\n"
        )
        .unwrap();
    }
    text
}

#[test]
#[ignore = "soak: 16 guests boot"]
fn sixteen_guests_on_two_hosts_are_as_expected_in_each_of_three_runs() {
    let test = "sixteen_guests_on_two_hosts_are_as_expected_in_each_of_three_runs";
    let Some(bench) = Bench::new(test, "many", &many()) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    for _ in 0..3 {
        let report: Value = serde_json::from_str(&bench.good(&["-q", "verify", "--json", bench.file()])).unwrap();
        assert_eq!(report["cells"].as_array().unwrap().len(), 16 * 15 + 16);
        let (all, own) = (&report["seconds"], &report["slowest"]["seconds"]);
        eprintln!("{all} s, slowest guest {own} s, asked again: {}", report["asked_again"]);
    }
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
