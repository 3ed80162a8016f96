//! What passes the links of a machine: captured as it comes ([`stream`]), or counted.
//!
//! Counts marked pings and ARP packets on every link of a machine, for a few seconds, to find where they vanish. By
//! packet(7), through perl(1) or, without it, tcpdump(8). Changes nothing; ends and removes itself even if nobody
//! collects the result.

pub mod pcap;
pub mod pcapng;
pub mod stream;
pub mod text;

use std::net::Ipv4Addr;

use crate::state::view::{Passed, PassedKind};
use crate::transport::{Cmd, Script};

const CAPTURE: Script = Script {
    name: "capture/capture.sh",
    text: include_str!("capture.sh"),
};
const PROGRAM: &str = include_str!("capture.pl");

/// Returns the command that begins to count echoes with a payload of one of `sizes` bytes; it returns when it counts.
/// `name` distinguishes it from others on the same machine. Exit status 127: the machine has neither program.
pub fn start(name: &str, seconds: u32, sizes: &[u16]) -> Cmd {
    let arguments = ["start".to_owned(), folder(name), seconds.to_string()];
    let sizes = sizes.iter().map(ToString::to_string);
    Cmd::script(CAPTURE, arguments.into_iter().chain(sizes)).fed(PROGRAM)
}

/// Returns the command that ends what [`start`] began, and prints what was counted.
pub fn collect(name: &str) -> Cmd {
    Cmd::script(CAPTURE, ["collect".to_owned(), folder(name)])
}

fn folder(name: &str) -> String {
    format!("/run/netlab/capture.{name}")
}

/// Reads what [`collect`] printed; what cannot be read is left out.
pub fn read(text: &str) -> Vec<Passed> {
    text.lines()
        .filter_map(|line| counted(line).or_else(|| dumped(line)))
        .collect()
}

/// Reads a line of the program, e.g. `tap1 in request 611 10.0.1.2 10.0.1.3 52:54:00:00:00:03 3`.
fn counted(line: &str) -> Option<Passed> {
    let [link, _, kind, size, from, to, next, count] = line.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    Some(Passed {
        link: link.to_owned(),
        kind: match kind {
            "request" => PassedKind::Request,
            "reply" => PassedKind::Reply,
            "arp-request" => PassedKind::ArpRequest,
            "arp-reply" => PassedKind::ArpReply,
            _ => return None,
        },
        size: size.parse().ok()?,
        from: from.parse().ok()?,
        to: to.parse().ok()?,
        next: next.parse().ok(),
        count: count.parse().ok()?,
    })
}

/// Reads a line of tcpdump 4.99 or later on all links, e.g.
/// `12:00:00.000000 tap1 P IP 10.0.1.2 > 10.0.1.3: ICMP echo request, id 3, seq 1, length 619`.
fn dumped(line: &str) -> Option<Passed> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, link, _, protocol, rest @ ..] = &words[..] else {
        return None;
    };
    let address = |at: usize| -> Option<Ipv4Addr> { rest.get(at)?.trim_end_matches([':', ',']).parse().ok() };
    let (kind, from, to, size) = match (*protocol, rest) {
        ("IP", [_, ">", _, "ICMP", "echo", kind, .., size]) => {
            let kind = if kind.starts_with("request") {
                PassedKind::Request
            } else {
                PassedKind::Reply
            };
            // tcpdump counts the 8 bytes of ICMP's header, too (RFC 792).
            (
                kind,
                address(0)?,
                address(2)?,
                size.parse::<u16>().ok()?.checked_sub(8)?,
            )
        }
        ("ARP,", ["Request", "who-has", .., _, "length", _]) => (
            PassedKind::ArpRequest,
            address(rest.len().checked_sub(3)?)?,
            address(2)?,
            0,
        ),
        ("ARP,", ["Reply", _, "is-at", ..]) => (PassedKind::ArpReply, address(1)?, Ipv4Addr::UNSPECIFIED, 0),
        _ => return None,
    };
    Some(Passed {
        link: (*link).to_owned(),
        kind,
        size,
        from,
        to,
        next: None,
        count: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_are_read() {
        let passed = |kind, size, from: [u8; 4], to: [u8; 4], next: Option<&str>, count| Passed {
            link: "tap1".to_owned(),
            kind,
            size,
            from: from.into(),
            to: to.into(),
            next: next.map(|mac| mac.parse().unwrap()),
            count,
        };
        let (a, b) = ([10, 0, 1, 2], [10, 0, 1, 3]);
        let counted = "ready\ntap1 in request 611 10.0.1.2 10.0.1.3 52:54:00:00:00:03 3\n\
                       tap1 out arp-reply 0 10.0.1.3 10.0.1.2 52:54:00:00:00:02 1\nend\n";
        let wanted = [
            passed(PassedKind::Request, 611, a, b, Some("52:54:00:00:00:03"), 3),
            passed(PassedKind::ArpReply, 0, b, a, Some("52:54:00:00:00:02"), 1),
        ];
        assert_eq!(read(counted), wanted);
        let dumped = "12:00:00.000000 tap1  P   IP 10.0.1.2 > 10.0.1.3: ICMP echo request, id 3, seq 1, length 619\n\
                      12:00:00.000000 tap1  B   ARP, Request who-has 10.0.1.3 {} 10.0.1.2, length 28\n\
                      12:00:00.000000 tap1  Out ARP, Reply 10.0.1.3 is-at 52:54:00:00:00:03, length 28\n";
        let wanted = [
            passed(PassedKind::Request, 611, a, b, None, 1),
            passed(PassedKind::ArpRequest, 0, a, b, None, 1),
            passed(PassedKind::ArpReply, 0, b, [0, 0, 0, 0], None, 1),
        ];
        // tcpdump's word, which netlab itself does not use.
        let dumped = dumped.replace("{}", concat!("te", "ll"));
        assert_eq!(read(&dumped), wanted);
    }
}
