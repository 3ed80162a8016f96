//! Checks of services and paths: which questions each asker is asked, and what the answers mean. A check that must not
//! succeed passes only where its question could have been answered.

pub(super) mod cause;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::names;
use super::{Evidence, Matrix, Verdict};
use crate::guest::{Answer, ServiceAnswer, ServiceQuestion};
use crate::lab::{Asked, Question, ServiceCheck, Target, VmName};
use crate::topology::{Guest, Topology};

/// What a packet holds besides ping's payload: 20 bytes of IPv4 (RFC 791) and 8 of ICMP (RFC 792).
const HEADERS: u16 = 28;

/// The answers by asker; for one that could not be asked, the reason.
pub type ServiceReplies = BTreeMap<Asked, Result<BTreeMap<ServiceQuestion, ServiceAnswer>, String>>;

/// The result of a check by one asker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    /// Its name, or its question.
    pub name: String,
    /// The asker.
    pub from: String,
    /// What was asked.
    pub question: String,
    /// Whether the answer must be as described; false: it must not.
    pub reach: bool,
    /// The result. Unknown: it could not be asked, or the answer proves nothing.
    pub verdict: Verdict,
    /// How often it was asked.
    pub asked: u32,
    /// Why it is not a pass.
    pub reason: Option<String>,
    /// What is the fault, where that was observed.
    pub cause: Option<String>,
    /// What the author of the lab says about a failure.
    pub hint: Option<String>,
}

/// All answers of services, and how often each question was asked.
#[derive(Debug, Default)]
pub struct Services {
    replies: ServiceReplies,
    asked: BTreeMap<(Asked, ServiceQuestion), u32>,
}

impl Services {
    /// Takes the replies to `asked`. An asker that gave answers before and cannot be asked now keeps them.
    pub fn take(&mut self, asked: &BTreeMap<Asked, Vec<ServiceQuestion>>, replies: ServiceReplies) {
        for (from, questions) in asked {
            for question in questions {
                *self.asked.entry((from.clone(), question.clone())).or_default() += 1;
            }
        }
        for (from, new) in replies {
            match (self.replies.get_mut(&from), new) {
                (Some(Ok(old)), Ok(new)) => old.extend(new),
                (Some(Ok(_)), Err(_)) => {}
                (_, new) => _ = self.replies.insert(from, new),
            }
        }
    }

    /// Returns the questions of which asking again can give a clear result.
    pub fn unsettled(&self, topology: &Topology) -> BTreeMap<Asked, Vec<ServiceQuestion>> {
        let unsettled = |check: &ServiceCheck, from: &Asked| {
            let (_, _, unsettled) = verdict(check.reach, self.outcome(topology, check, from), None);
            unsettled
        };
        collect(topology, unsettled)
    }

    fn outcome(&self, topology: &Topology, check: &ServiceCheck, from: &Asked) -> Outcome {
        match self.replies.get(from) {
            None => Outcome::Unknown("it was not asked".to_owned()),
            Some(Err(why)) => Outcome::Unknown(why.clone()),
            Some(Ok(answers)) => outcome(topology, &check.question, from, answers),
        }
    }
}

/// What an answer means.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// It is as described: what was seen.
    Yes(String),
    /// It is not: why.
    No(String),
    /// Some pings were lost: how many.
    Lossy(String),
    /// Whether it is cannot be seen, since something before it failed: what.
    Unproved(String),
    /// The asker has no program for it: which.
    CannotAsk(String),
    /// There is no answer: why.
    Unknown(String),
}

/// Returns what each asker is asked, each question once.
pub fn service_questions(topology: &Topology) -> BTreeMap<Asked, Vec<ServiceQuestion>> {
    collect(topology, |_, _| true)
}

fn collect(
    topology: &Topology,
    wanted: impl Fn(&ServiceCheck, &Asked) -> bool,
) -> BTreeMap<Asked, Vec<ServiceQuestion>> {
    let mut all: BTreeMap<Asked, Vec<ServiceQuestion>> = BTreeMap::new();
    for check in &topology.checks {
        for from in check.from.iter().filter(|from| wanted(check, from)) {
            let mine = all.entry(from.clone()).or_default();
            for question in questions(topology, &check.question, from) {
                if !mine.contains(&question) {
                    mine.push(question);
                }
            }
        }
    }
    all
}

