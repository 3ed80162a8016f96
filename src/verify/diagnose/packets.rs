//! Where packets vanish, by what was counted on the links of a path.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::hop::{Finding, Hop};
use super::{Ends, Evidence, Path};
use crate::lab::{Asked, HostName};
use crate::state::view::{Passed, PassedKind};
use crate::verify::Cell;
use crate::verify::parts::Owners;

/// What was counted on each machine; one that is absent counted nothing.
pub type Counted = BTreeMap<HostName, Vec<Passed>>;

/// A place where packets were counted.
type Point<'a> = (&'a HostName, &'a str);

/// Returns between which two links the marked packets of a path vanish, on the path there or back; `None` where they do
/// not, or where that was not counted. `size` is the payload that marks the echoes, `source` the address that they are
/// sent from, and `target` the one that they are sent to.
pub fn vanish(hops: &[Hop], counted: &Counted, size: u16, [source, target]: [Ipv4Addr; 2]) -> Option<Finding> {
    let links = hops.iter().filter(|hop| !hop.back).filter_map(|hop| hop.link.as_ref());
    let mut points: Vec<Point<'_>> = links
        .filter(|(machine, _)| counted.contains_key(machine))
        .map(|(machine, link)| (machine, link.as_str()))
        .collect();
    points.dedup();
    let trace = Trace {
        counted,
        points: &points,
    };
    let echo = |kind: PassedKind| move |one: &Passed| one.kind == kind && one.size == size;
    let requests = trace.counts(echo(PassedKind::Request));
    let asked = trace.counts(|one| one.kind == PassedKind::ArpRequest && one.from == source);
    let first = *points.first()?;
    if requests.first() == Some(&0) && requests.iter().all(|count| *count == 0) {
        if asked.iter().all(|count| *count == 0) {
            return Some(seen_by(
                first,
                "neither echo requests nor ARP requests of the source arrive",
            ));
        }
        return trace.unanswered(&asked, 0, source);
    }
    if let Some(at) = drop_of(&requests) {
        // A router that forwards asks by ARP first.
        let next = points[at + 1];
        let by_router =
            trace.counts(|one| one.kind == PassedKind::ArpRequest && one.to == target && one.from != source);
        if by_router[at + 1] > 0 {
            return trace.unanswered(&by_router, at + 1, Ipv4Addr::UNSPECIFIED);
        }
        return Some(between(points[at], next, REQUESTS, requests[at], requests[at + 1]));
    }
    let replies = trace.counts(echo(PassedKind::Reply));
    let (last, sent) = (*points.last()?, *requests.last()?);
    let came = *replies.last()?;
    if came < sent {
        let back = match came {
            0 => "no reply comes".to_owned(),
            _ => amount(came, ["reply comes", "replies come"]),
        };
        let requests = amount(sent, ["echo request arrives", "echo requests arrive"]);
        let text = format!("{requests}, and {back} back by it");
        return Some(seen_by(last, &text));
    }
    let back: Vec<u32> = replies.iter().rev().copied().collect();
    let at = drop_of(&back)?;
    let point = |at: usize| points[points.len() - 1 - at];
    Some(between(point(at), point(at + 1), REPLIES, back[at], back[at + 1]))
}

/// Returns that a guest sends its marked packets to another machine than to its next hop: by a redirect (RFC 792), which
/// neither its routes nor its neighbor table show.
pub fn misdirected(evidence: &Evidence<'_>, cell: &Cell, counted: &Counted, size: u16) -> Option<Finding> {
    let (Asked::Vm(vm), IpAddr::V4(to)) = (&cell.expectation.from, cell.expectation.address) else {
        return None;
    };
    let Ends { from, own, .. } = Ends::of(evidence.topology, &evidence.nics, vm, to.into())?;
    let next = if own.address.contains(&to) { to } else { own.gateway? };
    let path = Path::new(evidence, None);
    let mut passed = counted.get(&from.host)?.iter().filter(|one| {
        let leaves = one.link == own.tap.as_str() && one.from == own.address.addr();
        leaves && one.kind == PassedKind::Request && one.size == size
    });
    let mac = passed.find_map(|one| one.next.filter(|mac| !path.may_have(next.into(), *mac)))?;
    let at = format!("guest {vm}");
    let who = Owners::of(evidence.topology, evidence.views).who(mac);
    let text = format!("{at}: it sends its packets for {to} to {who}, not to its next hop {next}: it was redirected");
    let found = Finding::new(text).shown(&at, &format!("ip route get {to}"));
    Some(found.fixed(&at, "ip route flush cache"))
}

