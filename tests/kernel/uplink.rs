//! Attaching a host's NIC to a bridge and detaching it: its configuration is restored, wherever that was interrupted.

use netlab::lab::LabName;
use netlab::linux::ip::{self, NetworkError};
use netlab::plan::Step;
use netlab::state::{Missing, NicConfig, Uplink};
use netlab::transport::Shell;
use netlab::transport::cmd::Cmd;

use crate::namespace::{Killed, Namespace, assert_same, bridge, create, delete, ifname, lab, links, uplink};

/// What can be configured on a NIC, in portions that fit its alias: both families as on any server, and everything
/// that is rare: secondary addresses, labels, metrics, addresses that end, prefix routes made by hand.
const CONFIGURATIONS: [&str; 4] = [
    "\
address add 172.16.99.108/24 broadcast + dev eth0
address add 2001:db8::1/64 dev eth0
route add default via 172.16.99.1 dev eth0 proto dhcp src 172.16.99.108 metric 100
route add ::/0 via 2001:db8::ff dev eth0 metric 77
route add 10.50.0.0/16 via 172.16.99.2 dev eth0 metric 500 proto static
",
    "\
link set dev eth0 alias \"the admin's 100% own\"
address add 172.16.99.108/24 broadcast + dev eth0
address add 10.9.0.1/16 broadcast 10.9.0.7 dev eth0 metric 55
address add 172.16.99.110/24 dev eth0 label eth0:1
route add default via 172.16.99.1 dev eth0 proto dhcp src 172.16.99.110
route add default via 172.16.99.2 dev eth0 metric 200
",
    "\
address add 10.8.0.1/24 dev eth0 noprefixroute
address add 169.254.7.7/16 dev eth0 scope link
route add 10.8.0.0/24 dev eth0 proto kernel scope link src 10.8.0.1 metric 100
route add 10.50.0.0/16 via 192.168.200.1 dev eth0 onlink
route add 10.51.0.0/16 dev eth0 scope host
route add 10.52.0.0/16 via inet6 fe80::9 dev eth0
",
    "\
address add 2001:db8::1/64 dev eth0
address add 2001:db8::2/64 dev eth0 noprefixroute
address add 2001:db8:1::2/64 dev eth0 valid_lft 5000 preferred_lft 4000
route add ::/0 via fe80::1 dev eth0 proto ra metric 1024 expires 5000
route add 2001:db8:99::/48 via 2001:db8::99 dev eth0 src 2001:db8::2
",
];