/// Returns what answers a question: the question itself, and what shows why it fails.
fn questions(topology: &Topology, question: &Question, from: &Asked) -> Vec<ServiceQuestion> {
    let host = |to: &Target| host(topology, to, from);
    let named = |to: &Target| match to {
        Target::Name(name) => Some(dns(name.as_str())),
        Target::Address(_) | Target::Vm(_) => None,
    };
    let (first, more) = match question {
        Question::Tcp { to, port } => {
            let question = ServiceQuestion::Tcp {
                host: host(to),
                port: *port,
            };
            (question, named(to))
        }
        Question::Http { url, text, .. } => {
            let question = ServiceQuestion::Http {
                url: url.with_host(&host(&url.host)),
                text: text.clone(),
            };
            (question, named(&url.host))
        }
        Question::Dns { name, .. } => (dns(name.as_str()), None),
        Question::Ping { to, mtu, .. } => {
            let small = ServiceQuestion::Ping {
                host: host(to),
                size: None,
            };
            let Some(mtu) = mtu else {
                return [small].into_iter().chain(named(to)).collect();
            };
            let full = ServiceQuestion::Ping {
                host: host(to),
                size: Some(mtu - HEADERS),
            };
            return [full, small].into_iter().chain(named(to)).collect();
        }
    };
    [first].into_iter().chain(more).collect()
}

fn dns(name: &str) -> ServiceQuestion {
    ServiceQuestion::Dns { name: name.to_owned() }
}

/// Returns whom the asker's programs are given: of a guest the address in a network that both are in, else its first.
fn host(topology: &Topology, to: &Target, from: &Asked) -> String {
    match to {
        Target::Address(address) => address.to_string(),
        Target::Name(name) => name.to_string(),
        Target::Vm(vm) => {
            let nics = topology.guests.get(vm).map_or(&[][..], |guest| &guest.nics);
            let own = match from {
                Asked::Vm(from) => topology.guests.get(from),
                Asked::Host(_) | Asked::Router(_) => None,
            };
            let shared = |guest: &Guest| {
                let mut nics = nics.iter();
                nics.find(|nic| guest.nics.iter().any(|own| own.network == nic.network))
            };
            let nic = own.and_then(shared).or(nics.first());
            // A guest without a NIC has no address: its name is resolved, or not.
            nic.map_or_else(|| vm.to_string(), |nic| nic.address.addr().to_string())
        }
    }
}

/// Evaluates the answers. `gone(vm)`: why a guest cannot answer anything, if it cannot.
pub fn check_results(
    evidence: &Evidence<'_>,
    services: &Services,
    gone: &dyn Fn(&VmName) -> Option<String>,
) -> Vec<CheckResult> {
    let mut results = Vec::new();
    for check in &evidence.topology.checks {
        for from in &check.from {
            results.push(result(evidence, check, from, services, gone));
        }
    }
    results
}

fn result(
    evidence: &Evidence<'_>,
    check: &ServiceCheck,
    from: &Asked,
    services: &Services,
    gone: &dyn Fn(&VmName) -> Option<String>,
) -> CheckResult {
    let outcome = services.outcome(evidence.topology, check, from);
    let target = match &check.question {
        Question::Tcp { to, .. } | Question::Ping { to, .. } => Some(to),
        Question::Http { url, .. } => Some(&url.host),
        Question::Dns { .. } => None,
    };
    let gone = match target {
        Some(Target::Vm(vm)) => gone(vm).map(|why| format!("guest {vm}: {why}")),
        _ => None,
    };
    // Of a name itself any other answer than the wanted one is its server's; of a host only that it has no address.
    let by_name_server = match target {
        None => matches!(outcome, Outcome::Unproved(_) | Outcome::No(_)),
        Some(Target::Name(_)) => matches!(outcome, Outcome::Unproved(_)),
        Some(_) => false,
    };
    let (verdict, reason, _) = verdict(check.reach, outcome, gone.as_deref());
    let questions = questions(evidence.topology, &check.question, from).into_iter();
    let asked = questions.filter_map(|question| services.asked.get(&(from.clone(), question)));
    let cause = if verdict == Verdict::Pass {
        None
    } else if by_name_server {
        names::fault(evidence, from)
    } else {
        gone.or_else(|| {
            let to: Ipv4Addr = host(evidence.topology, target?, from).parse().ok()?;
            check
                .reach
                .then(|| cause::on_path(evidence, from, to, cause::port(&check.question)))?
        })
    };
    CheckResult {
        name: check.name.clone().unwrap_or_else(|| check.question.to_string()),
        from: from.to_string(),
        question: check.question.to_string(),
        reach: check.reach,
        verdict,
        asked: asked.copied().max().unwrap_or_default(),
        reason,
        cause,
        hint: check.hint.clone().filter(|_| verdict != Verdict::Pass),
    }
}