/// Returns that the marked packets of a guest arrive outside of the networks from its own address, which the lab translates:
/// nothing there has a route back to it.
pub fn untranslated(evidence: &Evidence<'_>, cell: &Cell, counted: &Counted, size: u16) -> Option<Finding> {
    let (Asked::Vm(vm), IpAddr::V4(to)) = (&cell.expectation.from, cell.expectation.address) else {
        return None;
    };
    let Ends { from, own, to: target } = Ends::of(evidence.topology, &evidence.nics, vm, to.into())?;
    let path = Path::new(evidence, None);
    let source = own.address.addr();
    let router = path.router(&own.network, own.gateway?, &from.host)?;
    let wanted = path.translated(router, source)?;
    let (machine, _) = path.owner(to).filter(|_| target.is_none() && wanted != source)?;
    let arrived = counted
        .get(machine)?
        .iter()
        .find(|one| one.kind == PassedKind::Request && one.size == size && one.to == to && one.from != wanted)?;
    let text = format!(
        "{machine}: packets of guest {vm} arrive from {}, not from {wanted}: {router} does not translate their source address",
        arrived.from
    );
    Some(Finding::new(text).shown(router, "nft list ruleset"))
}

/// Returns what was counted at a hop, in words; `None` where nothing was.
pub fn at_hop(hop: &Hop, counted: &Counted, size: u16) -> Option<String> {
    let (machine, link) = hop.link.as_ref()?;
    let passed = counted.get(machine)?;
    let of = |kind: PassedKind| -> u32 {
        let packets = passed.iter().filter(|one| one.link == *link && one.kind == kind);
        packets
            .filter(|one| one.size == size || one.size == 0)
            .map(|one| one.count)
            .sum()
    };
    let (requests, replies) = (of(PassedKind::Request), of(PassedKind::Reply));
    let requests = amount(requests, ["request", "requests"]);
    Some(format!("{requests}, {} passed", amount(replies, ["reply", "replies"])))
}

struct Trace<'a> {
    counted: &'a Counted,
    points: &'a [Point<'a>],
}

impl Trace<'_> {
    /// How many packets passed each point.
    fn counts(&self, wanted: impl Fn(&Passed) -> bool) -> Vec<u32> {
        let of = |(machine, link): &Point<'_>| -> u32 {
            let passed = self.counted.get(*machine).into_iter().flatten();
            passed
                .filter(|one| one.link == *link && wanted(one))
                .map(|one| one.count)
                .sum()
        };
        self.points.iter().map(of).collect()
    }

    /// Finds where ARP requests that begin at `from` vanish, or the replies to them; `source` asked.
    fn unanswered(&self, asked: &[u32], from: usize, source: Ipv4Addr) -> Option<Finding> {
        let reached = asked[from..].iter().take_while(|count| **count > 0).count() + from;
        let last = reached.checked_sub(1)?;
        let replies = self.counts(|one| {
            one.kind == PassedKind::ArpReply && (source.is_unspecified() || one.to == source || one.to.is_unspecified())
        });
        if let Some(point) = (from..=last).rev().find(|at| replies[*at] > 0) {
            let lost = (from..point).rev().find(|at| replies[*at] == 0);
            return lost.map(|at| between(self.points[at + 1], self.points[at], ARP_REPLIES, replies[at + 1], 0));
        }
        match self.points.get(reached) {
            // Beyond a router another one asks.
            Some(next) if next.0 != self.points[last].0 || reached < 2 => {
                Some(between(self.points[last], *next, ARP_REQUESTS, asked[last], 0))
            }
            _ => Some(seen_by(
                self.points[last],
                &amount(
                    asked[last],
                    [
                        "ARP request passes, and nobody answers it",
                        "ARP requests pass, and nobody answers them",
                    ],
                ),
            )),
        }
    }
}

/// The first point after which fewer packets pass.
fn drop_of(counts: &[u32]) -> Option<usize> {
    counts.windows(2).position(|pair| pair[1] < pair[0])
}

