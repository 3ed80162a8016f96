//! The console engine with real guests: a Linux kernel and busybox in QEMU.

#![expect(clippy::unwrap_used, reason = "a test: it may panic")]

pub mod initramfs;
mod qemu;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::Ipv4Net;
use netlab::guest::{
    Answer, ConfigureError, ConsoleError, ProbeOptions, Reply, Session, SessionFault, Target, Transcript, configure,
    inspect, probe,
};
use netlab::lab::{ConsoleKind, Dialect, ImageConsole, Login, MacAddr, Password};
use netlab::state::{GuestConfig, GuestNicConfig};
use qemu::Guest;

use crate::support::skip;

const MACS: [&str; 2] = ["52:54:00:aa:00:01", "52:54:00:aa:00:02"];
/// Generous: other tests may use the CPUs.
const PATIENCE: Duration = Duration::from_secs(60);

fn image(dialect: Dialect) -> ImageConsole {
    ImageConsole {
        kind: ConsoleKind::Serial,
        prompt: "/ # ".into(),
        login: None,
        dialect,
        boot_seconds: 240,
    }
}

/// Starts a guest; returns none where none can run.
fn start(test: &str, kernel_arguments: &str) -> Option<Guest> {
    let has_qemu = std::process::Command::new("qemu-system-x86_64")
        .arg("--version")
        .output()
        .is_ok();
    let boot = if has_qemu {
        initramfs::ensure()
    } else {
        Err("no qemu-system-x86_64".into())
    };
    match boot {
        Ok(boot) => Some(Guest::start(&boot, MACS, kernel_arguments)),
        Err(why) => {
            skip(test, &why);
            None
        }
    }
}

/// The configuration of a NIC with a fixed address.
fn nic(mac: MacAddr, address: Ipv4Net) -> GuestNicConfig {
    GuestNicConfig {
        mac,
        address,
        dhcp: false,
        mtu: None,
    }
}

fn config(dialect: Dialect, addresses: [&str; 2]) -> GuestConfig {
    // In the reverse of the guest's own order: only the MAC address identifies a NIC.
    let nics = [1, 0].map(|number: usize| (MACS[number].parse().unwrap(), addresses[number].parse().unwrap()));
    GuestConfig {
        hostname: "vm1".parse().unwrap(),
        console: image(dialect),
        nics: nics.map(|(mac, address)| nic(mac, address)).into(),
        default_route: Some("10.0.2.2".parse().unwrap()),
        nameservers: vec!["10.0.2.3".parse().unwrap(), "10.0.3.3".parse().unwrap()],
        seeded: false,
        serve: Vec::new(),
        cloud_init: netlab::state::CloudConfig::default(),
        proxies: netlab::lab::Proxies::default(),
    }
}

fn output(session: &mut Session, script: &str) -> String {
    let done = session.run(script, PATIENCE).unwrap();
    assert_eq!(done.status, 0, "{script}: {}", done.text);
    done.text
}

fn network_state(session: &mut Session) -> String {
    output(
        session,
        "ip -4 -o addr | sort; ip route | sort; hostname; cat /etc/resolv.conf",
    )
}

#[test]
fn a_guest_runs_commands_is_configured_and_probed() {
    let Some(guest) = start("a_guest_runs_commands_is_configured_and_probed", "") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("vm1.log");
    let mut lines = Vec::new();
    let mut on_line = |line: &str| lines.push(line.to_owned());
    let transcript = Transcript::append(&log).unwrap();
    let mut session = Session::open(guest.console(), &image(Dialect::Ip), transcript, &mut on_line).unwrap();
    assert!(lines.iter().any(|line| line.contains("Linux version")), "{lines:?}");

    for number in 0..300 {
        let script = format!("echo {number}; (exit {})", number % 256);
        let output = session.run(&script, PATIENCE).unwrap();
        assert_eq!((output.status, output.text), (number % 256, format!("{number}\n")));
    }
    assert_eq!(output(&mut session, "printf 'no line end'"), "no line end");
    assert_eq!(
        output(&mut session, "cat\nfor a in 1 2; do\necho $a # a comment\ndone"),
        "1\n2\n"
    );
    let long = output(&mut session, "for n in $(seq 31000); do echo 1234567; done");
    assert!(long == "1234567\n".repeat(31_000), "{} of 248000 bytes", long.len());

    for dialect in [Dialect::Ip, Dialect::Ifconfig] {
        configure(
            &mut session,
            &config(dialect, ["10.0.2.77/24", "10.0.3.77/25"]),
            false,
            &mut |_| (),
        )
        .unwrap();
        let wanted = config(dialect, ["10.0.2.15/24", "10.0.3.15/24"]);
        configure(&mut session, &wanted, false, &mut |_| ()).unwrap();
        let first = network_state(&mut session);
        configure(&mut session, &wanted, false, &mut |_| ()).unwrap();
        assert_eq!(network_state(&mut session), first);
        for line in [
            "10.0.2.15/24",
            "10.0.3.15/24",
            "default via 10.0.2.2",
            "vm1\n",
            "nameserver 10.0.3.3\n",
        ] {
            assert!(first.contains(line), "{dialect:?}: no `{line}` in {first}");
        }
        assert!(!first.contains(".77"), "{dialect:?}: an old address is left in {first}");
        check_probes(&mut session);
        check_refusals(&mut session, dialect);
    }

    // The echo is on again, and another session can be opened.
    drop(session);
    let mut session = Session::open(
        guest.console(),
        &image(Dialect::Ip),
        Transcript::unwritten(),
        &mut |_| (),
    )
    .unwrap();
    assert_eq!(output(&mut session, "hostname"), "vm1\n");
    assert!(std::fs::read_to_string(&log).unwrap().contains(" | "));
}

