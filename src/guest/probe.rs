//! Makes a guest, or another shell, ping many addresses at once in one exchange, and reads the result of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::LINE_LIMIT;
use super::embedded::code;
use super::error::SessionError;
use super::frame::fresh_nonce;
use super::seen::{self, ArpQuestion, GuestView};
use super::services::{self, ServiceAnswer, ServiceQuestion};
use super::session::Session;

/// How often an address is probed whose line did not arrive intact.
const ATTEMPTS: u32 = 2;
/// Addresses per line of the script: the longest has 39 bytes (RFC 4291, 2.2, form 1).
const TARGETS_PER_LINE: usize = LINE_LIMIT / 45;
/// The deadline of a probe, and what is added for every address that a lane pings in sequence. None takes longer than
/// two seconds in an idle guest.
const LIMIT: Duration = Duration::from_secs(30);
const LIMIT_EACH: Duration = Duration::from_secs(5);

/// The functions of the script.
const PING: &str = include_str!("probe.sh");

/// The result of a guest's pings to one address.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The pings were sent and counted; `received` 0 is "not reached", between 0 and `sent` is "lossy".
    Counted {
        /// Echo requests sent.
        sent: u32,
        /// Echo replies received.
        received: u32,
        /// Mean round trip in milliseconds, where there was one.
        rtt_ms: Option<f64>,
        /// What the program itself gave as the reason of a loss, e.g. `Network is unreachable`.
        #[serde(default)]
        said: Option<String>,
    },
    /// No result, and why. Never counts as a pass, nor as a proof of isolation.
    Unknown(String),
}

/// The answers about one address.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The pings that were sent first.
    pub answer: Answer,
    /// Where those were full packets and did not all come back: the small ones sent after them.
    pub small: Option<Answer>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, small: None }
    }
}

/// An address to ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub address: IpAddr,
    /// Bytes of payload, e.g. 1472 to fill an Ethernet frame (1500 - 20 IP - 8 ICMP), sent with don't-fragment;
    /// absent: the program's own 56. Where not all of the full packets come back, small ones are sent after them.
    pub size: Option<u16>,
    /// Nobody should answer: more of these are pinged at a time, and late replies are not waited for.
    pub silent: bool,
}

impl From<IpAddr> for Target {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            size: None,
            silent: false,
        }
    }
}

/// How a guest pings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Echo requests per address, 0.2 s apart. With a duplicate MAC address the first one is still answered, so at
    /// least 2 for a reliable answer.
    pub count: u32,
    /// Seconds that the last reply is waited for, at least 1. On a machine that is busy with many guests replies of
    /// more than a second were seen.
    pub wait: u32,
    /// Pings that run at a time in one guest, at least 1; half as many where some are full packets, which take three
    /// times the space. Twice as many addresses at which nobody should answer are pinged beside them.
    ///
    /// A raw socket gets every reply that the guest receives, not only its own program's, and busybox's buffer holds
    /// about 19 (SO_RCVBUF of 2 × 56 + 7,168 bytes, doubled by the kernel; 768 bytes per small packet). In a guest
    /// whose CPU was not scheduled for a while all replies arrive at once: of 8 programs × 2 replies none is dropped
    /// by the guest itself and reported as loss of the network.
    pub at_once: usize,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            count: 2,
            wait: 1,
            at_once: 8,
        }
    }
}

/// Pings each of `targets`, in their order, and returns the replies. Only an intact line without contradictions is counted;
/// everything else is [`Answer::Unknown`]. Fails only where the session does.
///
/// A guest without a route to an address cannot reach it: that counts as `received: 0`.
pub fn probe(
    session: &mut Session<'_>,
    targets: &[Target],
    options: &ProbeOptions,
) -> Result<BTreeMap<IpAddr, Reply>, SessionError> {
    probe_by(targets, options, |script, within| {
        session.run_idempotent(script, within).map(|output| output.text)
    })
}

/// What one exchange answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// The replies to the pings.
    pub replies: BTreeMap<IpAddr, Reply>,
    /// What the guest shows after the pings; absent where it was not asked, or its answer was not intact.
    pub view: Option<GuestView>,
    /// Services and paths.
    pub services: BTreeMap<ServiceQuestion, ServiceAnswer>,
}

/// Like [`probe`], and in the same exchange asks services; with `by_arp` it also asks by ARP and reads what the guest shows
/// after the pings.
pub fn probe_and_ask(
    session: &mut Session<'_>,
    targets: &[Target],
    options: &ProbeOptions,
    by_arp: Option<&[ArpQuestion]>,
    services: &[ServiceQuestion],
) -> Result<Answers, SessionError> {
    probe_all(targets, options, by_arp, services, |script, within| {
        session.run_idempotent(script, within).map(|output| output.text)
    })
}

