//! The script, and what is read of its output.

use proptest::prelude::*;

use super::*;
use crate::guest::scripted::{Scripted, Shell, open};

const BUSYBOX: &str = "2 packets transmitted, 2 packets received, 0% packet loss \
                       round-trip min/avg/max = 0.055/0.208/0.362 ms";

fn counted(sent: u32, received: u32, rtt_ms: Option<f64>) -> Answer {
    let said = None;
    Answer::Counted {
        sent,
        received,
        rtt_ms,
        said,
    }
}

fn target(address: &str) -> Target {
    address.parse::<IpAddr>().unwrap().into()
}

/// Runs the script with a `ping` that prints what `answer`, a part of a shell's `case`, sets for its arguments.
fn with_ping(answer: &str, targets: &[Target]) -> BTreeMap<IpAddr, Reply> {
    let folder = tempfile::tempdir().unwrap();
    let program = format!(
        "#!/bin/sh\ncase \" $*\" in *127.0.0.1) exit 0;; {answer} esac\n\
         echo \"PING x --- ping statistics ---\"; echo \"2 packets transmitted, $n packets received, $l% packet loss\"\n"
    );
    let path = folder.path().join("ping");
    std::fs::write(&path, program).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let run = |script: &str, _: Duration| {
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .env("PATH", &path)
            .output();
        Ok::<_, std::convert::Infallible>(String::from_utf8(output.unwrap().stdout).unwrap())
    };
    probe_by(targets, &ProbeOptions::default(), run).unwrap()
}

#[test]
fn full_packets_that_are_lost_are_followed_by_small_ones_in_the_same_exchange() {
    let full = |address| Target {
        size: Some(1472),
        ..target(address)
    };
    let targets = [full("10.0.0.1"), full("10.0.0.2"), full("10.0.0.3"), target("10.0.0.4")];
    let answer = "*s1472*0.2) n=0 l=100;; *s1472*0.3) n=1 l=50;; *0.3) n=0 l=100;; *s1472*0.4) exit 1;; \
                  *) n=2 l=0;;";
    let replies = with_ping(answer, &targets);
    let reply = |last: usize| replies[&targets[last - 1].address].clone();
    assert_eq!(reply(1), counted(2, 2, None).into());
    let only_small = Reply {
        answer: counted(4, 0, None),
        small: Some(counted(2, 2, None)),
    };
    assert_eq!(reply(2), only_small, "full packets are sent twice");
    let lossy = Reply {
        answer: counted(2, 1, None),
        small: Some(counted(2, 0, None)),
    };
    assert_eq!(reply(3), lossy);
    assert_eq!(reply(4), counted(2, 2, None).into());
}

#[test]
fn the_summaries_of_busybox_and_iputils_are_read() {
    assert_eq!(read_report(BUSYBOX, 2), counted(2, 2, Some(0.208)));
    let iputils = "2 packets transmitted, 1 received, +1 duplicates, 50% packet loss, time 201ms \
                   rtt min/avg/max/mdev = 0.040/0.052/0.064/0.012 ms";
    assert_eq!(read_report(iputils, 2), counted(2, 1, Some(0.052)));
    let nobody = "2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 1001ms";
    assert_eq!(read_report(nobody, 2), counted(2, 0, None));
    let third = "3 packets transmitted, 2 packets received, 33% packet loss round-trip min/avg/max = 1/2/3 ms";
    assert_eq!(read_report(third, 3), counted(3, 2, Some(2.0)));
}

#[test]
fn no_route_counts_as_unreachable_and_any_other_message_is_unknown() {
    let no_route = "PING 10.0.9.1 (10.0.9.1): 56 data bytes ping: sendto: Network is unreachable";
    let Answer::Counted {
        sent: 2,
        received: 0,
        said: Some(said),
        ..
    } = read_report(no_route, 2)
    else {
        panic!("{no_route}");
    };
    assert_eq!(said, "Network is unreachable");
    // By a blackhole route, a prohibiting one, and a firewall.
    for refused in [
        "ping: connect: Invalid argument",
        "ping: connect: Permission denied",
        "PING 10.0.9.1 (10.0.9.1): 56 data bytes ping: sendto: Operation not permitted",
    ] {
        assert!(
            matches!(
                read_report(refused, 2),
                Answer::Counted {
                    received: 0,
                    said: Some(_),
                    ..
                }
            ),
            "{refused}"
        );
    }
    for complaint in ["sh: ping: not found", "ping: permission denied (are you root?)", ""] {
        assert!(matches!(read_report(complaint, 2), Answer::Unknown(_)), "{complaint}");
    }
}

