//! The lab's rules: loaded, observed and deleted on the real kernel, beside those of others, and what they do to packets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use netlab::lab::LabName;
use netlab::linux::nftables::{self, NftError};
use netlab::plan::Step;
use netlab::state::survey::Survey;
use netlab::state::{Firewall, Floating, LinkKind, LocalGateway, Nat, PortSecurity};
use netlab::transport::Shell;
use netlab::transport::cmd::Cmd;

use crate::namespace::{Namespace, bridge, ifname, lab, skip};

/// The host, if it has nft and a kernel for it.
pub fn with_nft(test: &str) -> Option<Namespace> {
    let host = Namespace::new(test)?;
    for ruleset in [
        "table ip t { chain c { type nat hook postrouting priority 100; masquerade; }; }",
        "table bridge t { chain c { type filter hook prerouting priority -300; drop; }; }",
    ] {
        let tried = host.shell.check(&Cmd::new(["nft", "-c", ruleset]));
        if let Err(why) = tried {
            skip(test, &format!("no nftables here: {why}"));
            return None;
        }
    }
    Some(host)
}

impl Namespace {
    pub fn rules(&self) -> Option<Firewall> {
        nftables::observe(&self.shell, &lab()).unwrap()
    }

    pub fn load(&self, firewall: &Firewall) {
        nftables::load(&self.shell, &lab(), firewall).unwrap();
        assert_eq!(self.rules().as_ref(), Some(firewall));
    }

    pub fn nft(&self, ruleset: &str) {
        self.check_fed(&["nft", "-f", "-"], ruleset);
    }

    pub fn ruleset(&self) -> String {
        self.check_fed(&["nft", "list", "ruleset"], "")
    }

