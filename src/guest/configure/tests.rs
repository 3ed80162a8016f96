use super::*;
use crate::guest::scripted::{Scripted, Shell, image, open};
use crate::guest::{LINE_LIMIT, SessionFault};

fn nic(mac: &str, address: &str) -> GuestNicConfig {
    GuestNicConfig {
        mac: mac.parse().unwrap(),
        address: address.parse().unwrap(),
        dhcp: false,
        mtu: None,
    }
}

fn config(dialect: Dialect) -> GuestConfig {
    let mut console = image();
    console.dialect = dialect;
    GuestConfig {
        hostname: "vm1".parse().unwrap(),
        console,
        nics: vec![
            nic("52:54:00:aa:00:01", "10.0.1.2/24"),
            nic("52:54:00:aa:00:02", "10.0.2.2/31"),
        ],
        default_route: Some("10.0.1.1".parse().unwrap()),
        nameservers: vec!["10.0.1.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
        seeded: false,
        serve: Vec::new(),
        cloud_init: crate::state::CloudConfig::default(),
        proxies: crate::lab::Proxies::default(),
    }
}

/// What the shell of a root account prints.
fn as_root(script: &str) -> (String, i32) {
    let asked = script.contains("id -u");
    (if asked { "is-root\n".to_owned() } else { String::new() }, 0)
}

/// Configures a guest in which the script prints `text` and ends with `status`.
fn configured(text: &'static str, status: i32) -> Result<(), ConfigureError> {
    let shell = Shell::running(move |script| {
        let is_ours = script.starts_with("( bad=0");
        if is_ours {
            (text.into(), status)
        } else {
            as_root(script)
        }
    });
    configure(
        &mut open(Scripted::new(shell)),
        &config(Dialect::Ip),
        false,
        &mut |_| (),
    )
}

#[test]
fn every_setting_is_made_once_in_the_guests_dialect() {
    let ip = script(&config(Dialect::Ip));
    for line in [
        "c 52:54:00:aa:00:01 1500 10.0.1.2/24 10.0.1.255\n",
        "c 52:54:00:aa:00:02 1500 10.0.2.2/31 \n",
        "t ip route replace default via 10.0.1.1\n",
        "t hostname vm1\n",
        "t write_resolv_conf 10.0.1.53 2001:db8::53\n",
    ] {
        assert_eq!(ip.matches(line).count(), 1, "{line} in {ip}");
    }
    let ifconfig = script(&config(Dialect::Ifconfig));
    for line in [
        "c 52:54:00:aa:00:01 52:54:00:AA:00:01 1500 10.0.1.2 255.255.255.0 10.0.1.255\n",
        "c 52:54:00:aa:00:02 52:54:00:AA:00:02 1500 10.0.2.2 255.255.255.254 \n",
        "t route add default gw 10.0.1.1\n",
    ] {
        assert_eq!(ifconfig.matches(line).count(), 1, "{line} in {ifconfig}");
    }
}

#[test]
fn a_resolv_conf_that_cannot_be_written_fails_only_a_lab_with_name_servers() {
    let mut config = config(Dialect::Ip);
    config.nameservers.clear();
    let script = script(&config);
    assert!(script.contains("{ write_resolv_conf; } 2>/dev/null\n"), "{script}");
    assert!(!script.contains("t write_resolv_conf"), "{script}");
}

/// The second NIC leases its address, with an MTU of its own.
fn leasing(dialect: Dialect) -> GuestConfig {
    let mut config = config(dialect);
    config.nics[1].dhcp = true;
    config.nics[1].mtu = Some(1400);
    config
}

#[test]
fn a_nic_with_dhcp_is_configured_by_the_server_and_checked_for_its_address() {
    let ip = script(&leasing(Dialect::Ip));
    assert!(ip.contains("l 52:54:00:aa:00:02 1400 10.0.2.2/31\n"), "{ip}");
    assert!(ip.contains("t add_nameserver 10.0.1.53\n"), "{ip}");
    assert!(
        !ip.contains("t write_resolv_conf"),
        "the server's name servers must stay: {ip}"
    );
    let ifconfig = script(&leasing(Dialect::Ifconfig));
    assert!(
        ifconfig.contains("l 52:54:00:aa:00:02 52:54:00:AA:00:02 1400 10.0.2.2\n"),
        "{ifconfig}"
    );
    for dialect in [Dialect::Ip, Dialect::Ifconfig] {
        assert!(!script(&config(dialect)).contains("udhcpc"), "no NIC has DHCP");
    }
}

/// The output of the script for `leasing` in a shell of this machine, with the commands of `stubs`.
fn run_with(dialect: Dialect, stubs: &str) -> (String, bool) {
    run_with_end(dialect, stubs, "[ $bad = 0 ] )")
}

/// The same, with other commands at the end of the script.
fn run_with_end(dialect: Dialect, stubs: &str, end: &str) -> (String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let nic = |mac: &str| format!("{stubs}\nn() {{ d=eth${{1##*0}}; }}\n{mac}");
    // The search for NICs is replaced: this machine's must not be touched.
    let script = script(&leasing(dialect)).replacen("t ip link set dev lo up", &nic("t ip link set dev lo up"), 1);
    let script = script.replacen("t ifconfig lo 127", &nic("t ifconfig lo 127"), 1);
    let script = script.replace("[ $bad = 0 ] )", end);
    let resolv = folder.path().join("resolv.conf");
    let script = script.replace("/etc/resolv.conf", resolv.to_str().unwrap());
    let script = script
        .replace("/run/netlab", folder.path().join("netlab").to_str().unwrap())
        .replace("/run/systemd", folder.path().join("systemd").to_str().unwrap())
        .replace("/run/dhclient", folder.path().join("dhclient").to_str().unwrap())
        .replace("/proc/", folder.path().join("proc/").to_str().unwrap());
    let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    let resolv = std::fs::read_to_string(resolv).unwrap_or_default();
    (
        String::from_utf8(output.stdout).unwrap() + &resolv,
        output.status.success(),
    )
}

const STUBS: &str = "ip() { case $* in '-4 addr show dev eth2') echo '    inet 10.0.2.2/31 scope global eth2';; esac; }
ifconfig() { case $* in eth2) echo '          inet addr:10.0.2.2  Mask:255.255.255.254';; esac; }
route() { [ $1 != del ]; }
hostname() { :; }
has() { [ $1 = udhcpc ]; }
udhcpc() { :; }";

