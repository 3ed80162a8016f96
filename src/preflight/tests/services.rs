//! What address translation, DHCP and floating addresses need.

use std::collections::BTreeMap;

use super::{local, on_node1, texts};
use crate::lab::{NatRule, NetworkName};
use crate::plan::example::{host, link, survey, vm};
use crate::preflight::{Severity, preflight};
use crate::state::survey::ForwardDrop;
use crate::state::{Site, Survey};
use crate::topology::{GuestFloating, SegmentDhcp, Topology};

/// The example lab's `node1` as a router: translates, serves DHCP and has a floating address, all by `eth1`.
fn router() -> Topology {
    let mut topology = local();
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    node1.nat = vec![NatRule {
        on: host("node1"),
        from: vec!["10.0.1.0/24".parse().unwrap()],
        out: link("eth1"),
        source: None,
    }];
    node1.segments.values_mut().next().unwrap().dhcp = Some(SegmentDhcp {
        leases: BTreeMap::new(),
        nameservers: Vec::new(),
        mtu: None,
        lease: None,
    });
    topology.guests.get_mut(&vm("vm1")).unwrap().floating = Some(GuestFloating {
        address: [192, 168, 99, 50].into(),
        host: host("node1"),
        nic: link("eth1"),
    });
    topology
}

#[test]
fn nft_and_dnsmasq_may_be_missing_only_where_they_are_not_needed() {
    assert_eq!(texts(&local(), survey()), [""; 0]);
    let missing = Survey {
        missing_modules: ["nft_masq", "nft_bridge"].map(str::to_owned).into(),
        ..survey()
    };
    assert_eq!(texts(&local(), missing.clone()), [""; 0]);
    let messages = texts(&router(), missing);
    assert_eq!(messages.len(), 3, "{messages:#?}");
    assert!(messages[0].contains("`nft` is missing, which address translation needs"));
    assert!(messages[1].contains("`dnsmasq` is missing") && messages[1].contains("dnsmasq-base"));
    assert!(messages[2].contains("module nft_masq is missing"));
}

#[test]
fn tenants_and_port_security_need_nft_and_the_latter_rules_for_bridges() {
    let missing = Survey {
        missing_modules: ["nft_bridge".to_owned()].into(),
        ..survey()
    };
    let mut topology = local();
    let segments = &mut topology.hosts.get_mut(&host("node1")).unwrap().segments;
    let mut other = segments.values().next().unwrap().clone();
    (other.bridge, other.uplink) = (link("br2"), None);
    let blue: NetworkName = "blue".parse().unwrap();
    segments.insert(blue.clone(), other);
    for (network, tenant) in [("service", "red"), ("blue", "blue")] {
        let of = &mut topology.tenants.of;
        of.insert(network.parse().unwrap(), tenant.parse().unwrap());
    }
    let messages = texts(&topology, missing.clone());
    assert_eq!(messages.len(), 1, "{messages:#?}");
    assert!(messages[0].contains("`nft` is missing, which keeping tenants apart needs"));

    topology.tenants.of.remove(&blue);
    assert_eq!(texts(&topology, missing.clone()), [""; 0]);
    topology.guests.get_mut(&vm("vm1")).unwrap().nics[0].port_security = true;
    let messages = texts(&topology, missing);
    assert_eq!(messages.len(), 2, "{messages:#?}");
    assert!(messages[0].contains("`nft` is missing, which port security needs"));
    assert!(messages[1].contains("CONFIG_NF_TABLES_BRIDGE is missing, which port security needs"));
}

/// Has what a router needs.
fn equipped() -> Survey {
    let mut survey = survey();
    survey.programs.extend(["nft", "dnsmasq"].map(str::to_owned));
    survey
}

#[test]
fn a_gateway_on_every_host_needs_nft_and_rules_for_bridges() {
    let mut topology = local();
    let node1 = topology.hosts.get_mut(&host("node1")).unwrap();
    node1.segments.values_mut().next().unwrap().gateway_everywhere = true;
    let bare = Survey {
        missing_modules: ["nft_masq", "nft_bridge"].map(str::to_owned).into(),
        ..survey()
    };
    let messages = texts(&topology, bare);
    assert_eq!(messages.len(), 2, "{messages:#?}");
    assert!(messages[0].contains("`nft` is missing, which a gateway on every host needs"));
    assert!(messages[1].contains("CONFIG_NF_TABLES_BRIDGE"));
}