    pub fn pings(&self, to: &str) -> bool {
        let ping = Cmd::new(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", to]);
        self.shell.run(&ping).unwrap().status == 0
    }

    /// Says whether bridged packets pass the rules for routed ones; false where the kernel has nothing that could.
    fn bridged_packets_pass_the_rules(&self, pass: bool) -> bool {
        let file = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        let there = self.shell.run(&Cmd::new(["test", "-e", file])).unwrap().status == 0;
        if there {
            self.check_fed(&["tee", file], if pass { "1" } else { "0" });
        }
        there
    }

    /// Routes, as a lab's host does.
    pub fn forwards(&self) {
        self.check_fed(&["tee", "/proc/sys/net/ipv4/ip_forward"], "1");
    }

    /// Counts the echo requests that arrive, by the addresses they come from.
    fn counts(&self, sources: &[&str]) {
        let mut rules = String::new();
        for source in sources {
            writeln!(
                rules,
                "ip saddr {source} icmp type echo-request counter comment \"{source}\""
            )
            .unwrap();
        }
        self.nft(&format!(
            "table ip count {{}}\ndelete table ip count\n\
             table ip count {{ chain in {{ type filter hook input priority 0;\n{rules}}}\n}}"
        ));
    }

    /// The addresses from which some have arrived since.
    fn arrived(&self) -> BTreeSet<String> {
        let listed: serde_json::Value =
            serde_json::from_str(&self.check_fed(&["nft", "-j", "list", "table", "ip", "count"], "")).unwrap();
        let rules = listed["nftables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|object| &object["rule"]);
        rules
            .filter(|rule| {
                rule["expr"].as_array().is_some_and(|expr| {
                    expr.iter()
                        .any(|each| each["counter"]["packets"].as_u64().unwrap_or_default() > 0)
                })
            })
            .map(|rule| rule["comment"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn set<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(ToOwned::to_owned).into()
}

fn nat(from: &str, out: &str, source: Option<&str>) -> Nat {
    Nat {
        from: from.parse().unwrap(),
        out: ifname(out),
        source: source.map(|source| source.parse().unwrap()),
    }
}

pub fn floating(public: &str, private: &str, out: &str) -> Floating {
    Floating {
        public: public.parse().unwrap(),
        private: private.parse().unwrap(),
        out: ifname(out),
    }
}

pub fn secured(mac: &str, address: &str) -> PortSecurity {
    PortSecurity {
        mac: mac.parse().unwrap(),
        address: address.parse().unwrap(),
    }
}

fn everything() -> Firewall {
    Firewall {
        nat: BTreeSet::from([
            nat("10.0.1.0/24", "eth1", None),
            nat("10.0.2.7/32", "eth1", None),
            nat("0.0.0.0/0", "br1", Some("192.168.99.108")),
            nat("128.0.0.0/1", "eth1", Some("192.168.99.108")),
        ]),
        floating: BTreeSet::from([
            floating("192.168.99.50", "10.0.1.2", "eth1"),
            floating("192.168.99.51", "10.0.1.3", "br1"),
        ]),
        local_gateways: BTreeSet::from([
            LocalGateway {
                port: ifname("eth0.10"),
                address: [10, 0, 1, 1].into(),
            },
            LocalGateway {
                port: ifname("eth0"),
                address: [10, 0, 2, 1].into(),
            },
        ]),
        together: [
            (ifname("br1"), [ifname("br2"), ifname("br3")].into()),
            (ifname("br2"), [ifname("br1")].into()),
        ]
        .into(),
        ports: [("tap1", "10.0.1.2"), ("tap2", "10.0.1.3")]
            .map(|(port, address)| (ifname(port), secured("52:54:00:00:00:01", address)))
            .into(),
        flows: BTreeMap::new(),
        gateway_flows: BTreeMap::new(),
        altered: false,
    }
}

#[test]
fn a_loaded_rule_set_is_observed_as_desired_replaced_and_deleted() {
    let Some(host) = with_nft("a_loaded_rule_set_is_observed_as_desired") else {
        return;
    };
    host.nft("table ip other { chain c { type filter hook forward priority 0; policy drop; }; }");
    let before = host.ruleset();
    assert_eq!(host.rules(), None);
    nftables::delete(&host.shell, &lab()).unwrap();
    host.load(&everything());
    host.load(&everything());
    // One family less, and one less of each kind.
    for change in [
        (|all| all.local_gateways.clear()) as fn(&mut Firewall),
        |all| all.nat.clear(),
        |all| all.floating.clear(),
        |all| all.together.clear(),
        |all| all.ports.clear(),
        |all| _ = all.ports.pop_first(),
        |all| _ = all.nat.pop_last(),
    ] {
        let mut less = everything();
        change(&mut less);
        host.load(&less);
    }
    let other = LabName::new("other").unwrap();
    nftables::load(&host.shell, &other, &everything()).unwrap();
    nftables::delete(&host.shell, &lab()).unwrap();
    assert_eq!(host.rules(), None);
    nftables::delete(&host.shell, &other).unwrap();
    assert_eq!(host.ruleset(), before);
}

#[test]
fn any_change_to_the_rules_is_observed_and_fixed_by_loading_them() {
    let Some(host) = with_nft("whatever_somebody_does_to_the_rules_shows") else {
        return;
    };
    for change in [
        "add rule ip netlab-quickstart postrouting drop",
        "add rule ip netlab-quickstart postrouting ip saddr 10.0.9.0/24 oifname \"eth1\" masquerade",
        "insert rule ip netlab-quickstart prerouting ip daddr 192.168.99.50 accept",
        "add rule ip netlab-quickstart prerouting ip daddr 192.168.99.50 dnat to 10.0.1.2 comment \"x\"",
        "add rule ip netlab-quickstart prerouting ip daddr 192.168.99.50 dnat to 10.0.1.2",
        "add rule bridge netlab-quickstart postrouting counter",
        "add chain bridge netlab-quickstart more",
        "add set ip netlab-quickstart s { type ipv4_addr; }",
        "flush chain ip netlab-quickstart postrouting",
        "flush table ip netlab-quickstart",
        "flush chain ip netlab-quickstart output; delete chain ip netlab-quickstart output",
        "flush chain ip netlab-quickstart forward",
        "insert rule ip netlab-quickstart forward accept",
        "insert rule bridge netlab-quickstart prerouting iifname \"tap1\" accept",
        "delete table bridge netlab-quickstart",
    ] {
        host.load(&everything());
        host.nft(change);
        assert_ne!(host.rules(), Some(everything()), "{change}");
    }
    host.load(&everything());
    host.nft("flush ruleset");
    assert_eq!(host.rules(), None);
}

#[test]
fn a_foreign_table_of_the_labs_name_is_never_adopted_replaced_or_deleted() {
    let Some(host) = with_nft("a_foreign_table_of_the_labs_name_is_never_adopted") else {
        return;
    };
    host.nft("table bridge netlab-quickstart { chain c { type filter hook forward priority 0; }; }");
    let before = host.ruleset();
    assert_eq!(host.rules(), None);
    let error = nftables::load(&host.shell, &lab(), &everything()).unwrap_err();
    assert!(matches!(&error, NftError::Foreign { table } if table == "bridge netlab-quickstart"));
    nftables::delete(&host.shell, &lab()).unwrap();
    assert_eq!(host.ruleset(), before);
    let mut survey = Survey::default();
    nftables::survey(&host.shell, &lab(), &mut survey).unwrap();
    assert_eq!(survey.foreign_tables, set(["bridge netlab-quickstart"]));
}

/// A shell in which the last rule is one that the kernel refuses.
struct Spoiled<'a>(&'a Namespace);

impl Shell for Spoiled<'_> {
    fn run(&self, cmd: &Cmd) -> Result<netlab::transport::Output, netlab::transport::CmdError> {
        let mut cmd = cmd.clone();
        if !cmd.stdin.is_empty() {
            cmd.stdin
                .extend(b"add rule bridge netlab-quickstart postrouting jump nowhere\n");
        }
        self.0.shell.run(&cmd)
    }
}

/// FAULTS 41.
#[test]
fn of_a_rule_set_that_fails_nothing_is_applied() {
    let Some(host) = with_nft("of_a_rule_set_that_fails_nothing_is_applied") else {
        return;
    };
    let mut first = everything();
    first.nat.clear();
    host.load(&first);
    let before = host.ruleset();
    let error = nftables::load(&Spoiled(&host), &lab(), &everything()).unwrap_err();
    assert!(matches!(error, NftError::Rejected { .. }), "{error}");
    assert_eq!(host.ruleset(), before);
    assert_eq!(host.rules(), Some(first));
}

/// A guest's namespace, plugged into a bridge of `host` by `tap`.
pub fn guest(test: &str, host: &Namespace, tap: &str, master: &str, address: &str, gateway: &str) -> Option<Namespace> {
    let guest = Namespace::new(test)?;
    host.cable(tap, &guest, "eth0");
    host.ip(&format!("link set dev {tap} master {master}"));
    guest.ip(&format!(
        "address add {address} dev eth0\nroute add default via {gateway} dev eth0"
    ));
    Some(guest)
}

/// The host `192.168.99.108`, two guests behind it, `10.0.1.2` and `10.0.1.3`, and a machine outside, `192.168.99.1`,
/// that has no route to them.
fn cloud(test: &str) -> Option<(Namespace, [Namespace; 2], Namespace)> {
    let (host, outside) = (with_nft(test)?, Namespace::new(test)?);
    host.cable("eth1", &outside, "eth0");
    host.ip("address add 192.168.99.108/24 dev eth1");
    outside.ip("address add 192.168.99.1/24 dev eth0");
    let mut wanted = bridge("network service");
    wanted.addresses.insert("10.0.1.1/24".parse().unwrap());
    host.apply(&[Step::CreateLink(ifname("br1"), wanted)]).unwrap();
    host.forwards();
    let guests = [
        guest(test, &host, "tap1", "br1", "10.0.1.2/24", "10.0.1.1")?,
        guest(test, &host, "tap2", "br1", "10.0.1.3/24", "10.0.1.1")?,
    ];
    Some((host, guests, outside))
}

#[test]
fn guests_reach_the_outside_under_the_hosts_address_or_the_one_that_is_said() {
    let Some((host, [one, two], outside)) = cloud("guests_reach_the_outside_under_the_hosts_address") else {
        return;
    };
    let sources = ["10.0.1.2", "10.0.1.3", "192.168.99.108", "192.168.99.109"];
    assert!(!one.pings("192.168.99.1"), "there is no route back");
    host.ip("address add 192.168.99.109/24 dev eth1");
    for (source, seen) in [(None, "192.168.99.108"), (Some("192.168.99.109"), "192.168.99.109")] {
        host.load(&Firewall {
            nat: BTreeSet::from([nat("10.0.1.0/24", "eth1", source)]),
            ..Firewall::default()
        });
        outside.counts(&sources);
        assert!(one.pings("192.168.99.1"));
        assert_eq!(outside.arrived(), set([seen]));
        // Among themselves they keep their own.
        two.counts(&sources);
        assert!(one.pings("10.0.1.3"));
        assert_eq!(two.arrived(), set(["10.0.1.2"]));
    }
    nftables::delete(&host.shell, &lab()).unwrap();
    assert!(!one.pings("192.168.99.1"));
}

#[test]
fn a_floating_address_leads_to_its_guest_and_its_guest_out_under_it() {
    let Some((host, [one, two], outside)) = cloud("a_floating_address_leads_to_its_guest") else {
        return;
    };
    let step = |public: [u8; 4]| Step::AddFloating(Ipv4Addr::from(public), ifname("eth1"));
    host.apply(&[step([192, 168, 99, 50]), step([192, 168, 99, 51])])
        .unwrap();
    for all in [false, true] {
        let mut firewall = Firewall {
            nat: BTreeSet::from([nat("10.0.1.0/24", "eth1", None)]),
            floating: BTreeSet::from([floating("192.168.99.50", "10.0.1.2", "eth1")]),
            ..Firewall::default()
        };
        if all {
            firewall.floating.insert(floating("192.168.99.51", "10.0.1.3", "eth1"));
        }
        host.load(&firewall);
        let sources = [
            "10.0.1.1",
            "10.0.1.2",
            "10.0.1.3",
            "192.168.99.1",
            "192.168.99.50",
            "192.168.99.108",
        ];

        one.counts(&sources);
        assert!(outside.pings("192.168.99.50"));
        assert_eq!(one.arrived(), set(["192.168.99.1"]), "the guest sees who asks");

        outside.counts(&sources);
        assert!(one.pings("192.168.99.1"));
        assert_eq!(outside.arrived(), set(["192.168.99.50"]));
        // The others leave as before.
        outside.counts(&sources);
        assert!(two.pings("192.168.99.1"));
        assert_eq!(outside.arrived(), if all { set([]) } else { set(["192.168.99.108"]) });

        assert!(two.pings("192.168.99.50"), "from the guest's own network");
        assert!(host.pings("192.168.99.50"), "from the host");
        host.bridged_packets_pass_the_rules(false);
        assert!(one.pings("192.168.99.50"), "from the guest itself");
        host.bridged_packets_pass_the_rules(true);
    }
}

#[test]
fn a_floating_address_works_on_the_network_that_the_guest_itself_is_on() {
    let Some((host, [one, two], outside)) = cloud("a_floating_address_works_on_the_network_of_the_guest") else {
        return;
    };
    // The bridge leads outside: a flat network, with the outside's subnet beside the guests'.
    host.ip("address flush dev eth1\nlink set dev eth1 master br1\n\
             address add 192.168.99.108/24 dev br1\naddress add 192.168.99.50/32 dev br1");
    host.load(&Firewall {
        nat: BTreeSet::from([nat("10.0.1.0/24", "br1", None)]),
        floating: BTreeSet::from([floating("192.168.99.50", "10.0.1.2", "br1")]),
        ..Firewall::default()
    });
    let sources = ["10.0.1.2", "192.168.99.1", "192.168.99.50", "192.168.99.108"];
    assert!(outside.pings("192.168.99.50"));
    outside.counts(&sources);
    assert!(one.pings("192.168.99.1"));
    assert_eq!(outside.arrived(), set(["192.168.99.50"]));
    assert!(two.pings("192.168.99.50"));
    assert!(two.pings("10.0.1.2"));
}

#[test]
fn each_host_is_the_gateway_of_its_own_guests_and_no_arp_for_it_crosses_the_trunk() {
    let test = "each_host_is_the_gateway_of_its_own_guests";
    let (Some(first), Some(second)) = (with_nft(test), with_nft(test)) else {
        return;
    };
    first.cable("eth0", &second, "eth0");
    let mut guests = Vec::new();
    for (host, address, mac) in [
        (&first, "10.0.1.2/24", "02:00:00:00:01:01"),
        (&second, "10.0.1.3/24", "02:00:00:00:01:02"),
    ] {
        let mut wanted = bridge("network service");
        wanted.addresses.insert("10.0.1.1/24".parse().unwrap());
        // As in any lab, each host's bridge has another MAC address.
        wanted.kind = LinkKind::Bridge {
            stp: None,
            mac: Some(mac.parse().unwrap()),
        };
        host.apply(&[Step::CreateLink(ifname("br1"), wanted)]).unwrap();
        host.ip("link set dev eth0 master br1");
        let Some(guest) = guest(test, host, "tap1", "br1", address, "10.0.1.1") else {
            return;
        };
        guests.push(guest);
    }
    let own = |host: &Namespace| mac(host, "br1");
    let gateways = |guest: &Namespace| -> BTreeSet<String> {
        (0..5)
            .map(|_| {
                guest.ip("neigh flush dev eth0");
                assert!(guest.pings("10.0.1.1"));
                let shown = guest.check_fed(&["ip", "neigh", "show", "10.0.1.1", "dev", "eth0"], "");
                let mut words = shown.split(' ').skip_while(|word| *word != "lladdr");
                words.nth(1).unwrap().to_owned()
            })
            .collect()
    };
    for host in [&first, &second] {
        host.load(&Firewall {
            local_gateways: BTreeSet::from([LocalGateway {
                port: ifname("eth0"),
                address: [10, 0, 1, 1].into(),
            }]),
            ..Firewall::default()
        });
    }
    assert!(guests[0].pings("10.0.1.3"), "guests of the two hosts reach each other");
    for (guest, host) in guests.iter().zip([&first, &second]) {
        assert_eq!(gateways(guest), BTreeSet::from([own(host)]));
    }
    // Without its own gateway a guest has none: the other host's does not answer over the trunk.
    first.ip("address del 10.0.1.1/24 dev br1");
    guests[0].ip("neigh flush dev eth0");
    assert!(!guests[0].pings("10.0.1.1"));
    // That it is the rules that keep them apart: without them the other host does.
    for host in [&first, &second] {
        nftables::delete(&host.shell, &lab()).unwrap();
    }
    guests[0].ip("neigh flush dev eth0");
    assert!(guests[0].pings("10.0.1.1"));
}

/// The Ethernet address of a link.
pub fn mac(host: &Namespace, link: &str) -> String {
    let shown = host.check_fed(&["ip", "-j", "link", "show", "dev", link], "");
    let links: serde_json::Value = serde_json::from_str(&shown).unwrap();
    links[0]["address"].as_str().unwrap().to_owned()
}

/// FAULTS 39.
#[test]
fn a_chain_that_drops_what_is_forwarded_is_found_and_the_fix_that_is_printed_works() {
    let Some((host, [one, _two], _outside)) = cloud("a_chain_that_drops_what_is_forwarded_is_found") else {
        return;
    };
    host.load(&Firewall {
        nat: BTreeSet::from([nat("10.0.1.0/24", "eth1", None)]),
        ..Firewall::default()
    });
    host.nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }");
    assert!(!one.pings("192.168.99.1"));
    let survey = || {
        let mut survey = Survey::default();
        nftables::survey(&host.shell, &lab(), &mut survey).unwrap();
        survey.forward_drops
    };
    let found = survey();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].chain, "ip filter FORWARD");
    assert!(found[0].by_iptables && found[0].accepts_from.is_empty());
    let bridged = host.bridged_packets_pass_the_rules(true);
    assert_eq!(one.pings("10.0.1.3"), !bridged, "even bridged packets");
    for direction in ["iifname", "oifname"] {
        host.nft(&format!("insert rule ip filter FORWARD {direction} br1 counter accept"));
    }
    assert!(one.pings("192.168.99.1"));
    assert!(one.pings("10.0.1.3"));
    assert_eq!(
        (&survey()[0].accepts_from, &survey()[0].accepts_to),
        (&set(["br1"]), &set(["br1"]))
    );
    host.nft(
        "delete table ip filter\ntable inet f { chain x { type filter hook forward priority 0; counter reject; }; }",
    );
    assert_eq!(survey()[0].chain, "inet f x");
    assert!(!survey()[0].by_iptables);
}
