//! Bridges and VLAN devices.

use std::collections::BTreeSet;

use netlab::lab::{LabName, VlanId};
use netlab::linux::ip::{self, NetworkError};
use netlab::plan::Step;
use netlab::state::{Link, LinkKind, Survey};
use netlab::transport::cmd::Cmd;
use netlab::transport::{LocalShell, Shell};

use crate::namespace::{Killed, Namespace, assert_same, bridge, create, delete, ifname, lab, links, skip};

#[test]
fn a_created_bridge_is_observed_as_desired() {
    let Some(host) = Namespace::new("a_created_bridge_is_observed_as_desired") else {
        return;
    };
    let before = host.snapshot();
    let wanted = Link {
        kind: LinkKind::Bridge {
            stp: Some(15),
            mac: None,
        },
        addresses: BTreeSet::from(["10.0.1.1/24", "10.7.7.7/32", "2001:db8::1/64"].map(|a| a.parse().unwrap())),
        ..bridge("network 'service' and more")
    };
    host.apply(&[Step::CreateLink(ifname("br1"), wanted.clone()), create("br2")])
        .unwrap();
    let seen = host.observe();
    assert_eq!(seen.links, links([("br1", wanted), ("br2", bridge("network service"))]));

    host.apply(&[delete("br2", &seen), delete("br1", &seen)]).unwrap();
    assert_eq!(host.observe().links, links([]));
    assert_same(&host.snapshot(), &before, "afterwards");
}

#[test]
fn a_bridge_with_a_mac_address_keeps_it_when_a_port_is_attached_and_has_no_ipv6_address() {
    let Some(host) = Namespace::new("a_bridge_with_a_mac_address_keeps_it") else {
        return;
    };
    let mac = "02:00:00:00:00:05";
    let mut link = bridge("network service");
    link.kind = LinkKind::Bridge {
        stp: None,
        mac: Some(mac.parse().unwrap()),
    };
    host.apply(&[Step::CreateLink(ifname("br1"), link)]).unwrap();
    let address = || {
        let text = host.check_fed(&["ip", "-j", "-d", "addr", "show", "dev", "br1"], "");
        let links: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(links[0]["addr_info"], serde_json::json!([]));
        assert_eq!(links[0]["linkinfo"]["info_data"]["forward_delay"], 0);
        links[0]["address"].clone()
    };
    assert_eq!(address(), mac);
    host.ip("link add name t0 address 00:00:00:00:00:02 type veth peer name t1\n\
             link set dev t0 master br1 up\nlink set dev t1 up");
    assert_eq!(address(), mac);
}

#[test]
fn a_link_changes_in_place_and_its_addresses_come_and_go() {
    let Some(host) = Namespace::new("a_link_changes_in_place_and_its_addresses_come_and_go") else {
        return;
    };
    host.apply(&[create("br1")]).unwrap();
    let index = host.observe().seen.links[&ifname("br1")];
    for stp in [Some(15), Some(2), None] {
        let wanted = Link {
            kind: LinkKind::Bridge { stp, mac: None },
            ..bridge("another purpose")
        };
        host.apply(&[Step::ChangeLink(ifname("br1"), wanted.clone())]).unwrap();
        assert_eq!(host.observe().links, links([("br1", wanted)]));
    }
    let address = "10.0.1.1/24".parse().unwrap();
    host.apply(&[Step::AddAddress(ifname("br1"), address)]).unwrap();
    assert_eq!(
        host.observe().links[&ifname("br1")].addresses,
        BTreeSet::from([address])
    );
    // Both are done already, which is as good.
    host.apply(&[Step::AddAddress(ifname("br1"), address)]).unwrap();
    host.apply(&[Step::DeleteAddress(ifname("br1"), address)]).unwrap();
    host.apply(&[Step::DeleteAddress(ifname("br1"), address)]).unwrap();
    let seen = host.observe();
    assert_eq!(seen.links, links([("br1", bridge("another purpose"))]));
    assert_eq!(seen.seen.links[&ifname("br1")], index);
}

