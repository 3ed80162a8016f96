//! Whole lab files: what is accepted and what is reported.

mod large;
mod mistakes;
mod nics;
mod nova;
mod setup;
mod shaping;
mod tenants;

use std::collections::{BTreeMap, BTreeSet};

use super::{ImageName, Lab, name_only, parse, write};
use crate::topology::allocate;

const QUICKSTART: &str = include_str!("../../../labs/quickstart.toml");

fn images() -> BTreeSet<ImageName> {
    BTreeSet::from([ImageName::new("mini").unwrap()])
}

fn good(text: &str) -> Lab {
    parse("lab.toml", text, &images()).unwrap_or_else(|e| panic!("{:#?}", e.problems))
}

/// Each problem as `message | help | the text it points at`.
fn wrong(text: &str) -> Vec<String> {
    let problems = parse("lab.toml", text, &images()).unwrap_err().problems;
    let line = |p: super::Problem| {
        let at = &text[p.span.offset()..p.span.offset() + p.span.len()];
        format!("{} | {} | {at}", p.message, p.help.unwrap_or_default())
    };
    problems.into_iter().map(line).collect()
}

fn has(found: &[String], wanted: &str) {
    assert!(
        found.iter().any(|line| line.contains(wanted)),
        "{wanted} not in {found:#?}"
    );
}

/// A lab of two hosts with `more` after them.
fn two(more: &str) -> String {
    format!("name = \"t\"\n[hosts.a]\nnics.eth0 = {{}}\n[hosts.b]\nnics.eth0 = {{}}\n{more}")
}

#[test]
fn the_quickstart_is_a_lab() {
    let lab = good(QUICKSTART);
    let names: Vec<_> = lab.vms.keys().map(super::Name::as_str).collect();
    assert_eq!(names, ["vm1", "vm3", "web-1", "web-2"]);
    let hosts: Vec<_> = lab.vms.values().map(|vm| vm.host.as_str()).collect();
    assert_eq!(hosts, ["node1", "node2", "node1", "node2"]);
    let everywhere = super::Uplinks::Everywhere("eth0".parse().unwrap());
    assert_eq!(lab.networks.values().next().unwrap().uplinks, everywhere);
}

#[test]
fn the_quickstart_gets_the_lowest_free_addresses_and_short_names() {
    let lab = good(QUICKSTART);
    let topology = allocate(&lab, &BTreeMap::new());
    assert_eq!(topology, allocate(&lab, &BTreeMap::new()));
    let addresses: Vec<_> = topology
        .guests
        .values()
        .map(|g| g.nics[0].address.to_string())
        .collect();
    assert_eq!(addresses, ["10.0.1.2/24", "10.0.1.3/24", "10.0.1.4/24", "10.0.1.5/24"]);
    let guests = topology.guests.values();
    let macs: BTreeSet<_> = guests.clone().map(|g| g.nics[0].mac).collect();
    let taps: BTreeSet<_> = guests.map(|g| g.nics[0].tap.clone()).collect();
    assert_eq!((macs.len(), taps.len()), (4, 4));
    assert!(taps.iter().all(|tap| tap.as_str().len() <= 15));
    let segments: Vec<_> = topology
        .hosts
        .values()
        .map(|h| h.segments.values().next().unwrap())
        .collect();
    assert!(
        segments
            .iter()
            .all(|s| s.bridge.as_str() == "br1" && s.uplink.is_some())
    );
    assert_eq!(segments.iter().filter(|s| s.gateway.is_some()).count(), 1);
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let found = wrong(&two(
        "[networks.n]\nsubnt = \"10.0.0.0/24\"\nstp = 3\n[vms.v]\nhost = \"c\"\ncpus = 0\n",
    ));
    has(
        &found,
        "unknown key `subnt` in a network | did you mean `subnet`? | subnt",
    );
    has(&found, "expected true or false, found an integer");
    has(&found, "there is no host `c`");
    has(&found, "cpus is out of range");
}

#[test]
fn an_unknown_network_is_reported_with_a_suggestion() {
    let found = wrong(&two(
        "[networks.service]\nsubnet = \"10.0.0.0/24\"\n[vms.v]\nhost = \"a\"\nnics = [{ network = \"servise\" }]\n",
    ));
    assert_eq!(
        found,
        ["there is no network `servise` | did you mean `service`? | \"servise\""]
    );
}

#[test]
fn subnets_have_no_host_bits_and_do_not_overlap() {
    let found = wrong(&two(
        "[networks.m]\nsubnet = \"10.0.0.0/16\"\n[networks.n]\nsubnet = \"10.0.1.1/24\"\n",
    ));
    has(&found, "has host bits set | write `10.0.1.0/24`");
    has(&found, "overlaps");
}