#[test]
fn the_name_servers_are_added_to_those_of_the_lease() {
    for dialect in [Dialect::Ip, Dialect::Ifconfig] {
        let (output, success) = run_with(dialect, STUBS);
        assert!(success, "{output}");
        assert_eq!(output, "nameserver 10.0.1.53\nnameserver 2001:db8::53\n");
    }
}

#[test]
fn no_lease_another_lease_and_no_client_are_reported() {
    let fails = |from: &str, to: &str, wanted: &str| {
        for dialect in [Dialect::Ip, Dialect::Ifconfig] {
            let (output, success) = run_with(dialect, &STUBS.replace(from, to));
            assert!(!success && output.contains(wanted), "{wanted} is not in {output}");
        }
    };
    let no_lease = "udhcpc() { echo the server is silent; return 1; }";
    fails(
        "udhcpc() { :; }",
        no_lease,
        "netlab-failed ask_dhcp eth2 1400 netlab-said the server is silent",
    );
    fails("10.0.2.2", "10.0.2.22", "netlab-failed has_address eth2 10.0.2.2");
    fails("[ $1 = udhcpc ]", "false", "the guest has neither udhcpc");
}

#[test]
fn a_hundred_nics_fit_into_the_lines_of_a_terminal() {
    for dialect in [Dialect::Ip, Dialect::Ifconfig] {
        let mut config = leasing(dialect);
        config.nics = config.nics.repeat(50);
        assert!(script(&config).lines().all(|line| line.len() <= LINE_LIMIT));
    }
}