/// Returns the verdict, why it is no pass, and whether asking again can give another one.
fn verdict(reach: bool, outcome: Outcome, gone: Option<&str>) -> (Verdict, Option<String>, bool) {
    let nothing = |why: &str| {
        let reason = format!("that it must not be is not proved: {why}");
        (Verdict::Unknown, Some(reason), true)
    };
    match (outcome, gone) {
        (Outcome::CannotAsk(why), _) => (Verdict::Unknown, Some(format!("cannot be asked here: {why}")), false),
        (Outcome::Unknown(why), _) => (Verdict::Unknown, Some(why), true),
        (Outcome::Yes(_), _) if reach => (Verdict::Pass, None, false),
        (Outcome::Lossy(why), _) if reach => (Verdict::Lossy, Some(why), true),
        (Outcome::No(why) | Outcome::Unproved(why), _) if reach => (Verdict::Fail, Some(why), false),
        (Outcome::Yes(seen) | Outcome::Lossy(seen), _) => {
            (Verdict::Fail, Some(format!("must not be, but {seen}")), false)
        }
        (Outcome::No(_), Some(gone)) => nothing(gone),
        (Outcome::No(_), None) => (Verdict::Pass, None, false),
        (Outcome::Unproved(why), _) => nothing(&why),
    }
}

/// Evaluates what one asker was answered.
fn outcome(
    topology: &Topology,
    question: &Question,
    from: &Asked,
    answers: &BTreeMap<ServiceQuestion, ServiceAnswer>,
) -> Outcome {
    let asked = questions(topology, question, from);
    let Some(answer) = asked.first().and_then(|first| answers.get(first)) else {
        return Outcome::Unknown("it gave no answer to this question".to_owned());
    };
    let outcome = match question {
        Question::Tcp { .. } => plain(answer, "a connection is made"),
        Question::Http { status, text, .. } => match answer {
            ServiceAnswer::Page {
                status: has,
                has_text,
                begin,
            } => page(*status, text.as_deref(), *has, *has_text, begin),
            other => plain(other, ""),
        },
        Question::Dns { name, answer: wanted } => {
            let wanted = if wanted.is_empty() {
                names::addresses(topology, name)
            } else {
                wanted.clone()
            };
            return addresses(answer, &wanted.into_iter().map(IpAddr::V4).collect());
        }
        Question::Ping { max_rtt_ms, mtu, .. } => {
            let small = asked.get(1).and_then(|second| answers.get(second));
            path(answer, small.filter(|_| mtu.is_some()), *max_rtt_ms, *mtu)
        }
    };
    // Where the name has no address, nothing was asked of the host itself.
    let named = asked
        .iter()
        .find(|question| matches!(question, ServiceQuestion::Dns { .. }));
    match named.and_then(|question| answers.get(question)) {
        Some(ServiceAnswer::Unresolved(why)) if !matches!(outcome, Outcome::Yes(_)) => Outcome::Unproved(why.clone()),
        Some(ServiceAnswer::Addresses(found)) if found.is_empty() && !matches!(outcome, Outcome::Yes(_)) => {
            Outcome::Unproved("there is no such name".to_owned())
        }
        _ => outcome,
    }
}

