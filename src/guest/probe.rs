//! Makes a guest, or another shell, ping many addresses at once in one exchange, and reads the result of each.

mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::LINE_LIMIT;
use super::embedded::code;
use super::error::SessionError;
use super::frame::fresh_nonce;
use super::seen::{self, ArpQuestion, GuestView};
use super::services::{self, ServiceAnswer, ServiceQuestion};
use super::session::Session;
pub use read::NO_ROUTE;
pub(super) use read::read_report;
use read::{read_reports, unwrap_line};

/// How often an address is probed whose line did not arrive intact.
const ATTEMPTS: u32 = 2;
/// Addresses per line of the script: the longest has 39 bytes (RFC 4291, 2.2, form 1).
const TARGETS_PER_LINE: usize = LINE_LIMIT / 45;
/// The deadline of a probe, and what is added for every address that a lane pings in sequence. None takes longer than
/// two seconds in an idle guest.
const LIMIT: Duration = Duration::from_secs(30);
const LIMIT_EACH: Duration = Duration::from_secs(5);

/// The functions of the script.
const PING: &str = include_str!("probe.sh");
/// The function that sends a packet whole.
const WHOLE: &str = include_str!("whole.sh");

/// The result of a guest's pings to one address.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The pings were sent and counted; `received` 0 is "not reached", between 0 and `sent` is "lossy".
    Counted {
        /// Echo requests sent.
        sent: u32,
        /// Echo replies received.
        received: u32,
        /// Mean round trip in milliseconds, where there was one.
        rtt_ms: Option<f64>,
        /// What the program itself gave as the reason of a loss, e.g. `Network is unreachable`.
        #[serde(default)]
        said: Option<String>,
    },
    /// No result, and why. Never counts as a pass, nor as a proof of isolation.
    Unknown(String),
}

/// The answers about one address.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The pings that were sent first.
    pub answer: Answer,
    /// Where those were full packets and did not all come back: the small ones sent after them.
    pub small: Option<Answer>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, small: None }
    }
}

/// An address to ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub address: IpAddr,
    /// Bytes of payload, e.g. 1472 to fill an Ethernet frame (1500 - 20 IP - 8 ICMP), sent with don't-fragment;
    /// absent: the program's own 56. Where not all of the full packets come back, small ones are sent after them.
    pub size: Option<u16>,
    /// Nobody should answer: more of these are pinged at a time, and late replies are not waited for.
    pub silent: bool,
}

impl From<IpAddr> for Target {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            size: None,
            silent: false,
        }
    }
}

/// How a guest pings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Echo requests per address, 0.2 s apart. With a duplicate MAC address the first one is still answered, so at
    /// least 2 for a reliable answer.
    pub count: u32,
    /// Seconds that the last reply is waited for, at least 1. On a machine that is busy with many guests replies of
    /// more than a second were seen.
    pub wait: u32,
    /// Pings that run at a time in one guest, at least 1; half as many where some are full packets, which take three
    /// times the space. Twice as many addresses at which nobody should answer are pinged beside them.
    ///
    /// A raw socket gets every reply that the guest receives, not only its own program's, and busybox's buffer holds
    /// about 19 (SO_RCVBUF of 2 × 56 + 7,168 bytes, doubled by the kernel; 768 bytes per small packet). In a guest
    /// whose CPU was not scheduled for a while all replies arrive at once: of 8 programs × 2 replies none is dropped
    /// by the guest itself and reported as loss of the network.
    pub at_once: usize,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            count: 2,
            wait: 1,
            at_once: 8,
        }
    }
}

/// Pings each of `targets`, in their order, and returns the replies. Only an intact line without contradictions is counted;
/// everything else is [`Answer::Unknown`]. Fails only where the session does.
///
/// A guest without a route to an address cannot reach it: that counts as `received: 0`.
pub fn probe(
    session: &mut Session<'_>,
    targets: &[Target],
    options: &ProbeOptions,
) -> Result<BTreeMap<IpAddr, Reply>, SessionError> {
    probe_by(targets, options, |script, within| {
        session.run_as_root(script, within).map(|output| output.text)
    })
}