#[test]
fn a_missing_nic_is_reported_with_the_existing_ones() {
    let text = "netlab-missing 52:54:00:aa:00:02\r\nnetlab-has eth0 52:54:00:aa:00:01\r\n";
    let error = configured(text, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guest has no NIC with the MAC address 52:54:00:aa:00:02; it has eth0 52:54:00:aa:00:01"
    );
}

#[test]
fn the_command_that_failed_is_named() {
    let text = "netlab-failed ip route replace default via 10.0.1.1 netlab-said ip: Network is unreachable\r\n";
    let error = configured(text, 1).unwrap_err().to_string();
    assert_eq!(
        error,
        "`ip route replace default via 10.0.1.1` failed in the guest: ip: Network is unreachable"
    );
}

#[test]
fn a_failure_without_a_readable_reason_is_still_a_failure() {
    for text in [
        "",
        "netlab-miss[   3.1] eth0: link up\r\ning 52:54:00:aa:00:02\r\n",
        "netlab-missing 52:54:00:aa:00:99",
    ] {
        assert!(
            matches!(configured(text, 1), Err(ConfigureError::Command { .. })),
            "{text}"
        );
    }
    assert_eq!(configured("netlab-failed is only text", 0), Ok(()));
}

#[test]
fn a_failed_session_is_reported_as_such() {
    let mut session = open(Scripted::new(Shell::running(as_root)));
    let mut config = config(Dialect::Ip);
    config.nameservers = config.nameservers.repeat(100);
    let error = configure(&mut session, &config, false, &mut |_| ()).unwrap_err();
    assert!(matches!(error, ConfigureError::Session(error) if matches!(error.fault, SessionFault::LineTooLong(_))));
}

#[test]
fn a_seeded_guest_is_checked_and_never_changed() {
    let mut seeded = config(Dialect::Ip);
    seeded.seeded = true;
    let check = seeded_script(&seeded);
    assert!(
        check.starts_with("( wanted='10.0.1.2/24 10.0.2.2/31' name=vm1 "),
        "{check}"
    );
    for change in ["add ", "set ", "replace", "> "] {
        assert!(!check.contains(change), "{check}");
    }
    let shell = |text: &'static str, status| {
        let shell = Shell::running(move |script| {
            let is_check = script.starts_with("( wanted=");
            if is_check {
                (text.into(), status)
            } else {
                (String::new(), 0)
            }
        });
        configure(&mut open(Scripted::new(shell)), &seeded, false, &mut |_| ())
    };
    assert_eq!(shell("", 0), Ok(()));
    let error = shell(
        "netlab-unseeded 10.0.1.2/24\nnetlab-has 127.0.0.1/8\nnetlab-has mini\n",
        1,
    )
    .unwrap_err();
    let missing = ConfigureError::NotSeeded {
        missing: "10.0.1.2/24".into(),
        has: vec!["127.0.0.1/8".into(), "mini".into()],
    };
    assert_eq!(error, missing);
}

