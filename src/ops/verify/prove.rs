//! Proves who answers pings to floating addresses, and from which address packets arrive outside: by what passed the tap
//! of the guest, and by what emulated routers received.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::thread;

use serde_json::Value;

use crate::guest::{Answer, GuestView, ProbeOptions, Target};
use crate::host::{Cmd, NamedHosts};
use crate::lab::{Asked, ConsoleKind, HostName, IfName, VmName};
use crate::state::localhost;
use crate::topology::{Guest, Topology};
use crate::verify::{Concerns, Expectation, Fault, Matrix, Verdict};

/// The pings that are counted at a tap: much larger than what else passes it meanwhile.
const COUNT: u32 = 5;
const SIZE: u16 = 1000;
/// How often they are counted until all are answered.
const TRIES: u32 = 3;
/// What such a packet holds besides its payload: 20 bytes of IPv4 (RFC 791) and 8 of ICMP (RFC 792).
const HEADERS: u64 = 28;
/// The table of an emulated router that counts echo requests by their addresses.
const TABLE: &str = "netlab-sources";

/// The source and destination of the echo requests that each router received.
pub(super) type Sources = BTreeMap<HostName, BTreeSet<(Ipv4Addr, Ipv4Addr)>>;

/// Has every emulated router record the addresses of the echo requests that it receives.
pub(super) fn record(topology: &Topology, hosts: &NamedHosts) {
    let rules = format!(
        "table ip {TABLE} {{}}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n\
         set seen {{ type ipv4_addr . ipv4_addr; flags dynamic; size 65535; }}\n\
         chain input {{ type filter hook input priority -300; icmp type echo-request add @seen {{ ip saddr . ip daddr }}; }}\n}}\n"
    );
    if let Some(host) = hosts.get(&localhost()) {
        for router in topology.routers.keys() {
            // A router that records nothing proves nothing; its other answers count.
            _ = host.ask_router(&topology.lab, router, &Cmd::new(["nft", "-f", "-"]).fed(rules.clone()));
        }
    }
}

/// Returns what the routers recorded, and ends the recording.
pub(super) fn recorded(topology: &Topology, hosts: &NamedHosts) -> Sources {
    let Some(host) = hosts.get(&localhost()) else {
        return Sources::new();
    };
    let mut sources = Sources::new();
    for router in topology.routers.keys() {
        let ask = |argv: &[&str]| host.ask_router(&topology.lab, router, &Cmd::new(argv.iter().copied()));
        let listed = ask(&["nft", "-j", "list", "set", "ip", TABLE, "seen"]);
        let found = listed
            .ok()
            .filter(|output| output.status == 0)
            .map(|output| pairs(&output.stdout));
        sources.extend(found.map(|found| (router.clone(), found)));
        _ = ask(&["nft", "delete", "table", "ip", TABLE]);
    }
    sources
}

/// Reads the pairs of addresses of a set that nft prints as JSON.
fn pairs(json: &[u8]) -> BTreeSet<(Ipv4Addr, Ipv4Addr)> {
    let listing: Value = serde_json::from_slice(json).unwrap_or_default();
    let objects = listing["nftables"].as_array().into_iter().flatten();
    let elements = objects.filter_map(|object| object["set"]["elem"].as_array()).flatten();
    let pair = |element: &Value| {
        let concat = element["concat"]
            .as_array()
            .or_else(|| element["elem"]["val"]["concat"].as_array())?;
        let address = |at: usize| concat.get(at)?.as_str()?.parse().ok();
        Some((address(0)?, address(1)?))
    };
    elements.filter_map(pair).collect()
}