#[test]
fn a_wrong_address_is_outside_the_edge_of_or_twice_in_its_subnet() {
    let vm = |name: &str, ip: &str| {
        format!("[vms.{name}]\nhost = \"a\"\nnics = [{{ network = \"n\", address = \"{ip}\" }}]\n")
    };
    let vms = [vm("o", "10.9.9.9"), vm("p", "10.0.0.255"), vm("q", "10.0.0.1")].concat();
    let net = "[networks.n]\nsubnet = \"10.0.0.0/24\"\ngateway = { address = \"10.0.0.1\", on = \"a\" }\n";
    let found = wrong(&two(&format!("{net}{vms}")));
    has(&found, "10.9.9.9 is outside");
    has(&found, "10.0.0.255 is the network or broadcast address");
    has(&found, "10.0.0.1 is used twice: the gateway and vm `q`");
}

#[test]
fn an_uplink_carries_one_untagged_network_and_each_vlan_once() {
    let net = |n: u8, rest: &str| format!("[networks.n{n}]\nsubnet = \"10.{n}.0.0/24\"\nuplink = \"eth0\"\n{rest}\n");
    let nets = [
        net(1, ""),
        net(2, ""),
        net(3, "vlan = 7"),
        net(4, "vlan = 7"),
        net(5, "vlan = 8"),
    ]
    .concat();
    let found = wrong(&two(&nets));
    assert_eq!(found.len(), 2, "{found:#?}");
    has(&found, "untagged");
    has(&found, "vlan 7");
}

#[test]
fn cable_ends_exist_and_are_used_once() {
    let found = wrong(&two(
        "[[cables]]\nends = [\"a:eth0\", \"b:eth0\"]\n[[cables]]\nends = [\"a:eth0\", \"b:eth1\"]\n",
    ));
    has(&found, "`a:eth0` already has a cable");
    has(&found, "host `b` has no NIC `eth1` | did you mean `eth0`?");
}

#[test]
fn names_that_count_creates_are_unique() {
    let found = wrong(&two("[vms.web]\nhost = \"a\"\ncount = 2\n[vms.web-1]\nhost = \"b\"\n"));
    has(&found, "two vms are called `web-1`");
}

#[test]
fn a_host_has_a_valid_ssh_target_and_no_reserved_name() {
    let found = wrong(
        "name = \"t\"\n[hosts.localhost]\nconnect = \"ssh://-x\"\n[networks.n]\nsubnet = \"10.0.0.0/24\"\n\
         stp = true\n",
    );
    has(&found, "the host cannot begin with '-'");
    has(&found, "reserved host name");
}

#[test]
fn a_subnet_has_enough_addresses_for_its_guests() {
    let found = wrong(&two(
        "[networks.n]\nsubnet = \"10.0.0.0/30\"\n[vms.v]\nhost = \"a\"\ncount = 3\nnics = [{ network = \"n\" }]\n",
    ));
    has(&found, "too small: 3 of 2");
}

#[test]
fn broken_toml_is_problems_and_never_a_panic() {
    for text in [
        "",
        "[",
        "name = ",
        "hosts = 3",
        "name = 1\n[vms]\nx = 2",
        "cables = [1]",
    ] {
        assert!(!wrong(text).is_empty(), "{text}");
    }
    assert_eq!(name_only("name = \"t\"\n[hosts").unwrap().as_str(), "t");
}

/// Two hosts with a management NIC and, on `a`, a public one.
fn cloud(more: &str) -> String {
    format!(
        "name = \"t\"\n[hosts.a]\nnics.eth0.address = \"172.16.99.108/24\"\nnics.eth1.address = \"192.168.99.108/24\"\n\
         [hosts.b]\nnics.eth0.address = \"172.16.99.109/24\"\n{more}"
    )
}

#[test]
fn switches_and_routers_are_machines_with_ports_and_nics() {
    let lab = good(&cloud(
        "[switches.sw.ports.p1]\ntrunk = [10, 20]\n[routers.home]\nnics.lan.address = \"192.168.99.1/24\"\n\
         outside = \"203.0.113.1/24\"\n[[cables]]\nends = [\"a:eth0\", \"sw:p1\"]\n\
         [[cables]]\nends = [\"b:eth0\", \"sw\"]\n[[cables]]\nends = [\"a:eth1\", \"home:lan\"]\n",
    ));
    let ports: Vec<_> = lab.switches.values().flat_map(|switch| &switch.ports).collect();
    let trunk = [10, 20].map(|id| super::VlanId::try_from(id).unwrap());
    assert_eq!(ports.len(), 2);
    assert_eq!(*ports[0].1, super::PortMode::Trunk(trunk.into()));
    assert_eq!((ports[1].0.as_str(), ports[1].1), ("p2", &super::PortMode::Open));
    assert_eq!(lab.cables.len(), 3);
}