/// What one exchange answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// The replies to the pings.
    pub replies: BTreeMap<IpAddr, Reply>,
    /// What the guest shows after the pings; absent where it was not asked, or its answer was not intact.
    pub view: Option<GuestView>,
    /// Services and paths.
    pub services: BTreeMap<ServiceQuestion, ServiceAnswer>,
}

/// Like [`probe`], and in the same exchange asks services; with `by_arp` it also asks by ARP and reads what the guest shows
/// after the pings.
pub fn probe_and_ask(
    session: &mut Session<'_>,
    targets: &[Target],
    options: &ProbeOptions,
    by_arp: Option<&[ArpQuestion]>,
    services: &[ServiceQuestion],
) -> Result<Answers, SessionError> {
    probe_all(targets, options, by_arp, services, |script, within| {
        session.run_as_root(script, within).map(|output| output.text)
    })
}

/// Like [`probe`], by a function that runs a script of sh(1) within a deadline and returns its standard output.
pub fn probe_by<E>(
    targets: &[Target],
    options: &ProbeOptions,
    run: impl FnMut(&str, Duration) -> Result<String, E>,
) -> Result<BTreeMap<IpAddr, Reply>, E> {
    Ok(probe_all(targets, options, None, &[], run)?.replies)
}

/// Asks services by such a function.
pub fn ask_by<E>(
    services: &[ServiceQuestion],
    run: impl FnMut(&str, Duration) -> Result<String, E>,
) -> Result<BTreeMap<ServiceQuestion, ServiceAnswer>, E> {
    Ok(probe_all(&[], &ProbeOptions::default(), None, services, run)?.services)
}

/// Pings, asks services, and with `by_arp` observes.
fn probe_all<E>(
    targets: &[Target],
    options: &ProbeOptions,
    by_arp: Option<&[ArpQuestion]>,
    services: &[ServiceQuestion],
    mut run: impl FnMut(&str, Duration) -> Result<String, E>,
) -> Result<Answers, E> {
    let mut answers = Answers::default();
    let mut seen = BTreeSet::new();
    let mut open: Vec<Target> = targets.iter().copied().filter(|one| seen.insert(one.address)).collect();
    let mut questions: BTreeMap<usize, &ServiceQuestion> = services.iter().enumerate().collect();
    for _ in 0..ATTEMPTS {
        if open.is_empty() && questions.is_empty() && (by_arp.is_none() || answers.view.is_some()) {
            break;
        }
        let in_a_row = u32::try_from(open.len().div_ceil(options.at_once.max(1))).unwrap_or(u32::MAX);
        let each = LIMIT_EACH.saturating_mul(options.wait.max(1));
        let within = LIMIT
            .saturating_add(each.saturating_mul(in_a_row))
            .saturating_add(services::limit(questions.len()));
        let mark = fresh_nonce();
        let text = run(&script(&mark, &open, options, by_arp, &questions), within)?;
        answers.view = answers.view.or_else(|| seen::read(&text, &mark));
        let mut given: BTreeMap<IpAddr, &str> = text.lines().filter_map(|line| unwrap_line(line, &mark)).collect();
        open.retain(|target| match given.remove(&target.address) {
            Some(reports) => {
                let reply = read_reports(reports, options.count);
                answers.replies.insert(target.address, reply);
                false
            }
            None => true,
        });
        for (number, answer) in services::read(&text, &mark, &questions) {
            if let Some(question) = questions.remove(&number) {
                answers.services.insert(question.clone(), answer);
            }
        }
    }
    if let Some(view) = answers.view.as_mut().filter(|view| view.makes_fragments) {
        let some = |reply: &Reply| matches!(reply.answer, Answer::Counted { received, .. } if received > 0);
        let is_answered = |target: &Target| answers.replies.get(&target.address).is_some_and(some);
        view.fragmented = fragmented(targets.iter().filter(|target| is_answered(target)), run)?;
    }
    let why = "its line in the guest's answer was garbled";
    let open = open.into_iter();
    let open = open.map(|target| (target.address, Answer::Unknown(why.into()).into()));
    answers.replies.extend(open);
    let unanswered = questions.into_values().cloned();
    let unanswered = unanswered.map(|question| (question, ServiceAnswer::Unknown(why.into())));
    answers.services.extend(unanswered);
    Ok(answers)
}

