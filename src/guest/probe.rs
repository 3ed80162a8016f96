//! Has a guest, or whatever else runs a shell, ping many addresses at once, in one exchange, and reads what came of
//! each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::error::SessionError;
use super::frame::fresh_word;
use super::session::Session;
use super::{Answer, LINE_LIMIT};

/// How often those addresses are asked for again whose line did not come whole.
const TRIES: u32 = 2;
/// Addresses on one line of the script: the longest is 39 bytes (RFC 4291, 2.2, form 1).
const TARGETS_A_LINE: usize = LINE_LIMIT / 45;
/// For a probe as such, and for every address that a lane pings one after the other. None takes longer than two
/// seconds in an idle guest.
const LIMIT: Duration = Duration::from_secs(30);
const LIMIT_EACH: Duration = Duration::from_secs(5);

/// How a guest is to ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Echo requests per address, 0.2 s apart. A duplicate MAC address lets the first one through, so never less
    /// than 2 where the answer is to be trusted.
    pub count: u32,
    /// Bytes of payload, e.g. 1472 to fill an Ethernet frame (1500 - 20 IP - 8 ICMP), sent with don't-fragment;
    /// absent: the program's own 56.
    pub size: Option<u16>,
    /// Pings that run at a time in one guest, at least 1.
    ///
    /// A raw socket gets every reply that the guest receives, not only its own program's, and busybox gives it room
    /// for about 19 (SO_RCVBUF of 2 × 56 + 7,168 bytes, doubled by the kernel; 768 bytes for a small packet). In a
    /// guest whose CPU was away for a while all replies come at once: with 8 programs × 2 replies none is lost by
    /// the guest itself and reported as the network's loss.
    pub at_once: usize,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            count: 2,
            size: None,
            at_once: 8,
        }
    }
}

/// Pings every one of `targets` and says for each what came of it. Only a line that came whole and that agrees with
/// itself is counted; all else is [`Answer::Unknown`].
///
/// A guest that says it has no route to an address has asked in vain: that counts as `received: 0`.
pub fn probe(
    session: &mut Session<'_>,
    targets: &[IpAddr],
    options: &ProbeOptions,
) -> Result<BTreeMap<IpAddr, Answer>, SessionError> {
    probe_by(targets, options, |script, within| {
        session.run_idempotent(script, within).map(|output| output.text)
    })
}

/// The same by whatever runs a script of sh(1) within a time and gives what it printed.
pub fn probe_by<E>(
    targets: &[IpAddr],
    options: &ProbeOptions,
    mut run: impl FnMut(&str, Duration) -> Result<String, E>,
) -> Result<BTreeMap<IpAddr, Answer>, E> {
    let mut answers = BTreeMap::new();
    let mut open: BTreeSet<IpAddr> = targets.iter().copied().collect();
    for _ in 0..TRIES {
        if open.is_empty() {
            break;
        }
        let in_a_row = u32::try_from(open.len().div_ceil(options.at_once.max(1))).unwrap_or(u32::MAX);
        let within = LIMIT.saturating_add(LIMIT_EACH.saturating_mul(in_a_row));
        let word = fresh_word();
        let text = run(&script(&word, &open, options), within)?;
        for (target, report) in text.lines().filter_map(|line| unwrap_line(line, &word)) {
            if open.remove(&target) {
                answers.insert(target, read_report(report, options.count));
            }
        }
    }
    let why = "the line about it did not come whole";
    answers.extend(open.into_iter().map(|target| (target, Answer::Unknown(why.into()))));
    Ok(answers)
}