/// Returns a fault for each answered cell of a guest to an address of an emulated router at which nothing arrived from
/// the source address that the guest has outside.
pub(super) fn sources(topology: &Topology, sources: &Sources, matrix: &Matrix) -> Vec<Fault> {
    let mut faults = Vec::new();
    for cell in matrix
        .cells
        .iter()
        .filter(|cell| cell.verdict == Verdict::Pass && cell.expectation.reach)
    {
        let Expectation { from, address, .. } = &cell.expectation;
        let (Asked::Vm(vm), IpAddr::V4(to)) = (from, address) else {
            continue;
        };
        let router = topology.routers.iter().find(|(_, router)| {
            let nics = router.nics.values().filter_map(|nic| nic.address);
            nics.chain(router.outside.iter().copied()).any(|net| net.addr() == *to)
        });
        let (Some((router, _)), Some(guest)) = (router, topology.guests.get(vm)) else {
            continue;
        };
        let Some(wanted) = source(topology, guest) else {
            continue;
        };
        let concerns = Concerns::One(Asked::Vm(vm.clone()), *address);
        let Some(seen) = sources.get(router) else {
            let text = format!(
                "{router}: from which addresses pings came cannot be read: nothing proves that {wanted} is used"
            );
            faults.push(Fault { text, concerns });
            continue;
        };
        let from: Vec<String> = seen
            .iter()
            .filter(|(_, at)| at == to)
            .map(|(from, _)| from.to_string())
            .collect();
        if !from.contains(&wanted.to_string()) {
            faults.push(Fault {
                text: format!(
                    "{router}: no ping to {to} came from {wanted}, the source address of guest {vm} outside; they came from {}",
                    if from.is_empty() { "nowhere".to_owned() } else { from.join(", ") }
                ),
                concerns,
            });
        }
    }
    faults
}

/// Returns the source address that a guest's packets have outside, where the lab decides that.
fn source(topology: &Topology, guest: &Guest) -> Option<Ipv4Addr> {
    if let Some(floating) = &guest.floating {
        return Some(floating.address);
    }
    let nic = guest
        .nics
        .iter()
        .find(|nic| nic.gateway.is_some() && nic.gateway == guest.default_route)?;
    // Several hosts that have the gateway may translate to several addresses.
    let mut rules = topology
        .hosts
        .values()
        .flat_map(|host| host.nat.iter().map(move |rule| (host, rule)));
    let of_guest = |from: &[ipnet::Ipv4Net]| from.iter().any(|net| net.contains(&nic.address.addr()));
    let found: BTreeSet<Ipv4Addr> = rules
        .by_ref()
        .filter(|(_, rule)| of_guest(&rule.from))
        .map(|(host, rule)| rule.source.or_else(|| Some(host.nics.get(&rule.out)?.address?.addr())))
        .collect::<Option<_>>()?;
    let mut found = found.into_iter();
    found.next().filter(|_| found.next().is_none())
}