fn check_probes(session: &mut Session) {
    let near = ["127.0.0.1", "10.0.2.15", "10.0.3.15", "10.0.2.2", "10.0.3.2"].map(|text| text.parse().unwrap());
    let absent: IpAddr = "10.0.2.99".parse().unwrap();
    let all = |addresses: &[IpAddr], size: Option<u16>| -> Vec<Target> {
        let target = |address: &IpAddr| Target {
            size,
            ..(*address).into()
        };
        addresses.iter().map(target).collect()
    };
    let reached = |answers: &BTreeMap<IpAddr, Reply>, targets: &[IpAddr]| {
        for target in targets {
            let Answer::Counted {
                sent: 2,
                received: 2,
                rtt_ms: Some(rtt),
                said: None,
            } = answers[target].answer
            else {
                panic!("{target}: {:?}", answers[target]);
            };
            assert!(rtt > 0.0);
        }
    };
    let mut targets = near.to_vec();
    targets.push(absent);
    let answers = probe(session, &all(&targets, None), &ProbeOptions::default()).unwrap();
    reached(&answers, &near);
    assert_eq!(
        answers[&absent].answer,
        Answer::Counted {
            sent: 2,
            received: 0,
            rtt_ms: None,
            said: None
        }
    );

    let full_size = all(&near[1..4], Some(1472));
    let options = ProbeOptions::default();
    reached(&probe(session, &full_size, &options).unwrap(), &near[1..4]);

    // On loopback every ping also receives the requests of the others: half as many at a time.
    let few_at_once = ProbeOptions {
        at_once: 4,
        ..ProbeOptions::default()
    };
    let many: Vec<IpAddr> = (1..=120).map(|last| IpAddr::from([127, 0, 200, last])).collect();
    let answers = probe(session, &all(&many, None), &few_at_once).unwrap();
    assert_eq!(answers.len(), 120);
    reached(&answers, &many);
}

fn check_refusals(session: &mut Session, dialect: Dialect) {
    let mut wrong = config(dialect, ["10.0.2.15/24", "10.0.3.15/24"]);
    let unknown = "52:54:00:aa:00:99".parse().unwrap();
    wrong.nics.push(nic(unknown, "10.0.4.15/24".parse().unwrap()));
    match configure(session, &wrong, false, &mut |_| ()).unwrap_err() {
        ConfigureError::NicMissing { mac, has } => {
            assert_eq!(mac, unknown);
            let has: Vec<String> = has.iter().map(|nic| nic.to_lowercase()).collect();
            assert_eq!(
                has,
                MACS.iter()
                    .enumerate()
                    .map(|(n, mac)| format!("eth{n} {mac}"))
                    .collect::<Vec<_>>()
            );
        }
        other => panic!("{dialect:?}: {other}"),
    }
    let mut wrong = config(dialect, ["10.0.2.15/24", "10.0.3.15/24"]);
    wrong.default_route = Some("192.0.2.1".parse().unwrap());
    match configure(session, &wrong, false, &mut |_| ()).unwrap_err() {
        ConfigureError::Command { command, output } => {
            assert!(command.contains("192.0.2.1"), "{command}");
            assert!(output.contains("nreachable"), "{output}");
        }
        other => panic!("{dialect:?}: {other}"),
    }
}

/// sudo is Debian's own, with all that it needs.
#[test]
fn an_ordinary_account_that_may_use_sudo_configures_its_guest() {
    let Some(guest) = start(
        "an_ordinary_account_that_may_use_sudo_configures_its_guest",
        "account=netlab",
    ) else {
        return;
    };
    let mut console = image(Dialect::Ip);
    console.prompt = "~ $ ".into();
    let transcript = Transcript::unwritten();
    let mut session = Session::open(guest.console(), &console, transcript, &mut |_| ()).unwrap();
    assert_eq!(output(&mut session, "id -u"), "1000\n");
    assert_ne!(session.run("ip link set dev eth0 up", PATIENCE).unwrap().status, 0);
    assert_eq!(output(&mut session, "sudo -n id -u 2>&1"), "0\n");

    let mut wanted = config(Dialect::Ip, ["10.0.2.15/24", "10.0.3.15/24"]);
    wanted.console = console;
    configure(&mut session, &wanted, false, &mut |_| ()).unwrap();
    let state = network_state(&mut session);
    for line in ["10.0.2.15/24", "default via 10.0.2.2", "vm1\n", "nameserver 10.0.3.3\n"] {
        assert!(state.contains(line), "no `{line}` in {state}");
    }
    assert_eq!(
        inspect(&mut session, ConsoleKind::Serial)
            .unwrap()
            .unwrap()
            .deviations(&wanted),
        []
    );

    // Where sudo refuses, it is said which account it is about.
    output(&mut session, "sudo -n sh -c 'echo > /etc/sudoers'");
    let refused = configure(&mut session, &wanted, false, &mut |_| ()).unwrap_err();
    assert!(refused.to_string().contains("cannot become root"), "{refused}");
}

