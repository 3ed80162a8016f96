//! Sends the pings of `verify`: from every guest, host and router at the same time, from a guest over its console.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;

use super::super::Env;
use crate::guest::{
    Answer, ArpQuestion, ConsoleError, GuestView, ProbeOptions, Session, SessionError, SessionFault, Transcript, probe,
    probe_and_observe,
};
use crate::host::NamedHosts;
use crate::lab::{Asked, ConsoleKind, ETHERNET_MTU, HostName, VmName};
use crate::run::chain;
use crate::state::{DomainName, Site, localhost};
use crate::topology::Topology;
use crate::verify::{Expectation, Replies, Reply, arp_questions, full_packet};

/// What a packet holds besides ping's payload: 20 bytes of IPv4 (RFC 791) and 8 of ICMP (RFC 792).
const HEADERS: u16 = 28;
/// Full packets take three times the space of small ones in a guest's receive buffer: see [`ProbeOptions::at_once`].
const FULL_AT_ONCE: usize = 4;

/// What was answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The replies to the pings.
    pub replies: Replies,
    /// What the guests show after them.
    pub guests: BTreeMap<VmName, GuestView>,
}

/// Has every guest, host and router ping at the same time.
pub(super) fn ask(
    env: &Env,
    topology: &Topology,
    hosts: &NamedHosts,
    observed: &Site,
    expectations: &[Expectation],
) -> Answers {
    let by_arp = arp_questions(topology);
    let mut questions: BTreeMap<&Asked, Vec<&Expectation>> = BTreeMap::new();
    for expectation in expectations {
        questions.entry(&expectation.from).or_default().push(expectation);
    }
    thread::scope(|scope| {
        let asked: Vec<_> = questions
            .into_iter()
            .map(|(from, mine)| {
                let by_arp = &by_arp;
                let ask = move || match from {
                    Asked::Vm(vm) => {
                        can_be_asked(topology, observed, vm)?;
                        let by_arp = by_arp.get(vm).map_or(&[][..], Vec::as_slice);
                        ask_guest(env, topology, hosts, vm, &mine, by_arp)
                    }
                    Asked::Host(host) => Ok((ask_host(topology, hosts, host, from, &mine)?, None)),
                    Asked::Router(_) => Ok((ask_host(topology, hosts, &localhost(), from, &mine)?, None)),
                };
                (from, scope.spawn(ask))
            })
            .collect();
        let mut answers = Answers::default();
        for (from, answer) in asked {
            let answer: Result<Answered, String> =
                answer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let replies = answer.map(|(replies, view)| {
                if let (Asked::Vm(vm), Some(view)) = (from, view) {
                    answers.guests.insert(vm.clone(), view);
                }
                replies
            });
            answers.replies.insert(from.clone(), replies);
        }
        answers
    })
}

/// The replies of one source, and what it shows if it is a guest.
type Answered = (BTreeMap<IpAddr, Reply>, Option<GuestView>);

/// Has a host, or a router on it, ping: addresses of the lab that it must reach by full packets, and by small ones where
/// not all of those come back; all others by small ones only.
fn ask_host(
    topology: &Topology,
    hosts: &NamedHosts,
    host: &HostName,
    from: &Asked,
    expectations: &[&Expectation],
) -> Result<BTreeMap<IpAddr, Reply>, String> {
    let host = hosts.get(host).ok_or("it is not connected")?;
    let ping = |targets: Vec<IpAddr>, options: &ProbeOptions| {
        host.ping(&topology.lab, from, &targets, options)
            .map_err(|error| chain(&error))
    };
    let (full, small): (BTreeSet<_>, BTreeSet<_>) = expectations
        .iter()
        .map(|one| (one.address, one.reach && mtu(topology, one.address).is_some()))
        .partition(|(_, full)| *full);
    let mut replies: BTreeMap<IpAddr, Reply> = BTreeMap::new();
    let mut by_size: BTreeMap<u16, Vec<IpAddr>> = BTreeMap::new();
    for (address, _) in full {
        by_size
            .entry(mtu(topology, address).unwrap_or(ETHERNET_MTU))
            .or_default()
            .push(address);
    }
    for (size, targets) in &by_size {
        let answers = ping(targets.clone(), &full_size(*size))?;
        replies.extend(answers.into_iter().map(|(address, answer)| (address, answer.into())));
    }
    let again = replies
        .iter()
        .filter(|(_, reply)| lost(&reply.answer))
        .map(|(address, _)| *address);
    let again: Vec<IpAddr> = again.chain(small.into_iter().map(|(address, _)| address)).collect();
    if !again.is_empty() {
        add_small(&mut replies, ping(again, &ProbeOptions::default())?);
    }
    for (size, targets) in by_size {
        let doubtful = doubtful(&replies, targets);
        if !doubtful.is_empty() {
            add_full(&mut replies, ping(doubtful, &full_size(size))?);
        }
    }
    Ok(replies)
}

