use std::collections::BTreeSet;

use super::*;
use crate::plan::example::{host, link, up};
use crate::state::{Missing, NicConfig, Route, Start, Uplink};

fn lab() -> LabName {
    "quick".parse().unwrap()
}

fn bridge(mac: Option<&str>) -> Link {
    Link {
        kind: LinkKind::Bridge {
            stp: None,
            mac: mac.map(|mac| mac.parse().unwrap()),
        },
        master: None,
        addresses: ["10.0.1.1/24".parse().unwrap()].into(),
        mtu: None,
        gateway: None,
        purpose: "network service".to_owned(),
    }
}

#[test]
fn a_stated_mtu_is_set_after_the_link_is_created_marked_and_reverted_where_it_is_taken_out() {
    let marked = Observed {
        marks: Some(&lab()),
        ..Observed::default()
    };
    let jumbo = Link {
        mtu: Some(9000),
        ..bridge(None)
    };
    let created = lines(&Step::CreateLink(link("br1"), jumbo.clone()), &marked).unwrap();
    assert!(!created[0].contains("mtu"), "{created:?}");
    assert!(created.contains(&"link set dev br1 mtu 9000".to_owned()), "{created:?}");
    assert!(created.last().unwrap().ends_with("(MTU given)\""), "{created:?}");

    let taken_out = Observed {
        link: ObservedLink {
            mtu_is_set: true,
            ..ObservedLink::default()
        },
        ..marked.clone()
    };
    let mtu = |link: Link, observed: &Observed| {
        let changed = lines(&Step::ChangeLink("br1".parse().unwrap(), link), observed).unwrap();
        changed.into_iter().find(|line| line.contains(" mtu "))
    };
    assert_eq!(mtu(jumbo, &taken_out).unwrap(), "link set dev br1 mtu 9000");
    assert_eq!(mtu(bridge(None), &taken_out).unwrap(), "link set dev br1 mtu 1500");
    assert_eq!(mtu(bridge(None), &marked), None, "it is the kernel's choice");
}

#[test]
fn a_link_is_created_down_to_its_address_and_its_mark_comes_last() {
    let step = Step::CreateLink(link("br1"), bridge(Some("02:00:00:00:00:05")));
    let marked = Observed {
        marks: Some(&lab()),
        ..Observed::default()
    };
    let group = link_group("quick");
    assert_eq!(
        lines(&step, &marked).unwrap(),
        [
            format!(
                "link add name br1 group {group} address 02:00:00:00:00:05 type bridge stp_state 0 forward_delay 0 \
                 mcast_snooping 0"
            ),
            "link set dev br1 addrgenmode none".to_owned(),
            "link set dev br1 up".to_owned(),
            "address replace 10.0.1.1/24 broadcast 10.0.1.255 dev br1".to_owned(),
            "link set dev br1 alias \"netlab:quick:network service (address given)\"".to_owned(),
        ]
    );
}

#[test]
fn without_marks_the_lines_are_the_same_but_for_group_and_alias() {
    let vlan = Link {
        kind: LinkKind::Vlan {
            parent: link("eth0"),
            id: 10.try_into().unwrap(),
        },
        master: Some(link("br1")),
        addresses: BTreeSet::new(),
        mtu: None,
        gateway: None,
        purpose: "network service".to_owned(),
    };
    let step = Step::CreateLink(link("eth0.10"), vlan);
    let plain = lines(&step, &Observed::default()).unwrap();
    let marked = Observed {
        marks: Some(&lab()),
        ..Observed::default()
    };
    let group = format!(" group {}", link_group("quick"));
    let marked = lines(&step, &marked).unwrap();
    assert_eq!(marked.len(), plain.len() + 1);
    let unmarked: Vec<String> = marked.iter().map(|line| line.replace(&group, "")).collect();
    assert_eq!(unmarked[..plain.len()], plain);
    assert_eq!(plain[0], "link add link eth0 name eth0.10 type vlan id 10");
    assert_eq!(plain[2], "link set dev eth0.10 master br1");
}

