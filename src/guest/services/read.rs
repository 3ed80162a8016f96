//! Reads what the programs of services.sh printed: `PROGRAM STATUS TEXT`, lines of the text separated by `|`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::super::probe::read_report;
use super::{PINGS, ServiceAnswer, ServiceQuestion};

/// The status of a program that timeout(1) of coreutils or busybox ended.
const ENDED: [u16; 2] = [124, 143];

/// What programs print where a name is not resolved: busybox, glibc, musl, curl, wget.
const UNRESOLVED: [&str; 9] = [
    "bad address",
    "Name or service not known",
    "Temporary failure in name resolution",
    "Name does not resolve",
    "Could not resolve host",
    "unable to resolve host",
    "nodename nor servname",
    "No address associated",
    "unknown host",
];

/// What programs print where nothing answers, in the words of the C library, and what that means.
const NOTHING: [(&str, &str); 10] = [
    ("refused", "the connection is refused"),
    ("reset by peer", "the connection is reset"),
    ("timed out", "no answer in 5 seconds"),
    ("timeout", "no answer in 5 seconds"),
    ("Timeout", "no answer in 5 seconds"),
    ("No route to host", "no route to host"),
    ("Host is unreachable", "no route to host"),
    ("etwork is unreachable", "network is unreachable"),
    ("etwork unreachable", "network is unreachable"),
    ("Empty reply", "the connection was closed without an answer"),
];

/// Returns the answer in a report; `None` where it is not one.
pub(super) fn answer(question: &ServiceQuestion, report: &str) -> Option<ServiceAnswer> {
    let (program, rest) = report.split_once(' ')?;
    let (status, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let status: u16 = status.parse().ok()?;
    if program == "none" {
        let lacks = match question {
            ServiceQuestion::Tcp { .. } => "neither nc nor bash nor python3",
            ServiceQuestion::Http { .. } => "neither curl nor wget",
            ServiceQuestion::Dns { .. } => "neither dig nor drill nor host nor nslookup nor getent",
            ServiceQuestion::Ping { .. } => "no ping",
        };
        return Some(ServiceAnswer::CannotAsk(format!("it has {lacks}")));
    }
    Some(match question {
        ServiceQuestion::Tcp { .. } => tcp(program, status, text),
        ServiceQuestion::Http { .. } => http(program, status == 1, text),
        ServiceQuestion::Dns { .. } => dns(program, status, text),
        ServiceQuestion::Ping { .. } => ping(text),
    })
}

fn tcp(program: &str, status: u16, text: &str) -> ServiceAnswer {
    if status == 0 {
        return ServiceAnswer::Connected;
    }
    match (program, text) {
        // Some of busybox's nc can only wait until the other side ends the connection.
        ("busybox", "") => ServiceAnswer::Unknown("nc was connected or not: it printed nothing".to_owned()),
        (_, "") if ENDED.contains(&status) => ServiceAnswer::Nothing("no answer in 8 seconds".to_owned()),
        _ => failed(program, text),
    }
}

fn http(program: &str, has_text: bool, text: &str) -> ServiceAnswer {
    let (page, printed): (Vec<&str>, Vec<&str>) = text.split('|').partition(|line| line.starts_with('='));
    let status = printed.iter().rev().find_map(|line| {
        let (_, rest) = line.split_once("HTTP/")?;
        rest.split_whitespace().nth(1)?.get(..3)?.parse().ok()
    });
    match status {
        Some(status) => ServiceAnswer::Page {
            status,
            has_text,
            begin: page.first().map(|line| line[1..].trim().to_owned()).unwrap_or_default(),
        },
        None if !page.is_empty() => {
            ServiceAnswer::Unknown(format!("what answers does not speak HTTP: {}", &page[0][1..]))
        }
        None if text.is_empty() => ServiceAnswer::Nothing("no answer in 8 seconds".to_owned()),
        None => failed(program, &printed.join(" ")),
    }
}

fn dns(program: &str, status: u16, text: &str) -> ServiceAnswer {
    let lines: Vec<&str> = text.split('|').map(str::trim).collect();
    let silent = || ServiceAnswer::Unresolved("its name server does not answer".to_owned());
    let found: BTreeSet<IpAddr> = match program {
        "dig" | "drill" => lines.iter().filter_map(|line| record(line)).collect(),
        "host" => lines
            .iter()
            .filter_map(|line| line.split_once(" has address ")?.1.parse().ok())
            .collect(),
        "nslookup" => answers(&lines),
        // getent ahostsv4: an address begins each line.
        _ => lines
            .iter()
            .filter_map(|line| line.split(' ').next()?.parse().ok())
            .collect(),
    };
    if !found.is_empty() {
        return ServiceAnswer::Addresses(found);
    }
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["NXDOMAIN", "NOERROR", "No answer", "not found", "has no A record"])
        || (program == "getent" && status == 2)
    {
        // getent(1) does not distinguish a name that does not exist from a server that does not answer.
        return if program == "getent" {
            ServiceAnswer::Unresolved("getent does not find it".to_owned())
        } else {
            ServiceAnswer::Addresses(BTreeSet::new())
        };
    }
    if let Some(code) = ["REFUSED", "SERVFAIL", "NOTIMP", "FORMERR"]
        .iter()
        .find(|code| text.contains(**code))
    {
        return ServiceAnswer::Unresolved(format!("its name server answers {code}"));
    }
    if text.is_empty()
        || ENDED.contains(&status)
        || has(&[
            "timed out",
            "no servers",
            "Could not send",
            "can't resolve",
            "unreachable",
            "refused",
        ])
    {
        return silent();
    }
    ServiceAnswer::Unknown(printed(program, text))
}

/// The address of a line of a zone file, as dig and drill print it: `vm1.lab. 0 IN A 10.0.1.2`.
fn record(line: &str) -> Option<IpAddr> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [name, _, "IN", "A", address] if !name.starts_with(';') => address.parse().ok(),
        _ => None,
    }
}

/// The addresses behind a line `Name:`; those before it are of the server. busybox 1.28 and older number them.
fn answers(lines: &[&str]) -> BTreeSet<IpAddr> {
    let behind = lines.iter().skip_while(|line| !line.starts_with("Name:"));
    let address = |line: &&str| {
        let (_, rest) = line.strip_prefix("Address")?.split_once(':')?;
        let address: Ipv4Addr = rest.split_whitespace().next()?.parse().ok()?;
        Some(IpAddr::V4(address))
    };
    behind.filter_map(address).collect()
}

fn ping(text: &str) -> ServiceAnswer {
    if let Some(found) = unresolved(text) {
        return found;
    }
    let plain = text.replace('|', " ");
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let report = plain.rsplit("ping statistics ---").next().unwrap_or_default();
    ServiceAnswer::Pinged(read_report(report.trim(), PINGS))
}

fn failed(program: &str, text: &str) -> ServiceAnswer {
    if let Some(found) = unresolved(text) {
        return found;
    }
    match NOTHING.iter().find(|(word, _)| text.contains(word)) {
        Some((_, meaning)) => ServiceAnswer::Nothing((*meaning).to_owned()),
        None => ServiceAnswer::Unknown(printed(program, text)),
    }
}

fn unresolved(text: &str) -> Option<ServiceAnswer> {
    UNRESOLVED
        .iter()
        .any(|word| text.contains(word))
        .then(|| ServiceAnswer::Unresolved("the name is not resolved".to_owned()))
}

fn printed(program: &str, text: &str) -> String {
    let text: String = text.chars().take(200).collect();
    format!("{program} printed: {}", text.replace('|', " ").trim())
}