/// Returns the script that pings `targets`: some lanes at a time, one address after the other in each.
///
/// In a subshell, which keeps its functions to itself and prints nothing about background jobs. Without `-M do` Linux
/// still sets don't-fragment, as long as it has not learned of a smaller path MTU (ip(7), IP_MTU_DISCOVER). `echo`
/// writes a line at once, so the lines of parallel pings do not mix. `mark` distinguishes them from those of an
/// abandoned probe.
fn script(
    mark: &str,
    targets: &[Target],
    options: &ProbeOptions,
    by_arp: Option<&[ArpQuestion]>,
    asked: &BTreeMap<usize, &ServiceQuestion>,
) -> String {
    let ProbeOptions { count, wait, at_once } = options;
    let at_once = (*at_once).max(1);
    let mut script = format!("( set -f; w={mark} c={count} v={} z=\n{}", (*wait).max(1), code(PING));
    script.push_str(&by_arp.map_or_else(String::new, seen::questions));
    script.push_str(&services::script(asked));
    let (silent, loud): (Vec<Target>, Vec<Target>) = targets.iter().partition(|target| target.silent);
    let full = loud.iter().any(|target| target.size.is_some());
    add_lanes(&mut script, &silent, 2 * at_once, "v=1\n");
    add_lanes(&mut script, &loud, if full { at_once.div_ceil(2) } else { at_once }, "");
    script.push_str("wait\n");
    if by_arp.is_some() {
        script.push_str(seen::PRINT);
    }
    script.push_str(")\n");
    script
}

/// Returns those of `targets` of which it is not proved that a full packet reaches them in one piece. Each is sent one, and
/// where that is lost another one, after the kernel has forgotten the path MTUs that it has learned, which may be no more.
fn fragmented<'t, E>(
    targets: impl Iterator<Item = &'t Target>,
    run: impl FnOnce(&str, Duration) -> Result<String, E>,
) -> Result<BTreeSet<IpAddr>, E> {
    let (mark, mut script, mut asked) = (fresh_nonce(), String::new(), BTreeSet::new());
    let mut within = LIMIT;
    for target in targets {
        if let Some(size) = target.size {
            // Writing to a `String` cannot fail.
            let _ = writeln!(script, "o {} {size} || o {} {size}", target.address, target.address);
            asked.insert(target.address);
            within = within.saturating_add(LIMIT_EACH);
        }
    }
    let text = run(
        &format!("( w={mark}\n{}{}{script})\n", code(seen::FRAGMENTS), code(WHOLE)),
        within,
    )?;
    for (address, _) in text.lines().filter_map(|line| unwrap_line(line, &mark)) {
        asked.remove(&address);
    }
    Ok(asked)
}

/// Adds lanes that each begin with `first`.
fn add_lanes(script: &mut String, targets: &[Target], lanes: usize, first: &str) {
    for lane in 0..lanes.min(targets.len()) {
        let _ = write!(script, "{{ {first}");
        let mine: Vec<&Target> = targets.iter().skip(lane).step_by(lanes).collect();
        let mut size = None;
        for same in mine.chunk_by(|a, b| a.size == b.size) {
            if same[0].size != size {
                size = same[0].size;
                let size = size.map_or_else(String::new, |size| size.to_string());
                // Writing to a `String` cannot fail.
                let _ = writeln!(script, "z={size}");
            }
            for line in same.chunks(TARGETS_PER_LINE) {
                script.push('f');
                for target in line {
                    let _ = write!(script, " {}", target.address);
                }
                script.push('\n');
            }
        }
        script.push_str("} &\n");
    }
}