#[test]
fn an_uplinks_addresses_are_on_the_bridge_before_they_leave_the_nic() {
    let was = NicConfig {
        up: true,
        addresses: vec!["192.0.2.7/24".parse().unwrap()],
        routes: vec![Route {
            to: "0.0.0.0/0".parse().unwrap(),
            via: Some([192, 0, 2, 1].into()),
            source: None,
            metric: Some(100),
            protocol: Some("dhcp".to_owned()),
        }],
    };
    let uplink = Uplink {
        bonded: false,
        bridge: link("br1"),
        was,
        missing: Missing::default(),
    };
    let step = Step::AttachUplink(link("eth0"), uplink.clone());
    let expected = [
        "link set dev eth0 master br1",
        "link set dev eth0 up",
        "address replace 192.0.2.7/24 broadcast 192.0.2.255 dev br1",
        "route append 0.0.0.0/0 via inet 192.0.2.1 dev br1 proto dhcp metric 100",
        "route del 0.0.0.0/0 via inet 192.0.2.1 dev eth0 proto dhcp metric 100",
        "address del 192.0.2.7/24 dev eth0",
    ];
    assert_eq!(lines(&step, &Observed::default()).unwrap(), expected);

    let step = Step::DetachUplink(link("eth0"), uplink);
    let expected = [
        "link set dev eth0 nomaster",
        "link set dev eth0 up",
        "address replace 192.0.2.7/24 broadcast 192.0.2.255 dev eth0",
        "route append 0.0.0.0/0 via inet 192.0.2.1 dev eth0 proto dhcp metric 100",
        "route del 0.0.0.0/0 via inet 192.0.2.1 dev br1 proto dhcp metric 100",
        "address del 192.0.2.7/24 dev br1",
    ];
    assert_eq!(lines(&step, &Observed::default()).unwrap(), expected);
}

#[test]
fn a_purpose_that_an_alias_cannot_hold_is_refused() {
    let marked = Observed {
        marks: Some(&lab()),
        ..Observed::default()
    };
    for purpose in ["a # b".to_owned(), "x".repeat(ALIAS_LIMIT)] {
        let link = Link {
            purpose: purpose.clone(),
            ..bridge(None)
        };
        let step = Step::CreateLink("br1".parse().unwrap(), link);
        let error = lines(&step, &marked).unwrap_err();
        let link = "br1".parse().unwrap();
        assert_eq!(error, LineError::Alias { link, purpose });
    }
}

#[test]
fn a_step_that_changes_no_link_has_no_lines() {
    let domain = up()[&host("node1")].domains.keys().next().unwrap().clone();
    let error = lines(&Step::StartDomain(domain, Start::Boot), &Observed::default()).unwrap_err();
    assert!(matches!(error, LineError::NotOfLinks(_)), "{error}");
}

#[test]
fn a_vxlan_device_has_an_entry_for_each_remote_end_and_only_the_difference_is_changed() {
    let wanted = |remotes: &[&str]| Link {
        kind: LinkKind::Vxlan {
            vni: 7,
            local: [172, 16, 99, 1].into(),
            remotes: remotes.iter().map(|end| end.parse().unwrap()).collect(),
        },
        master: Some("br1".parse().unwrap()),
        addresses: BTreeSet::new(),
        mtu: None,
        gateway: None,
        purpose: "network service".to_owned(),
    };
    let name: IfName = "vxlan-0001".parse().unwrap();
    let create = Step::CreateLink(name.clone(), wanted(&["172.16.99.2", "172.16.99.3"]));
    assert_eq!(
        lines(&create, &Observed::default()).unwrap(),
        [
            "link add name vxlan-0001 type vxlan id 7 local 172.16.99.1 dstport 4789",
            "link set dev vxlan-0001 addrgenmode none",
            "link set dev vxlan-0001 master br1",
            "link set dev vxlan-0001 up",
            "bridge fdb append 00:00:00:00:00:00 dev vxlan-0001 dst 172.16.99.2",
            "bridge fdb append 00:00:00:00:00:00 dev vxlan-0001 dst 172.16.99.3",
        ]
    );
    let mut observed = Observed::default();
    observed.link.remotes = ["172.16.99.2", "172.16.99.9"].map(|end| end.parse().unwrap()).into();
    let change = Step::ChangeLink(name, wanted(&["172.16.99.2", "172.16.99.3"]));
    let changed = lines(&change, &observed).unwrap();
    assert_eq!(
        changed[changed.len() - 2..],
        [
            "bridge fdb del 00:00:00:00:00:00 dev vxlan-0001 dst 172.16.99.9",
            "bridge fdb append 00:00:00:00:00:00 dev vxlan-0001 dst 172.16.99.3",
        ]
    );
}
