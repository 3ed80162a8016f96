//! Sends the pings of `verify`: from every guest, host and router at the same time, from a guest over its console in one
//! exchange.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::Env;
use super::checks;
use super::sessions::{Opening, Sessions};
use super::turns::Turns;
use crate::causes::chain;
use crate::event::Event;
use crate::guest::{
    Answers as Given, ArpQuestion, ConsoleError, GuestView, ProbeOptions, Reply, ServiceAnswer, ServiceQuestion,
    SessionError, SessionFault, Target, probe, probe_and_ask,
};
use crate::host::NamedHosts;
use crate::lab::{Asked, ConsoleKind, VmName};
use crate::state::{DomainName, Site, localhost};
use crate::topology::Topology;
use crate::verify::{Expectation, Nics, Replies, ServiceReplies, arp_questions, full_packet};

/// What a packet holds besides ping's payload: 20 bytes of IPv4 (RFC 791) and 8 of ICMP (RFC 792).
const HEADERS: u16 = 28;

/// What was answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The replies to the pings.
    pub replies: Replies,
    /// What the guests show after them.
    pub guests: BTreeMap<VmName, GuestView>,
    /// The answers of services.
    pub services: ServiceReplies,
    /// The source whose own pings took the longest.
    pub slowest: Option<(Asked, Duration)>,
}

/// What is needed to ask.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub env: &'a Env,
    pub topology: &'a Topology,
    pub hosts: &'a NamedHosts,
    pub observed: &'a Site,
}

/// What each source is asked about services and paths.
pub(super) type ServiceQuestions = BTreeMap<Asked, Vec<ServiceQuestion>>;

/// One source's part of the questions.
struct Questions<'a> {
    targets: Vec<Target>,
    by_arp: &'a [ArpQuestion],
    services: &'a [ServiceQuestion],
    options: &'a ProbeOptions,
}

impl Asking<'_> {
    /// Has every guest, host and router ping and ask services at the same time; of the guests on one machine only some at
    /// a time. Uses the `sessions` that were begun before, and opens the others.
    pub fn ask(
        self,
        expectations: &[Expectation],
        services: &ServiceQuestions,
        options: &ProbeOptions,
        sessions: &Sessions,
    ) -> Answers {
        let topology = self.topology;
        let by_arp = arp_questions(topology);
        let nics = Nics::of(topology);
        let mut questions: BTreeMap<&Asked, Vec<&Expectation>> = BTreeMap::new();
        for expectation in expectations {
            questions.entry(&expectation.from).or_default().push(expectation);
        }
        for from in services.keys() {
            questions.entry(from).or_default();
        }
        let turns = Turns::default();
        let (done, total) = (&AtomicUsize::new(0), questions.len());
        let progress = move |done: usize| {
            let what = "asking".to_owned();
            self.env.events.send(Event::Counted { what, done, total });
        };
        progress(0);
        let answers = thread::scope(|scope| {
            let asked: Vec<_> = questions
                .into_iter()
                .enumerate()
                .map(|(number, (from, mine))| {
                    let (by_arp, nics, turns) = (&by_arp, &nics, &turns);
                    let ask = move || {
                        let by_arp = match from {
                            Asked::Vm(vm) => by_arp.get(vm).map_or(&[][..], Vec::as_slice),
                            Asked::Host(_) | Asked::Router(_) => &[],
                        };
                        let questions = Questions {
                            targets: targets(topology, nics, from, number, &mine),
                            by_arp,
                            services: services.get(from).map_or(&[], Vec::as_slice),
                            options,
                        };
                        let answer = self.ask_source(from, &questions, turns, sessions);
                        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                        answer
                    };
                    (from, scope.spawn(ask))
                })
                .collect();
            let mut answers = Answers::default();
            for (from, answer) in asked {
                let answer: Result<Answered, String> =
                    answer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                let given = answer.as_ref().map(|answer| answer.services.clone());
                answers.services.insert(from.clone(), given.map_err(Clone::clone));
                let replies = answer.map(|answer| {
                    let Answered {
                        replies, view, took, ..
                    } = answer;
                    if let (Asked::Vm(vm), Some(view)) = (from, view) {
                        answers.guests.insert(vm.clone(), view);
                    }
                    if answers.slowest.as_ref().is_none_or(|(_, longest)| *longest < took) {
                        answers.slowest = Some((from.clone(), took));
                    }
                    replies
                });
                answers.replies.insert(from.clone(), replies);
            }
            answers
        });
        let what = "asking".to_owned();
        self.env.events.send(Event::Done { what });
        answers
    }

    fn ask_source(
        self,
        from: &Asked,
        questions: &Questions,
        turns: &Turns,
        sessions: &Sessions,
    ) -> Result<Answered, String> {
        match from {
            Asked::Vm(vm) => {
                can_be_asked(self.topology, self.observed, vm)?;
                // Once more where only the connection broke: its libvirt daemon may have been restarted.
                let answer = match self.ask_guest(vm, questions, turns, sessions) {
                    Err(Unasked { lost: true, .. }) => self.ask_guest(vm, questions, turns, sessions),
                    answer => answer,
                };
                answer.map_err(|unasked| unasked.why)
            }
            Asked::Host(_) | Asked::Router(_) => {
                let on = match from {
                    Asked::Host(host) => host.clone(),
                    Asked::Vm(_) | Asked::Router(_) => localhost(),
                };
                let host = self.hosts.get(&on).ok_or("it is not connected")?;
                let began = Instant::now();
                let replies = host.ping(&self.topology.lab, from, &questions.targets, questions.options);
                let replies = replies.map_err(|error| chain(&error))?;
                let (view, took) = (None, began.elapsed());
                let services = checks::ask_machine(self.topology, host.as_ref(), from, questions.services)?;
                Ok(Answered {
                    replies,
                    view,
                    services,
                    took,
                })
            }
        }
    }

    /// Has one guest ping, and show what it saw.
    fn ask_guest(
        self,
        vm: &VmName,
        questions: &Questions,
        turns: &Turns,
        sessions: &Sessions,
    ) -> Result<Answered, Unasked> {
        let topology = self.topology;
        let guest = topology.guests.get(vm).ok_or("no such guest")?;
        let (mut session, kind) = match sessions.take(vm) {
            Some(opened) => opened?,
            None => Opening::new(self.env, topology, self.hosts, vm)?.open()?,
        };
        let connect = topology.hosts.get(&guest.host).map(|host| &host.connect);
        let _turn = turns.wait(connect);
        let began = Instant::now();
        let Questions {
            targets,
            by_arp,
            services,
            options,
        } = questions;
        // Typing on a screen takes milliseconds for each key: such a guest is only pinged from.
        let by_arp = (kind == ConsoleKind::Serial).then_some(*by_arp);
        let given = probe_and_ask(&mut session, targets, options, by_arp, services);
        let Given {
            replies,
            view,
            services,
        } = given.map_err(|error| unasked(&error))?;
        let took = began.elapsed();
        Ok(Answered {
            replies,
            view,
            services,
            took,
        })
    }

    /// Has one guest ping, and nothing else.
    pub(super) fn ping_guest(
        self,
        vm: &VmName,
        targets: &[Target],
        options: &ProbeOptions,
    ) -> Result<BTreeMap<IpAddr, Reply>, String> {
        let session = Opening::new(self.env, self.topology, self.hosts, vm).and_then(Opening::open);
        let (mut session, _) = session.map_err(|unasked| unasked.why)?;
        probe(&mut session, targets, options).map_err(|error| chain(&error))
    }
}