/// Returns those of `targets` that answered small packets only: the full ones were sent first, and may have been lost
/// for another reason, e.g. an outdated neighbor table.
fn doubtful(replies: &BTreeMap<IpAddr, Reply>, targets: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let none = |answer: &Answer| matches!(answer, Answer::Counted { received: 0, .. });
    let some = |answer: &Answer| matches!(answer, Answer::Counted { received, .. } if *received > 0);
    let is_doubtful = |reply: &Reply| none(&reply.answer) && reply.small.as_ref().is_some_and(some);
    let targets = targets.into_iter();
    targets
        .filter(|address| replies.get(address).is_some_and(is_doubtful))
        .collect()
}

/// Adds the answers to full packets that were sent once more.
fn add_full(replies: &mut BTreeMap<IpAddr, Reply>, answers: BTreeMap<IpAddr, Answer>) {
    for (address, again) in answers {
        let Some(reply) = replies.get_mut(&address) else {
            continue;
        };
        if let (
            Answer::Counted { sent: first, .. },
            Answer::Counted {
                sent,
                received,
                rtt_ms,
                said,
            },
        ) = (&reply.answer, again)
        {
            reply.answer = Answer::Counted {
                sent: first + sent,
                received,
                rtt_ms,
                said,
            };
        }
    }
}

/// The options of full packets.
fn full_size(packet: u16) -> ProbeOptions {
    ProbeOptions {
        size: Some(packet - HEADERS),
        at_once: FULL_AT_ONCE,
        ..ProbeOptions::default()
    }
}

fn lost(answer: &Answer) -> bool {
    matches!(answer, Answer::Counted { sent, received, .. } if received < sent)
}

/// Adds the answers to small packets.
fn add_small(replies: &mut BTreeMap<IpAddr, Reply>, answers: BTreeMap<IpAddr, Answer>) {
    for (address, answer) in answers {
        match replies.get_mut(&address) {
            Some(reply) => reply.small = Some(answer),
            None => _ = replies.insert(address, answer.into()),
        }
    }
}

/// Returns the MTU in bytes of an address whose path the lab describes: of a guest, host or emulated router. The path
/// to any other address may be smaller, and that is no fault of the lab.
fn mtu(topology: &Topology, address: IpAddr) -> Option<u16> {
    let IpAddr::V4(address) = address else { return None };
    let nics = topology.guests.values().flat_map(|guest| &guest.nics);
    if let Some(nic) = nics.clone().find(|nic| nic.address.addr() == address) {
        return Some(nic.mtu.unwrap_or(ETHERNET_MTU));
    }
    let networks: BTreeMap<_, _> = nics.map(|nic| (&nic.network, nic.mtu)).collect();
    for host in topology.hosts.values() {
        for (network, segment) in &host.segments {
            if segment.gateway == Some(address) || segment.address == Some(address) {
                return Some(networks.get(network).copied().flatten().unwrap_or(ETHERNET_MTU));
            }
        }
        if host
            .nics
            .values()
            .any(|nic| nic.address.is_some_and(|net| net.addr() == address))
        {
            return Some(ETHERNET_MTU);
        }
    }
    let mut routers = topology.routers.values();
    let is_routers = routers.any(|router| {
        let nics = router.nics.values().filter_map(|nic| nic.address);
        nics.chain(router.outside.iter().copied())
            .any(|net| net.addr() == address)
    });
    is_routers.then_some(ETHERNET_MTU)
}

/// Returns an error for a guest that does not run or is not configured: it is not waited for.
fn can_be_asked(topology: &Topology, observed: &Site, vm: &VmName) -> Result<(), String> {
    let name = DomainName::new(&topology.lab, vm);
    let host = topology.guests.get(vm).and_then(|guest| observed.get(&guest.host));
    if let Some(why) = host.and_then(|state| state.seen.domains.get(&name)?.halted.as_ref()) {
        return Err(format!("the guest does not run: {why}"));
    }
    match host.and_then(|state| state.domains.get(&name)) {
        None => Err("the guest does not exist".to_owned()),
        Some(domain) if !domain.running => Err("the guest is not running".to_owned()),
        Some(domain) if domain.configured.is_none() => Err("the guest was not configured".to_owned()),
        Some(_) => Ok(()),
    }
}