/// The script that pings `targets`: `at_once` lanes at a time, in each one address after the other.
///
/// In a subshell, which keeps its functions to itself and prints nothing about background jobs. `ping -i` with a
/// fraction and `-M do` are not everywhere: they are tried on the guest itself. Without `-M do` Linux still sets
/// don't-fragment, as long as it has learnt of no smaller path MTU (ip(7), IP_MTU_DISCOVER). `echo` writes a line in
/// one piece, so the lines of many pings do not mix. `word` tells them from those of a probe that was given up.
fn script(word: &str, targets: &BTreeSet<IpAddr>, options: &ProbeOptions) -> String {
    let ProbeOptions { count, size, at_once } = options;
    // Writing to a `String` cannot fail.
    let mut script = String::from("( set -f; o=; ping -q -c1 -i0.2 -W1 127.0.0.1 >/dev/null 2>&1 && o=-i0.2\n");
    if let Some(size) = size {
        let _ = writeln!(
            script,
            "ping -q -M do -c1 -W1 127.0.0.1 >/dev/null 2>&1 && o=\"$o -M do\"; o=\"$o -s{size}\""
        );
    }
    let _ = writeln!(
        script,
        "p() {{ r=$(ping -q -c{count} -W1 $o $1 2>&1); s=${{r##*ping statistics ---}}"
    );
    let _ = writeln!(script, "echo \"{word} $1 [\" $s \"] $1 {word}\"; }}");
    script.push_str("f() { for t; do p $t; done; }\n");
    for lane in 0..(*at_once).clamp(1, targets.len().max(1)) {
        script.push_str("{ ");
        let mine: Vec<&IpAddr> = targets.iter().skip(lane).step_by((*at_once).max(1)).collect();
        for line in mine.chunks(TARGETS_A_LINE) {
            script.push('f');
            for target in line {
                let _ = write!(script, " {target}");
            }
            script.push('\n');
        }
        script.push_str("} &\n");
    }
    script.push_str("wait )\n");
    script
}

/// The address and the report of a line that came whole. What stands before it, a prompt or a kernel message, does
/// not touch it.
fn unwrap_line<'l>(line: &'l str, word: &str) -> Option<(IpAddr, &'l str)> {
    let (_, line) = line.split_once(word)?;
    let line = line.strip_suffix(word)?.trim();
    let (target, line) = line.split_once(" [ ")?;
    let (report, again) = line.rsplit_once(" ] ")?;
    (target == again).then_some(())?;
    Some((target.parse().ok()?, report))
}

/// What a ping program's summary says about `count` requests.
fn read_report(report: &str, count: u32) -> Answer {
    if let Some(answer) = read_summary(report, count) {
        return answer;
    }
    // ENETUNREACH and EHOSTUNREACH in the words of glibc and musl.
    let no_route = [
        "Network is unreachable",
        "Network unreachable",
        "No route to host",
        "Host is unreachable",
    ];
    if no_route.iter().any(|words| report.trim_end().ends_with(words)) {
        return Answer::Counted {
            sent: count,
            received: 0,
            rtt_ms: None,
        };
    }
    Answer::Unknown(format!("ping said: {}", report.chars().take(200).collect::<String>()))
}

