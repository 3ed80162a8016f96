use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;

use super::rule::Rule;
use super::ruleset::{firewall, rules};
use super::*;
use crate::lab::{IfName, MacAddr};
use crate::state::{Floating, LocalGateway, Nat, PortSecurity};
use crate::transport::cmd::Output;

fn link() -> impl Strategy<Value = IfName> {
    prop::sample::select(vec!["eth0", "eth1", "br1", "eth0.10"]).prop_map(|name| IfName::new(name).unwrap())
}

/// Few addresses, so that rules meet.
fn address() -> impl Strategy<Value = std::net::Ipv4Addr> {
    (0_u8..2, 1_u8..4).prop_map(|(net, host)| [10, 0, net, host].into())
}

fn subnet() -> impl Strategy<Value = Ipv4Net> {
    (address(), 0_u8..=32).prop_map(|(address, len)| Ipv4Net::new_assert(address, len).trunc())
}

fn firewalls() -> impl Strategy<Value = Firewall> {
    let nat = (subnet(), link(), prop::option::of(address())).prop_map(|(from, out, source)| Nat { from, out, source });
    let floating = (address(), address(), link()).prop_map(|(public, private, out)| Floating { public, private, out });
    let gateway = (link(), address()).prop_map(|(port, address)| LocalGateway { port, address });
    let security = (any::<u8>(), address()).prop_map(|(last, address)| PortSecurity {
        mac: MacAddr::new([0x52, 0x54, 0, 0, 0, last]).unwrap(),
        address,
    });
    (
        btree_set(nat, 0..5),
        btree_set(floating, 0..5),
        btree_set(gateway, 0..5),
        btree_map(link(), btree_set(link(), 1..4), 0..4),
        btree_map(link(), security, 0..4),
    )
        .prop_map(|(nat, floating, local_gateways, together, ports)| Firewall {
            nat,
            floating,
            local_gateways,
            together,
            ports,
            flows: BTreeMap::new(),
            gateway_flows: BTreeMap::new(),
            altered: false,
        })
}

/// The rules as they come back from `nft -j`.
fn printed(rules: &[Rule]) -> Vec<Rule> {
    let read = |rule: &Rule| Rule::read(rule.family, rule.hook, &rule.printed()).unwrap();
    rules.iter().map(read).collect()
}

proptest! {
    #[test]
    fn a_firewall_is_read_back_from_its_rules(wanted in firewalls()) {
        prop_assert_eq!(firewall(&printed(&rules(&wanted))), wanted);
    }

    #[test]
    fn a_rule_that_is_missing_or_there_twice_shows(wanted in firewalls(), at: prop::sample::Index, twice: bool) {
        let mut rules = rules(&wanted);
        prop_assume!(!rules.is_empty());
        let rule = rules.remove(at.index(rules.len()));
        if twice {
            rules.extend([rule.clone(), rule]);
        }
        prop_assert_ne!(firewall(&rules), wanted);
    }
}

fn lab() -> LabName {
    LabName::new("quick").unwrap()
}

fn sample() -> Firewall {
    let link = |name| IfName::new(name).unwrap();
    Firewall {
        nat: BTreeSet::from([
            Nat {
                from: "10.0.1.0/24".parse().unwrap(),
                out: link("eth1"),
                source: None,
            },
            Nat {
                from: "172.16.99.0/24".parse().unwrap(),
                out: link("eth1"),
                source: Some([192, 168, 99, 108].into()),
            },
        ]),
        floating: BTreeSet::from([Floating {
            public: [192, 168, 99, 50].into(),
            private: [10, 0, 1, 2].into(),
            out: link("eth1"),
        }]),
        local_gateways: BTreeSet::from([LocalGateway {
            port: link("eth0"),
            address: [10, 0, 1, 1].into(),
        }]),
        together: [
            (link("br100"), [link("br100")].into()),
            (link("br101"), [link("br101"), link("br102")].into()),
            (link("br102"), [link("br101"), link("br102")].into()),
        ]
        .into(),
        ports: [("tap1", 2), ("tap2", 3)]
            .map(|(port, number)| {
                let security = PortSecurity {
                    mac: MacAddr::new([0x52, 0x54, 0, 0, 0, number]).unwrap(),
                    address: [10, 0, 1, number].into(),
                };
                (link(port), security)
            })
            .into(),
        flows: BTreeMap::new(),
        gateway_flows: BTreeMap::new(),
        altered: false,
    }
}