/// Why a guest gave no answers.
struct Unasked {
    why: String,
    /// Only the connection to it broke.
    lost: bool,
}

impl<T: Into<String>> From<T> for Unasked {
    fn from(why: T) -> Self {
        Self {
            why: why.into(),
            lost: false,
        }
    }
}

/// Has one guest ping; once more where only the connection to it broke: its libvirt daemon may have been restarted.
fn ask_guest(
    env: &Env,
    topology: &Topology,
    hosts: &NamedHosts,
    vm: &VmName,
    expectations: &[&Expectation],
    by_arp: &[ArpQuestion],
) -> Result<Answered, String> {
    let ask = || ask_once(env, topology, hosts, vm, expectations, by_arp);
    let answer = match ask() {
        Err(Unasked { lost: true, .. }) => ask(),
        answer => answer,
    };
    answer.map_err(|unasked| unasked.why)
}

/// Has one guest ping: those it must reach inside the lab by full packets, and by small ones where not all of those
/// come back; all others, for which a lost full packet proves nothing, by small ones only.
fn ask_once(
    env: &Env,
    topology: &Topology,
    hosts: &NamedHosts,
    vm: &VmName,
    expectations: &[&Expectation],
    by_arp: &[ArpQuestion],
) -> Result<Answered, Unasked> {
    let guest = topology.guests.get(vm).ok_or("no such guest")?;
    let image = topology
        .images
        .get(&guest.image)
        .ok_or("its image is not in the catalog")?;
    let host = hosts.get(&guest.host).ok_or("its host is not connected")?;
    let name = DomainName::new(&topology.lab, vm);
    let console = host
        .open_console(&name, image.console.kind)
        .map_err(|error| chain(&error))?;
    let transcript = env.folders.transcript(&topology.lab, vm);
    let transcript = Transcript::append(&transcript).map_err(|error| error.to_string())?;
    let mut session =
        Session::open(console, &image.console, transcript, &mut |_| ()).map_err(|error| unasked(&error))?;

    let is_full = |one: &Expectation| one.reach && mtu(topology, one.address).is_some();
    let mut full: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut small: BTreeSet<IpAddr> = BTreeSet::new();
    for one in expectations {
        if is_full(one) {
            let size = full_packet(topology, vm, one.address);
            full.entry(size).or_default().insert(one.address);
        } else {
            small.insert(one.address);
        }
    }
    // Typing on a screen takes milliseconds for each key: such a guest is only pinged from.
    let mut by_arp = (image.console.kind == ConsoleKind::Serial).then_some(by_arp);
    let mut view: Option<GuestView> = None;
    let mut pings = |targets: Vec<IpAddr>, options: &ProbeOptions| {
        let Some(questions) = by_arp else {
            return probe(&mut session, &targets, options).map_err(|error| unasked(&error));
        };
        let done = probe_and_observe(&mut session, &targets, options, questions);
        let (answers, seen) = done.map_err(|error| unasked(&error))?;
        // What is asked by ARP is asked once; what the guest shows is read after each pings.
        by_arp = Some(&[]);
        if let Some(mut seen) = seen {
            if let Some(before) = view.take() {
                seen.replies.extend(before.replies);
                seen.cannot_ask |= before.cannot_ask;
            }
            view = Some(seen);
        }
        Ok(answers)
    };
    let mut replies: BTreeMap<IpAddr, Reply> = BTreeMap::new();
    for (size, targets) in &full {
        let answers = pings(targets.iter().copied().collect(), &full_size(*size))?;
        replies.extend(answers.into_iter().map(|(address, answer)| (address, answer.into())));
    }
    let again = replies
        .iter()
        .filter(|(_, reply)| lost(&reply.answer))
        .map(|(address, _)| *address);
    let again: Vec<IpAddr> = again.chain(small).collect();
    if !again.is_empty() {
        add_small(&mut replies, pings(again, &ProbeOptions::default())?);
    }
    for (size, targets) in full {
        let doubtful = doubtful(&replies, targets);
        if !doubtful.is_empty() {
            add_full(&mut replies, pings(doubtful, &full_size(size))?);
        }
    }
    Ok((replies, view))
}

fn unasked(error: &SessionError) -> Unasked {
    Unasked {
        lost: matches!(error.fault, SessionFault::Console(ConsoleError::Lost)),
        why: chain(error),
    }
}
