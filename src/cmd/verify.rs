//! `netlab verify`: nothing to do, and guests, hosts and routers reach whom they must and nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;

use serde::Serialize;

use super::error::Failure;
use super::{Context, sight};
use crate::guest::{Answer, ConsoleError, ProbeOptions, Session, SessionError, Transcript, Trouble, probe};
use crate::host::NamedHosts;
use crate::lab::{Asked, HostName, ImageName, LabName, VmName};
use crate::plan::plan;
use crate::run::chain;
use crate::state::{DomainName, Site, desired, rig_host};
use crate::topology::Topology;
use crate::verify::{Expectation, Matrix, Replies, Reply, Sight, diagnose, expected, full_packet, html, junit, text};

/// What a packet holds besides ping's payload: 20 bytes of IPv4 (RFC 791) and 8 of ICMP (RFC 792).
const HEADERS: u16 = 28;
/// Full packets take three times the room of small ones in a guest's receive buffer: see [`ProbeOptions::at_once`].
const FULL_AT_ONCE: usize = 4;

#[derive(clap::Args)]
pub struct Args {
    /// The lab file.
    #[arg(default_value = "lab.toml")]
    file: PathBuf,
    /// Emulate every host on this machine, whatever `connect` says; cables are the lab's.
    #[arg(long)]
    emulate: bool,
    /// Also write the result as JUnit XML, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also write the result as one HTML page that needs no other file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The image that `up --image` ran with; left out, the one of the last `up`.
    #[arg(long)]
    image: Option<ImageName>,
}

#[derive(Serialize)]
struct Report<'a> {
    lab: &'a LabName,
    as_expected: bool,
    /// What `up` would do, a line a step; none: nothing differs from the file.
    drift: &'a [String],
    #[serde(flatten)]
    matrix: &'a Matrix,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let mut topology = sight::as_made(&context.folders, &args.file, args.image.as_ref())?;
    if args.emulate {
        topology.emulate();
    }
    let hosts = sight::reach(&context.folders, &topology.lab, &sight::connects(&topology))?;
    let observed = sight::observe(&hosts, &topology.lab)?;
    if observed.is_empty() {
        return Err(Failure::Failed {
            message: format!("lab {} is not up", topology.lab),
            help: Some(format!("netlab up {}", args.file.display())),
        });
    }
    // No preflight: the lab is up, and what stands in the way of making it anew is not asked here.
    let wanted = desired(&topology, &sight::survey(&hosts, &topology.lab)?);
    let to_do = plan(&observed, &wanted);
    let drift: Vec<String> = to_do.steps().map(|(host, step)| format!("{host}: {step}")).collect();
    let expectations = expected(&topology);
    let replies = ask(context, &topology, &hosts, &observed, &expectations);
    let mut matrix = Matrix::new(expectations, &replies);
    explain(&topology, &hosts, &observed, &mut matrix);

    if let Some(path) = &args.junit {
        let report = junit::junit(topology.lab.as_str(), &drift, &matrix);
        write(path, &report.map_err(|error| sight::failed(error.to_string()))?)?;
    }
    if let Some(path) = &args.html {
        write(path, &html::html(topology.lab.as_str(), &drift, &matrix))?;
    }
    let as_expected = drift.is_empty() && matrix.is_as_expected();
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let report = Report {
        lab: &topology.lab,
        as_expected,
        drift: &drift,
        matrix: &matrix,
    };
    context.answer(&text(&matrix, colour), &report)?;
    if !drift.is_empty() {
        return Err(Failure::Failed {
            message: format!("the lab is not as described; `up` would do:\n{}", drift.join("\n")),
            help: Some(format!("netlab up {}", args.file.display())),
        });
    }
    if as_expected {
        return Ok(());
    }
    Err(sight::failed("not every answer is as it should be".to_owned()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| sight::failed(format!("cannot write {}: {error}", path.display())))
}