/// Like [`probe`], by a function that runs a script of sh(1) within a deadline and returns its standard output.
pub fn probe_by<E>(
    targets: &[Target],
    options: &ProbeOptions,
    run: impl FnMut(&str, Duration) -> Result<String, E>,
) -> Result<BTreeMap<IpAddr, Reply>, E> {
    Ok(probe_all(targets, options, None, &[], run)?.replies)
}

/// Asks services by such a function.
pub fn ask_by<E>(
    services: &[ServiceQuestion],
    run: impl FnMut(&str, Duration) -> Result<String, E>,
) -> Result<BTreeMap<ServiceQuestion, ServiceAnswer>, E> {
    Ok(probe_all(&[], &ProbeOptions::default(), None, services, run)?.services)
}

/// Pings, asks services, and with `by_arp` observes.
fn probe_all<E>(
    targets: &[Target],
    options: &ProbeOptions,
    by_arp: Option<&[ArpQuestion]>,
    services: &[ServiceQuestion],
    mut run: impl FnMut(&str, Duration) -> Result<String, E>,
) -> Result<Answers, E> {
    let mut answers = Answers::default();
    let mut seen = BTreeSet::new();
    let mut open: Vec<Target> = targets.iter().copied().filter(|one| seen.insert(one.address)).collect();
    let mut questions: BTreeMap<usize, &ServiceQuestion> = services.iter().enumerate().collect();
    for _ in 0..ATTEMPTS {
        if open.is_empty() && questions.is_empty() && (by_arp.is_none() || answers.view.is_some()) {
            break;
        }
        let in_a_row = u32::try_from(open.len().div_ceil(options.at_once.max(1))).unwrap_or(u32::MAX);
        let each = LIMIT_EACH.saturating_mul(options.wait.max(1));
        let within = LIMIT
            .saturating_add(each.saturating_mul(in_a_row))
            .saturating_add(services::limit(questions.len()));
        let mark = fresh_nonce();
        let text = run(&script(&mark, &open, options, by_arp, &questions), within)?;
        answers.view = answers.view.or_else(|| seen::read(&text, &mark));
        let mut given: BTreeMap<IpAddr, &str> = text.lines().filter_map(|line| unwrap_line(line, &mark)).collect();
        open.retain(|target| match given.remove(&target.address) {
            Some(reports) => {
                let reply = read_reports(reports, options.count);
                answers.replies.insert(target.address, reply);
                false
            }
            None => true,
        });
        for (number, answer) in services::read(&text, &mark, &questions) {
            if let Some(question) = questions.remove(&number) {
                answers.services.insert(question.clone(), answer);
            }
        }
    }
    let why = "its line in the guest's answer was garbled";
    let open = open.into_iter();
    let open = open.map(|target| (target.address, Answer::Unknown(why.into()).into()));
    answers.replies.extend(open);
    let unanswered = questions.into_values().cloned();
    let unanswered = unanswered.map(|question| (question, ServiceAnswer::Unknown(why.into())));
    answers.services.extend(unanswered);
    Ok(answers)
}

/// Returns the script that pings `targets`: some lanes at a time, one address after the other in each.
///
/// In a subshell, which keeps its functions to itself and prints nothing about background jobs. Without `-M do` Linux
/// still sets don't-fragment, as long as it has not learned of a smaller path MTU (ip(7), IP_MTU_DISCOVER). `echo`
/// writes a line at once, so the lines of parallel pings do not mix. `mark` distinguishes them from those of an
/// abandoned probe.
fn script(
    mark: &str,
    targets: &[Target],
    options: &ProbeOptions,
    by_arp: Option<&[ArpQuestion]>,
    asked: &BTreeMap<usize, &ServiceQuestion>,
) -> String {
    let ProbeOptions { count, wait, at_once } = options;
    let at_once = (*at_once).max(1);
    let mut script = format!("( set -f; w={mark} c={count} v={} z=\n{}", (*wait).max(1), code(PING));
    script.push_str(&by_arp.map_or_else(String::new, seen::questions));
    script.push_str(&services::script(asked));
    let (silent, loud): (Vec<Target>, Vec<Target>) = targets.iter().partition(|target| target.silent);
    let full = loud.iter().any(|target| target.size.is_some());
    add_lanes(&mut script, &silent, 2 * at_once, "v=1\n");
    add_lanes(&mut script, &loud, if full { at_once.div_ceil(2) } else { at_once }, "");
    script.push_str("wait\n");
    if by_arp.is_some() {
        script.push_str(seen::PRINT);
    }
    script.push_str(")\n");
    script
}

