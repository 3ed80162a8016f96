//! What happens during a run, sent by the executor to those who subscribed, and the request to stop that goes the
//! other direction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::lab::{HostName, VmName};
use crate::plan::{Stage, Step};

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A plan is about to run: steps per host.
    Planned(BTreeMap<HostName, usize>),
    /// A stage began.
    Stage(Stage),
    /// A step began.
    Began {
        /// Where.
        host: HostName,
        /// What.
        step: Step,
    },
    /// The status of a step in progress, e.g. the last line that a booting guest printed.
    Note {
        /// Where.
        host: HostName,
        /// Which step.
        step: Step,
        /// The status.
        text: String,
    },
    /// A guest was started, or started again in another manner.
    Started {
        /// Where.
        host: HostName,
        /// Which guest.
        vm: VmName,
        /// From the saved state of one of its kind; else it boots.
        restored: bool,
        /// Why it boots although guests of its kind need not.
        why: Option<String>,
    },
    /// A step ended.
    Ended {
        /// Where.
        host: HostName,
        /// What.
        step: Step,
        /// Why it failed, if it did.
        error: Option<String>,
        /// It was given up because a stop was requested.
        stopped: bool,
        /// How long it took; steps of one batch share the batch's time.
        took: Duration,
    },
    /// Something slow outside the plan: a name and what it is doing, e.g. an image being built.
    Busy {
        /// What it is about.
        what: String,
        /// What it is doing.
        text: String,
    },
    /// The progress of something slow that is counted in bytes.
    Bytes {
        /// What it is about.
        what: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where that is known.
        total: Option<u64>,
    },
    /// The progress of something that is counted.
    Counted {
        /// What is being done, e.g. "asking".
        what: String,
        /// How many of it are done.
        done: usize,
        /// How many there are.
        total: usize,
    },
    /// That ended.
    Done {
        /// What it was about.
        what: String,
    },
    /// That ended with an error, which its caller returns.
    Failed {
        /// What it was about.
        what: String,
    },
    /// Something the user should know although the run goes on.
    Warning(String),
}

/// Where events go. Sending never fails: a subscriber that stopped listening does not stop the run.
#[derive(Debug, Clone, Default)]
pub struct Events(Option<std::sync::mpsc::Sender<Event>>);

impl Events {
    /// Creates events that go to `sender`.
    pub fn to(sender: std::sync::mpsc::Sender<Event>) -> Self {
        Self(Some(sender))
    }

    /// Creates events that go nowhere.
    pub fn none() -> Self {
        Self(None)
    }

    /// Sends one event.
    pub fn send(&self, event: Event) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(event);
        }
    }
}

/// A request to stop, shared by those who may make it (a signal handler, another thread) and those who honor it
/// between two steps. Clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Requests the stop; returns whether it was requested before.
    pub fn request(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }

    /// Returns whether the stop was requested.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