#[test]
fn the_rules_are_what_one_would_write_by_hand() {
    insta::assert_snapshot!(text(&lab(), &sample()));
}

/// A shell in which `nft` lists this.
struct Listed(String);

impl Shell for Listed {
    fn run(&self, _: &Cmd) -> Result<Output, CmdError> {
        Ok(Output {
            status: 0,
            stdout: self.0.clone().into(),
            stderr: Vec::new(),
        })
    }
}

/// What `nft -j` says about a table with these further objects.
fn listed(mark: bool, objects: &str) -> Listed {
    let mark = if mark {
        r#"{"chain": {"family": "bridge", "table": "netlab-quick", "name": "made-by-netlab", "handle": 1}},"#
    } else {
        ""
    };
    Listed(format!(
        r#"{{"nftables": [{{"metainfo": {{"version": "1"}}}}, {{"table": {{"family": "bridge", "name": "netlab-quick", "handle": 7}}}}]}}
           {{"nftables": [{{"metainfo": {{"version": "1"}}}},
             {{"table": {{"family": "bridge", "name": "netlab-quick", "handle": 7, "comment": "x"}}}}, {mark}
             {{"chain": {{"family": "bridge", "table": "netlab-quick", "name": "prerouting", "handle": 2,
                          "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}}}},
             {{"chain": {{"family": "bridge", "table": "netlab-quick", "name": "postrouting", "handle": 3,
                          "type": "filter", "hook": "postrouting", "prio": 300, "policy": "accept"}}}}{objects}]}}"#
    ))
}

#[test]
fn a_table_without_the_mark_is_not_ours_and_stays() {
    let foreign = listed(false, "");
    assert_eq!(observe(&foreign, &lab()).unwrap(), None);
    let error = load(&foreign, &lab(), &sample()).unwrap_err();
    assert!(
        matches!(&error, NftError::Foreign { table } if table == "bridge netlab-quick"),
        "{error}"
    );
    delete(&foreign, &lab()).unwrap();
}

#[test]
fn whatever_netlab_does_not_write_shows_as_altered() {
    let rules = rules(&sample());
    let mut ours = String::new();
    for rule in rules.iter().filter(|rule| rule.family == rule::Family::Bridge) {
        let (chain, expr) = (rule.hook.keyword(), rule.printed());
        write!(
            ours,
            r#", {{"rule": {{"chain": "{chain}", "handle": 9, "expr": {expr}}}}}"#
        )
        .unwrap();
    }
    let mut wanted = sample();
    wanted.nat.clear();
    wanted.floating.clear();
    wanted.together.clear();
    assert_eq!(observe(&listed(true, &ours), &lab()).unwrap(), Some(wanted));
    for more in [
        r#", {"chain": {"family": "bridge", "table": "netlab-quick", "name": "theirs", "handle": 5}}"#,
        r#", {"set": {"family": "bridge", "table": "netlab-quick", "name": "s", "handle": 5, "type": "ipv4_addr"}}"#,
        r#", {"rule": {"chain": "postrouting", "handle": 5, "expr": [{"drop": null}]}}"#,
        r#", {"rule": {"chain": "postrouting", "handle": 5, "expr": [{"counter": {"packets": 0, "bytes": 0}}]}}"#,
        r#", {"rule": {"chain": "made-by-netlab", "handle": 5, "expr": [{"drop": null}]}}"#,
        r#", {"flowtable": {"family": "bridge", "name": "f"}}"#,
    ] {
        let found = observe(&listed(true, &(ours.clone() + more)), &lab()).unwrap().unwrap();
        assert!(found.altered, "{more}");
    }
    assert!(
        observe(&listed(true, ""), &lab()).unwrap().unwrap().altered,
        "no rule at all"
    );
}

#[test]
fn a_host_without_nft_has_no_rules() {
    assert_eq!(observe(&Listed(String::new()), &lab()).unwrap(), None);
}