/// A host whose NIC is configured, and what is at the other end of its cable.
fn configured(test: &str, configuration: &str) -> Option<(Namespace, Namespace)> {
    let (host, wire) = (Namespace::new(test)?, Namespace::new(test)?);
    host.cable("eth0", &wire, "remote");
    // A route's source must be an address that is ready for use.
    let (addresses, routes) = configuration.split_at(configuration.find("\nroute").unwrap());
    host.ip(addresses);
    host.settle();
    host.ip(routes);
    // Somebody else's, which must stay as it is.
    host.ip("\
link add name eth1 type veth peer name eth2
link set dev eth1 up
link set dev eth2 up
address add 192.0.2.1/24 dev eth1
route append default via 192.0.2.2 dev eth1 metric 200
route append ::/0 via fe80::2 dev eth1 metric 2000
");
    Some((host, wire))
}

/// The NIC as preflight sees it.
fn nic(host: &Namespace) -> NicConfig {
    host.survey().nics[&ifname("eth0")].clone()
}

/// Detaches and removes whatever is observed, as a plan to nothing would.
fn down(host: &Namespace) {
    let seen = host.observe();
    let mut steps: Vec<Step> = seen
        .uplinks
        .iter()
        .map(|(nic, uplink)| Step::DetachUplink(nic.clone(), uplink.clone()))
        .collect();
    steps.extend(seen.links.keys().map(|name| delete(name.as_str(), &seen)));
    host.apply(&steps).unwrap();
    let seen = host.observe();
    assert!(seen.links.is_empty() && seen.uplinks.is_empty());
}

fn take(was: &NicConfig) -> Step {
    Step::AttachUplink(ifname("eth0"), uplink("br1", was))
}

#[test]
fn an_attached_nic_is_detached_and_restored_exactly() {
    for configuration in CONFIGURATIONS {
        let test = "an_attached_nic_is_detached_and_restored_exactly";
        let Some((host, _wire)) = configured(test, configuration) else {
            return;
        };
        attach_and_detach(&host);
    }
}

fn attach_and_detach(host: &Namespace) {
    let (before, was) = (host.snapshot(), nic(host));
    let surveyed = host.survey();
    let mut wanted = bridge("network service");
    wanted.addresses.insert("10.0.1.1/24".parse().unwrap());
    host.apply(&[Step::CreateLink(ifname("br1"), wanted.clone()), take(&was)])
        .unwrap();

    let seen = host.observe();
    assert_eq!(seen.uplinks, [(ifname("eth0"), uplink("br1", &was))].into());
    assert_eq!(seen.links, links([("br1", wanted)]), "what came along is not the lab's");
    let routes = host.check_fed(&["ip", "route", "show", "table", "main"], "")
        + &host.check_fed(&["ip", "-6", "route", "show", "table", "main"], "");
    let left: Vec<&str> = routes
        .lines()
        .filter(|route| route.contains("dev eth0") && !route.starts_with("fe80::/64"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let after = host.survey();
    assert_eq!((after.nics, after.subnets), (surveyed.nics, surveyed.subnets));
    assert_eq!(after.foreign_links, surveyed.foreign_links);

    // Taking it again changes nothing.
    let taken = host.snapshot();
    host.apply(&[take(&was)]).unwrap();
    assert_same(&host.snapshot(), &taken, "afterwards");

    down(host);
    assert_same(&host.snapshot(), &before, "afterwards");
    // Nor does giving it back again.
    host.apply(&[Step::DetachUplink(ifname("eth0"), uplink("br1", &was))])
        .unwrap();
    assert_same(&host.snapshot(), &before, "afterwards");
}

#[test]
fn a_nic_whose_attaching_was_killed_at_every_fourth_line_is_detached_or_attached_again() {
    let test = "a_nic_whose_attaching_was_killed_at_every_fourth_line_is_detached_or_attached_again";
    // Others of each configuration.
    for (first, configuration) in CONFIGURATIONS.into_iter().enumerate() {
        let Some((host, _wire)) = configured(test, configuration) else {
            return;
        };
        kill_taking(&host, (first..).step_by(4));
    }
}

#[test]
#[ignore = "soak: every line of four configurations"]
fn a_nic_whose_attaching_was_killed_at_any_line_is_detached_or_attached_again() {
    for configuration in CONFIGURATIONS {
        let test = "a_nic_whose_attaching_was_killed_at_any_line_is_detached_or_attached_again";
        let Some((host, _wire)) = configured(test, configuration) else {
            return;
        };
        kill_taking(&host, 0..);
    }
}

fn kill_taking(host: &Namespace, lines: impl Iterator<Item = usize>) {
    let (before, was) = (host.snapshot(), nic(host));
    let wanted = uplink("br1", &was);
    for after in lines {
        host.apply(&[create("br1")]).unwrap();
        let killed = Killed {
            shell: &host.shell,
            after,
        };
        let whole = ip::apply(&killed, &lab(), &[take(&was)]).is_ok();
        let seen = host.observe();
        let uplink = seen.uplinks.get(&ifname("eth0"));
        assert_eq!(uplink.is_some(), after > 0, "after {after} lines");
        // All but the last: the temporary duplicates are removed only then.
        assert_eq!(uplink == Some(&wanted), whole, "after {after} lines");
        assert_eq!(nic(host), was, "after {after} lines");
        down(host);
        assert_same(&host.snapshot(), &before, &format!("after {after} lines"));

        host.apply(&[create("br1")]).unwrap();
        let _ = ip::apply(&killed, &lab(), &[take(&was)]);
        host.apply(&[take(&was)]).unwrap();
        assert_eq!(host.observe().uplinks[&ifname("eth0")], wanted, "after {after} lines");
        down(host);
        assert_same(&host.snapshot(), &before, &format!("after {after} lines and again"));
        if whole {
            assert!(after > 10);
            break;
        }
    }
}

#[test]
fn a_nic_whose_detaching_was_killed_at_every_fourth_line_is_detached_or_attached_again() {
    let test = "a_nic_whose_detaching_was_killed_at_every_fourth_line_is_detached_or_attached_again";
    // Others of each configuration.
    for (first, configuration) in CONFIGURATIONS.into_iter().enumerate() {
        let Some((host, _wire)) = configured(test, configuration) else {
            return;
        };
        kill_detaching(&host, (first + 1..).step_by(4));
    }
}

#[test]
#[ignore = "soak: every line of four configurations"]
fn a_nic_whose_detaching_was_killed_at_any_line_is_detached_or_attached_again() {
    for configuration in CONFIGURATIONS {
        let test = "a_nic_whose_detaching_was_killed_at_any_line_is_detached_or_attached_again";
        let Some((host, _wire)) = configured(test, configuration) else {
            return;
        };
        kill_detaching(&host, 1..);
    }
}

fn kill_detaching(host: &Namespace, lines: impl Iterator<Item = usize>) {
    let (before, was) = (host.snapshot(), nic(host));
    let wanted = uplink("br1", &was);
    let release = |seen: &Uplink| Step::DetachUplink(ifname("eth0"), seen.clone());
    for after in lines {
        let killed = Killed {
            shell: &host.shell,
            after,
        };
        host.apply(&[create("br1"), take(&was)]).unwrap();
        let whole = ip::apply(&killed, &lab(), &[release(&wanted)]).is_ok();
        let seen = host.observe();
        assert_ne!(seen.uplinks.get(&ifname("eth0")), Some(&wanted), "after {after} lines");
        assert_eq!(seen.links, links([("br1", bridge("network service"))]));
        // What `up` does: the observed uplink is detached, the desired one attached.
        let mut steps: Vec<Step> = seen.uplinks.values().map(release).collect();
        steps.push(take(&was));
        host.apply(&steps).unwrap();
        assert_eq!(host.observe().uplinks[&ifname("eth0")], wanted, "after {after} lines");

        let _ = ip::apply(&killed, &lab(), &[release(&wanted)]);
        down(host);
        assert_same(&host.snapshot(), &before, &format!("after {after} lines"));
        if whole {
            assert!(after > 10);
            break;
        }
    }
}

#[test]
fn rolling_back_a_detach_attaches_the_nic_after_every_fourth_line_at_which_it_was_killed() {
    let test = "rolling_back_a_detach_attaches_the_nic_after_every_fourth_line_at_which_it_was_killed";
    // Others of each configuration.
    for (first, configuration) in CONFIGURATIONS.into_iter().enumerate() {
        let Some((host, _wire)) = configured(test, configuration) else {
            return;
        };
        go_back_into_the_bridge(&host, (first + 1..).step_by(4));
    }
}

#[test]
#[ignore = "soak: every line of four configurations"]
fn rolling_back_a_detach_attaches_the_nic_wherever_it_was_killed() {
    for configuration in CONFIGURATIONS {
        let test = "rolling_back_a_detach_attaches_the_nic_wherever_it_was_killed";
        let Some((host, _wire)) = configured(test, configuration) else {
            return;
        };
        go_back_into_the_bridge(&host, 1..);
    }
}

/// What the host is reached by: addresses and routes, a line each.
fn reached_by(host: &Namespace) -> Vec<String> {
    let lines = host.snapshot().into_iter();
    lines
        .filter(|line| {
            ["\"eth0\" {", "\"br1\" {", "{\"dev\":", "{\"dst\":"]
                .iter()
                .any(|start| line.starts_with(start))
        })
        .collect()
}

fn go_back_into_the_bridge(host: &Namespace, lines: impl Iterator<Item = usize>) {
    let (before, was) = (host.snapshot(), nic(host));
    let mut wanted = bridge("network service");
    wanted.addresses.insert("10.0.1.1/24".parse().unwrap());
    host.apply(&[Step::CreateLink(ifname("br1"), wanted.clone()), take(&was)])
        .unwrap();
    let (taken, seen) = (reached_by(host), host.observe());
    let steps = [
        Step::DetachUplink(ifname("eth0"), uplink("br1", &was)),
        delete("br1", &seen),
    ];
    let rollback = ip::rollback(&host.shell, &lab(), &steps).unwrap();
    let go_back = || {
        // `-force` is for lines that are refused: the status says nothing.
        let back = Cmd::new(["ip", "-force", "-batch", "-"]).fed(rollback.clone());
        host.shell.run(&back).unwrap();
    };
    go_back();
    assert_same(&reached_by(host), &taken, "from where nothing was done");
    for after in lines {
        let killed = Killed {
            shell: &host.shell,
            after,
        };
        let mut now = steps.to_vec();
        now[1] = delete("br1", &host.observe());
        let whole = ip::apply(&killed, &lab(), &now).is_ok();
        assert_eq!(host.observe().links.is_empty(), whole, "after {after} lines");
        go_back();
        let seen = host.observe();
        assert_eq!(
            seen.uplinks,
            [(ifname("eth0"), uplink("br1", &was))].into(),
            "after {after} lines"
        );
        assert_eq!(seen.links, links([("br1", wanted.clone())]), "after {after} lines");
        assert_same(&reached_by(host), &taken, &format!("after {after} lines"));
        if whole {
            assert!(after > 10);
            break;
        }
    }
    down(host);
    assert_same(&host.snapshot(), &before, "detached in the end");
}

#[test]
fn a_bridge_is_not_deleted_while_the_nic_is_in_it() {
    let Some((host, _wire)) = configured("a_bridge_is_not_deleted_while_the_nic_is_in_it", CONFIGURATIONS[0]) else {
        return;
    };
    let was = nic(&host);
    host.apply(&[create("br1"), take(&was)]).unwrap();
    let taken = host.snapshot();
    let failed = host.apply(&[delete("br1", &host.observe())]).unwrap_err();
    assert!(failed.to_string().contains("NIC eth0 is still attached"), "{failed}");
    assert_same(&host.snapshot(), &taken, "afterwards");
    down(&host);
}

#[test]
fn a_nic_gets_everything_back_when_its_bridge_was_deleted_by_hand() {
    // Not the last: how long an address is still valid is lost with the bridge.
    for configuration in &CONFIGURATIONS[..3] {
        let test = "a_nic_gets_everything_back_when_its_bridge_was_deleted_by_hand";
        let Some((host, _wire)) = configured(test, configuration) else {
            return;
        };
        let (before, was) = (host.snapshot(), nic(&host));
        host.apply(&[create("br1"), take(&was)]).unwrap();
        host.ip("link del dev br1");
        assert_ne!(host.observe().uplinks[&ifname("eth0")], uplink("br1", &was));
        down(&host);
        assert_same(&host.snapshot(), &before, "afterwards");
    }
}

#[test]
fn a_nic_that_was_down_or_empty_is_down_or_empty_again() {
    for configuration in [
        "link set dev eth0 down",
        "link set dev eth0 down\naddress add 10.0.0.1/24 dev eth0",
        "link set dev eth0 up",
        "route add 10.51.0.0/16 dev eth0",
    ] {
        let test = "a_nic_that_was_down_or_empty_is_down_or_empty_again";
        let (Some(host), Some(wire)) = (Namespace::new(test), Namespace::new(test)) else {
            return;
        };
        host.cable("eth0", &wire, "remote");
        host.ip(configuration);
        let (before, was) = (host.snapshot(), nic(&host));
        host.apply(&[create("br1"), take(&was)]).unwrap();
        assert_eq!(host.observe().uplinks[&ifname("eth0")], uplink("br1", &was));
        down(&host);
        assert_same(&host.snapshot(), &before, configuration);
    }
}

#[test]
fn a_nic_that_could_not_be_restored_is_refused_untouched() {
    for (configuration, why) in [
        ("address add 10.0.0.1 peer 10.0.0.2 dev eth0", "10.0.0.2"),
        (
            "address add 10.0.0.1/24 dev eth0\nroute add default via 10.0.0.2 dev eth0 table 100",
            "table 100",
        ),
        (
            "address add 10.0.0.1/24 dev eth0\nroute add 10.1.0.0/16 dev eth0 mtu 1400",
            "metrics",
        ),
        ("link add name br9 type bridge\nlink set dev eth0 master br9", "br9"),
        ("link set dev eth0 alias netlab:other:was\\ br1", "other"),
        ("link set dev eth0 alias \"it's\"", ""),
    ] {
        let test = "a_nic_that_could_not_be_restored_is_refused_untouched";
        let (Some(host), Some(wire)) = (Namespace::new(test), Namespace::new(test)) else {
            return;
        };
        host.cable("eth0", &wire, "remote");
        host.apply(&[create("br1")]).unwrap();
        match configuration.strip_prefix("link set dev eth0 alias netlab:other:was\\ ") {
            Some(_) => host.ip("link set dev eth0 alias \"netlab:other:was br1 up\""),
            None => host.ip(configuration),
        }
        let (before, was) = (host.snapshot(), nic(&host));
        let taken = host.apply(&[take(&was)]);
        if why.is_empty() {
            taken.unwrap();
            continue;
        }
        let failed = taken.unwrap_err();
        assert!(matches!(failed.cause, NetworkError::CannotAttach { .. }), "{failed}");
        assert!(failed.to_string().contains(why), "{failed}");
        assert_same(&host.snapshot(), &before, "afterwards");
    }
}

#[test]
fn a_nic_with_more_on_it_than_an_alias_holds_is_refused_untouched() {
    let test = "a_nic_with_more_on_it_than_an_alias_holds_is_refused_untouched";
    let (Some(host), Some(wire)) = (Namespace::new(test), Namespace::new(test)) else {
        return;
    };
    host.cable("eth0", &wire, "remote");
    host.apply(&[create("br1")]).unwrap();
    for n in 10..30 {
        host.ip(&format!("address add 172.16.{n}.108/24 dev eth0"));
    }
    let before = host.snapshot();
    let failed = host.apply(&[take(&nic(&host))]).unwrap_err();
    assert!(failed.to_string().contains("255"), "{failed}");
    assert_same(&host.snapshot(), &before, "afterwards");
}

#[test]
fn temporary_addresses_are_left_to_the_kernel() {
    let test = "temporary_addresses_are_left_to_the_kernel";
    let (Some(host), Some(wire)) = (Namespace::new(test), Namespace::new(test)) else {
        return;
    };
    host.cable("eth0", &wire, "remote");
    host.check_fed(&["tee", "/proc/sys/net/ipv6/conf/eth0/use_tempaddr"], "2");
    host.ip("address add 2001:db8::1/64 dev eth0 mngtmpaddr");
    let temporary = || {
        host.snapshot()
            .iter()
            .filter(|line| line.contains("\"temporary\""))
            .count()
    };
    let (made, was) = (temporary(), nic(&host));
    assert!(made > 0);
    assert_eq!(was.addresses, ["2001:db8::1/64".parse().unwrap()]);
    host.apply(&[create("br1"), take(&was)]).unwrap();
    assert_eq!(host.observe().uplinks[&ifname("eth0")], uplink("br1", &was));
    assert_eq!(temporary(), 0);
    down(&host);
    assert_eq!(nic(&host), was);
    assert_eq!(temporary(), made);
}

#[test]
fn a_nic_that_changed_since_it_was_observed_is_refused_untouched() {
    let Some((host, _wire)) = configured(
        "a_nic_that_changed_since_it_was_observed_is_refused_untouched",
        CONFIGURATIONS[0],
    ) else {
        return;
    };
    let was = nic(&host);
    host.apply(&[create("br1")]).unwrap();
    host.ip("address add 10.77.0.1/24 dev eth0");
    let before = host.snapshot();
    let failed = host.apply(&[take(&was)]).unwrap_err();
    assert!(failed.to_string().contains("changed"), "{failed}");
    assert_same(&host.snapshot(), &before, "afterwards");
}

#[test]
fn a_nic_taken_by_another_lab_is_left_to_it() {
    let Some((host, _wire)) = configured("a_nic_taken_by_another_lab_is_left_to_it", CONFIGURATIONS[0]) else {
        return;
    };
    let other = LabName::new("other").unwrap();
    let was = nic(&host);
    let theirs = uplink("br2", &was);
    ip::apply(
        &host.shell,
        &other,
        &[create("br2"), Step::AttachUplink(ifname("eth0"), theirs.clone())],
    )
    .unwrap();
    host.apply(&[create("br1")]).unwrap();
    assert!(host.observe().uplinks.is_empty());
    assert_eq!(host.survey().foreign_links["eth0"], "lab other");
    assert_eq!(nic(&host), was);
    let before = host.snapshot();
    let failed = host.apply(&[take(&was)]).unwrap_err();
    assert!(failed.to_string().contains("lab other"), "{failed}");
    host.apply(&[Step::DetachUplink(ifname("eth0"), theirs)]).unwrap();
    assert_same(&host.snapshot(), &before, "afterwards");
}

#[test]
fn two_hosts_carry_a_network_over_a_cable_and_keep_their_own_addresses() {
    let test = "two_hosts_carry_a_network_over_a_cable_and_keep_their_own_addresses";
    let namespaces: Vec<Namespace> = (0..4).map_while(|_| Namespace::new(test)).collect();
    let [node1, node2, vm1, vm2] = &namespaces[..] else {
        return;
    };
    node1.cable("eth0", node2, "eth0");
    node1.ip("address add 172.16.99.108/24 broadcast + dev eth0");
    node2.ip("address add 172.16.99.109/24 broadcast + dev eth0");
    let before = [node1.snapshot(), node2.snapshot()];
    let mut gateway = bridge("network service");
    gateway.addresses.insert("10.0.1.1/24".parse().unwrap());
    node1
        .apply(&[Step::CreateLink(ifname("br1"), gateway), take(&nic(node1))])
        .unwrap();
    node2.apply(&[create("br1"), take(&nic(node2))]).unwrap();
    for (node, vm, address) in [(node1, vm1, "10.0.1.2/24"), (node2, vm2, "10.0.1.3/24")] {
        node.cable("tap0", vm, "eth0");
        node.ip("link set dev tap0 master br1");
        vm.ip(&format!("address add {address} dev eth0"));
    }
    for (from, to) in [
        (vm1, "10.0.1.3"),
        (vm2, "10.0.1.2"),
        (vm1, "10.0.1.1"),
        (vm2, "10.0.1.1"),
        (node1, "172.16.99.109"),
        (node2, "172.16.99.108"),
    ] {
        let ping = Cmd::new(["busybox", "ping", "-c1", "-w10", to]);
        from.shell.check(&ping).unwrap();
    }
    for (node, before) in [node1, node2].into_iter().zip(before) {
        node.ip("link del dev tap0");
        down(node);
        assert_same(&node.snapshot(), &before, "afterwards");
    }
}

#[test]
fn what_is_deleted_from_a_bridge_that_took_it_over_is_missing_and_attaching_again_restores_it() {
    let test = "what_is_deleted_from_a_bridge_that_took_it_over_is_missing_and_attaching_again_restores_it";
    let faults = [
        "address del 172.16.99.108/24 dev br1\n",
        "route del default via 172.16.99.1 dev br1\n",
    ];
    for fault in faults {
        let Some((host, _wire)) = configured(test, CONFIGURATIONS[0]) else {
            return;
        };
        let (before, was) = (host.snapshot(), nic(&host));
        host.apply(&[Step::CreateLink(ifname("br1"), bridge("network service")), take(&was)])
            .unwrap();
        let up = host.observe();
        host.ip(fault);
        let damaged = host.observe().uplinks[&ifname("eth0")].clone();
        assert_ne!(damaged.missing, Missing::default(), "{fault}");
        assert_eq!(damaged.bridge, ifname("br1"));

        let step = Step::AttachUplink(ifname("eth0"), damaged.clone());
        assert!(step.to_string().starts_with("restore "), "{step}");
        host.apply(&[step]).unwrap();
        assert_eq!(host.observe(), up, "{fault}");

        // A detached NIC has all of it, restored on the bridge before or not.
        host.ip(fault);
        down(&host);
        assert_same(&host.snapshot(), &before, fault);
    }
}
