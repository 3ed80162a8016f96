//! Floating addresses on NICs of the host, and the Ethernet address of a bridge.

use std::net::Ipv4Addr;

use netlab::linux::ip;
use netlab::plan::Step;
use netlab::state::{Link, LinkKind, NicConfig, Survey};
use netlab::transport::Shell as _;

use crate::namespace::{Namespace, assert_same, bridge, ifname, lab, links, uplink};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 50);

fn host(test: &str, nic: &str) -> Option<Namespace> {
    let host = Namespace::new(test)?;
    host.ip(&format!(
        "link add name {nic} type veth peer name far\nlink set dev {nic} up\nlink set dev far up\n\
         address add 192.168.99.108/24 dev {nic}\nroute add default via 192.168.99.1 dev {nic}"
    ));
    Some(host)
}

#[test]
fn a_floating_address_comes_is_observed_and_goes_however_long_the_nics_name_is() {
    for nic in ["eth1", "enx001122334455"] {
        let Some(host) = host("a_floating_address_comes_is_observed_and_goes", nic) else {
            return;
        };
        let (before, survey) = (host.snapshot(), host.survey());
        let add = Step::AddFloating(ADDRESS, ifname(nic));
        for _ in 0..2 {
            host.apply(std::slice::from_ref(&add)).unwrap();
        }
        assert_eq!(host.observe().floating, [(ADDRESS, ifname(nic))].into());
        let shown = host.check_fed(&["ip", "address", "show", "dev", nic], "");
        assert!(shown.contains("192.168.99.50/32"), "{shown}");
        // It is the lab's, and no part of what the NIC has.
        // Memory and free space are those of the moment.
        let (memory_mib, disk_mib) = (survey.memory_mib, survey.disk_mib);
        let after = Survey {
            memory_mib,
            disk_mib,
            ..host.survey()
        };
        assert_eq!(after, survey);
        let delete = Step::DeleteFloating(ADDRESS, ifname(nic));
        for _ in 0..2 {
            host.apply(std::slice::from_ref(&delete)).unwrap();
        }
        assert_same(&host.snapshot(), &before, "afterwards");
    }
}

#[test]
fn an_address_that_the_host_has_is_neither_adopted_nor_deleted() {
    let Some(host) = host("an_address_that_the_host_has_is_neither_adopted_nor_deleted", "eth1") else {
        return;
    };
    host.ip("address add 192.168.99.50/32 dev eth1");
    let before = host.snapshot();
    assert!(host.observe().floating.is_empty());
    let said = host.apply(&[Step::AddFloating(ADDRESS, ifname("eth1"))]).unwrap_err();
    assert!(
        said.to_string()
            .contains("192.168.99.50 is already configured on link eth1"),
        "{said}"
    );
    host.apply(&[Step::DeleteFloating(ADDRESS, ifname("eth1"))]).unwrap();
    assert_same(&host.snapshot(), &before, "afterwards");
    assert_eq!(host.survey().addresses[&ADDRESS.into()], "eth1");
    let missing = host.apply(&[Step::AddFloating([192, 168, 99, 51].into(), ifname("eth9"))]);
    assert!(missing.unwrap_err().to_string().contains("link eth9 does not exist"));
}

#[test]
fn a_floating_address_is_no_part_of_the_configuration_of_an_attached_nic() {
    let Some(host) = host(
        "a_floating_address_is_no_part_of_the_configuration_of_an_attached_nic",
        "eth1",
    ) else {
        return;
    };
    let (before, was) = (host.snapshot(), host.survey().nics[&ifname("eth1")].clone());
    host.apply(&[Step::AddFloating(ADDRESS, ifname("eth1"))]).unwrap();
    let taken = uplink("br1", &was);
    host.apply(&[
        Step::CreateLink(ifname("br1"), bridge("network public")),
        Step::AttachUplink(ifname("eth1"), taken.clone()),
    ])
    .unwrap();
    let seen = host.observe();
    assert_eq!(seen.uplinks, [(ifname("eth1"), taken.clone())].into());
    assert_eq!(seen.links, links([("br1", bridge("network public"))]));
    let index = seen.seen.links[&ifname("br1")];
    host.apply(&[
        Step::DeleteFloating(ADDRESS, ifname("eth1")),
        Step::DetachUplink(ifname("eth1"), taken),
        Step::DeleteLink {
            name: ifname("br1"),
            index: Some(index),
        },
    ])
    .unwrap();
    assert_same(&host.snapshot(), &before, "afterwards");
    assert!(lab().as_str() == "quickstart" && host.observe().floating.is_empty());
}

