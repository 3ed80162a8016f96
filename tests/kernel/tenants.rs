//! Networks of two tenants on one host, and what guests may not send: by the real kernel.

use std::collections::{BTreeMap, BTreeSet};

use netlab::linux::nftables;
use netlab::plan::Step;
use netlab::state::Firewall;
use netlab::transport::Shell;
use netlab::transport::cmd::Cmd;

use crate::firewall::{floating, guest, mac, secured, with_nft};
use crate::namespace::{Namespace, bridge, ifname, lab};

/// What the lab's rules on `host` have dropped.
fn dropped(host: &Namespace) -> nftables::Dropped {
    let output = host.shell.check(&nftables::counters(&lab())).unwrap();
    nftables::dropped(&lab(), &output).unwrap()
}

#[test]
fn guests_of_two_tenants_reach_each_other_by_floating_addresses_only() {
    let test = "guests_of_two_tenants_reach_each_other_by_floating_addresses_only";
    let Some(host) = with_nft(test) else { return };
    for (name, address) in [("br1", "10.0.1.1/24"), ("br2", "10.0.2.1/24")] {
        let mut wanted = bridge("network service");
        wanted.addresses.insert(address.parse().unwrap());
        host.apply(&[Step::CreateLink(ifname(name), wanted)]).unwrap();
    }
    host.forwards();
    let Some(outside) = Namespace::new(test) else { return };
    host.cable("eth1", &outside, "eth0");
    host.ip("address add 192.168.99.108/24 dev eth1\naddress add 192.168.99.50/32 dev eth1");
    let one = guest(test, &host, "tap1", "br1", "10.0.1.2/24", "10.0.1.1").unwrap();
    let two = guest(test, &host, "tap2", "br2", "10.0.2.2/24", "10.0.2.1").unwrap();
    assert!(one.pings("10.0.2.2"), "nothing keeps them apart yet");

    let apart = ["br1", "br2"];
    let mut rules = Firewall {
        together: apart.map(|bridge| (ifname(bridge), [ifname(bridge)].into())).into(),
        ..Firewall::default()
    };
    host.load(&rules);
    assert!(!one.pings("10.0.2.2") && !two.pings("10.0.1.2"));
    assert!(one.pings("10.0.1.1"), "each guest still reaches its gateway");
    let counted = dropped(&host).between;
    assert_eq!(counted, [(ifname("br1"), 2), (ifname("br2"), 2)].into());

    rules.floating = BTreeSet::from([floating("192.168.99.50", "10.0.2.2", "eth1")]);
    host.load(&rules);
    assert!(one.pings("192.168.99.50"), "as the outside does");
    assert!(!one.pings("10.0.2.2") && !two.pings("10.0.1.2"));
    nftables::delete(&host.shell, &lab()).unwrap();
    assert!(one.pings("10.0.2.2"));
}

/// The Ethernet header of a broadcast frame from `source`, and what follows.
fn frame(source: [u8; 6], kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6], &source[..], &kind, payload].concat()
}

/// An ARP request (RFC 826).
fn arp(mac: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    [&head[..], &mac, &address, &[0; 6], &[10, 0, 1, 3], &[0; 18]].concat()
}

/// A UDP packet to port 68 (RFC 768, RFC 791).
fn udp(source: [u8; 4], port: u8) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 46, 0, 1, 0, 0, 64, 17, 0, 0];
    ip.extend(source);
    ip.extend([10, 0, 1, 3]);
    let words = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&ip[..], &[0, port, 0, 68, 0, 26, 0, 0], &[0; 18]].concat()
}

/// Sends frames by a packet socket (packet(7)); `$ARGV[0]` is the link's index.
const SEND: &str = r#"
    my $at = shift; socket(my $s, 17, 3, 0x0300) or die "socket: $!";
    my $to = pack("SniSCCa8", 17, 3, $at, 0, 0, 0, "");
    for (@ARGV) { send($s, pack("H*", $_), 0, $to) or die "send: $!"; }"#;

const OWN: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const OTHER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 99];
const IPV4: [u8; 2] = [8, 0];
const ARP: [u8; 2] = [8, 6];

/// Each kind of frame that a guest must not send, with the rule that counts it at the receiver.
fn forged() -> Vec<(&'static str, Vec<u8>)> {
    let (address, other) = ([10, 0, 1, 2], [10, 0, 1, 66]);
    let tag = [&[0, 5], &IPV4[..], &udp(other, 9)].concat();
    vec![
        ("ether saddr 52:54:00:00:00:63", frame(OTHER, IPV4, &udp(address, 9))),
        (
            "arp saddr ether 52:54:00:00:00:63",
            frame(OWN, ARP, &arp(OTHER, address)),
        ),
        ("arp saddr ip 10.0.1.66", frame(OWN, ARP, &arp(OWN, other))),
        ("ether type ip ip saddr 10.0.1.66", frame(OWN, IPV4, &udp(other, 9))),
        ("udp sport 67", frame(OWN, IPV4, &udp(address, 67))),
        ("vlan id 5", frame(OWN, [0x81, 0], &tag)),
        ("ether type 0x88cc", frame(OWN, [0x88, 0xcc], &[0; 46])),
    ]
}

