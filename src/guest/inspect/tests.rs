use super::dialects::read;
use super::*;
use crate::guest::scripted::image;
use crate::state::GuestNicConfig;

/// As busybox 1.35 and iproute2 6.1 print it.
const IP: &str = "\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc pfifo_fast qlen 1000
    link/ether 52:54:00:aa:00:01 brd ff:ff:ff:ff:ff:ff
    inet 10.0.1.2/24 brd 10.0.1.255 scope global eth0
       valid_lft forever preferred_lft forever
    inet6 fe80::5054:ff:feaa:1/64 scope link
3: eth1@if7: <BROADCAST,MULTICAST> mtu 1400 qdisc noop state DOWN group default qlen 1000
    link/ether 52:54:00:aa:00:02 brd ff:ff:ff:ff:ff:ff link-netnsid 0
@route
default via 10.0.1.9 dev eth0 metric 100
default via 10.0.1.1 dev eth0
10.0.1.0/24 dev eth0 scope link  src 10.0.1.2
@dns
# by hand
nameserver 10.0.1.53
search lab
@name vm1
";

/// As busybox prints it.
const OLD: &str = "\
eth0      Link encap:Ethernet  HWaddr 52:54:00:AA:00:01
          inet addr:10.0.1.2  Bcast:10.0.1.255  Mask:255.255.255.0
          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1
          RX packets:3 errors:0 dropped:0 overruns:0 frame:0

eth1      Link encap:Ethernet  HWaddr 52:54:00:AA:00:02
          BROADCAST MULTICAST  MTU:1400  Metric:1

lo        Link encap:Local Loopback
          inet addr:127.0.0.1  Mask:255.0.0.0
          UP LOOPBACK RUNNING  MTU:65536  Metric:1

@route
Kernel IP routing table
Destination     Gateway         Genmask         Flags Metric Ref    Use Iface
0.0.0.0         10.0.1.1        0.0.0.0         UG    0      0        0 eth0
10.0.1.0        0.0.0.0         255.255.255.0   U     0      0        0 eth0
@dns
nameserver 10.0.1.53
@name vm1
";

/// As net-tools 2.10 prints it.
const NEW: &str = "\
eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500
        inet 10.0.1.2  netmask 255.255.255.0  broadcast 10.0.1.255
        inet6 fe80::5054:ff:feaa:1  prefixlen 64  scopeid 0x20<link>
        ether 52:54:00:aa:00:01  txqueuelen 1000  (Ethernet)

eth1: flags=4098<BROADCAST,MULTICAST>  mtu 1400
        ether 52:54:00:aa:00:02  txqueuelen 1000  (Ethernet)

@route
Kernel IP routing table
Destination     Gateway         Genmask         Flags Metric Ref    Use Iface
0.0.0.0         10.0.1.1        0.0.0.0         UG    0      0        0 eth0
@dns
nameserver 10.0.1.53
@name vm1
";

fn config() -> GuestConfig {
    let nic = |mac: &str, address: &str, mtu| GuestNicConfig {
        mac: mac.parse().unwrap(),
        address: address.parse().unwrap(),
        dhcp: false,
        mtu,
    };
    GuestConfig {
        hostname: "vm1".parse().unwrap(),
        console: image(),
        nics: vec![nic("52:54:00:aa:00:01", "10.0.1.2/24", None)],
        default_route: Some("10.0.1.1".parse().unwrap()),
        nameservers: vec!["10.0.1.53".parse().unwrap()],
        seeded: false,
    }
}

fn deviations(dialect: Dialect, text: &str, config: &GuestConfig) -> Vec<String> {
    let found = read(dialect, text).deviations(config);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_guest_that_has_what_it_was_given_has_no_deviation_in_any_dialect() {
    assert_eq!(deviations(Dialect::Ip, IP, &config()), [""; 0]);
    assert_eq!(deviations(Dialect::Ifconfig, OLD, &config()), [""; 0]);
    assert_eq!(deviations(Dialect::Ifconfig, NEW, &config()), [""; 0]);
}

#[test]
fn each_difference_is_named_in_every_dialect() {
    let mut config = config();
    config.hostname = "vm2".parse().unwrap();
    config.default_route = Some("10.0.1.254".parse().unwrap());
    config.nameservers.push("10.0.1.54".parse().unwrap());
    config.nics[0].address = "10.0.1.2/30".parse().unwrap();
    for (mac, address) in [
        ("52:54:00:aa:00:02", "10.0.2.2/24"),
        ("52:54:00:aa:00:03", "10.0.3.2/24"),
    ] {
        config.nics.push(GuestNicConfig {
            mac: mac.parse().unwrap(),
            address: address.parse().unwrap(),
            ..config.nics[0]
        });
    }
    for (dialect, text) in [(Dialect::Ip, IP), (Dialect::Ifconfig, OLD), (Dialect::Ifconfig, NEW)] {
        assert_eq!(
            deviations(dialect, text, &config),
            [
                "eth0 does not have 10.0.1.2/30: it has 10.0.1.2/24",
                "eth1 is down",
                "eth1 does not have 10.0.2.2/24: it has no address",
                "eth1 has MTU 1400 instead of 1500",
                "no NIC has the MAC address 52:54:00:aa:00:03",
                "the default route is via 10.0.1.1 instead of 10.0.1.254",
                "/etc/resolv.conf does not have name server 10.0.1.54",
                "the host name is vm1 instead of vm2",
            ],
            "{text}"
        );
    }
}

#[test]
fn a_default_route_that_was_deleted_is_missing() {
    let config = config();
    let without = |text: &str, gone: &str| {
        text.lines()
            .filter(|line| !line.starts_with(gone))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let missing = ["there is no default route via 10.0.1.1"];
    assert_eq!(deviations(Dialect::Ip, &without(IP, "default"), &config), missing);
    assert_eq!(
        deviations(Dialect::Ifconfig, &without(OLD, "0.0.0.0"), &config),
        missing
    );
    let none = IP.split_once("default via").unwrap().0.to_owned() + "@dns\nnameserver 10.0.1.53\n@name vm1\n";
    assert_eq!(deviations(Dialect::Ip, &none, &config), missing);
}

#[test]
fn what_cannot_be_read_is_no_deviation() {
    let text =
        "sh: ip: not found\n@route\nsh: ip: not found\n@dns\ncat: can't open '/etc/resolv.conf': No such file\n@name\n";
    assert_eq!(deviations(Dialect::Ip, text, &config()), [""; 0]);
    assert_eq!(deviations(Dialect::Ifconfig, text, &config()), [""; 0]);
    assert_eq!(deviations(Dialect::Ip, "", &config()), [""; 0]);
}

#[test]
fn the_name_servers_behind_a_resolver_on_the_guest_itself_are_not_compared() {
    let text = IP.replace("nameserver 10.0.1.53", "nameserver 127.0.0.53");
    assert_eq!(deviations(Dialect::Ip, &text, &config()), [""; 0]);
}