#[test]
fn a_machine_with_a_wrong_name_or_port_is_reported() {
    let found = wrong(&cloud(
        "[switches.a]\n[switches.sw.ports.p1]\naccess = 4095\n[switches.sw.ports.p2]\naccess = 1\ntrunk = []\n\
         [routers.home]\nnics.lan = {}\n[[cables]]\nends = [\"home:wan\", \"b\"]\n",
    ));
    has(&found, "two machines are called `a`");
    has(&found, "4095");
    has(&found, "a port has either `access` or `trunk`");
    has(&found, "router `home` has no NIC `wan` | did you mean `lan`?");
    has(&found, "`b` is not a cable end | write `host:nic`");
}

#[test]
fn a_gateway_on_every_host_is_on_those_that_have_a_guest() {
    let text = cloud(
        "[hosts.c]\nnics.eth0.address = \"172.16.99.110/24\"\n[networks.n]\nsubnet = \"10.0.0.0/24\"\nuplink = \"eth0\"\n\
         vlan = 10\ndhcp = true\ngateway = { address = \"10.0.0.1\", on = \"every-host\" }\n\
         [vms.v]\nhosts = [\"a\", \"b\"]\nnics = [{ network = \"n\" }]\n",
    );
    let topology = allocate(&good(&text), &BTreeMap::new());
    let gateways: Vec<_> = topology.hosts.values().map(|host| host.segments.len()).collect();
    assert_eq!(gateways, [1, 1, 0]);
    for host in topology.hosts.values() {
        for segment in host.segments.values() {
            assert!(segment.gateway_everywhere && segment.gateway.is_some());
            assert_eq!(
                segment.dhcp.as_ref().unwrap().leases.len(),
                2,
                "all guests, for their names"
            );
        }
    }
}

#[test]
fn dhcp_needs_a_gateway_and_an_mtu_is_in_range() {
    let found = wrong(&two("[networks.n]\nsubnet = \"10.0.0.0/24\"\ndhcp = true\nmtu = 100\n"));
    has(&found, "network `n` has DHCP and no gateway");
    has(
        &found,
        "mtu is out of range | an MTU is a number of bytes from 576 to 9216 | 100",
    );
}

#[test]
fn a_nat_rule_names_networks_or_subnets_and_a_nic() {
    let network = "[networks.n]\nsubnet = \"10.0.0.0/24\"\n";
    let lab = good(&cloud(&format!(
        "{network}[[nat]]\non = \"a\"\nfrom = [\"172.16.99.0/24\", \"n\"]\nout = \"eth1\"\nsource = \"192.168.99.108\"\n"
    )));
    assert_eq!(lab.nat[0].from.len(), 2);
    let found = wrong(&cloud(&format!(
        "{network}[[nat]]\non = \"a\"\nfrom = \"m\"\nout = \"eth7\"\n[[nat]]\nfrom = \"n\"\nout = \"eth1\"\n\
         [[nat]]\non = \"a\"\nfrom = \"n\"\nout = \"eth1\"\nsource = \"10.9.9.9\"\n[[nat]]\non = \"a\"\n"
    )));
    has(&found, "there is no network `m`");
    has(&found, "host `a` has no NIC `eth7`");
    has(&found, "a nat rule needs a host");
    has(
        &found,
        "source 10.9.9.9 is outside `192.168.99.0/24`, where `a:eth1` leads",
    );
    has(&found, "a nat rule needs `from`");
}

#[test]
fn a_floating_address_is_on_the_host_that_routes_for_its_vm() {
    let lab = |on: &str, floating: &str| {
        cloud(&format!(
            "[networks.n]\nsubnet = \"10.0.0.0/24\"\ngateway = {{ address = \"10.0.0.1\", on = \"{on}\" }}\n\
             [vms.v]\nhost = \"a\"\nnics = [{{ network = \"n\" }}]\nfloating = \"{floating}\"\n"
        ))
    };
    let topology = allocate(&good(&lab("a", "192.168.99.50")), &BTreeMap::new());
    let floating = topology.guests.values().next().unwrap().floating.clone().unwrap();
    assert_eq!((floating.host.as_str(), floating.nic.as_str()), ("a", "eth1"));
    has(
        &wrong(&lab("b", "192.168.99.50")),
        "no NIC of host `b`, which routes for vm `v`, leads to 192.168.99.50",
    );
    has(
        &wrong(&lab("a", "192.168.99.108")),
        "address 192.168.99.108 is used twice: `a:eth1` and vm `v`",
    );
}

