//! Shows a run while it runs: bars on a terminal, plain lines elsewhere; afterwards, where the time went.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::{harmless, one_line, print_error, set_bars, table};
use crate::event::{Event, Events};
use crate::lab::HostName;
use crate::plan::{Stage, Step};

/// Plain lines per host and stage before the rest is only counted.
const LINES: usize = 10;
/// Slowest steps kept.
const SLOWEST: usize = 5;
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
        let shape = match (quiet, std::io::stderr().is_terminal()) {
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

/// Where the time of a run went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    /// Wall time per stage, in the order they ran.
    pub stages: Vec<(Stage, Duration)>,
    /// The slowest steps, slowest first: host, step, time.
    pub slowest: Vec<(HostName, String, Duration)>,
}

impl Timings {
    /// Both as aligned text.
    pub fn table(&self) -> String {
        let stage = |(stage, took): &(Stage, Duration)| vec![stage_name(*stage).to_owned(), span(*took)];
        let step = |(host, step, took): &(HostName, String, Duration)| vec![span(*took), format!("{host}: {step}")];
        let mut out = table(&self.stages.iter().map(stage).collect::<Vec<_>>());
        if !self.slowest.is_empty() {
            out.push_str("slowest steps:\n");
            out.push_str(&table(&self.slowest.iter().map(step).collect::<Vec<_>>()));
        }
        out
    }

    fn step(&mut self, host: &HostName, step: &Step, took: Duration) {
        let at = self.slowest.partition_point(|(_, _, other)| *other >= took);
        if at < SLOWEST {
            self.slowest.insert(at, (host.clone(), step.to_string(), took));
            self.slowest.truncate(SLOWEST);
        }
    }
}

/// Returns a stage's name for a user.
fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::RemoveGuests => "remove guests",
        Stage::RemoveVolumes => "remove volumes",
        Stage::RemoveNetwork => "remove network",
        Stage::RemoveMachines => "remove emulated machines",
        Stage::Machines => "emulated machines",
        Stage::Network => "network",
        Stage::Volumes => "volumes",
        Stage::Define => "define",
        Stage::Guests => "guests",
    }
}

/// Returns a time as a user reads it.
fn span(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
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
            Shape::Quiet => {}
            Shape::Lines(lines) => lines.flush().iter().for_each(|line| print_error(line)),
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
        Event::Warning(text) => Some(format!("warning: {}", harmless(text))),
        Event::Ended {
            host,
            step,
            error: Some(error),
            took,
        } => Some(format!("{host}: {step} ({}): failed: {}", span(*took), harmless(error))),
        _ => None,
    }
}

/// Plain lines: one per ended step, up to a limit per host and stage.
#[derive(Default)]
struct Lines {
    ended: BTreeMap<(Stage, HostName), usize>,
    busy: HashMap<String, Instant>,
}

impl Lines {
    fn show(&mut self, event: &Event) -> Vec<String> {
        if let Some(line) = lasting(event) {
            return vec![line];
        }
        match event {
            Event::Planned(_) | Event::Stage(_) => self.flush(),
            Event::Ended { host, step, took, .. } => {
                let ended = self.ended.entry((step.stage(), host.clone())).or_default();
                *ended += 1;
                let shown = *ended <= LINES;
                shown
                    .then(|| format!("{host}: {step} ({})", span(*took)))
                    .into_iter()
                    .collect()
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
            _ => Vec::new(),
        }
    }

    /// Returns lines for what was only counted.
    fn flush(&mut self) -> Vec<String> {
        let ended = std::mem::take(&mut self.ended);
        let over = ended.into_iter().filter(|(_, count)| *count > LINES);
        over.map(|((_, host), count)| format!("{host}: … and {} more", count - LINES))
            .collect()
    }
}

/// Bars on a terminal.
struct Bars {
    all: MultiProgress,
    hosts: BTreeMap<HostName, ProgressBar>,
    /// By host and the step's text for a guest, by name for a busy thing.
    spinners: HashMap<String, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        set_bars(Some(all.clone()));
        Self {
            all,
            hosts: BTreeMap::new(),
            spinners: HashMap::new(),
        }
    }

