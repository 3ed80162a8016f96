//! Asks services and paths from a guest or another shell with the programs that it has, in the exchange of its pings, and
//! reads what those programs printed. "Cannot be asked" is a result of its own: it is no answer.

mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::embedded::{code, quoted};
use super::probe::Answer;

/// The functions of the script, one for each kind of question.
const FUNCTIONS: &str = include_str!("services.sh");
/// Programs that run at a time in one guest.
const AT_ONCE: usize = 4;
/// Echo requests of a question about a path.
pub(super) const PINGS: u32 = 3;
/// The longest that a question takes, a guest without timeout(1) and a name server that does not answer included.
const LIMIT_EACH: Duration = Duration::from_secs(15);

/// A question about a service or a path. Hosts are addresses or DNS names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceQuestion {
    /// Whether a TCP connection is made.
    Tcp {
        /// The host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// What a web server answers.
    Http {
        /// The page: ASCII without quotes.
        url: String,
        /// A text that is searched in the page: printable ASCII.
        text: Option<String>,
    },
    /// What the asker's name servers answer.
    Dns {
        /// The name.
        name: String,
    },
    /// How a path is.
    Ping {
        /// The host.
        host: String,
        /// Bytes of payload, not to be fragmented; absent: the program's own 56.
        size: Option<u16>,
    },
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceAnswer {
    /// A TCP connection was made.
    Connected,
    /// A web server answered.
    Page {
        /// The status.
        status: u16,
        /// The text that was searched is in the page.
        has_text: bool,
        /// How the page begins.
        begin: String,
    },
    /// A name server answered with these IPv4 addresses; none: there is no such name.
    Addresses(BTreeSet<IpAddr>),
    /// Pings were sent and counted, or the program printed something else.
    Pinged(Answer),
    /// It was asked, and the other side did not answer, or refused: in words.
    Nothing(String),
    /// The host's name was not resolved, or no name server answers: in words.
    Unresolved(String),
    /// The asker has no program for it: in words.
    CannotAsk(String),
    /// No result, and why.
    Unknown(String),
}

/// Returns the functions that `questions` need and the commands that ask them, which run in the background; empty where
/// there is no question.
pub(super) fn script(questions: &BTreeMap<usize, &ServiceQuestion>) -> String {
    if questions.is_empty() {
        return String::new();
    }
    let mut script = functions(&questions.values().map(|question| section(question)).collect());
    for lane in 0..AT_ONCE.min(questions.len()) {
        script.push_str("{ ");
        for (number, question) in questions.iter().skip(lane).step_by(AT_ONCE) {
            // Writing to a `String` cannot fail.
            let _ = match question {
                ServiceQuestion::Tcp { host, port } => writeln!(script, "c {number} {host} {port}"),
                ServiceQuestion::Http { url, text } => {
                    let text = quoted(text.as_deref().unwrap_or_default());
                    writeln!(script, "g {number} '{url}' {text}")
                }
                ServiceQuestion::Dns { name } => writeln!(script, "d {number} {name}"),
                ServiceQuestion::Ping { host, size } => {
                    let size = size.map_or_else(String::new, |size| format!(" {size}"));
                    writeln!(script, "k {number} {host}{size}")
                }
            };
        }
        script.push_str("} &\n");
    }
    script
}

/// Returns how much longer an exchange may take with these questions.
pub(super) fn limit(questions: usize) -> Duration {
    LIMIT_EACH.saturating_mul(u32::try_from(questions.div_ceil(AT_ONCE)).unwrap_or(u32::MAX))
}

/// The comment that begins the functions of a kind of question.
fn section(question: &ServiceQuestion) -> &'static str {
    match question {
        ServiceQuestion::Tcp { .. } => "#tcp ",
        ServiceQuestion::Http { .. } => "#http ",
        ServiceQuestion::Dns { .. } => "#dns ",
        ServiceQuestion::Ping { .. } => "#ping ",
    }
}

/// Returns the functions before the first section, and those of the given ones: every byte that is typed costs time.
fn functions(wanted: &BTreeSet<&str>) -> String {
    let mut text = String::new();
    let mut typed = true;
    for line in FUNCTIONS.lines() {
        if line.starts_with('#') && !line.starts_with("# ") {
            typed = wanted.iter().any(|section| line.starts_with(section));
        }
        if typed {
            text.push_str(line);
            text.push('\n');
        }
    }
    code(&text)
}

/// Returns the answers among what was printed between two marks, by the number of the question.
pub(super) fn read(
    text: &str,
    mark: &str,
    questions: &BTreeMap<usize, &ServiceQuestion>,
) -> BTreeMap<usize, ServiceAnswer> {
    let answer = |line: &str| {
        let (_, line) = line.split_once(mark)?;
        let line = line.strip_suffix(mark)?.trim();
        let (number, line) = line.strip_prefix('?')?.split_once(" [ ")?;
        let (report, again) = line.rsplit_once(']')?;
        (again.trim().strip_prefix('?')? == number).then_some(())?;
        let number: usize = number.parse().ok()?;
        let question = questions.get(&number)?;
        Some((number, read::answer(question, report.trim())?))
    };
    text.lines().filter_map(answer).collect()
}
