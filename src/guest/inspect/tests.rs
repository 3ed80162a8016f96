use super::*;
use crate::guest::scripted::image;

/// As the script prints it in a guest with two NICs.
const PRINTED: &str = "\
w1 @route Iface Destination Gateway Flags Mask Metric @ w1
w1 @route eth0 00000000 0901000A 0003 00000000 100 @ w1
w1 @route eth0 00000000 0101000A 0003 00000000 0 @ w1
w1 @route eth0 0001000A 00000000 0001 00FFFFFF 0 @ w1
w1 @local 10.0.1.2 @ w1
w1 @local 127.0.0.1 @ w1
w1 @name vm1 @ w1
w1 @dns # by hand @ w1
w1 @dns nameserver 10.0.1.53 @ w1
w1 @resolv @ w1
w1 @link eth0 52:54:00:aa:00:01 0x1003 1500 1 @ w1
w1 @link eth1 52:54:00:aa:00:02 0x1002 1400 0 @ w1
w1 @link lo 00:00:00:00:00:00 0x9 65536 1 @ w1
w1 @end @ w1
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
        serve: Vec::new(),
        cloud_init: crate::state::CloudConfig::default(),
        proxies: crate::lab::Proxies::default(),
    }
}

fn deviations(text: &str, config: &GuestConfig) -> Vec<String> {
    let view = seen::read(text, "w1").unwrap();
    view.deviations(config).iter().map(ToString::to_string).collect()
}

fn without(word: &str) -> String {
    let lines = PRINTED.lines().filter(|line| !line.contains(word));
    lines.map(|line| format!("{line}\n")).collect::<Vec<_>>().concat()
}

#[test]
fn a_guest_that_has_what_it_was_given_has_no_deviation() {
    assert_eq!(deviations(PRINTED, &config()), [""; 0]);
}

#[test]
fn each_difference_is_named() {
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
    assert_eq!(
        deviations(PRINTED, &config),
        [
            "NIC eth0 has 10.0.1.2 with the mask /24, not /30",
            "NIC eth1 is down",
            "NIC eth1 lacks its address 10.0.2.2/24: the guest has 10.0.1.2",
            "NIC eth1 has an MTU of 1400 bytes, not 1500",
            "no NIC has the MAC address 52:54:00:aa:00:03",
            "the default route is via 10.0.1.1 instead of 10.0.1.254",
            "/etc/resolv.conf does not have name server 10.0.1.54",
            "the host name is vm1 instead of vm2",
        ]
    );
}

#[test]
fn a_guest_without_its_addresses_and_its_host_name_was_restarted() {
    let mut config = config();
    config.nics[0].address = "10.0.1.9/24".parse().unwrap();
    let text = "NIC eth0 lacks its address 10.0.1.9/24: the guest has 10.0.1.2";
    assert_eq!(deviations(PRINTED, &config), [text]);
    let renamed = PRINTED.replace("@name vm1", "@name (none)");
    assert_eq!(
        deviations(&renamed, &config),
        ["it was restarted since it was configured: no NIC has its address, and its host name is (none)"]
    );
}

#[test]
fn a_default_route_that_was_deleted_is_missing() {
    let missing = ["there is no default route via 10.0.1.1"];
    assert_eq!(deviations(&without("00000000 0"), &config()), missing);
}

#[test]
fn what_cannot_be_read_is_no_deviation() {
    let text = without("@resolv").replace("@dns nameserver", "@dns");
    assert_eq!(deviations(&text, &config()), [""; 0]);
    assert_eq!(deviations(&without("@name"), &config()), [""; 0]);
    assert!(seen::read(&without("@end"), "w1").is_none());
}

#[test]
fn where_only_addresses_could_be_read_they_are_compared() {
    assert_eq!(
        deviations("w1 @local 10.0.1.2 @ w1\nw1 @end @ w1\n", &config()),
        [""; 0]
    );
    assert_eq!(
        deviations("w1 @local 127.0.0.1 @ w1\nw1 @end @ w1\n", &config()),
        ["NIC 52:54:00:aa:00:01 lacks its address 10.0.1.2/24: the guest has none"]
    );
}

#[test]
fn the_name_servers_behind_a_resolver_on_the_guest_itself_are_not_compared() {
    let text = PRINTED.replace("nameserver 10.0.1.53", "nameserver 127.0.0.53");
    assert_eq!(deviations(&text, &config()), [""; 0]);
}

#[test]
fn strict_source_validation_is_a_deviation_only_where_replies_leave_by_another_nic() {
    let strict = |all, nic| {
        let settings =
            format!("w1 @sys conf/all/rp_filter {all} @ w1\nw1 @sys conf/eth0/rp_filter {nic} @ w1\nw1 @end @ w1\n");
        PRINTED.replace("w1 @end @ w1\n", &settings)
    };
    let mut config = config();
    assert_eq!(deviations(&strict(1, 1), &config), [""; 0], "one NIC");
    config.nics.push(GuestNicConfig {
        mac: "52:54:00:aa:00:03".parse().unwrap(),
        address: "10.0.3.2/24".parse().unwrap(),
        ..config.nics[0]
    });
    let words = "NIC eth0 drops packets whose replies leave by another NIC: rp_filter is 1";
    for (all, nic, is_strict) in [
        (1, 1, true),
        (1, 0, true),
        (0, 1, true),
        (1, 2, false),
        (2, 1, false),
        (0, 0, false),
    ] {
        let found = deviations(&strict(all, nic), &config);
        assert_eq!(found.contains(&words.to_owned()), is_strict, "{all} {nic}: {found:?}");
    }
}