#[test]
fn contradicting_numbers_are_unknown() {
    for wrong in [
        "2 packets transmitted, 2 packets received, 50% packet loss",
        "2 packets transmitted, 3 packets received, 0% packet loss",
        "3 packets transmitted, 3 packets received, 0% packet loss",
        "2 packets transmitted, 0 packets received, 100% packet loss round-trip min/avg/max = 1/2/3 ms",
        "2 packets transmitted, 2 [    3.1] eth0: link up packets received, 0% packet loss",
        "0 packets transmitted, 0 packets received, 0% packet loss",
    ] {
        assert!(matches!(read_report(wrong, 2), Answer::Unknown(_)), "{wrong}");
    }
    assert!(matches!(
        read_report("0 packets transmitted, 0 received, 0% packet loss", 0),
        Answer::Unknown(_)
    ));
}

#[test]
fn two_hundred_addresses_fit_into_the_lines_of_a_terminal() {
    let target = |n: u16| Target {
        address: IpAddr::from([0xfd00, 1, 2, 3, 4, 5, 6, 0x1000 + n]),
        size: n.is_multiple_of(3).then_some(1472),
        silent: n.is_multiple_of(5),
    };
    let targets: Vec<Target> = (0..200).map(target).collect();
    for at_once in [0, 1, 8, 300] {
        let options = ProbeOptions {
            at_once,
            ..ProbeOptions::default()
        };
        let script = script("mark", &targets, &options, None, &BTreeMap::new());
        assert!(script.lines().all(|line| line.len() <= LINE_LIMIT), "{script}");
        for target in &targets {
            assert_eq!(script.matches(&format!(" {}", target.address)).count(), 1, "{target:?}");
        }
    }
}

/// A guest in which every ping is answered; `garble` changes what it prints.
fn answering(garble: impl FnMut(String) -> String + Send + 'static) -> Scripted {
    let shell = Shell::running(|script| {
        let Some(mark) = script.split(" w=").nth(1).and_then(|rest| rest.split(' ').next()) else {
            return (String::new(), 0);
        };
        let lanes = script
            .lines()
            .filter_map(|line| line.trim_start_matches("{ ").strip_prefix("f "));
        let targets = lanes.flat_map(str::split_whitespace);
        let answers: Vec<String> = targets
            .map(|target| format!("{mark} {target} [ {BUSYBOX} ] {target} {mark}\r\n"))
            .collect();
        (answers.concat(), 0)
    });
    Scripted::new(shell).garbled(garble)
}

#[test]
fn an_answer_split_by_a_kernel_message_is_requested_again() {
    let mut split = false;
    let guest = answering(move |text| {
        if split || !text.contains("10.0.1.3 [ 2 packets") {
            return text;
        }
        split = true;
        text.replace("10.0.1.3 [ 2 pack", "10.0.1.3 [ 2 pa[    9.1] eth0: link is up\r\nck")
    });
    let targets = ["10.0.1.2", "10.0.1.3", "10.0.1.2"].map(target);
    let answers = probe(&mut open(guest), &targets, &ProbeOptions::default()).unwrap();
    assert_eq!(answers.len(), 2);
    assert!(
        answers
            .values()
            .all(|reply| *reply == counted(2, 2, Some(0.208)).into()),
        "{answers:?}"
    );
}

#[test]
fn an_answer_that_never_arrives_intact_is_unknown() {
    let guest = answering(|text| text.replace("10.0.1.3 [ 2 pack", "10.0.1.3 [ 2 pa\r\nck"));
    let targets = ["10.0.1.2", "10.0.1.3"].map(target);
    let answers = probe(&mut open(guest), &targets, &ProbeOptions::default()).unwrap();
    assert_eq!(answers[&targets[0].address], counted(2, 2, Some(0.208)).into());
    assert!(matches!(answers[&targets[1].address].answer, Answer::Unknown(_)));
}

proptest! {
    #[test]
    fn noise_in_a_line_never_changes_the_answer(
        place in any::<prop::sample::Index>(),
        noise in "[ -~]{1,20}\r?\n",
    ) {
        let line = "w1 10.0.1.2 [ 2 packets transmitted, 0 packets received, 100% packet loss ] 10.0.1.2 w1\n";
        let mut text = line.to_owned();
        text.insert_str(place.index(text.len()), &noise);
        for (target, report) in text.lines().filter_map(|line| unwrap_line(line, "w1")) {
            prop_assert_eq!(target, "10.0.1.2".parse::<IpAddr>().unwrap());
            prop_assert_eq!(read_report(report, 2), counted(2, 0, None));
        }
    }
}