/// The replies of one source, what it shows if it is a guest, and how long its pings took.
struct Answered {
    replies: BTreeMap<IpAddr, Reply>,
    view: Option<GuestView>,
    services: BTreeMap<ServiceQuestion, ServiceAnswer>,
    took: Duration,
}

/// Returns the addresses that a source pings: those that it must reach inside the lab by full packets, all others, for
/// which a lost full packet proves nothing, by small ones only. Each source, by its `number`, begins with another one, so
/// that not all ping the same machine at the same time.
fn targets(
    topology: &Topology,
    nics: &Nics<'_>,
    from: &Asked,
    number: usize,
    expectations: &[&Expectation],
) -> Vec<Target> {
    let target = |one: &&Expectation| {
        let address = one.address;
        let known = nics.mtu(address).filter(|_| one.reach);
        let packet = known.map(|_| full_packet(topology, nics, from, address));
        Target {
            address,
            size: packet.map(|packet| packet - HEADERS),
            silent: !one.reach,
        }
    };
    let mut targets: Vec<Target> = expectations.iter().map(target).collect();
    let first = number % targets.len().max(1);
    targets.rotate_left(first);
    // Of an address with two expectations, the one that must be answered decides.
    targets.sort_by_key(|target| (target.silent, std::cmp::Reverse(target.size)));
    targets
}

/// Returns an error for a guest that does not run or is not configured: it is not waited for.
pub(super) fn can_be_asked(topology: &Topology, observed: &Site, vm: &VmName) -> Result<(), String> {
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
pub(super) struct Unasked {
    pub why: String,
    /// Only the connection to it broke.
    pub lost: bool,
}

impl<T: Into<String>> From<T> for Unasked {
    fn from(why: T) -> Self {
        Self {
            why: why.into(),
            lost: false,
        }
    }
}

pub(super) fn unasked(error: &SessionError) -> Unasked {
    Unasked {
        lost: matches!(error.fault, SessionFault::Console(ConsoleError::Lost)),
        why: chain(error),
    }
}