/// Reads, for example,
/// `2 packets transmitted, 2 packets received, 0% packet loss round-trip min/avg/max = 0.060/0.076/0.093 ms` (busybox)
/// `2 packets transmitted, 2 received, +1 duplicates, 0% packet loss, time 201ms rtt min/avg/max/mdev = …` (iputils).
fn read_summary(report: &str, count: u32) -> Option<Answer> {
    let (counts, rest) = report.split_once("% packet loss")?;
    let mut counts = counts.split(", ");
    let sent: u32 = counts.next()?.strip_suffix(" packets transmitted")?.parse().ok()?;
    let received = counts.next()?.strip_suffix(" received")?;
    let received: u32 = received.strip_suffix(" packets").unwrap_or(received).parse().ok()?;
    let mut loss = None;
    for word in counts {
        match word.split_once(' ') {
            None => loss = word.parse::<f64>().ok(),
            Some((number, "duplicates" | "errors" | "corrupted")) => {
                number.trim_start_matches('+').parse::<u32>().ok()?;
            }
            Some(_) => return None,
        }
    }
    // The three numbers have to agree; iputils prints fractions of a percent, busybox cuts them off.
    let expected = 100.0 * f64::from(sent.checked_sub(received)?) / f64::from(sent);
    if sent == 0 || sent != count || (loss? - expected).abs() >= 1.0 {
        return None;
    }
    let rtt_ms = match rest.split_once("min/avg/max") {
        Some((_, times)) => Some(times.split_once("= ")?.1.split('/').nth(1)?.parse().ok()?),
        None => None,
    };
    // A reply without a time comes from a program that could not read its clock; a time without a reply is nonsense.
    (received > 0 || rtt_ms.is_none()).then_some(Answer::Counted { sent, received, rtt_ms })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guest::scripted::{Scripted, Shell, open};

    const BUSYBOX: &str = "2 packets transmitted, 2 packets received, 0% packet loss \
                           round-trip min/avg/max = 0.055/0.208/0.362 ms";

    fn counted(sent: u32, received: u32, rtt_ms: Option<f64>) -> Answer {
        Answer::Counted { sent, received, rtt_ms }
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
    fn no_route_is_not_reached_and_any_other_complaint_is_unknown() {
        let no_route = "PING 10.0.9.1 (10.0.9.1): 56 data bytes ping: sendto: Network is unreachable";
        assert_eq!(read_report(no_route, 2), counted(2, 0, None));
        for complaint in ["sh: ping: not found", "ping: permission denied (are you root?)", ""] {
            assert!(matches!(read_report(complaint, 2), Answer::Unknown(_)), "{complaint}");
        }
    }

    #[test]
    fn numbers_that_do_not_agree_are_unknown() {
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
    fn two_hundred_addresses_fit_into_lines_that_a_terminal_takes() {
        let targets: BTreeSet<IpAddr> = (0..200)
            .map(|n| IpAddr::from([0xfd00, 1, 2, 3, 4, 5, 6, 0x1000 + n]))
            .collect();
        for at_once in [0, 1, 8, 300] {
            let options = ProbeOptions {
                at_once,
                ..ProbeOptions::default()
            };
            let script = script("word", &targets, &options);
            assert!(script.lines().all(|line| line.len() <= LINE_LIMIT), "{script}");
            for target in &targets {
                assert_eq!(script.matches(&format!(" {target}")).count(), 1, "{target}");
            }
        }
    }

    /// A guest in which every ping is answered; its `garble` may spoil what it prints.
    fn answering(garble: impl FnMut(String) -> String + Send + 'static) -> Scripted {
        let shell = Shell::running(|script| {
            let Some(word) = script.split("echo \"").nth(1).and_then(|rest| rest.split(' ').next()) else {
                return (String::new(), 0);
            };
            let lanes = script
                .lines()
                .filter_map(|line| line.trim_start_matches("{ ").strip_prefix("f "));
            let targets = lanes.flat_map(str::split_whitespace);
            let answers: Vec<String> = targets
                .map(|target| format!("{word} {target} [ {BUSYBOX} ] {target} {word}\r\n"))
                .collect();
            (answers.concat(), 0)
        });
        Scripted::new(shell).garbled(garble)
    }

    #[test]
    fn an_answer_that_a_kernel_message_tore_is_asked_for_again() {
        let mut torn = false;
        let guest = answering(move |text| {
            if torn || !text.contains("10.0.1.3 [ 2 packets") {
                return text;
            }
            torn = true;
            text.replace("10.0.1.3 [ 2 pack", "10.0.1.3 [ 2 pa[    9.1] eth0: link is up\r\nck")
        });
        let targets = ["10.0.1.2", "10.0.1.3", "10.0.1.2"].map(|text| text.parse().unwrap());
        let answers = probe(&mut open(guest), &targets, &ProbeOptions::default()).unwrap();
        assert_eq!(answers.len(), 2);
        assert!(
            answers.values().all(|answer| *answer == counted(2, 2, Some(0.208))),
            "{answers:?}"
        );
    }

    #[test]
    fn an_answer_that_never_comes_whole_is_unknown() {
        let guest = answering(|text| text.replace("10.0.1.3 [ 2 pack", "10.0.1.3 [ 2 pa\r\nck"));
        let targets = ["10.0.1.2", "10.0.1.3"].map(|text| text.parse().unwrap());
        let answers = probe(&mut open(guest), &targets, &ProbeOptions::default()).unwrap();
        assert_eq!(answers[&targets[0]], counted(2, 2, Some(0.208)));
        assert!(matches!(answers[&targets[1]], Answer::Unknown(_)));
    }

    proptest! {
        #[test]
        fn a_line_with_something_in_it_is_never_another_answer(
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