#[test]
fn a_network_that_nothing_connects_between_its_hosts_is_a_warning_with_its_line_unless_it_is_meant() {
    let lab = |cables: &str, network: &str| {
        let text = format!(
            "name = \"l\"\n[hosts.a]\nnics.eth0 = {{}}\n[hosts.b]\nnics.eth0 = {{}}\n{cables}\
             [networks.n]\nsubnet = \"10.0.0.0/24\"\n{network}\n\
             [vms.v]\nhosts = [\"a\", \"b\"]\ncount = 2\nnics = [{{ network = \"n\" }}]\n"
        );
        let warnings = good(&text).warnings;
        let found = warnings.iter().map(|one| {
            let at = one.span.offset();
            (one.message.clone(), text[at..at + one.span.len()].to_owned())
        });
        found.collect::<Vec<_>>()
    };
    let cable = "[[cables]]\nends = [\"a:eth0\", \"b:eth0\"]\n";
    let none = lab(cable, "");
    assert_eq!(none.len(), 1, "{none:?}");
    assert!(
        none[0].0.contains("no host has an uplink") && none[0].1 == "n",
        "{none:?}"
    );
    let one = lab(cable, "uplink = { a = \"eth0\" }");
    assert!(one[0].0.contains("host `b` has no uplink"), "{one:?}");
    let unplugged = lab("", "uplink = \"eth0\"");
    assert!(unplugged[0].0.contains("between a:eth0 and b:eth0"), "{unplugged:?}");
    let switch = |ports: &str| {
        format!(
            "[switches.s.ports]\n{ports}\n[[cables]]\nends = [\"a:eth0\", \"s:p1\"]\n\
             [[cables]]\nends = [\"b:eth0\", \"s:p2\"]\n"
        )
    };
    let tagged = "uplink = \"eth0\"\nvlan = 10";
    let lacks = lab(&switch("p1.trunk = [10]\np2.trunk = [20]"), tagged);
    assert!(lacks[0].0.contains("with VLAN 10"), "{lacks:?}");
    for (cables, network) in [
        (cable.to_owned(), "uplink = \"eth0\""),
        (cable.to_owned(), "isolated = true"),
        (switch("p1.trunk = [10]\np2.trunk = [10, 20]"), tagged),
        (switch("p1.access = 10\np2.access = 10"), "uplink = \"eth0\""),
        (switch("p1 = {}\np2 = {}"), tagged),
    ] {
        assert_eq!(lab(&cables, network), [], "{cables}{network}");
    }
}

#[test]
fn a_guest_on_a_network_of_the_hosts_own_is_a_warning() {
    let lab = good(&cloud(
        "[networks.m]\nclass = \"management\"\nsubnet = \"10.0.0.0/24\"\n[vms.v]\nhost = \"a\"\nnics = [{ network = \"m\" }]\n",
    ));
    assert_eq!(lab.warnings.len(), 1);
    assert!(lab.warnings[0].message.contains("management"), "{:?}", lab.warnings);
    let found = wrong(&cloud(
        "[networks.m]\nclass = \"managment\"\nsubnet = \"10.0.0.0/24\"\n",
    ));
    has(&found, "unknown network class `managment` | did you mean `management`?");
}

#[test]
fn vms_hosts_and_routers_can_ping() {
    let lab = good(&cloud(
        "[routers.home]\n[vms.v]\nhost = \"a\"\n[[verify.ping]]\nfrom = [\"v\", \"b\", \"home\"]\nto = \"192.0.2.1\"\nreach = false\n",
    ));
    assert_eq!(lab.verify.pings[0].from.len(), 3);
    let found = wrong(&cloud(
        "[vms.a]\nhost = \"a\"\n[[verify.ping]]\nfrom = [\"a\", \"c\"]\nto = \"192.0.2.1\"\n",
    ));
    has(&found, "a vm and a host, switch or router are called `a`");
    has(&found, "there is no vm, host or router `c`");
}