/// Each client as it is called for eth2, where it is the one that the guest has. `called` prints its arguments.
#[test]
fn the_client_that_a_guest_has_stays_and_renews_its_lease() {
    let called = |has: &str, active: &str| {
        let stubs = format!(
            "called() {{ echo \"called $*\" >>/run/netlab/called; }}
has() {{ case ' {has} ' in *\" $1 \"*) ;; *) return 1;; esac; }}
active() {{ [ $1 = '{active}' ]; }}
managed() {{ active NetworkManager; }}
udhcpc() {{ called udhcpc $*; ls $PWD; }}
dhclient() {{ called dhclient $*; }}
dhcpcd() {{ called dhcpcd $*; }}
nmcli() {{ called nmcli $*; }}
networkctl() {{ called networkctl $*; }}"
        );
        let stubs = STUBS.replace("has() { [ $1 = udhcpc ]; }\nudhcpc() { :; }", &stubs);
        let show = "cat /run/netlab/called; echo end: $(cat /run/netlab/dhcp-eth2)\n[ $bad = 0 ] )";
        let (output, success) = run_with_end(Dialect::Ip, &stubs, show);
        assert!(success, "{output}");
        let lines = output
            .lines()
            .filter(|line| line.starts_with("called") || line.starts_with("end:"));
        lines
            .map(|line| line.replace("/run/", ""))
            .collect::<Vec<_>>()
            .join("\n")
    };
    // Without -q and -1, and without -f, which would keep the console.
    let udhcpc = called("udhcpc dhclient dhcpcd", "");
    assert!(udhcpc.contains("called udhcpc -i eth2 -n -t 5 -T 2 -p "), "{udhcpc}");
    assert!(!udhcpc.contains(" -q") && !udhcpc.contains(" -f"), "{udhcpc}");
    assert!(udhcpc.contains("end: kill $(cat "), "{udhcpc}");
    let dhclient = called("dhclient dhcpcd", "");
    assert!(dhclient.contains("called dhclient -1 -v -pf "), "{dhclient}");
    let dhcpcd = called("dhcpcd", "");
    assert_eq!(dhcpcd, "called dhcpcd -4 -G -w -t 20 eth2\nend: dhcpcd -4 -x eth2");
    let manager = called("nmcli udhcpc dhclient", "NetworkManager");
    assert!(
        manager.contains("802-3-ethernet.mtu 1400 ipv4.method auto ipv4.never-default yes"),
        "{manager}"
    );
    // It would remove an address that it has not set itself.
    assert!(
        manager.contains("ethernet ifname eth1 con-name netlab-eth1 "),
        "{manager}"
    );
    assert!(
        manager.contains("802-3-ethernet.mtu 1500 ipv4.method manual ipv4.addresses 10.0.1.2/24"),
        "{manager}"
    );
    assert!(
        manager.contains("called nmcli -w 30 connection up netlab-eth2\n"),
        "{manager}"
    );
    assert!(
        manager.contains("end: nmcli connection delete netlab-eth2"),
        "{manager}"
    );
    let networkd = called("networkctl dhclient", "systemd-networkd");
    assert!(
        networkd.contains("called networkctl reload\ncalled networkctl reconfigure eth2\n"),
        "{networkd}"
    );
}

#[test]
fn a_renewed_lease_changes_neither_the_default_route_nor_the_name_servers() {
    let stubs = STUBS.replace(
        "udhcpc() { :; }",
        "udhcpc() { for e in deconfig bound renew nak; do echo \"= $e\"; cat ./$e; done >>/run/netlab/events; }",
    );
    let (output, success) = run_with_end(Dialect::Ip, &stubs, "cat /run/netlab/events\n[ $bad = 0 ] )");
    assert!(success, "{output}");
    let events = output.split("nameserver 10.0.1.53").next().unwrap();
    assert_eq!(
        events
            .matches("ip addr replace $ip/${mask:-24} brd + dev $interface")
            .count(),
        2,
        "{output}"
    );
    let renew = events.split("= renew").nth(1).unwrap();
    assert!(!renew.contains("resolv.conf") && !events.contains("route"), "{output}");
}

#[test]
fn source_validation_becomes_loose_only_where_a_guest_has_several_nics_and_is_routed_to() {
    let mut config = config(Dialect::Ip);
    assert_eq!(script(&config).matches("\nloose\n").count(), 2);
    assert_eq!(besides_script(&config).matches(" && loose\n").count(), 2);
    config.default_route = None;
    assert!(!script(&config).contains("loose"));
    config.default_route = Some("10.0.1.1".parse().unwrap());
    config.nics.pop();
    assert!(!script(&config).contains("loose") && !besides_script(&config).contains("loose"));
}