/// su is Debian's own, and checks root's password.
#[test]
fn an_account_that_may_not_use_sudo_configures_its_guest_by_su_with_the_password_of_root() {
    let test = "an_account_that_may_not_use_sudo_configures_its_guest_by_su_with_the_password_of_root";
    let Some(guest) = start(test, "account=plain") else {
        return;
    };
    let open = |password: Option<&str>| {
        let mut console = image(Dialect::Ip);
        console.prompt = "$ ".into();
        console.login = Some(Login {
            prompt: "login: ".to_owned(),
            user: "plain".to_owned(),
            password: None,
            root_password: password.map(|text| Password::Text(text.to_owned())),
        });
        let transcript = Transcript::append(&guest.folder().join("transcript")).unwrap();
        let session = Session::open(guest.console(), &console, transcript, &mut |_| ()).unwrap();
        let mut wanted = config(Dialect::Ip, ["10.0.2.15/24", "10.0.3.15/24"]);
        wanted.console = console;
        (session, wanted)
    };
    for wrong in [None, Some("guessed")] {
        let (mut session, wanted) = open(wrong);
        assert_eq!(output(&mut session, "id -u"), "1001\n");
        let refused = configure(&mut session, &wanted, false, &mut |_| ()).unwrap_err();
        assert!(refused.to_string().contains("cannot become root"), "{refused}");
        assert_eq!(output(&mut session, "echo \"$netlab_su\""), "\n");
    }
    let (mut session, wanted) = open(Some(initramfs::ROOT_PASSWORD));
    configure(&mut session, &wanted, false, &mut |_| ()).unwrap();
    let state = network_state(&mut session);
    for line in ["10.0.2.15/24", "default via 10.0.2.2", "vm1\n", "nameserver 10.0.3.3\n"] {
        assert!(state.contains(line), "no `{line}` in {state}");
    }
    assert_eq!(output(&mut session, "id -u"), "1001\n");
    drop(session);
    // The next user of the console has no password of root.
    let (mut session, _) = open(None);
    assert_eq!(output(&mut session, "echo \"$netlab_su\""), "\n");
    let transcript = std::fs::read_to_string(guest.folder().join("transcript")).unwrap();
    assert!(!transcript.contains("secret"), "{transcript}");
}

#[test]
fn a_guest_that_stops_or_has_an_unfinished_command_is_detected() {
    let Some(guest) = start("a_guest_that_stops_or_has_an_unfinished_command_is_detected", "") else {
        return;
    };
    let open = |guest: &Guest| {
        Session::open(
            guest.console(),
            &image(Dialect::Ip),
            Transcript::unwritten(),
            &mut |_| (),
        )
    };
    drop(open(&guest).unwrap());
    // A session that was killed during a script leaves a shell with an unfinished command.
    for unfinished in ["{ echo a\nif true; then\necho b", "echo 'a\nb", "half a li"] {
        guest.console().send(unfinished.as_bytes()).unwrap();
        let mut session = open(&guest).unwrap();
        assert_eq!(output(&mut session, "echo right"), "right\n");
    }

    let mut session = open(&guest).unwrap();
    let error = session.run("sleep 1000", Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error.fault, SessionFault::Deadline { .. }), "{error}");
    assert_eq!(output(&mut session, "echo right"), "right\n");

    let pid = guest.pid();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
    });
    let error = session.run("sleep 1000", PATIENCE).unwrap_err();
    assert_eq!(error.fault, SessionFault::Console(ConsoleError::Closed), "{error}");
    killer.join().unwrap().unwrap();
}

#[test]
fn a_panic_is_reported_with_the_guests_message() {
    let Some(guest) = start("a_panic_is_reported_with_the_guests_message", "rdinit=/etc") else {
        return;
    };
    let opened = Session::open(
        guest.console(),
        &image(Dialect::Ip),
        Transcript::unwritten(),
        &mut |_| (),
    );
    let error = opened.map(|_| ()).unwrap_err();
    assert!(
        matches!(&error.fault, SessionFault::Panic(line) if line.contains("Kernel panic")),
        "{error}"
    );
    assert!(error.screen.len() > 3, "{error}");
}
