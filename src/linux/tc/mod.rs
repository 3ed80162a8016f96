//! Limits of links by tc(8): reads those that a lab has set, recognized by the handle of the queueing discipline at a
//! link's root, and carries out the steps that set and remove them. Never replaces a discipline that somebody else has set.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::FailedAt;
use super::ip::{self, NetworkError, RawLink};
use crate::lab::{Delay, IfName, LabName, Loss, Rate, Shaping};
use crate::plan::Step;
use crate::plan::lines::{DOWN_KIND, Program, program_of, shape, unshape};
use crate::topology::derive::shaping_handle;
use crate::transport::{Cmd, Shell};

/// A queueing discipline as `tc -json qdisc show` prints it.
#[derive(Debug, Clone, Deserialize)]
pub struct RawQdisc {
    kind: String,
    /// E.g. `4a12:`; `0:` of the kernel's default.
    handle: String,
    dev: String,
    #[serde(default)]
    root: bool,
    #[serde(default)]
    options: Options,
}

/// What disciplines have: tbf a rate, netem the rest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Options {
    rate: Option<RawRate>,
    delay: Option<RawDelay>,
    #[serde(rename = "loss-random")]
    loss: Option<RawLoss>,
}

/// Bytes a second: of tbf a number, of netem a table.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum RawRate {
    Tbf(u64),
    Netem { rate: u64 },
}

/// In seconds.
#[derive(Debug, Clone, Deserialize)]
struct RawDelay {
    delay: f64,
    #[serde(default)]
    jitter: f64,
}

/// From 0 to 1.
#[derive(Debug, Clone, Deserialize)]
struct RawLoss {
    loss: f64,
}

/// What the links of a machine have at their roots.
#[derive(Debug, Default)]
pub struct Qdiscs {
    /// This lab's.
    pub own: BTreeMap<IfName, Shaping>,
    /// Somebody else's: kind and handle by link. Not the kernel's defaults.
    pub foreign: BTreeMap<String, String>,
}

/// Returns the command that prints the disciplines of every link as JSON; nothing where tc(8) is not installed, with which
/// nothing was limited either.
pub fn query() -> Cmd {
    Cmd::new(["sh", "-c", "! command -v tc >/dev/null || tc -json qdisc show"])
}

/// Returns the limits that `lab` has set on the links of a machine. Two commands at most.
pub fn observe(shell: &dyn Shell, lab: &LabName) -> Result<BTreeMap<IfName, Shaping>, NetworkError> {
    Ok(read(shell, lab)?.own)
}

fn read(shell: &dyn Shell, lab: &LabName) -> Result<Qdiscs, NetworkError> {
    let all: Vec<RawQdisc> = ip::query(shell, &["tc", "-json", "qdisc", "show"])?;
    let own = handle(lab);
    let held = |qdisc: &RawQdisc| qdisc.handle == own && qdisc.kind == DOWN_KIND;
    let links: Vec<RawLink> = if all.iter().any(held) {
        ip::query(shell, &["ip", "-json", "link", "show"])?
    } else {
        Vec::new()
    };
    Ok(limits(&all, lab, |name| {
        links.iter().any(|link| link.ifname == name && link.is_up())
    }))
}

fn handle(lab: &LabName) -> String {
    format!("{:x}:", shaping_handle(lab))
}

/// Sorts the disciplines of a machine's links by their owner; `is_up` of a link.
///
/// A link with the mark of one that is down, and which is up, is returned with no limit, which is never desired.
pub fn limits(all: &[RawQdisc], lab: &LabName, is_up: impl Fn(&str) -> bool) -> Qdiscs {
    let mut found = Qdiscs::default();
    let own = handle(lab);
    for qdisc in all.iter().filter(|qdisc| qdisc.root) {
        let Ok(name) = IfName::new(&qdisc.dev) else { continue };
        if qdisc.handle == own {
            let shaping = match (qdisc.kind.as_str(), is_up(&qdisc.dev)) {
                (DOWN_KIND, false) => Shaping::link_down(),
                (DOWN_KIND, true) => Shaping::default(),
                _ => shaping(&qdisc.options),
            };
            found.own.insert(name, shaping);
        } else if qdisc.handle != "0:" && qdisc.kind != "noqueue" {
            // The kernel's own has a handle of zero (tc_modify_qdisc in net/sched/sch_api.c); libvirt gives taps one that
            // does nothing.
            let text = format!("{} {}", qdisc.kind, qdisc.handle);
            found.foreign.insert(qdisc.dev.clone(), text);
        }
    }
    found
}

/// Returns the limits that a discipline has; what cannot be a value of a lab file is left out, and thus differs from any
/// that is desired.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times and shares, far below the limits of their types"
)]
fn shaping(options: &Options) -> Shaping {
    let micros = |seconds: f64| Delay::from_micros((seconds * 1e6).round() as u32);
    let delay = options.delay.as_ref();
    let bytes = options.rate.as_ref().map(|rate| match rate {
        RawRate::Tbf(rate) | RawRate::Netem { rate } => *rate,
    });
    Shaping {
        down: false,
        rate: bytes.and_then(|bytes| Rate::from_bits(bytes.saturating_mul(8))),
        delay: delay.and_then(|delay| micros(delay.delay)),
        jitter: delay.and_then(|delay| micros(delay.jitter)),
        loss: options
            .loss
            .as_ref()
            .and_then(|loss| Loss::from_hundredths((loss.loss * 10_000.0).round() as u16)),
    }
}

/// Carries out steps on limits, in order, and stops at the first that fails. What is there already is not set again; a
/// link that does not exist has no limits to remove.
pub fn apply(shell: &dyn Shell, lab: &LabName, steps: &[Step]) -> Result<(), FailedAt<NetworkError>> {
    let found = read(shell, lab).map_err(FailedAt::first)?;
    for (at, step) in steps.iter().enumerate() {
        let failed = |cause| FailedAt { at, cause };
        let lines = match step {
            Step::Shape(_, link, wanted) => match found.own.get(link) {
                Some(now) if now == wanted => Vec::new(),
                now => {
                    if let Some(other) = found.foreign.get(link.as_str()) {
                        return Err(failed(NetworkError::ForeignQdisc {
                            link: link.clone(),
                            qdisc: other.clone(),
                        }));
                    }
                    let mut lines = now.map(|now| unshape(link, now)).unwrap_or_default();
                    lines.extend(shape(link, wanted, Some(lab)));
                    lines
                }
            },
            Step::Unshape(_, link, _) => found.own.get(link).map(|now| unshape(link, now)).unwrap_or_default(),
            _ => Vec::new(),
        };
        for line in &lines {
            run(shell, line).map_err(failed)?;
        }
    }
    Ok(())
}

/// Runs one line.
fn run(shell: &dyn Shell, line: &str) -> Result<(), NetworkError> {
    let (program, arguments) = program_of(line);
    let argv = [program.name()].into_iter().chain(arguments.split(' '));
    let output = shell.run(&Cmd::new(argv))?;
    if output.status == 0 {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let message = stderr.lines().next().unwrap_or_default().to_owned();
    let unknown = program == Program::Tc && message.contains("qdisc kind is unknown");
    Err(NetworkError::Kernel {
        command: line.to_owned(),
        message: if unknown {
            format!("{message} (the kernel lacks this discipline)")
        } else {
            message
        },
    })
}