/// A number of things in words, of one thing or of several.
fn amount(count: u32, [one, several]: [&str; 2]) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// What passes a link, of one packet and of several.
type Pass = [&'static str; 2];

const REQUESTS: Pass = ["echo request passes", "echo requests pass"];
const REPLIES: Pass = ["echo reply passes", "echo replies pass"];
const ARP_REQUESTS: Pass = ["ARP request passes", "ARP requests pass"];
const ARP_REPLIES: Pass = ["ARP reply passes", "ARP replies pass"];

fn between((machine, link): Point<'_>, next: Point<'_>, pass: Pass, passed: u32, arrived: u32) -> Finding {
    let arrived = match arrived {
        0 => "none".to_owned(),
        _ => arrived.to_string(),
    };
    let text = format!(
        "packets vanish between {link} of {machine} and {} of {}: {} the one, {arrived} the other",
        next.1,
        next.0,
        amount(passed, pass),
    );
    Finding::new(text).shown(machine, &format!("tcpdump -ni {link} icmp or arp"))
}

fn seen_by((machine, link): Point<'_>, text: &str) -> Finding {
    Finding::new(format!("{machine}: at link {link} {text}")).shown(machine, &format!("tcpdump -ni {link} icmp or arp"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example::host;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 3);

    fn passed(link: &str, kind: PassedKind, count: u32) -> Passed {
        let (from, to) = match kind {
            Request | ArpRequest => (A, B),
            Reply | ArpReply => (B, A),
        };
        Passed {
            link: link.to_owned(),
            kind,
            size: if matches!(kind, Request | Reply) { 611 } else { 0 },
            from,
            to,
            next: None,
            count,
        }
    }

    /// The path over tap1 and eth0 of node1, eth0 and tap2 of node2.
    fn vanished(node1: &[Passed], node2: &[Passed]) -> Option<String> {
        let on = |machine: &str, link: &str| Hop::on_link(&host(machine), link, "a link");
        let hops = [
            on("node1", "tap1"),
            on("node1", "eth0"),
            on("node2", "eth0"),
            on("node2", "tap2"),
        ];
        let counted = [(host("node1"), node1.to_vec()), (host("node2"), node2.to_vec())].into();
        vanish(&hops, &counted, 611, [A, B]).map(|finding| finding.text)
    }

    use PassedKind::{ArpReply, ArpRequest, Reply, Request};

    #[test]
    fn requests_and_replies_vanish_between_two_links() {
        let node1 = [passed("tap1", Request, 3), passed("eth0", Request, 3)];
        assert_eq!(
            vanished(&node1, &[]).unwrap(),
            "packets vanish between eth0 of node1 and eth0 of node2: 3 echo requests pass the one, none the other"
        );
        let node2 = [
            passed("eth0", Request, 3),
            passed("tap2", Request, 3),
            passed("tap2", Reply, 3),
            passed("eth0", Reply, 1),
        ];
        assert_eq!(
            vanished(&node1, &node2).unwrap(),
            "packets vanish between tap2 of node2 and eth0 of node2: 3 echo replies pass the one, 1 the other"
        );
        assert_eq!(
            vanished(&node1, &node2[..2]).unwrap(),
            "node2: at link tap2 3 echo requests arrive, and no reply comes back by it"
        );
    }

    #[test]
    fn of_one_packet_a_text_is_in_the_singular() {
        let one = [passed("tap1", Request, 1), passed("eth0", Request, 1)];
        assert!(
            vanished(&one, &[])
                .unwrap()
                .ends_with(": 1 echo request passes the one, none the other")
        );
        let arrived = [passed("eth0", Request, 1), passed("tap2", Request, 1)];
        let wanted = "node2: at link tap2 1 echo request arrives, and no reply comes back by it";
        assert_eq!(vanished(&one, &arrived).unwrap(), wanted);
        let node2 = host("node2");
        let hop = Hop::on_link(&node2, "tap2", "a link");
        let counted = [(node2, arrived.to_vec())].into();
        assert_eq!(at_hop(&hop, &counted, 611).unwrap(), "1 request, 0 replies passed");
    }

    #[test]
    fn without_echoes_arp_is_followed() {
        assert_eq!(
            vanished(&[], &[]).unwrap(),
            "node1: at link tap1 neither echo requests nor ARP requests of the source arrive"
        );
        let node1 = [passed("tap1", ArpRequest, 3), passed("eth0", ArpRequest, 3)];
        assert!(
            vanished(&node1, &[])
                .unwrap()
                .contains("3 ARP requests pass the one, none the other")
        );
        let node2 = [passed("eth0", ArpRequest, 3), passed("tap2", ArpRequest, 3)];
        assert_eq!(
            vanished(&node1, &node2).unwrap(),
            "node2: at link tap2 3 ARP requests pass, and nobody answers them"
        );
        let answered = [&node2[..], &[passed("tap2", ArpReply, 3), passed("eth0", ArpReply, 3)]].concat();
        assert!(
            vanished(&node1, &answered)
                .unwrap()
                .contains("eth0 of node2 and eth0 of node1: 3 ARP replies")
        );
    }

    #[test]
    fn nothing_vanishes_where_everything_passes() {
        let all = |tap: &str| {
            let links = [tap, "eth0"].into_iter();
            let both = links.flat_map(|link| [passed(link, Request, 3), passed(link, Reply, 3)]);
            both.collect::<Vec<_>>()
        };
        assert_eq!(vanished(&all("tap1"), &all("tap2")), None);
    }
}
