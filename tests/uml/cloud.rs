//! The lab that has it all, as far as this kernel goes: VLANs over a switch with trunk and access ports, DHCP, a gateway
//! on every host. It has no NFT_NAT, so the ways out are left out here; the labs `nat` and `snat-floating` show them.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use crate::kernel;
use crate::labs::{LOOK, VERIFY, WITHIN, cells};

/// The lab without what needs NAT.
fn without_ways_out() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/cloud.toml");
    let mut lab: Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    lab.remove("nat").unwrap();
    let web = lab["vms"]["web"].as_table_mut().unwrap();
    web.remove("floating").unwrap();
    let verify = lab["verify"].as_table_mut().unwrap();
    verify.remove("outside").unwrap();
    let pings = verify["ping"].as_array_mut().unwrap();
    pings.retain(|ping| ping["from"] != Value::Array(vec!["home".into()]) || ping.get("reach").is_some());
    lab
}

#[test]
fn the_cloud_comes_up_over_trunk_and_access_ports_and_everybody_reaches_whom_they_must() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cloud.toml");
    std::fs::write(&file, without_ways_out().to_string()).unwrap();
    let file = file.display();
    // Guests that a busy machine did not let boot in time go on booting, and are told by the next `up`.
    let up = format!("netlab -q up {file} || netlab -q up {file}");
    let again = format!("netlab up {file}");
    let verify = format!("{VERIFY}\nverify_patiently {file}");
    let parts = [
        ("before", LOOK),
        ("up", &up),
        ("again", &again),
        ("verify", &verify),
        ("matrix", "cat /tmp/matrix; rm /tmp/matrix"),
        ("down", "netlab -q down cloud"),
        ("after", LOOK),
    ];
    let Some(printed) = kernel::good("the_cloud_comes_up", &parts, WITHIN) else {
        return;
    };
    assert!(printed.by("again").contains("nothing to do"), "{}", printed.by("again"));
    assert_eq!(printed.by("after"), printed.by("before"), "something was left behind");
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
        ("node2", "172.16.99.108", true),
        ("desk", "172.16.99.108", true),
        ("desk", "10.0.10.1", false),
        ("home", "10.0.10.2", false),
        ("home", "10.0.20.2", false),
    ]
    .map(|(from, to, reach)| ((from.to_owned(), to.to_owned()), (reach, true)));
    assert_eq!(cells(printed.by("matrix")), BTreeMap::from(expected));
}