#[test]
fn an_mtu_that_somebody_gave_a_bridge_is_observed_and_changed_back() {
    let test = "an_mtu_that_somebody_gave_a_bridge_is_observed_and_changed_back";
    let (Some(host), Some(other)) = (Namespace::new(test), Namespace::new(test)) else {
        return;
    };
    host.cable("eth0", &other, "eth0");
    host.apply(&[create("br1")]).unwrap();
    host.ip("link set dev eth0 master br1 up");
    let wanted = links([("br1", bridge("network service"))]);
    host.ip("link set dev eth0 mtu 1450");
    assert_eq!(host.observe().links, wanted, "that of its port");
    host.ip("link set dev eth0 mtu 1500");
    host.ip("link set dev br1 mtu 1400");
    let seen = host.observe().links;
    assert_eq!(seen[&ifname("br1")].mtu, Some(1400));
    host.apply(&[Step::ChangeLink(ifname("br1"), bridge("network service"))])
        .unwrap();
    assert_eq!(host.observe().links, wanted);
    let shown = host.check_fed(&["ip", "link", "show", "dev", "br1"], "");
    assert!(shown.contains("mtu 1500 "), "{shown}");
}

#[test]
fn a_bridge_below_another_root_has_the_delay_that_it_was_given() {
    let test = "a_bridge_below_another_root_has_the_delay_that_it_was_given";
    let (Some(host), Some(root)) = (Namespace::new(test), Namespace::new(test)) else {
        return;
    };
    host.cable("eth0", &root, "eth0");
    root.ip("link add br0 type bridge stp_state 1 forward_delay 400 priority 0");
    root.ip("link set dev eth0 master br0 up");
    root.ip("link set dev br0 up");
    let wanted = |stp| Link {
        kind: LinkKind::Bridge { stp, mac: None },
        ..bridge("network service")
    };
    host.apply(&[Step::CreateLink(ifname("br1"), wanted(Some(20)))])
        .unwrap();
    host.ip("link set dev eth0 master br1 up");
    let shown = || host.check_fed(&["ip", "-details", "link", "show", "dev", "br1"], "");
    crate::support::wait_until("the other bridge is the root", || {
        shown().contains("forward_delay 400 ")
    });
    for stp in [Some(20), Some(10), None, Some(2)] {
        let stays = wanted(stp);
        if stp != Some(20) {
            host.apply(&[Step::ChangeLink(ifname("br1"), stays.clone())]).unwrap();
        }
        assert_eq!(host.observe().links, links([("br1", stays)]), "{stp:?}: {}", shown());
    }
}

#[test]
fn a_bridge_that_was_only_half_made_is_ours_and_is_finished_by_a_change() {
    let Some(host) = Namespace::new("a_bridge_that_was_only_half_made_is_ours") else {
        return;
    };
    let wanted = Link {
        addresses: BTreeSet::from(["10.0.1.1/24".parse().unwrap()]),
        ..bridge("network service")
    };
    let step = Step::CreateLink(ifname("br1"), wanted.clone());
    for after in 1.. {
        let killed = Killed {
            shell: &host.shell,
            after,
        };
        let whole = ip::apply(&killed, &lab(), std::slice::from_ref(&step)).is_ok();
        let seen = host.observe();
        assert_eq!(seen.links[&ifname("br1")] == wanted, whole, "after {after} lines");
        let missing = wanted.addresses.difference(&seen.links[&ifname("br1")].addresses);
        let mut steps = vec![Step::ChangeLink(ifname("br1"), wanted.clone())];
        steps.extend(missing.map(|address| Step::AddAddress(ifname("br1"), *address)));
        host.apply(&steps).unwrap();
        assert_eq!(host.observe().links, links([("br1", wanted.clone())]));
        host.apply(&[delete("br1", &seen)]).unwrap();
        if whole {
            assert!(after > 3);
            break;
        }
    }
}