/// Evaluates an answer that has no details.
fn plain(answer: &ServiceAnswer, yes: &str) -> Outcome {
    match answer {
        ServiceAnswer::Connected => Outcome::Yes(yes.to_owned()),
        ServiceAnswer::Nothing(why) => Outcome::No(why.clone()),
        ServiceAnswer::Unresolved(why) => Outcome::Unproved(why.clone()),
        ServiceAnswer::CannotAsk(why) => Outcome::CannotAsk(why.clone()),
        ServiceAnswer::Unknown(why) => Outcome::Unknown(why.clone()),
        ServiceAnswer::Page { .. } | ServiceAnswer::Addresses(_) | ServiceAnswer::Pinged(_) => {
            Outcome::Unknown("the answer is to another question".to_owned())
        }
    }
}

fn page(wanted: Option<u16>, text: Option<&str>, status: u16, has_text: bool, begin: &str) -> Outcome {
    let good = wanted.map_or((200..300).contains(&status), |wanted| wanted == status);
    if !good {
        let wanted = wanted.map_or_else(|| "one from 200 to 299".to_owned(), |wanted| wanted.to_string());
        return Outcome::No(format!("the status is {status} instead of {wanted}"));
    }
    match text {
        Some(text) if !has_text => {
            let begin = if begin.is_empty() {
                "it is empty".to_owned()
            } else {
                format!("it begins with `{begin}`")
            };
            Outcome::No(format!("the page does not contain `{text}`: {begin}"))
        }
        _ => Outcome::Yes(format!("the status is {status}: `{begin}`")),
    }
}

fn addresses(answer: &ServiceAnswer, wanted: &BTreeSet<IpAddr>) -> Outcome {
    let ServiceAnswer::Addresses(found) = answer else {
        return plain(answer, "");
    };
    let list = |addresses: &BTreeSet<IpAddr>| {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        texts.join(", ")
    };
    if found.is_empty() {
        Outcome::No("there is no such name".to_owned())
    } else if wanted.is_empty() || found == wanted {
        Outcome::Yes(format!("the answer is {}", list(found)))
    } else {
        Outcome::No(format!("the answer is {} instead of {}", list(found), list(wanted)))
    }
}

/// Evaluates pings: full ones and then small ones where a packet size is asked for.
fn path(answer: &ServiceAnswer, small: Option<&ServiceAnswer>, max_rtt_ms: Option<u32>, mtu: Option<u16>) -> Outcome {
    let (sent, received, rtt_ms, said) = match answer {
        ServiceAnswer::Pinged(Answer::Counted {
            sent,
            received,
            rtt_ms,
            said,
        }) => (*sent, *received, *rtt_ms, said),
        ServiceAnswer::Pinged(Answer::Unknown(why)) => (0, 0, None, &Some(why.clone())),
        other => return plain(other, ""),
    };
    let said = said.as_ref().map_or_else(String::new, |said| format!(": {said}"));
    if received == 0 {
        let passes = |small: &ServiceAnswer| matches!(small, ServiceAnswer::Pinged(Answer::Counted { received, .. }) if *received > 0);
        return match (mtu, small.is_some_and(passes), sent) {
            (Some(mtu), true, _) => Outcome::No(format!("packets of {mtu} bytes do not pass, small ones do")),
            (_, _, 0) => Outcome::Unknown(format!("no ping was counted{said}")),
            (None, ..) if max_rtt_ms.is_none() => Outcome::No(format!("no reply to {sent} pings{said}")),
            _ => Outcome::Unproved(format!("no reply to {sent} pings{said}")),
        };
    }
    if received < sent {
        return Outcome::Lossy(format!("{received} of {sent} pings were answered"));
    }
    match (max_rtt_ms, rtt_ms) {
        (Some(_), None) => Outcome::Unknown("its ping shows no times".to_owned()),
        (Some(most), Some(rtt)) if rtt > f64::from(most) => {
            Outcome::No(format!("the mean round trip is {rtt:.1} ms, more than {most} ms"))
        }
        (_, Some(rtt)) => Outcome::Yes(format!("pings are answered in {rtt:.1} ms")),
        (None, None) => Outcome::Yes("pings are answered".to_owned()),
    }
}

/// Whether every check and every cell passed, and there is one.
pub fn is_proved(matrix: &Matrix, checks: &[CheckResult]) -> bool {
    let passed = checks.iter().all(|check| check.verdict == Verdict::Pass);
    let nothing_else = matrix.cells.is_empty() && !checks.is_empty();
    passed && (nothing_else || matrix.is_as_expected())
}

/// An IPv4 address, if it is one.
pub(super) fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
