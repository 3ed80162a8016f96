//! A lab whose file is edited again and again while it is up: after each `up` nothing is left to do, and everybody reaches whom
//! they must.

use crate::support::lab::{Bench, PATIENT, TWO_CABLES};
use crate::support::skip;

/// The hosts of [`TWO_CABLES`] with a bond each, at a switch.
fn bonded() -> String {
    let host = |host: &str, address: &str| {
        let nics = ["eth0", "eth1"].map(|nic| format!("[[cables]]\nends = [\"{host}:{nic}\", \"rack\"]\n"));
        format!(
            "[hosts.{host}.bonds.bond0]\nnics = [\"eth0\", \"eth1\"]\nmode = \"active-backup\"\naddress = \"{address}/24\"\n{}",
            nics.concat()
        )
    };
    let hosts = [host("node1", "172.16.99.108"), host("node2", "172.16.99.109")].concat();
    format!("name = \"LABNAME\"\n[switches.rack]\n{hosts}")
}

/// A network `name` with its gateway on `gateway`, and further keys.
fn network(name: &str, third: u8, gateway: &str, more: &str) -> String {
    format!(
        "[networks.{name}]\nsubnet = \"10.0.{third}.0/24\"\ngateway = {{ address = \"10.0.{third}.1\", on = \"{gateway}\" }}\n{more}\n"
    )
}

fn vm(name: &str, host: &str, networks: &[&str]) -> String {
    let nics: Vec<_> = networks
        .iter()
        .map(|name| format!("{{ network = \"{name}\" }}"))
        .collect();
    format!(
        "[vms.{name}]\nhost = \"{host}\"\nmemory = \"96MiB\"\nnics = [{}]\n",
        nics.join(", ")
    )
}

/// Guests on both hosts, in network `s`.
fn both() -> String {
    [vm("a", "node1", &["s"]), vm("b", "node2", &["s"])].concat()
}

/// What is edited, and the lab without its hosts then.
fn edits() -> Vec<(&'static str, String)> {
    let in_one = |third, gateway, more: &str| [network("s", third, gateway, more), both()].concat();
    let flat = "uplink = \"eth0\"";
    let ovs = "switch = \"ovs\"\nuplink = \"eth1\"";
    let two = |red: &str, blue: &str, more: &str| {
        [
            network("s", 2, "node1", &format!("{flat}\n{red}")),
            network("t", 3, "node1", &format!("uplink = \"eth1\"\n{blue}")),
            more.to_owned(),
            vm("a", "node2", &["s"]),
            vm("b", "node1", &["t"]),
        ]
        .concat()
    };
    let (red, blue) = ("tenant = \"red\"\nport_security = true", "tenant = \"blue\"");
    vec![
        ("flat", in_one(1, "node1", flat)),
        ("the gateway's host", in_one(1, "node2", flat)),
        ("the subnet", in_one(2, "node2", flat)),
        ("the bridge", in_one(2, "node2", &format!("{flat}\nbridge = \"brx\""))),
        ("the uplink", in_one(2, "node2", "uplink = \"eth1\"\nbridge = \"brx\"")),
        ("dhcp", in_one(2, "node2", "uplink = \"eth1\"\ndhcp = true")),
        ("dhcp elsewhere", in_one(2, "node1", "uplink = \"eth1\"\ndhcp = true")),
        ("a gateway everywhere", in_one(2, "every-host", "uplink = \"eth1\"")),
        ("open vswitch", in_one(2, "node1", ovs)),
        ("a tag", in_one(2, "node1", &format!("{ovs}\nvlan = 20"))),
        ("another tag", in_one(2, "node1", &format!("{ovs}\nvlan = 21"))),
        (
            "gre",
            in_one(2, "node1", "switch = \"ovs\"\ntunnel = \"gre\"\nunderlay = \"eth0\""),
        ),
        (
            "vxlan",
            in_one(
                2,
                "node1",
                "switch = \"ovs\"\ntunnel = \"vxlan\"\nunderlay = \"eth0\"\nkey = 77",
            ),
        ),
        (
            "the kernel's vxlan",
            in_one(2, "node1", "tunnel = \"vxlan\"\nunderlay = \"eth0\"\nkey = 77"),
        ),
        (
            "the key and the MTU",
            in_one(
                2,
                "node1",
                "tunnel = \"vxlan\"\nunderlay = \"eth0\"\nkey = 78\nmtu = 1400",
            ),
        ),
        (
            "spanning tree",
            in_one(2, "node1", &format!("{flat}\nstp = true\nforward_delay = 2")),
        ),
        (
            "the forward delay",
            in_one(2, "node1", &format!("{flat}\nstp = true\nforward_delay = 3")),
        ),
        (
            "guests on other hosts",
            [
                network("s", 2, "node1", flat),
                vm("a", "node2", &["s"]),
                vm("b", "node1", &["s"]),
            ]
            .concat(),
        ),
        ("a second network", two("", "", "")),
        (
            "a second NIC",
            [
                network("s", 2, "node1", flat),
                network("t", 3, "node2", "uplink = \"eth1\""),
                vm("a", "node2", &["s", "t"]),
                vm("b", "node1", &["t"]),
            ]
            .concat(),
        ),
        ("tenants", two(red, blue, "")),
        ("a route", two(red, blue, "[[route]]\nbetween = [\"red\", \"blue\"]\n")),
        ("a large MTU", in_one(2, "node1", &format!("{flat}\nmtu = 9000"))),
        ("flat again", in_one(1, "node1", flat)),
    ]
}

#[test]
#[ignore = "soak: two dozen runs of up and verify"]
fn a_lab_that_is_edited_again_and_again_is_as_described_after_each_up() {
    let test = "a_lab_that_is_edited_again_and_again_is_as_described_after_each_up";
    if !std::path::Path::new("/usr/sbin/ovs-vswitchd").exists() {
        return skip(test, "needs the package openvswitch-switch");
    }
    let Some(bench) = Bench::new(test, "ed", "") else {
        return;
    };
    for (edit, text) in edits() {
        bench.write(&format!("{TWO_CABLES}{text}"));
        eprintln!("{edit}");
        bench.good(&["-q", "up", bench.file()]);
        let plan = bench.good(&["plan", bench.file()]);
        assert!(plan.starts_with("nothing to do"), "{edit}: {plan}");
        bench.good(&["-q", "verify", "--wait", PATIENT, bench.file()]);
    }
    // Both hosts have other NICs; then one goes, with everything on it, and comes back.
    let on_bonds = [network("s", 1, "node1", "switch = \"ovs\"\nuplink = \"bond0\""), both()].concat();
    let hosts = TWO_CABLES.split("[hosts.node2]").next().unwrap();
    let alone = [
        network("s", 1, "node1", ""),
        vm("a", "node1", &["s"]),
        vm("b", "node1", &["s"]),
    ]
    .concat();
    for text in [
        format!("{}{on_bonds}", bonded()),
        format!("{hosts}{alone}"),
        format!("{TWO_CABLES}{}", edits().remove(0).1),
    ] {
        bench.write(&text);
        bench.good(&["-q", "up", bench.file()]);
        bench.good(&["-q", "verify", "--wait", PATIENT, bench.file()]);
    }
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