#[test]
fn a_bridge_that_somebody_set_down_differs_from_what_is_wanted() {
    let Some(host) = Namespace::new("a_bridge_that_somebody_set_down_differs_from_what_is_wanted") else {
        return;
    };
    host.apply(&[create("br1")]).unwrap();
    host.ip("link set dev br1 down");
    assert_ne!(host.observe().links, links([("br1", bridge("network service"))]));
    host.apply(&[Step::ChangeLink(ifname("br1"), bridge("network service"))])
        .unwrap();
    assert_eq!(host.observe().links, links([("br1", bridge("network service"))]));
}

#[test]
fn a_foreign_bridge_of_the_same_name_is_never_adopted_changed_or_deleted() {
    let Some(host) = Namespace::new("a_foreign_bridge_of_the_same_name_is_never_adopted") else {
        return;
    };
    host.ip("link add name br1 type bridge\nlink set dev br1 alias netlab:other:x\n\
             link add name br2 type bridge\nlink set dev br2 alias \"somebody's\"");
    let before = host.snapshot();
    assert_eq!(host.observe().links, links([]));
    let address = "10.0.1.1/24".parse().unwrap();
    for (name, whose) in [("br1", "lab other"), ("br2", "someone else")] {
        let name = ifname(name);
        for step in [
            Step::CreateLink(name.clone(), bridge("x")),
            Step::ChangeLink(name.clone(), bridge("x")),
            Step::DeleteLink {
                name: name.clone(),
                index: None,
            },
            Step::AddAddress(name.clone(), address),
            Step::DeleteAddress(name.clone(), address),
        ] {
            let failed = host.apply(std::slice::from_ref(&step)).unwrap_err();
            let owner = match &failed.cause {
                NetworkError::Foreign { owner, .. } | NetworkError::Exists { owner, .. } => owner.to_string(),
                other => panic!("{step}: {other}"),
            };
            assert_eq!(owner, whose, "{step}");
        }
    }
    assert_same(&host.snapshot(), &before, "afterwards");
}

#[test]
fn a_link_replaced_after_it_was_observed_is_left_unchanged() {
    let Some(host) = Namespace::new("a_link_replaced_after_it_was_observed_is_left_unchanged") else {
        return;
    };
    host.apply(&[create("br1")]).unwrap();
    let seen = host.observe();
    host.ip("link del dev br1");
    host.apply(&[create("br0"), create("br1")]).unwrap();
    let failed = host.apply(&[delete("br1", &seen)]).unwrap_err();
    assert!(matches!(failed.cause, NetworkError::Replaced { .. }), "{failed}");
    assert!(host.observe().links.contains_key(&ifname("br1")));
}

#[test]
fn a_link_that_was_deleted_already_counts_as_deleted() {
    let Some(host) = Namespace::new("a_link_that_was_deleted_already_counts_as_deleted") else {
        return;
    };
    host.apply(&[create("br1"), create("br2")]).unwrap();
    let seen = host.observe();
    host.ip("link del dev br1");
    host.apply(&[delete("br1", &seen), delete("br2", &seen)]).unwrap();
    assert_eq!(host.observe().links, links([]));
}

#[test]
fn deleting_and_making_a_bridge_of_one_name_works_in_one_go() {
    let Some(host) = Namespace::new("deleting_and_making_a_bridge_of_one_name_works_in_one_go") else {
        return;
    };
    host.apply(&[create("br1")]).unwrap();
    let seen = host.observe();
    host.apply(&[delete("br1", &seen), create("br1")]).unwrap();
    assert_ne!(host.observe().seen.links, seen.seen.links);
}