/// Asks everybody at the same time.
fn ask(
    context: &Context,
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
                        ask_guest(context, topology, hosts, vm, &mine)
                    }
                    Asked::Host(host) => ask_host(topology, hosts, host, from, &mine),
                    Asked::Router(_) => ask_host(topology, hosts, &rig_host(), from, &mine),
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

/// Asks a host, or a router that lives on it, in one command and by small packets.
fn ask_host(
    topology: &Topology,
    hosts: &NamedHosts,
    host: &HostName,
    from: &Asked,
    expectations: &[&Expectation],
) -> Result<BTreeMap<IpAddr, Reply>, String> {
    let host = hosts.get(host).ok_or("no way to it is known")?;
    let targets: BTreeSet<IpAddr> = expectations.iter().map(|one| one.address).collect();
    let targets: Vec<IpAddr> = targets.into_iter().collect();
    let answers = host
        .ping(&topology.lab, from, &targets)
        .map_err(|error| chain(&error))?;
    let replies = answers.into_iter().map(|(address, answer)| (address, answer.into()));
    Ok(replies.collect())
}

/// A guest that does not run, or was told nothing yet, is not waited for.
fn can_be_asked(topology: &Topology, observed: &Site, vm: &VmName) -> Result<(), String> {
    let name = DomainName::new(&topology.lab, vm);
    let host = topology.guests.get(vm).and_then(|guest| observed.get(&guest.host));
    match host.and_then(|state| state.domains.get(&name)) {
        None => Err("the guest is not there".to_owned()),
        Some(domain) if !domain.running => Err("the guest is not running".to_owned()),
        Some(domain) if domain.configured.is_none() => Err("the guest was not told its addresses".to_owned()),
        Some(_) => Ok(()),
    }
}

/// Why a guest gave no answers.
struct Unasked {
    why: String,
    /// Only the way to it broke.
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

/// Asks one guest, and once more where only the way to it broke: its libvirt daemon may have been restarted.
fn ask_guest(
    context: &Context,
    topology: &Topology,
    hosts: &NamedHosts,
    vm: &VmName,
    expectations: &[&Expectation],
) -> Result<BTreeMap<IpAddr, Reply>, String> {
    let ask = || ask_once(context, topology, hosts, vm, expectations);
    let answer = match ask() {
        Err(Unasked { lost: true, .. }) => ask(),
        answer => answer,
    };
    answer.map_err(|unasked| unasked.why)
}

/// Asks one guest: whom it must reach inside the lab by full packets, and by small ones where those do not all come
/// back; all others, for whom a lost full packet proves nothing, by small ones only. What is inside has a name.
fn ask_once(
    context: &Context,
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
    let host = hosts.get(&guest.host).ok_or("its host is not known")?;
    let name = DomainName::new(&topology.lab, vm);
    let console = host
        .open_console(&name, image.console.kind)
        .map_err(|error| chain(&error))?;
    let transcript = context.folders.transcript(&topology.lab, vm);
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
        lost: matches!(error.trouble, Trouble::Console(ConsoleError::Lost)),
        why: chain(error),
    }
}

/// Adds to each failed cell where its packets stop, as far as the hosts show it.
fn explain(topology: &Topology, hosts: &NamedHosts, observed: &Site, matrix: &mut Matrix) {
    if matrix.is_as_expected() {
        return;
    }
    // One host that cannot be looked at says nothing; the others do.
    let looked = hosts.iter().filter(|(name, _)| topology.hosts.contains_key(*name));
    let ports: BTreeMap<HostName, _> = looked
        .filter_map(|(name, host)| Some((name.clone(), host.ports().ok().filter(|ports| !ports.is_empty())?)))
        .collect();
    let sight = Sight {
        topology,
        observed,
        ports: &ports,
    };
    for cell in &mut matrix.cells {
        cell.cause = diagnose(&sight, cell);
    }
}