    fn host(&mut self, host: &HostName) -> &ProgressBar {
        self.hosts.entry(host.clone()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            bar.set_style(style("{prefix:>12} [{bar:20}] {pos}/{len} {wide_msg}"));
            bar.set_prefix(host.to_string());
            bar
        })
    }

    fn spinner(&mut self, key: &str, prefix: &str) -> &ProgressBar {
        self.spinners.entry(key.to_owned()).or_insert_with(|| {
            let spinner = self.all.add(ProgressBar::new_spinner());
            spinner.set_style(style("{prefix:>12} {spinner} {elapsed:>4} {wide_msg}"));
            spinner.set_prefix(prefix.to_owned());
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        })
    }

    fn bytes(&mut self, what: &str, done: u64, total: Option<u64>) {
        let bar = self.spinner(what, what);
        if let (None, Some(total)) = (bar.length(), total) {
            bar.set_style(style(
                "{prefix:>12} [{bar:20}] {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}",
            ));
            bar.set_length(total);
        }
        bar.set_position(done);
        if total.is_none() {
            bar.set_message(indicatif::HumanBytes(done).to_string());
        }
    }

    fn stop_spinner(&mut self, key: &str) {
        if let Some(spinner) = self.spinners.remove(key) {
            spinner.finish_and_clear();
            self.all.remove(&spinner);
        }
    }

    fn show(&mut self, event: &Event) {
        if let Some(line) = lasting(event) {
            print_error(&line);
        }
        match event {
            Event::Planned(steps) => {
                self.clear();
                for (host, count) in steps {
                    self.host(host).set_length(u64::try_from(*count).unwrap_or(u64::MAX));
                }
            }
            Event::Began { host, step } => {
                self.host(host).set_message(one_line(&step.to_string()));
                if let Some(guest) = guest(step) {
                    let text = one_line(&step.to_string());
                    self.spinner(&key(host, step), &guest).set_message(text);
                }
            }
            Event::Note { host, step, text } => match guest(step) {
                Some(guest) => self.spinner(&key(host, step), &guest).set_message(one_line(text)),
                None => self.host(host).set_message(one_line(text)),
            },
            Event::Ended { host, step, .. } => {
                self.stop_spinner(&key(host, step));
                self.host(host).inc(1);
            }
            Event::Busy { what, text } => self.spinner(what, what).set_message(one_line(text)),
            Event::Bytes { what, done, total } => self.bytes(what, *done, *total),
            Event::Done { what } => self.stop_spinner(what),
            Event::Stage(_) | Event::Warning(_) => {}
        }
    }

    fn clear(&mut self) {
        let hosts = std::mem::take(&mut self.hosts).into_values();
        for bar in hosts.chain(std::mem::take(&mut self.spinners).into_values()) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }
}

/// Returns the guest that has a spinner while the step runs.
fn guest(step: &Step) -> Option<String> {
    match step {
        Step::StartDomain(name) | Step::ConfigureGuest(name, _) => Some(name.vm().to_string()),
        _ => None,
    }
}

/// Returns the key of a step's spinner.
fn key(host: &HostName, step: &Step) -> String {
    format!("{host}: {step}")
}

/// Returns a style; the default where the template is wrong, because a bar is no reason to fail.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(number: usize, error: Option<&str>) -> Event {
        Event::Ended {
            host: "node1".parse().unwrap(),
            step: Step::DeleteLink {
                name: format!("br{number}").parse().unwrap(),
                index: None,
            },
            error: error.map(str::to_owned),
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
    fn after_ten_lines_the_rest_of_a_stage_is_counted_but_failures_are_shown() {
        let mut lines = Lines::default();
        let shown: Vec<_> = (0..13).flat_map(|number| lines.show(&ended(number, None))).collect();
        assert_eq!(shown.len(), 10);
        assert_eq!(
            lines.show(&ended(20, Some("busy"))),
            ["node1: delete link br20 (32 ms): failed: busy"]
        );
        assert_eq!(lines.show(&Event::Stage(Stage::Machines)), ["node1: … and 3 more"]);
        assert!(lines.flush().is_empty());
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

    #[test]
    fn bars_take_every_event_and_clear() {
        let mut bars = Bars::new();
        bars.all.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        bars.show(&Event::Planned(BTreeMap::from([("node1".parse().unwrap(), 1)])));
        bars.show(&ended(1, None));
        assert_eq!(bars.hosts.values().next().map(ProgressBar::position), Some(1));
        bars.clear();
        assert!(bars.hosts.is_empty() && bars.spinners.is_empty());
    }
}