#[test]
fn five_hundred_bridges_are_made_and_removed_by_a_constant_number_of_commands() {
    let Some(host) = Namespace::new("five_hundred_bridges_are_made_and_removed") else {
        return;
    };
    let names: Vec<String> = (0..500).map(|n| format!("br{n}")).collect();
    let steps: Vec<Step> = names.iter().map(|name| create(name)).collect();
    let counted = Counted::new(&host);
    ip::apply(&counted, &lab(), &steps).unwrap();
    assert_eq!(counted.take(), 7);
    let seen = ip::observe(&counted, &lab()).unwrap();
    assert_eq!(seen.links.len(), 500);
    assert_eq!(counted.take(), 7);
    ip::survey(&counted, &lab(), &mut Survey::default()).unwrap();
    assert_eq!(counted.take(), 7);
    // All but one, one by one; then the group as a whole, which must spare what is not ours.
    host.ip("link add name other type bridge");
    let steps: Vec<Step> = names.iter().map(|name| delete(name, &seen)).collect();
    ip::apply(&counted, &lab(), &steps[..3]).unwrap();
    assert_eq!(host.observe().links.len(), 497);
    ip::apply(&counted, &lab(), &steps).unwrap();
    assert_eq!(counted.take(), 14);
    assert_eq!(host.observe().links, links([]));
    host.ip("link del dev other");
}

#[test]
fn a_batch_that_fails_in_the_middle_names_its_step_and_keeps_what_went_before() {
    let Some(host) = Namespace::new("a_batch_that_fails_in_the_middle_names_its_step") else {
        return;
    };
    let port = Link {
        // The kernel refuses a bridge as a port of a bridge.
        master: Some(ifname("br1")),
        ..bridge("x")
    };
    let steps = [
        create("br1"),
        create("br2"),
        Step::CreateLink(ifname("br3"), port),
        create("br4"),
    ];
    let failed = host.apply(&steps).unwrap_err();
    assert_eq!(failed.at, 2);
    assert!(failed.to_string().contains("link set dev br3 master br1"), "{failed}");
    let seen = host.observe();
    assert_eq!(
        seen.links.len(),
        3,
        "the failing one is half made, which is seen as ours"
    );
    assert_eq!(seen.links[&ifname("br2")], bridge("network service"));
    assert_ne!(seen.links[&ifname("br3")].purpose, "x");

    let missing = Link {
        master: Some(ifname("missing")),
        ..bridge("x")
    };
    let missing = [create("br4"), Step::ChangeLink(ifname("br4"), missing)];
    assert_eq!(host.apply(&missing).unwrap_err().at, 1);
    assert!(host.observe().links.contains_key(&ifname("br4")));

    let refused = [create("br5"), create("br1"), create("br6")];
    assert_eq!(host.apply(&refused).unwrap_err().at, 1);
    let seen = host.observe();
    assert!(seen.links.contains_key(&ifname("br5")) && !seen.links.contains_key(&ifname("br6")));
}

#[test]
fn a_purpose_that_no_alias_can_hold_is_refused_before_anything_is_made() {
    let Some(host) = Namespace::new("a_purpose_that_no_alias_can_hold_is_refused") else {
        return;
    };
    for purpose in [
        "a # b".to_owned(),
        "two\nlines".to_owned(),
        "\"'".to_owned(),
        "x".repeat(250),
    ] {
        let step = Step::CreateLink(ifname("br1"), bridge(&purpose));
        assert!(host.apply(&[step]).is_err());
    }
    assert_eq!(host.observe().links, links([]));
}

#[test]
fn two_labs_on_one_host_see_only_their_own() {
    let Some(host) = Namespace::new("two_labs_on_one_host_see_only_their_own") else {
        return;
    };
    let other = LabName::new("other").unwrap();
    host.apply(&[create("br1")]).unwrap();
    ip::apply(&host.shell, &other, &[create("br2")]).unwrap();
    assert_eq!(host.observe().links, links([("br1", bridge("network service"))]));
    let theirs = ip::observe(&host.shell, &other).unwrap();
    assert_eq!(theirs.links, links([("br2", bridge("network service"))]));
    let failed = ip::apply(&host.shell, &other, &[delete("br1", &host.observe())]).unwrap_err();
    assert!(failed.to_string().contains("lab quickstart"), "{failed}");
}