/// A bridge with this Ethernet address.
fn with_mac(mac: Option<&str>) -> Link {
    Link {
        kind: LinkKind::Bridge {
            stp: None,
            mac: mac.map(|mac| mac.parse().unwrap()),
        },
        ..bridge("network service")
    }
}

fn mac(host: &Namespace, link: &str) -> String {
    let shown = host.check_fed(&["ip", "-j", "link", "show", "dev", link], "");
    let links: serde_json::Value = serde_json::from_str(&shown).unwrap();
    links[0]["address"].as_str().unwrap().to_owned()
}

#[test]
fn a_bridges_mac_address_is_the_desired_one_and_changes_in_place() {
    let Some(host) = Namespace::new("a_bridges_mac_address_is_the_desired_one") else {
        return;
    };
    let first = with_mac(Some("52:54:00:12:34:55"));
    host.apply(&[Step::CreateLink(ifname("br1"), first)]).unwrap();
    let index = host.observe().seen.links[&ifname("br1")];
    for wanted in ["52:54:00:12:34:56", "52:54:00:12:34:57"] {
        let link = with_mac(Some(wanted));
        host.apply(&[Step::ChangeLink(ifname("br1"), link.clone())]).unwrap();
        assert_eq!(host.observe().links, links([("br1", link)]));
        assert_eq!(mac(&host, "br1"), wanted);
    }
    assert_eq!(host.observe().seen.links[&ifname("br1")], index);
    let asked = with_mac(Some("52:54:00:12:34:58"));
    host.apply(&[Step::CreateLink(ifname("br2"), asked.clone())]).unwrap();
    assert_eq!(host.observe().links[&ifname("br2")], asked);
    host.ip("link set dev br2 address 52:54:00:12:34:59");
    assert_ne!(host.observe().links[&ifname("br2")], asked, "somebody changed it");
}

#[test]
fn a_bridge_with_an_uplink_has_the_labs_ethernet_address_else_that_of_the_nic() {
    let Some(host) = host("a_bridge_with_an_uplink_has_the_labs_ethernet_address", "eth1") else {
        return;
    };
    let (before, nic) = (host.snapshot(), mac(&host, "eth1"));
    let was: NicConfig = host.survey().nics[&ifname("eth1")].clone();
    let taken = uplink("br1", &was);
    // The NIC's own address may be what the lab asks for.
    for wanted in [Some("52:54:00:12:34:56"), Some(nic.as_str()), None] {
        let link = with_mac(wanted);
        host.apply(&[
            Step::CreateLink(ifname("br1"), link.clone()),
            Step::AttachUplink(ifname("eth1"), taken.clone()),
        ])
        .unwrap();
        assert_eq!(mac(&host, "br1"), wanted.unwrap_or(&nic));
        let seen = host.observe();
        assert_eq!(seen.links, links([("br1", link)]));
        for changed in [None, Some("52:54:00:12:34:57"), None] {
            host.apply(&[Step::ChangeLink(ifname("br1"), with_mac(changed))])
                .unwrap();
            assert_eq!(mac(&host, "br1"), changed.unwrap_or(&nic));
        }
        host.apply(&[
            Step::DetachUplink(ifname("eth1"), taken.clone()),
            Step::DeleteLink {
                name: ifname("br1"),
                index: seen.seen.links.get(&ifname("br1")).copied(),
            },
        ])
        .unwrap();
        assert_same(&host.snapshot(), &before, "afterwards");
    }
}

#[test]
fn a_neighbor_learns_at_once_where_an_announced_address_is() {
    let test = "a_neighbor_learns_at_once_where_an_announced_address_is";
    let (Some(one), Some(other)) = (Namespace::new(test), Namespace::new(test)) else {
        return;
    };
    one.cable("eth0", &other, "eth0");
    one.ip("address add 10.0.1.1/24 dev eth0");
    other.ip("address add 10.0.1.2/24 dev eth0");
    other.ip("neighbor add 10.0.1.1 lladdr 02:00:00:00:00:09 dev eth0 nud stale");
    let link = one.check_fed(&["ip", "-brief", "link", "show", "dev", "eth0"], "");
    let own = link.split_whitespace().nth(2).unwrap();
    let known = || other.check_fed(&["ip", "neighbor", "show", "10.0.1.1"], "");
    assert!(!known().contains(own));
    let announced = ip::announcement([("10.0.1.1".parse().unwrap(), &ifname("eth0"))]);
    one.shell.check(&announced).unwrap();
    crate::support::wait_until("the neighbor knows it", || known().contains(own));
}
