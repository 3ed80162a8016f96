//! Sends marked pings of a few pairs, counts them on every link that they should pass, and finds where they vanish.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use super::super::Env;
use super::Answered;
use super::ask::Asking;
use crate::guest::{ProbeOptions, Reply, Target};
use crate::host::{Cmd, HostError, NamedHosts, Output};
use crate::lab::{Asked, HostName};
use crate::linux::capture;
use crate::state::localhost;
use crate::topology::Topology;
use crate::verify::{Cell, Counted, Finding, Hop, Nics, full_packet, misdirected, untranslated, vanish};

/// Marked pings of a pair.
const COUNT: u32 = 3;
/// How long machines count at most, in seconds: opening a console, and the pings of a guest on a busy machine.
const SECONDS: u32 = 40;
/// Bytes of payload that mark the pings of the first pair; others have one more each.
const SIZE: u16 = 611;
/// What a packet holds besides its payload: 20 bytes of IPv4 (RFC 791) and 8 of ICMP (RFC 792).
const HEADERS: u16 = 28;
/// How long packets that are still in transit when the pings have ended may take.
const REST: Duration = Duration::from_millis(300);

/// A pair whose packets are followed.
pub(in super::super) struct Pair<'a> {
    pub cell: &'a Cell,
    pub hops: Vec<Hop>,
}

/// What was found for a pair.
pub(in super::super) struct Followed {
    /// Where its packets vanish.
    pub finding: Option<Finding>,
    /// The payload that marked them.
    pub size: u16,
}

/// Follows the packets of all pairs at the same time. A machine on which nothing can be counted is left out.
pub(in super::super) fn follow(env: &Env, answered: &Answered, pairs: &[Pair<'_>]) -> (Vec<Followed>, Counted) {
    let Answered { topology, hosts, .. } = answered;
    let sizes: Vec<u16> = pairs
        .iter()
        .zip(0..)
        .map(|(pair, at)| size(topology, pair.cell, at))
        .collect();
    let links = pairs
        .iter()
        .flat_map(|pair| &pair.hops)
        .filter_map(|hop| hop.link.as_ref());
    let machines: BTreeSet<&HostName> = links.map(|(machine, _)| machine).collect();
    let name = |machine: &HostName| format!("{}.{machine}.{}", topology.lab, std::process::id());
    let counting: BTreeSet<&HostName> = on_all(&machines, |machine| {
        let started = run(
            topology,
            hosts,
            machine,
            &capture::start(&name(machine), SECONDS, &sizes),
        );
        started.ok().filter(|output| output.status == 0).map(|_| ())
    })
    .into_keys()
    .collect();
    // One console at a time in each source.
    let mut by_source: BTreeMap<&Asked, Vec<(IpAddr, u16)>> = BTreeMap::new();
    for (pair, size) in pairs.iter().zip(&sizes) {
        let asked = &pair.cell.expectation;
        by_source.entry(&asked.from).or_default().push((asked.address, *size));
    }
    let asking = Asking {
        env,
        topology,
        hosts,
        observed: &answered.observed,
    };
    thread::scope(|scope| {
        for (from, targets) in &by_source {
            scope.spawn(move || {
                for (address, size) in targets {
                    // Whether they are answered shows in what passes.
                    _ = ping(asking, from, *address, *size);
                }
            });
        }
    });
    thread::sleep(REST);
    let counted: Counted = on_all(&counting, |machine| {
        let output = run(topology, hosts, machine, &capture::collect(&name(machine))).ok()?;
        Some(capture::read(&String::from_utf8_lossy(&output.stdout)))
    })
    .into_iter()
    .map(|(machine, passed)| (machine.clone(), passed))
    .collect();
    let followed = pairs.iter().zip(sizes).map(|(pair, size)| {
        let asked = &pair.cell.expectation;
        let ends = match asked.address {
            IpAddr::V4(to) => source(topology, &asked.from, to).map(|from| [from, to]),
            IpAddr::V6(_) => None,
        };
        let evidence = answered.evidence();
        let elsewhere = misdirected(&evidence, pair.cell, &counted, size)
            .or_else(|| untranslated(&evidence, pair.cell, &counted, size));
        Followed {
            finding: elsewhere.or_else(|| vanish(&pair.hops, &counted, size, ends?)),
            size,
        }
    });
    (followed.collect(), counted)
}

/// Runs something for all machines at the same time; those without a result are left out.
fn on_all<'m, T: Send>(
    machines: &BTreeSet<&'m HostName>,
    work: impl Fn(&HostName) -> Option<T> + Sync,
) -> BTreeMap<&'m HostName, T> {
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = machines
            .iter()
            .map(|machine| (*machine, scope.spawn(move || work(machine))))
            .collect();
        let done = running.into_iter().filter_map(|(machine, one)| {
            let result = one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Some((machine, result?))
        });
        done.collect()
    })
}

/// Runs a command on a host, or in an emulated switch or router.
fn run(topology: &Topology, hosts: &NamedHosts, machine: &HostName, cmd: &Cmd) -> Result<Output, HostError> {
    let of = |name: &HostName| hosts.get(name).ok_or_else(|| HostError::NotRunning(name.clone()));
    if topology.hosts.contains_key(machine) {
        of(machine)?.ask(cmd)
    } else {
        of(&localhost())?.ask_router(&topology.lab, machine, cmd)
    }
}

/// The payload that marks the pings of a pair: full packets where only those are lost.
fn size(topology: &Topology, cell: &Cell, at: u16) -> u16 {
    if !cell.small_only {
        return SIZE + at;
    }
    let asked = &cell.expectation;
    full_packet(topology, &Nics::of(topology), &asked.from, asked.address) - HEADERS
}

/// The address that a source sends from inside the lab.
fn source(topology: &Topology, from: &Asked, to: Ipv4Addr) -> Option<Ipv4Addr> {
    match from {
        Asked::Vm(vm) => {
            let nics = &topology.guests.get(vm)?.nics;
            let near = nics.iter().find(|nic| nic.address.contains(&to));
            near.or_else(|| nics.iter().find(|nic| nic.gateway.is_some()))
                .map(|nic| nic.address.addr())
        }
        Asked::Host(host) => {
            let host = topology.hosts.get(host)?;
            let near = host.segments.values().find(|segment| segment.subnet.contains(&to));
            near.and_then(|segment| segment.address.or(segment.gateway))
                .or_else(|| host.nics.values().find_map(|nic| nic.address.map(|net| net.addr())))
        }
        Asked::Router(router) => {
            let mut nics = topology.routers.get(router)?.nics.values();
            nics.find_map(|nic| nic.address.map(|net| net.addr()))
        }
    }
}

/// Sends marked pings.
fn ping(asking: Asking<'_>, from: &Asked, address: IpAddr, size: u16) -> Result<BTreeMap<IpAddr, Reply>, String> {
    let options = ProbeOptions {
        count: COUNT,
        ..ProbeOptions::default()
    };
    let targets = [Target {
        address,
        size: Some(size),
        silent: false,
    }];
    let host = match from {
        Asked::Vm(vm) => return asking.ping_guest(vm, &targets, &options),
        Asked::Host(host) => asking.hosts.get(host),
        Asked::Router(_) => asking.hosts.get(&localhost()),
    };
    let host = host.ok_or("it is not connected")?;
    let replies = host.ping(&asking.topology.lab, from, &targets, &options);
    replies.map_err(|error| error.to_string())
}
