//! Reads what ping programs print.

use std::net::IpAddr;

use super::{Answer, Reply};

/// Reads the reports about one address: of the pings that were sent first; where those were full packets and some were lost,
/// of small ones; and where only the small ones came back, of full ones once more.
pub(super) fn read_reports(reports: &str, count: u32) -> Reply {
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
pub(super) fn unwrap_line<'l>(line: &'l str, mark: &str) -> Option<(IpAddr, &'l str)> {
    let (_, line) = line.split_once(mark)?;
    let line = line.strip_suffix(mark)?.trim();
    let (target, line) = line.split_once(" [ ")?;
    let (report, again) = line.rsplit_once(" ] ")?;
    (target == again).then_some(())?;
    Some((target.parse().ok()?, report))
}

/// Messages of a kernel that has no route: ENETUNREACH and EHOSTUNREACH as glibc and musl print them.
pub const NO_ROUTE: [&str; 4] = [
    "Network is unreachable",
    "Network unreachable",
    "No route to host",
    "Host is unreachable",
];
/// Messages of a kernel that refuses to send: by a blackhole route (EINVAL), a prohibiting one (EACCES), a firewall (EPERM).
const REFUSED: [&str; 3] = ["Invalid argument", "Permission denied", "Operation not permitted"];

/// Returns the reason by which the asker's own kernel sent nothing. A program that may not open its socket has sent nothing
/// either, but has not tried to.
fn refusal(report: &str) -> Option<&'static str> {
    let report = report.trim_end();
    let no_route = NO_ROUTE.into_iter().find(|message| report.ends_with(message));
    let sending = ["connect: ", "sendto: ", "sendmsg: "]
        .iter()
        .any(|call| report.contains(call));
    no_route.or_else(|| REFUSED.into_iter().find(|message| sending && report.ends_with(message)))
}

/// Reads a ping program's summary of `count` requests.
pub(in super::super) fn read_report(report: &str, count: u32) -> Answer {
    if let Some(answer) = read_summary(report, count) {
        return answer;
    }
    if let Some(message) = refusal(report) {
        return Answer::Counted {
            sent: count,
            received: 0,
            rtt_ms: None,
            said: Some(message.to_owned()),
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
