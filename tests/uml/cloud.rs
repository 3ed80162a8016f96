//! The lab that has it all: VLANs over a switch with trunk and access ports, NAT, DHCP, a gateway on every host, a
//! floating address.

use std::collections::BTreeMap;

use crate::kernel;
use crate::labs::{LOOK, VERIFY, WITHIN, cells};

/// The router remembers who asks it for an echo, and which addresses those were.
const REMEMBER: &str = r#"ip netns exec netlab.cloud.home nft 'table ip seen {
    set sources { type ipv4_addr; flags dynamic; size 256; }
    chain input { type filter hook input priority 0; icmp type echo-request ip daddr 203.0.113.1 add @sources { ip saddr } }
}'"#;
const SEEN: &str = "ip netns exec netlab.cloud.home nft list set ip seen sources";

#[test]
fn the_cloud_comes_up_and_everybody_reaches_whom_they_must_under_the_right_address() {
    let file = "labs/cloud.toml";
    let verify = format!("{REMEMBER}\n{VERIFY}\nverify_patiently {file}");
    let parts = [
        ("before", LOOK),
        ("up", "netlab -q up labs/cloud.toml"),
        ("again", "netlab up labs/cloud.toml"),
        ("verify", &verify),
        ("seen", SEEN),
        ("matrix", "cat /tmp/matrix; rm /tmp/matrix"),
        ("down", "netlab -q down cloud"),
        ("after", LOOK),
    ];
    let Some(printed) = kernel::good("the_cloud_comes_up", &parts, WITHIN) else {
        return;
    };
    assert!(printed.by("again").contains("nothing to do"), "{}", printed.by("again"));
    assert_eq!(printed.by("after"), printed.by("before"), "something was left behind");
    let seen = printed.by("seen");
    for source in ["192.168.99.50", "192.168.99.108", "192.168.99.109"] {
        assert!(seen.contains(source), "{seen}");
    }
    assert!(!seen.contains("10.0."), "{seen}");
    let expected = [
        ("tenant-1", "tenant-2", true),
        ("tenant-2", "tenant-1", true),
        ("web", "tenant-1", true),
        ("tenant-1", "web", true),
        ("web", "tenant-2", false),
        ("tenant-2", "web", false),
        ("web", "gw service", true),
        ("tenant-1", "gw tenant", true),
        ("tenant-2", "gw tenant", true),
        ("web", "203.0.113.1", true),
        ("tenant-1", "203.0.113.1", true),
        ("tenant-2", "203.0.113.1", true),
        ("node2", "172.16.99.108", true),
        ("desk", "172.16.99.108", true),
        ("desk", "10.0.10.1", false),
        ("home", "192.168.99.50", true),
        ("home", "10.0.10.2", false),
        ("home", "10.0.20.2", false),
    ]
    .map(|(from, to, reach)| ((from.to_owned(), to.to_owned()), (reach, true)));
    assert_eq!(cells(printed.by("matrix")), BTreeMap::from(expected));
}
