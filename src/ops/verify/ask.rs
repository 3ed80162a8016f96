//! Sends the pings of `verify`: from every guest, host and router at the same time, from a guest over its console.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;

use super::super::Env;
use crate::guest::{Answer, ConsoleError, ProbeOptions, Session, SessionError, SessionFault, Transcript, probe};
use crate::host::NamedHosts;
use crate::lab::{Asked, HostName, VmName};
use crate::run::chain;
use crate::state::{DomainName, Site, localhost};
use crate::topology::Topology;
use crate::verify::{Expectation, Replies, Reply, full_packet};

/// What a packet holds besides ping's payload: 20 bytes of IPv4 (RFC 791) and 8 of ICMP (RFC 792).
const HEADERS: u16 = 28;
/// Full packets take three times the space of small ones in a guest's receive buffer: see [`ProbeOptions::at_once`].
const FULL_AT_ONCE: usize = 4;

/// Has every guest, host and router ping at the same time.
pub(super) fn ask(
    env: &Env,
    topology: &Topology,
    hosts: &NamedHosts,
    observed: &Site,
    expectations: &[Expectation],
) -> Replies {
    let mut questions: BTreeMap<&Asked, Vec<&Expectation>> = BTreeMap::new();
    for expectation in expectations {
        questions.entry(&expectation.from).or_default().push(expectation);
    }
    thread::scope(|scope| {
        let asked: Vec<_> = questions
            .into_iter()
            .map(|(from, mine)| {
                let ask = move || match from {
                    Asked::Vm(vm) => {
                        can_be_asked(topology, observed, vm)?;
                        ask_guest(env, topology, hosts, vm, &mine)
                    }
                    Asked::Host(host) => ask_host(topology, hosts, host, from, &mine),
                    Asked::Router(_) => ask_host(topology, hosts, &localhost(), from, &mine),
                };
                (from, scope.spawn(ask))
            })
            .collect();
        asked
            .into_iter()
            .map(|(from, replies)| {
                let replies = replies.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (from.clone(), replies)
            })
            .collect()
    })
}

/// Has a host, or a router on it, ping by small packets, in one command.
fn ask_host(
    topology: &Topology,
    hosts: &NamedHosts,
    host: &HostName,
    from: &Asked,
    expectations: &[&Expectation],
) -> Result<BTreeMap<IpAddr, Reply>, String> {
    let host = hosts.get(host).ok_or("it is not connected")?;
    let targets: BTreeSet<IpAddr> = expectations.iter().map(|one| one.address).collect();
    let targets: Vec<IpAddr> = targets.into_iter().collect();
    let answers = host
        .ping(&topology.lab, from, &targets)
        .map_err(|error| chain(&error))?;
    let replies = answers.into_iter().map(|(address, answer)| (address, answer.into()));
    Ok(replies.collect())
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
) -> Result<BTreeMap<IpAddr, Reply>, String> {
    let ask = || ask_once(env, topology, hosts, vm, expectations);
    let answer = match ask() {
        Err(Unasked { lost: true, .. }) => ask(),
        answer => answer,
    };
    answer.map_err(|unasked| unasked.why)
}

/// Has one guest ping: those it must reach inside the lab by full packets, and by small ones where not all of those
/// come back; all others, for which a lost full packet proves nothing, by small ones only. What is inside has a name.
fn ask_once(
    env: &Env,
    topology: &Topology,
    hosts: &NamedHosts,
    vm: &VmName,
    expectations: &[&Expectation],
) -> Result<BTreeMap<IpAddr, Reply>, Unasked> {
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

    let is_full = |one: &Expectation| one.reach && one.to != one.address.to_string();
    let mut full: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut small: BTreeSet<IpAddr> = BTreeSet::new();
    for one in expectations {
        if is_full(one) {
            let size = full_packet(topology, vm, one.address) - HEADERS;
            full.entry(size).or_default().insert(one.address);
        } else {
            small.insert(one.address);
        }
    }
    let mut pings = |targets: Vec<IpAddr>, options: &ProbeOptions| {
        probe(&mut session, &targets, options).map_err(|error| unasked(&error))
    };
    let mut replies: BTreeMap<IpAddr, Reply> = BTreeMap::new();
    for (size, targets) in full {
        let options = ProbeOptions {
            size: Some(size),
            at_once: FULL_AT_ONCE,
            ..ProbeOptions::default()
        };
        let answers = pings(targets.into_iter().collect(), &options)?;
        replies.extend(answers.into_iter().map(|(address, answer)| (address, answer.into())));
    }
    let lost = |answer: &Answer| matches!(answer, Answer::Counted { sent, received, .. } if received < sent);
    let again = replies
        .iter()
        .filter(|(_, reply)| lost(&reply.answer))
        .map(|(address, _)| *address);
    let again: Vec<IpAddr> = again.chain(small).collect();
    for (address, answer) in pings(again, &ProbeOptions::default())? {
        match replies.get_mut(&address) {
            Some(reply) => reply.small = Some(answer),
            None => _ = replies.insert(address, answer.into()),
        }
    }
    Ok(replies)
}

fn unasked(error: &SessionError) -> Unasked {
    Unasked {
        lost: matches!(error.fault, SessionFault::Console(ConsoleError::Lost)),
        why: chain(error),
    }
}
