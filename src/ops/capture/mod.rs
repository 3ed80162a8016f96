//! Captures frames at links of a lab that is up, on whichever machine they are, and hands them to its caller in time order.

mod merge;
mod points;

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Serialize;

pub use points::{Points, points};

use super::{Env, OpsError};
use crate::lab::LabName;
use crate::linux::capture::pcap::{Packet, Reader};
use crate::linux::capture::stream;
use merge::Merge;

/// How long a frame waits for earlier ones of other links.
const HOLD: Duration = Duration::from_millis(300);
/// How often a request to stop is noticed.
const TICK: Duration = Duration::from_millis(50);

/// A link at which frames are captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Its name, e.g. `vm1:service`, `node1:eth0`.
    pub name: String,
    /// The machine that has it.
    pub machine: String,
    /// The link there.
    pub link: String,
    /// The command that reaches the machine, before the one that captures.
    #[serde(skip)]
    reach: points::Reach,
}

/// How much is captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureOptions {
    /// How many frames; none: until the caller's environment is cancelled.
    pub count: Option<u64>,
    /// Which frames, as pcap-filter(7).
    pub filter: String,
}

/// What was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaptureReport {
    /// The lab.
    pub lab: LabName,
    /// Where.
    pub points: Vec<Point>,
    /// How many frames at each point.
    pub packets: Vec<u64>,
}

/// Why frames cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The lab has no such link.
    #[error("lab {lab} has no link {text:?} at which packets can be captured")]
    NoLink {
        /// The lab.
        lab: LabName,
        /// What was asked for.
        text: String,
        /// What it has.
        known: Vec<String>,
    },
    /// The program that captures ended with an error.
    #[error("cannot capture at {name} ({link} of {machine}): {message}")]
    Failed {
        /// The point's name.
        name: String,
        /// The link.
        link: String,
        /// The machine.
        machine: String,
        /// What the program printed.
        message: String,
    },
    /// Nothing takes the frames.
    #[error("cannot write the packets")]
    Write(#[source] std::io::Error),
}

impl CaptureError {
    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoLink { text, known, .. } => Some(crate::lab::suggest(text, known.iter().map(String::as_str))),
            Self::Failed { message, .. } if message.contains("tcpdump") => {
                Some("install it on the host: `apt-get install tcpdump`".to_owned())
            }
            Self::Failed { .. } | Self::Write(_) => None,
        }
    }
}

/// A program that captures at one point; ended when dropped.
struct Capturing {
    child: Child,
}

impl Drop for Capturing {
    fn drop(&mut self) {
        // The program ends with its input, wherever it runs.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Captures at `points` until there are enough frames, all programs have ended, or `env` is cancelled. `ready` is called when
/// all are listening, `take` with the index of a frame's point and the frame, in time order. Of several points, frames that
/// passed before all were listening are left out. Nothing of it is left on any
/// machine when this returns, nor when netlab is killed.
pub fn capture(
    env: &Env,
    points: Points,
    options: &CaptureOptions,
    ready: impl FnOnce(),
    mut take: impl FnMut(usize, &Packet) -> std::io::Result<()>,
) -> Result<CaptureReport, OpsError> {
    let Points { lab, points } = points;
    let (sender, received) = mpsc::channel();
    let mut running = Vec::new();
    // With several points frames are counted here.
    let count = options.count.filter(|_| points.len() == 1);
    for (at, point) in points.iter().enumerate() {
        running.push(start(at, point, count, &options.filter, &sender)?);
    }
    drop(sender);
    let mut merge = Merge::new(HOLD, points.len() > 1);
    let mut packets = vec![0; points.len()];
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut listening = 0;
    let mut ready = Some(ready);
    let mut deliver = |at: usize, packet: &Packet, left: &mut u64| -> Result<(), OpsError> {
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        packets[at] += 1;
        take(at, packet).map_err(|error| CaptureError::Write(error).into())
    };
    let mut failed = None;
    while left > 0 && !env.cancel.is_requested() {
        match received.recv_timeout(TICK) {
            Ok(Message::Listening) => {
                listening += 1;
                if listening == points.len()
                    && let Some(ready) = ready.take()
                {
                    ready();
                }
            }
            // A frame that passed before all were listening would seem to be lost on the path.
            Ok(Message::Packet(..)) if points.len() > 1 && listening < points.len() => {}
            Ok(Message::Packet(at, packet)) => merge.add(at, packet),
            Ok(Message::Failed(at, message)) => {
                failed = Some((at, message));
                break;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        while let Some((at, packet)) = merge.due() {
            deliver(at, &packet, &mut left)?;
        }
    }
    drop(running);
    // What was captured until now.
    for message in received {
        if let Message::Packet(at, packet) = message {
            merge.add(at, packet);
        }
    }
    for (at, packet) in merge.rest() {
        deliver(at, &packet, &mut left)?;
    }
    if let Some((at, message)) = failed {
        let Point {
            name, machine, link, ..
        } = points[at].clone();
        let error = CaptureError::Failed {
            name,
            link,
            machine,
            message,
        };
        return Err(error.into());
    }
    Ok(CaptureReport { lab, points, packets })
}

/// What the threads that read report.
enum Message {
    /// The program listens.
    Listening,
    /// A frame of the point with this index.
    Packet(usize, Packet),
    /// The program of this point ended with an error.
    Failed(usize, String),
}

/// Starts the program of one point, and the threads that read what it prints.
fn start(
    at: usize,
    point: &Point,
    count: Option<u64>,
    filter: &str,
    sender: &mpsc::Sender<Message>,
) -> Result<Capturing, OpsError> {
    let argv = point.reach.command(&stream::command(&point.link, count, filter));
    let failed = |error: std::io::Error| CaptureError::Failed {
        name: point.name.clone(),
        link: point.link.clone(),
        machine: point.machine.clone(),
        message: error.to_string(),
    };
    let mut words = argv.iter();
    let mut child = Command::new(words.next().map_or("sh", String::as_str))
        .args(words)
        .env("LC_ALL", "C")
        // Ctrl-C is netlab's: it ends the program by its input.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (frames, messages) = (sender.clone(), sender.clone());
    thread::spawn(move || {
        let Some(output) = stdout else { return };
        let read = || -> std::io::Result<()> {
            let Some(mut reader) = Reader::open(std::io::BufReader::new(output))? else {
                return Ok(());
            };
            while let Some(packet) = reader.read()? {
                if frames.send(Message::Packet(at, packet)).is_err() {
                    break;
                }
            }
            Ok(())
        };
        if let Err(error) = read() {
            let _ = frames.send(Message::Failed(at, error.to_string()));
        }
    });
    thread::spawn(move || {
        let Some(mut errors) = stderr else { return };
        let (mut text, mut buffer, mut listening) = (String::new(), [0; 1024], false);
        while let Ok(got @ 1..) = errors.read(&mut buffer) {
            text.push_str(&String::from_utf8_lossy(&buffer[..got]));
            if !listening && text.contains("listening on") {
                listening = true;
                let _ = messages.send(Message::Listening);
            }
        }
        if !listening {
            let text = text.trim().strip_prefix("tcpdump: ").unwrap_or(text.trim()).to_owned();
            let _ = messages.send(Message::Failed(at, text));
        }
    });
    Ok(Capturing { child })
}