/// What a guest may send.
fn own() -> Vec<(&'static str, Vec<u8>)> {
    let address = [10, 0, 1, 2];
    vec![
        ("arp saddr ip 10.0.1.2", frame(OWN, ARP, &arp(OWN, address))),
        ("arp saddr ip 0.0.0.0", frame(OWN, ARP, &arp(OWN, [0; 4]))),
        ("ip saddr 10.0.1.2", frame(OWN, IPV4, &udp(address, 9))),
        ("ip saddr 0.0.0.0", frame(OWN, IPV4, &udp([0; 4], 9))),
    ]
}

/// Sends the frames from `one`; returns which of them arrived at `two`.
fn arrived(one: &Namespace, two: &Namespace, frames: &[(&'static str, Vec<u8>)]) -> BTreeSet<&'static str> {
    let rules: Vec<String> = frames
        .iter()
        .enumerate()
        .map(|(at, (rule, _))| format!("{rule} counter comment \"{at}\""))
        .collect();
    two.nft(&format!(
        "table netdev count {{}}\ndelete table netdev count\n\
         table netdev count {{ chain in {{ type filter hook ingress device \"eth0\" priority 0;\n{}\n}}\n}}",
        rules.join("\n")
    ));
    let shown = one.check_fed(&["ip", "-j", "link", "show", "dev", "eth0"], "");
    let links: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let mut send = vec!["perl".to_owned(), "-e".to_owned(), SEND.to_owned()];
    send.push(links[0]["ifindex"].to_string());
    let hex = |bytes: &[u8]| -> String {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits
            .map(|digit| char::from_digit(digit.into(), 16).unwrap())
            .collect()
    };
    send.extend(frames.iter().map(|(_, bytes)| hex(bytes)));
    one.shell.check(&Cmd::new(send)).unwrap();
    let listed = two.check_fed(&["nft", "-j", "list", "table", "netdev", "count"], "");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let objects = listed["nftables"].as_array().unwrap().iter();
    let counted: BTreeMap<usize, u64> = objects
        .filter_map(|object| {
            let rule = &object["rule"];
            let packets = rule["expr"]
                .as_array()?
                .iter()
                .find_map(|each| each["counter"]["packets"].as_u64());
            Some((rule["comment"].as_str()?.parse().unwrap(), packets?))
        })
        .collect();
    let present = frames.iter().enumerate().filter(|(at, _)| counted[at] > 0);
    present.map(|(_, (rule, _))| *rule).collect()
}

#[test]
fn a_guest_on_a_secured_port_sends_with_its_own_addresses_only() {
    let test = "a_guest_on_a_secured_port_sends_with_its_own_addresses_only";
    let Some(host) = with_nft(test) else { return };
    host.apply(&[Step::CreateLink(ifname("br1"), bridge("network service"))])
        .unwrap();
    let one = guest(test, &host, "tap1", "br1", "10.0.1.2/24", "10.0.1.1").unwrap();
    let two = guest(test, &host, "tap2", "br1", "10.0.1.3/24", "10.0.1.1").unwrap();
    one.ip("link set dev eth0 address 52:54:00:00:00:02");
    let (forged, own) = (forged(), own());
    let all = |frames: &[(&'static str, Vec<u8>)]| -> BTreeSet<&str> { frames.iter().map(|(rule, _)| *rule).collect() };
    assert_eq!(
        arrived(&one, &two, &forged),
        all(&forged),
        "without rules all of them arrive"
    );
    assert_eq!(arrived(&one, &two, &own), all(&own));

    host.load(&Firewall {
        ports: [(ifname("tap1"), secured("52:54:00:00:00:02", "10.0.1.2"))].into(),
        ..Firewall::default()
    });
    assert_eq!(arrived(&one, &two, &forged), BTreeSet::new());
    assert_eq!(arrived(&one, &two, &own), all(&own));
    assert!(one.pings("10.0.1.3"));
    assert_eq!(
        dropped(&host).forged,
        2,
        "one ARP and one IPv4 packet of another address"
    );
    // The other port has no rules: its guest may.
    let from_two = [("arp saddr ip 10.0.1.66", frame(OTHER, ARP, &arp(OTHER, [10, 0, 1, 66])))];
    assert_eq!(arrived(&two, &one, &from_two), all(&from_two));
    assert_ne!(mac(&two, "eth0"), mac(&one, "eth0"));
}
