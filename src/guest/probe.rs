//! Has a guest ping many addresses at once, in one exchange, and reads what came of each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::error::SessionError;
use super::frame::fresh_word;
use super::session::Session;
use super::{Answer, LINE_LIMIT};

/// How often those addresses are asked for again whose line did not come whole.
const TRIES: u32 = 2;
/// What is left of a line for addresses: the longest is 45 bytes (RFC 4291, 2.2, form 3).
const TARGET_ROOM: usize = LINE_LIMIT - 60;
/// For one batch of pings, of which none takes longer than a second or two on an idle guest.
const BATCH_LIMIT: Duration = Duration::from_secs(20);

/// How a guest is to ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Echo requests per address, 0.2 s apart. A duplicate MAC address lets the first one through, so never less
    /// than 2 where the answer is to be trusted.
    pub count: u32,
    /// Bytes of payload, e.g. 1472 to fill an Ethernet frame (1500 - 20 IP - 8 ICMP), sent with don't-fragment;
    /// absent: the program's own 56.
    pub size: Option<u16>,
    /// Pings that run at a time in one guest.
    pub at_once: usize,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            count: 2,
            size: None,
            at_once: 32,
        }
    }
}

/// Pings every one of `targets` and says for each what came of it. Only a line that came whole and that agrees with
/// itself is counted; all else is [`Answer::Unknown`].
///
/// A guest that says it has no route to an address has asked in vain: that counts as `received: 0`.
pub fn probe(
    session: &mut Session,
    targets: &[IpAddr],
    options: &ProbeOptions,
) -> Result<BTreeMap<IpAddr, Answer>, SessionError> {
    let mut answers = BTreeMap::new();
    for _ in 0..TRIES {
        let open: Vec<IpAddr> = targets
            .iter()
            .filter(|target| !answers.contains_key(*target))
            .copied()
            .collect();
        if open.is_empty() {
            break;
        }
        let batches = u32::try_from(open.len().div_ceil(options.at_once.max(1))).unwrap_or(u32::MAX);
        let word = fresh_word();
        let output = session.run_idempotent(&script(&word, &open, options), BATCH_LIMIT.saturating_mul(batches))?;
        for line in output.text.lines() {
            if let Some((target, report)) = unwrap_line(line, &word).filter(|(target, _)| open.contains(target)) {
                // Two different reports on one address: one of them is a stranger's.
                let answer = read_report(report, options.count);
                answers
                    .entry(target)
                    .and_modify(|first| {
                        if *first != answer {
                            *first = Answer::Unknown("two different answers".into());
                        }
                    })
                    .or_insert(answer);
            }
        }
    }
    let unknown = || Answer::Unknown("the guest's line about it did not come whole".into());
    Ok(targets
        .iter()
        .map(|target| (*target, answers.remove(target).unwrap_or_else(unknown)))
        .collect())
}

/// The script that pings `targets`, `at_once` at a time.
///
/// In a subshell, which keeps its functions to itself and prints nothing about background jobs. `ping -i` with a
/// fraction and `-M do` are not everywhere: they are tried on the guest itself. Without `-M do` Linux still sets
/// don't-fragment, as long as it has learnt of no smaller path MTU (ip(7), IP_MTU_DISCOVER). `echo` writes a line in
/// one piece, so the lines of many pings do not mix. `word` tells them from those of a probe that was given up.
fn script(word: &str, targets: &[IpAddr], options: &ProbeOptions) -> String {
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
    let _ = writeln!(
        script,
        "n=0; f() {{ for t; do p $t & n=$((n+1)); [ $n -lt {at_once} ] || {{ wait; n=0; }}; done; }}"
    );
    let mut line = String::from("f");
    for target in targets {
        if line.len() > TARGET_ROOM {
            script.push_str(&line);
            line = String::from("\nf");
        }
        let _ = write!(line, " {target}");
    }
    script.push_str(&line);
    script.push_str("\nwait )\n");
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