#[test]
fn a_vlan_device_is_observed_as_desired() {
    let test = "a_vlan_device_is_observed_as_desired";
    let Some(host) = Namespace::new(test) else { return };
    if host.survey().missing_modules.contains("8021q") {
        skip(test, "this kernel has no 8021q");
        return;
    }
    host.ip("link add name eth0 type veth peer name eth1\nlink set dev eth0 up\nlink set dev eth1 up");
    let before = host.snapshot();
    let wanted = Link {
        kind: LinkKind::Vlan {
            parent: ifname("eth0"),
            id: VlanId::try_from(10).unwrap(),
        },
        master: Some(ifname("br1")),
        ..bridge("network service")
    };
    host.apply(&[create("br1"), Step::CreateLink(ifname("eth0.10"), wanted.clone())])
        .unwrap();
    let seen = host.observe();
    assert_eq!(
        seen.links,
        links([("br1", bridge("network service")), ("eth0.10", wanted)])
    );
    host.apply(&[delete("eth0.10", &seen), delete("br1", &seen)]).unwrap();
    assert_same(&host.snapshot(), &before, "afterwards");
}

#[test]
fn a_vlan_device_and_its_bridge_have_the_mtu_of_the_nic_which_the_tag_takes_nothing_of() {
    let test = "a_vlan_device_and_its_bridge_have_the_mtu_of_the_nic_which_the_tag_takes_nothing_of";
    let Some(host) = Namespace::new(test) else { return };
    if host.survey().missing_modules.contains("8021q") {
        skip(test, "this kernel has no 8021q");
        return;
    }
    for mtu in [1500, 1400] {
        host.ip(&format!(
            "link add name eth0 mtu {mtu} type veth peer name eth1 mtu {mtu}\n\
             link set dev eth0 up\nlink set dev eth1 up"
        ));
        let device = Link {
            kind: LinkKind::Vlan {
                parent: ifname("eth0"),
                id: VlanId::try_from(1).unwrap(),
            },
            master: Some(ifname("br1")),
            ..bridge("network service")
        };
        host.apply(&[create("br1"), Step::CreateLink(ifname("eth0.1"), device)])
            .unwrap();
        for link in ["eth0.1", "br1"] {
            let text = host.check_fed(&["ip", "-j", "link", "show", "dev", link], "");
            let links: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(links[0]["mtu"], mtu, "{link}");
        }
        host.apply(&[delete("eth0.1", &host.observe()), delete("br1", &host.observe())])
            .unwrap();
        host.ip("link del dev eth0");
    }
}

#[test]
fn a_missing_kernel_module_is_found_without_a_trace() {
    let Some(host) = Namespace::new("a_missing_kernel_module_is_found_without_a_trace") else {
        return;
    };
    let before = host.snapshot();
    let missing = host.survey().missing_modules;
    assert_same(&host.snapshot(), &before, "afterwards");
    host.ip("link add name b type bridge");
    assert!(!missing.contains("bridge"));
    let vlan = Cmd::new("ip link add link b name v type vlan id 2".split(' '));
    assert_eq!(host.shell.run(&vlan).unwrap().status != 0, missing.contains("8021q"));
}

/// A shell that counts its commands.
struct Counted<'a>(&'a Namespace, std::sync::atomic::AtomicUsize);

impl<'a> Counted<'a> {
    fn new(host: &'a Namespace) -> Self {
        Self(host, 0.into())
    }

    /// How many since the last time.
    fn take(&self) -> usize {
        self.1.swap(0, std::sync::atomic::Ordering::Relaxed)
    }
}

impl Shell for Counted<'_> {
    fn run(&self, cmd: &Cmd) -> Result<netlab::transport::Output, netlab::transport::CmdError> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.shell.run(cmd)
    }
}

#[test]
fn commands_fail_clearly_where_the_namespace_was_deleted() {
    let Some(host) = Namespace::new("commands_fail_clearly_where_the_namespace_was_deleted") else {
        return;
    };
    let missing = host.shell.run(&Cmd::new(["netlab-no-such-program"]));
    assert!(matches!(missing, Err(netlab::transport::CmdError::NotFound { program }) if program.starts_with("netlab")));
    LocalShell.check(&Cmd::new(["ip", "netns", "del", &host.name])).unwrap();
    let gone = host.shell.run(&Cmd::new(["true"]));
    assert!(matches!(gone, Err(netlab::transport::CmdError::Namespace { .. })));
}