/// Returns a fault for each answered cell of a host or router to a floating address whose pings do not pass the tap of
/// the guest that has it. All at the same time.
pub(super) fn floating(topology: &Topology, hosts: &NamedHosts, matrix: &Matrix) -> Vec<Fault> {
    let answered = matrix
        .cells
        .iter()
        .filter(|cell| cell.verdict == Verdict::Pass && cell.expectation.reach);
    let asked: Vec<_> = answered
        .filter_map(|cell| {
            let asked = &cell.expectation;
            let mut guests = topology.guests.iter();
            let (vm, guest) = guests.find(|(_, guest)| {
                guest
                    .floating
                    .as_ref()
                    .is_some_and(|floating| IpAddr::from(floating.address) == asked.address)
            })?;
            let nic = guest
                .nics
                .iter()
                .find(|nic| nic.gateway.is_some() && nic.gateway == guest.default_route)?;
            (!matches!(asked.from, Asked::Vm(_))).then_some((asked, vm, guest, nic))
        })
        .collect();
    // Two sources that ping one guest would count each other's packets: one source for each guest at a time.
    let mut by_guest: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (asked, vm, guest, nic) in asked {
        by_guest.entry(vm).or_default().push((asked, guest, nic));
    }
    thread::scope(|scope| {
        let proving: Vec<_> = by_guest
            .into_iter()
            .map(|(vm, asked)| {
                scope.spawn(move || {
                    let mut faults = Vec::new();
                    for (asked, guest, nic) in asked {
                        // Lost replies count nothing; those of a busy machine come the next time.
                        let mut counts = (0..TRIES).map(|_| passes(topology, hosts, asked, guest, &nic.tap));
                        let (what, so) = match counts.find(Option::is_some).flatten() {
                            Some(true) => continue,
                            Some(false) => ("are answered, but do not pass", "another machine answers"),
                            None => ("cannot be counted at", "nothing proves who answers"),
                        };
                        let text = format!(
                            "{}: pings from {} to {} {what} {}, the tap of guest {vm}: {so}",
                            guest.host, asked.from, asked.address, nic.tap
                        );
                        let concerns = Concerns::One(asked.from.clone(), asked.address);
                        faults.push(Fault { text, concerns });
                    }
                    faults
                })
            })
            .collect();
        let proved = proving.into_iter();
        proved
            .flat_map(|faults| faults.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Returns a fault for each guest with a serial console that answered its pings, but whose own state could not be read.
pub(super) fn blind(topology: &Topology, guests: &BTreeMap<VmName, GuestView>, matrix: &Matrix) -> Vec<Fault> {
    let asked = matrix.cells.iter().filter(|cell| cell.verdict != Verdict::Unknown);
    let asked: BTreeSet<&VmName> = asked
        .filter_map(|cell| match &cell.expectation.from {
            Asked::Vm(vm) => Some(vm),
            Asked::Host(_) | Asked::Router(_) => None,
        })
        .collect();
    let serial = |vm: &VmName| {
        let image = topology
            .guests
            .get(vm)
            .and_then(|guest| topology.images.get(&guest.image));
        image.is_some_and(|image| image.console.kind == ConsoleKind::Serial)
    };
    let blind = asked.into_iter().filter(|vm| !guests.contains_key(*vm) && serial(vm));
    blind
        .map(|vm| Fault {
            text: format!("guest {vm}: what it shows cannot be read: its answer was garbled"),
            concerns: Concerns::Guest(vm.clone()),
        })
        .collect()
}

/// Whether pings pass a guest's tap in both directions; `None` where that cannot be counted, or not all are answered.
fn passes(topology: &Topology, hosts: &NamedHosts, asked: &Expectation, guest: &Guest, tap: &IfName) -> Option<bool> {
    let at = hosts.get(&guest.host)?;
    let bytes = || -> Option<[u64; 2]> {
        let file = |name: &str| format!("/sys/class/net/{tap}/statistics/{name}");
        let output = at
            .ask(&Cmd::new(["cat".to_owned(), file("rx_bytes"), file("tx_bytes")]))
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.split_whitespace().map(str::parse);
        Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
    };
    let from = match &asked.from {
        Asked::Host(host) => hosts.get(host)?,
        _ => hosts.get(&localhost())?,
    };
    let options = ProbeOptions {
        count: COUNT,
        ..ProbeOptions::default()
    };
    let target = Target {
        size: Some(SIZE),
        ..asked.address.into()
    };
    let before = bytes()?;
    let answers = from.ping(&topology.lab, &asked.from, &[target], &options).ok()?;
    let after = bytes()?;
    match answers.get(&asked.address)?.answer {
        Answer::Counted { sent, received, .. } if sent == received => {}
        _ => return None,
    }
    let least = u64::from(COUNT) * (u64::from(SIZE) + HEADERS);
    Some(
        before
            .iter()
            .zip(after)
            .all(|(before, after)| after.saturating_sub(*before) >= least),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_a_set_are_read_with_and_without_what_nft_adds_to_an_element() {
        let json = br#"{"nftables": [{"metainfo": {}}, {"set": {"name": "seen", "elem": [
            {"concat": ["192.168.99.108", "203.0.113.1"]},
            {"elem": {"val": {"concat": ["192.168.99.50", "203.0.113.1"]}, "expires": 3}}]}}]}"#;
        let pair = |from: [u8; 4]| (Ipv4Addr::from(from), Ipv4Addr::new(203, 0, 113, 1));
        assert_eq!(
            pairs(json),
            [pair([192, 168, 99, 108]), pair([192, 168, 99, 50])].into()
        );
        assert_eq!(pairs(b"what?"), BTreeSet::new());
    }
}
