//! Shows a run while it runs: bars on a terminal, plain lines elsewhere; afterwards, where the time went.

mod bars;
mod timings;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::output::{harmless, is_json, one_line, print_error, set_bars, warning};
use super::terminal;
use crate::event::{Event, Events};
use crate::plan::Stage;
use bars::Bars;
pub use timings::Timings;
pub(super) use timings::span;

/// How long the thread sleeps before it checks whether it must stop.
const TICK: Duration = Duration::from_millis(50);

/// The thread that shows events. Dropped without [`Progress::finish`] it stops as well, its bars cleared.
#[derive(Debug)]
pub struct Progress {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Timings>>,
}

impl Progress {
    /// Starts the thread. `quiet` leaves only warnings and errors.
    pub fn start(quiet: bool) -> (Events, Self) {
        let (sender, receiver) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let shape = match (quiet, terminal::bars()) {
            (true, _) => Shape::Quiet,
            (false, true) => Shape::Bars(Box::new(Bars::new())),
            (false, false) => Shape::Lines(Lines::default()),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || Shower::new(shape).run(&receiver, &stopped));
        let progress = Self {
            stop,
            thread: Some(thread),
        };
        (Events::to(sender), progress)
    }

    /// Shows what was sent so far, clears the bars and returns where the time went. Senders may still exist.
    pub fn finish(mut self) -> Timings {
        self.join()
    }

    fn join(&mut self) -> Timings {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.join();
    }
}

/// How events are shown.
enum Shape {
    Quiet,
    Lines(Lines),
    Bars(Box<Bars>),
}

/// What the thread does.
struct Shower {
    shape: Shape,
    timings: Timings,
    stage: Option<(Stage, Instant)>,
}

impl Shower {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            timings: Timings::default(),
            stage: None,
        }
    }

    fn run(mut self, events: &Receiver<Event>, stop: &AtomicBool) -> Timings {
        loop {
            // Read before the queue is, so that nothing sent before `finish` is lost.
            let stopping = stop.load(Ordering::Acquire);
            let wait = if stopping { Duration::ZERO } else { TICK };
            match events.recv_timeout(wait) {
                Ok(event) => self.show(&event),
                Err(RecvTimeoutError::Timeout) if !stopping => {}
                Err(_) => break,
            }
        }
        self.close_stage();
        match &mut self.shape {
            Shape::Quiet | Shape::Lines(_) => {}
            Shape::Bars(bars) => {
                bars.clear();
                set_bars(None);
            }
        }
        self.timings
    }

    fn close_stage(&mut self) {
        if let Some((stage, since)) = self.stage.take() {
            self.timings.stages.push((stage, since.elapsed()));
        }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::Stage(stage) => {
                self.close_stage();
                self.stage = Some((*stage, Instant::now()));
            }
            Event::Ended { host, step, took, .. } => self.timings.step(host, step, *took),
            Event::Started {
                host,
                vm,
                restored,
                why,
            } => {
                if let Some(why) = why.as_ref().filter(|_| !matches!(self.shape, Shape::Quiet)) {
                    print_error(&format!("{host}: {vm} boots: {}", one_line(why)));
                }
                self.timings.started.insert((host.clone(), vm.clone()), *restored);
            }
            _ => {}
        }
        match &mut self.shape {
            Shape::Quiet => lasting(event).iter().for_each(|line| print_error(line)),
            Shape::Lines(lines) => lines.show(event).iter().for_each(|line| print_error(line)),
            Shape::Bars(bars) => bars.show(event),
        }
    }
}

/// Returns the text that a user sees in every shape: warnings and failures.
fn lasting(event: &Event) -> Option<String> {
    match event {
        Event::Warning(text) => {
            let (text, help) = match text.split_once("\n  help: ") {
                Some((text, help)) => (text, Some(help)),
                None => (text.as_str(), None),
            };
            Some(warning(text, help))
        }
        Event::Ended {
            host,
            step,
            error: Some(error),
            stopped: false,
            took,
            // As JSON, the error has it.
        } if !is_json() => Some(format!("{host}: {step} ({}): failed: {}", span(*took), harmless(error))),
        _ => None,
    }
}

/// Plain lines: one per ended step.
#[derive(Default)]
struct Lines {
    busy: HashMap<String, Instant>,
}

impl Lines {
    fn show(&mut self, event: &Event) -> Vec<String> {
        if let Some(line) = lasting(event) {
            return vec![line];
        }
        match event {
            Event::Ended {
                host,
                step,
                took,
                stopped,
                ..
            } => {
                let stopped = if *stopped { ": stopped on request" } else { "" };
                vec![format!("{host}: {step} ({}){stopped}", span(*took))]
            }
            Event::Busy { what, text } if !self.busy.contains_key(what) => {
                self.busy.insert(what.clone(), Instant::now());
                vec![format!("{what}: {}", one_line(text))]
            }
            Event::Done { what } => {
                let since = self.busy.remove(what);
                since
                    .map(|since| format!("{what}: done ({})", span(since.elapsed())))
                    .into_iter()
                    .collect()
            }
            Event::Failed { what } => {
                let since = self.busy.remove(what);
                since
                    .map(|since| format!("{what}: failed ({})", span(since.elapsed())))
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::timings::SLOWEST;
    use super::*;
    use crate::plan::Step;

    pub(super) fn ended(number: usize, error: Option<&str>) -> Event {
        Event::Ended {
            host: "node1".parse().unwrap(),
            step: Step::DeleteLink {
                name: format!("br{number}").parse().unwrap(),
                index: None,
            },
            error: error.map(str::to_owned),
            stopped: error == Some("stopped"),
            took: Duration::from_millis(12 + number as u64),
        }
    }

    #[test]
    fn an_ended_step_is_one_plain_line() {
        assert_eq!(
            Lines::default().show(&ended(1, None)),
            ["node1: delete link br1 (13 ms)"]
        );
    }

    #[test]
    fn every_step_of_many_is_a_line_and_failures_say_why() {
        let mut lines = Lines::default();
        let shown: Vec<_> = (0..40).flat_map(|number| lines.show(&ended(number, None))).collect();
        assert_eq!(shown.len(), 40);
        assert_eq!(shown[39], "node1: delete link br39 (51 ms)");
        assert_eq!(
            lines.show(&ended(20, Some("busy"))),
            ["node1: delete link br20 (32 ms): failed: busy"]
        );
        assert_eq!(
            lines.show(&ended(21, Some("stopped"))),
            ["node1: delete link br21 (33 ms): stopped on request"]
        );
    }

    #[test]
    fn finish_returns_all_timings_while_a_sender_is_still_alive() {
        let (events, progress) = Progress::start(true);
        events.send(Event::Stage(Stage::RemoveNetwork));
        (0..8).for_each(|number| events.send(ended(number, None)));
        events.send(Event::Stage(Stage::Machines));
        let timings = progress.finish();
        let stages: Vec<_> = timings.stages.iter().map(|(stage, _)| *stage).collect();
        assert_eq!(stages, [Stage::RemoveNetwork, Stage::Machines]);
        assert_eq!(timings.slowest.len(), SLOWEST);
        assert_eq!(timings.slowest[0].2, Duration::from_millis(19));
        assert!(
            timings.table().contains("19 ms  node1: delete link br7\n"),
            "{}",
            timings.table()
        );
    }
}