#[test]
fn a_lab_is_written_so_that_it_reads_back_the_same() {
    let everything = cloud(
        "[switches.sw]\nstp = true\n[switches.sw.ports.p1]\ntrunk = [10, 20]\n[switches.sw.ports.p2]\naccess = 10\n\
         [routers.home]\nnics.lan.address = \"192.168.99.1/24\"\noutside = \"203.0.113.1/24\"\n\
         [[cables]]\nends = [\"a:eth0\", \"sw:p1\"]\n[[cables]]\nends = [\"b:eth0\", \"sw\"]\n\
         [networks.m]\nclass = \"management\"\nsubnet = \"172.16.99.0/24\"\nuplink = \"eth0\"\n\
         [networks.n]\nsubnet = \"10.0.0.0/24\"\nuplink = { a = \"eth0\" }\nvlan = 10\nbridge = \"br10\"\nstp = true\nisolated = true\nforward_delay = 4\nmtu = 1400\n\
         bridge_mac = { a = \"02:00:00:00:00:01\" }\naddresses = { b = \"10.0.0.9\" }\ndhcp = true\nnameservers = [\"9.9.9.9\"]\n\
         gateway = { address = \"10.0.0.1\", on = \"a\" }\n\
         [[nat]]\non = \"a\"\nfrom = [\"n\"]\nout = \"eth1\"\nsource = \"192.168.99.108\"\n\
         [vms.v]\nhosts = [\"a\", \"b\"]\ncount = 2\nmemory = \"96MiB\"\ncpus = 2\n\
         nics = [{ network = \"n\" }, { network = \"m\" }]\n\
         [vms.w]\nhost = \"a\"\nfloating = \"192.168.99.50\"\nnics = [{ network = \"n\", address = \"10.0.0.7\", mac = \"52:54:00:00:00:07\" }]\n\
         [verify]\noutside = [\"203.0.113.1\"]\n[[verify.ping]]\nfrom = [\"w\", \"b\", \"home\"]\nto = \"10.0.0.1\"\nreach = false\n",
    );
    for text in [QUICKSTART, &everything] {
        let mut lab = good(text);
        let mut again = good(&write(&lab));
        lab.warnings.clear();
        again.warnings.clear();
        assert_eq!(again, lab, "{}", write(&lab));
    }
}

#[test]
fn switches_with_vlans_of_their_own_are_no_loop() {
    let lab = |modes: &str| {
        let [a, b] = if modes == "same" { [10, 10] } else { [10, 20] };
        two(&format!(
            "[switches.s.ports]\np1.access = {a}\np2.trunk = [{b}]\n[switches.t.ports]\np1.access = {a}\np2.trunk = [{b}]\n\
             [[cables]]\nends = [\"s:p1\", \"t:p1\"]\n[[cables]]\nends = [\"s:p2\", \"t:p2\"]\n"
        ))
    };
    assert_eq!(good(&lab("apart")).cables.len(), 2);
    has(&wrong(&lab("same")), "this cable closes a loop: switches `s` and `t`");
    // An access port removes the tag, another one adds its own: VLANs 10 and 20 are one segment.
    let joined = two(
        "[switches.s.ports]\np1.access = 10\np2.trunk = [20]\n[switches.t.ports]\np1.access = 20\np2.trunk = [20]\n\
         [[cables]]\nends = [\"s:p1\", \"t:p1\"]\n[[cables]]\nends = [\"s:p2\", \"t:p2\"]\n",
    );
    assert_eq!(good(&joined).cables.len(), 2);
}

#[test]
fn a_mistake_in_several_places_is_one_problem_with_their_lines() {
    let vm = |name: &str| format!("[vms.{name}]\nhost = \"nod\"\n");
    let found = wrong(&two(&[vm("v"), vm("w"), vm("x")].concat()));
    assert_eq!(found.len(), 1, "{found:#?}");
    has(&found, "there is no host `nod` (also on lines 9, 11)");
}

#[test]
fn a_wrong_type_comes_with_an_example_that_is_right() {
    // Every example is of the kind that it is an example of.
    let networks = "[networks.service]\nsubnet = \"10.0.1.0/24\"\n";
    for (wrong_one, right) in [
        ("cpus = \"2\"", "cpus = 1"),
        ("memory = 128", "memory = \"128MiB\""),
        ("nics = [\"service\"]", "nics = [{ network = \"service\" }]"),
        ("nics = 3", "nics = [{ network = \"service\" }]"),
    ] {
        let lab = |line: &str| two(&format!("{networks}[vms.v]\nhost = \"a\"\n{line}\n"));
        let found = wrong(&lab(wrong_one));
        assert_eq!(found.len(), 1, "{found:#?}");
        has(&found, &format!("write e.g. `{right}`"));
        good(&lab(right));
    }
}