/// Adds lanes that each begin with `first`.
fn add_lanes(script: &mut String, targets: &[Target], lanes: usize, first: &str) {
    for lane in 0..lanes.min(targets.len()) {
        let _ = write!(script, "{{ {first}");
        let mine: Vec<&Target> = targets.iter().skip(lane).step_by(lanes).collect();
        let mut size = None;
        for same in mine.chunk_by(|a, b| a.size == b.size) {
            if same[0].size != size {
                size = same[0].size;
                let size = size.map_or_else(String::new, |size| size.to_string());
                // Writing to a `String` cannot fail.
                let _ = writeln!(script, "z={size}");
            }
            for line in same.chunks(TARGETS_PER_LINE) {
                script.push('f');
                for target in line {
                    let _ = write!(script, " {}", target.address);
                }
                script.push('\n');
            }
        }
        script.push_str("} &\n");
    }
}

/// Reads the reports about one address: of the pings that were sent first; where those were full packets and some were lost,
/// of small ones; and where only the small ones came back, of full ones once more.
fn read_reports(reports: &str, count: u32) -> Reply {
    let mut reports = reports.split(" | ").map(|report| read_report(report, count));
    let first = reports
        .next()
        .unwrap_or_else(|| Answer::Unknown("no report".to_owned()));
    let small = reports.next();
    let answer = match (first, reports.next()) {
        (
            Answer::Counted { sent: before, .. },
            Some(Answer::Counted {
                sent,
                received,
                rtt_ms,
                said,
            }),
        ) => Answer::Counted {
            sent: before + sent,
            received,
            rtt_ms,
            said,
        },
        (first, _) => first,
    };
    Reply { answer, small }
}

/// Returns the address and the report of an intact line. A prompt or a kernel message may precede it.
fn unwrap_line<'l>(line: &'l str, mark: &str) -> Option<(IpAddr, &'l str)> {
    let (_, line) = line.split_once(mark)?;
    let line = line.strip_suffix(mark)?.trim();
    let (target, line) = line.split_once(" [ ")?;
    let (report, again) = line.rsplit_once(" ] ")?;
    (target == again).then_some(())?;
    Some((target.parse().ok()?, report))
}

/// Reads a ping program's summary of `count` requests.
pub(super) fn read_report(report: &str, count: u32) -> Answer {
    if let Some(answer) = read_summary(report, count) {
        return answer;
    }
    // ENETUNREACH and EHOSTUNREACH as glibc and musl print them.
    let no_route = [
        "Network is unreachable",
        "Network unreachable",
        "No route to host",
        "Host is unreachable",
    ];
    if let Some(message) = no_route.iter().find(|message| report.trim_end().ends_with(**message)) {
        return Answer::Counted {
            sent: count,
            received: 0,
            rtt_ms: None,
            said: Some((*message).to_owned()),
        };
    }
    Answer::Unknown(format!(
        "ping printed: {}",
        report.chars().take(200).collect::<String>()
    ))
}

/// Reads, for example,
/// `2 packets transmitted, 2 packets received, 0% packet loss round-trip min/avg/max = 0.060/0.076/0.093 ms` (busybox)
/// `2 packets transmitted, 2 received, +1 duplicates, 0% packet loss, time 201ms rtt min/avg/max/mdev = …` (iputils).
fn read_summary(report: &str, requests: u32) -> Option<Answer> {
    let (counts, rest) = report.split_once("% packet loss")?;
    let mut counts = counts.split(", ");
    let sent: u32 = counts.next()?.strip_suffix(" packets transmitted")?.parse().ok()?;
    let received = counts.next()?.strip_suffix(" received")?;
    let received: u32 = received.strip_suffix(" packets").unwrap_or(received).parse().ok()?;
    let mut loss = None;
    for count in counts {
        match count.split_once(' ') {
            None => loss = count.parse::<f64>().ok(),
            Some((number, "duplicates" | "errors" | "corrupted")) => {
                number.trim_start_matches('+').parse::<u32>().ok()?;
            }
            Some(_) => return None,
        }
    }
    // The three numbers must agree; iputils prints fractions of a percent, busybox truncates them.
    let expected = 100.0 * f64::from(sent.checked_sub(received)?) / f64::from(sent);
    if sent == 0 || sent != requests || (loss? - expected).abs() >= 1.0 {
        return None;
    }
    let rtt_ms = match rest.split_once("min/avg/max") {
        Some((_, times)) => Some(times.split_once("= ")?.1.split('/').nth(1)?.parse().ok()?),
        None => None,
    };
    // A reply without a time comes from a program that could not read its clock; a time without a reply is garbled.
    (received > 0 || rtt_ms.is_none()).then_some(Answer::Counted {
        sent,
        received,
        rtt_ms,
        said: None,
    })
}

#[cfg(test)]
mod tests {
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
}