#[test]
fn a_foreign_table_of_the_labs_name_and_a_floating_address_in_use_are_reported() {
    assert_eq!(texts(&router(), equipped()), [""; 0]);
    let survey = Survey {
        foreign_tables: ["ip netlab-quick".to_owned()].into(),
        addresses: [([192, 168, 99, 50].into(), "eth1".to_owned())].into(),
        ..equipped()
    };
    let messages = texts(&router(), survey);
    assert_eq!(messages.len(), 2, "{messages:#?}");
    assert!(messages[0].contains("nftables table `ip netlab-quick` exists already"));
    assert!(messages[1].contains("floating address 192.168.99.50 of vm `vm1` is already on link eth1"));
}

#[test]
fn a_nic_that_leads_outside_must_exist() {
    let mut survey = equipped();
    survey.nics.remove(&link("eth1"));
    let messages = texts(&router(), survey);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    assert!(messages[0].starts_with("node1: NIC eth1, which leads outside, does not exist; the host has: eth0"));
}

#[test]
fn a_chain_that_drops_what_is_forwarded_is_a_warning_with_a_fix() {
    let chain = |chain: &str, by_iptables| ForwardDrop {
        chain: chain.to_owned(),
        by_iptables,
        ..ForwardDrop::default()
    };
    let warned = |topology: &Topology, drop: ForwardDrop, bridge_nf| {
        let survey = Survey {
            forward_drops: vec![drop],
            bridge_nf,
            ..equipped()
        };
        let obstacles = preflight(topology, &on_node1(survey), &Site::new());
        assert!(obstacles.iter().all(|obstacle| obstacle.severity == Severity::Warning));
        obstacles.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let messages = warned(&router(), chain("ip filter FORWARD", true), true);
    assert_eq!(
        messages,
        [
            "node1: firewall chain `ip filter FORWARD` drops packets that the host forwards, even bridged ones \
             (net.bridge.bridge-nf-call-iptables is 1), so also those of network `service` (help: accept them on the \
             host: `iptables -I FORWARD -i br1 -j ACCEPT; iptables -I FORWARD -o br1 -j ACCEPT`)"
        ]
    );
    let messages = warned(&router(), chain("inet f x", false), false);
    assert!(messages[0].contains("`nft insert rule inet f x iifname br1 accept; nft insert rule inet f x oifname br1"));

    // Accepted already; or neither routed nor passed to it.
    let mut fixed = chain("ip filter FORWARD", true);
    fixed.accepts_from.insert("br1".to_owned());
    assert_eq!(warned(&router(), fixed.clone(), true).len(), 1, "one direction only");
    fixed.accepts_to.insert("br1".to_owned());
    assert_eq!(warned(&router(), fixed, true), [""; 0]);
    let mut bridged = local();
    let node1 = bridged.hosts.get_mut(&host("node1")).unwrap();
    node1.segments.values_mut().next().unwrap().gateway = None;
    assert_eq!(warned(&bridged, chain("inet f x", false), false), [""; 0]);
    assert_eq!(warned(&bridged, chain("inet f x", false), true).len(), 1);
}

#[test]
fn an_uplink_with_a_smaller_mtu_is_an_error_where_the_network_states_one_and_a_warning_elsewhere() {
    let with = |mtu: u32| Survey {
        mtus: [(link("eth0"), mtu)].into(),
        ..survey()
    };
    assert_eq!(texts(&local(), with(1500)), [""; 0]);
    let small = texts(&local(), with(1400));
    assert_eq!(small.len(), 1, "{small:#?}");
    assert!(
        small[0].contains("eth0") && small[0].contains("set `mtu = 1400` for the network"),
        "{small:#?}"
    );
    let stated = |mtu: u16| {
        let mut topology = local();
        let hosts = topology.hosts.values_mut();
        hosts
            .flat_map(|host| host.segments.values_mut())
            .for_each(|segment| segment.mtu = Some(mtu));
        topology
    };
    assert_eq!(texts(&stated(1400), with(1400)), [""; 0]);
    // What the lab asks for cannot be had; what it takes for granted may still do.
    let severity = |topology: &Topology, mtu| preflight(topology, &on_node1(with(mtu)), &Site::new())[0].severity;
    assert_eq!(severity(&local(), 1400), Severity::Warning);
    assert_eq!(severity(&stated(9000), 1500), Severity::Error);
    let mut emulated = stated(9000);
    emulated.hosts.get_mut(&host("node1")).unwrap().connect = crate::lab::Connect::Emulated;
    assert_eq!(
        texts(&emulated, with(1500)),
        [""; 0],
        "its NICs get the MTU that they need"
    );
}
