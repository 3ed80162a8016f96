//! Progress bars on a terminal: one per host, and a spinner for each booting guest or slow thing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::lasting;
use crate::cmd::output::{one_line, print_error, set_bars};
use crate::cmd::terminal::unicode;
use crate::event::Event;
use crate::lab::HostName;
use crate::ops::count;
use crate::plan::Step;

/// Most characters of a name in front of a bar.
const NAME: usize = 16;

/// Bars on a terminal.
pub(super) struct Bars {
    all: MultiProgress,
    hosts: BTreeMap<HostName, ProgressBar>,
    /// The steps that run on each host, and of guests how many lines they have printed.
    running: BTreeMap<HostName, Vec<String>>,
    lines: HashMap<String, usize>,
    /// By host and the step's text for a guest, by name for a busy thing.
    spinners: HashMap<String, ProgressBar>,
}

impl Bars {
    pub(super) fn new() -> Self {
        let all = MultiProgress::new();
        set_bars(Some(all.clone()));
        Self {
            all,
            hosts: BTreeMap::new(),
            running: BTreeMap::new(),
            lines: HashMap::new(),
            spinners: HashMap::new(),
        }
    }

    fn host(&mut self, host: &HostName) -> &ProgressBar {
        self.hosts.entry(host.clone()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            bar.set_style(style("{prefix:>16} [{bar:20}] {pos}/{len} {wide_msg}"));
            bar.set_prefix(cut(host.as_str()));
            bar
        })
    }

    fn spinner(&mut self, key: &str, prefix: &str) -> &ProgressBar {
        self.spinners.entry(key.to_owned()).or_insert_with(|| {
            let spinner = self.all.add(ProgressBar::new_spinner());
            spinner.set_style(style("{prefix:>16} {spinner} {elapsed:>4} {wide_msg}"));
            spinner.set_prefix(cut(prefix));
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        })
    }

    fn bytes(&mut self, what: &str, done: u64, total: Option<u64>) {
        let bar = self.spinner(what, what);
        if let (None, Some(total)) = (bar.length(), total) {
            bar.set_style(style(
                "{prefix:>16} [{bar:20}] {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}",
            ));
            bar.set_length(total);
        }
        bar.set_position(done);
        if total.is_none() {
            bar.set_message(indicatif::HumanBytes(done).to_string());
        }
    }

    fn counted(&mut self, what: &str, done: usize, total: usize) {
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        let bar = self.spinner(what, what);
        if bar.length() != Some(number(total)) {
            bar.set_style(style("{prefix:>16} [{bar:20}] {pos}/{len} {elapsed}"));
            bar.set_length(number(total));
        }
        bar.set_position(number(done));
    }

    fn stop_spinner(&mut self, key: &str) {
        if let Some(spinner) = self.spinners.remove(key) {
            spinner.finish_and_clear();
            self.all.remove(&spinner);
        }
    }

    pub(super) fn show(&mut self, event: &Event) {
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
                let text = one_line(&step.to_string());
                self.running.entry(host.clone()).or_default().push(text.clone());
                self.host(host).set_message(text.clone());
                if let Some(guest) = guest(step) {
                    self.spinner(&key(host, step), &guest).set_message(text);
                }
                self.show_waiting();
            }
            Event::Note { host, step, text } => match guest(step) {
                // What a guest prints is in its transcript; here only that it prints.
                Some(guest) => {
                    let key = key(host, step);
                    let lines = self.lines.entry(key.clone()).or_default();
                    *lines += 1;
                    let text = format!("{}; {} printed", one_line(&step.to_string()), count(*lines, "line"));
                    self.spinner(&key, &guest).set_message(text);
                }
                None => self.host(host).set_message(one_line(text)),
            },
            Event::Ended { host, step, .. } => {
                self.stop_spinner(&key(host, step));
                let text = one_line(&step.to_string());
                let running = self.running.entry(host.clone()).or_default();
                if let Some(at) = running.iter().position(|one| *one == text) {
                    running.remove(at);
                }
                self.host(host).inc(1);
                self.show_waiting();
            }
            Event::Busy { what, text } => self.spinner(what, what).set_message(one_line(text)),
            Event::Bytes { what, done, total } => self.bytes(what, *done, *total),
            Event::Counted { what, done, total } => self.counted(what, *done, *total),
            Event::Done { what } | Event::Failed { what } => self.stop_spinner(what),
            Event::Stage(_) | Event::Started { .. } | Event::Warning(_) => {}
        }
    }

    /// Shows on the bar of each host that does nothing what it waits for: hosts do the steps of a stage together.
    fn show_waiting(&self) {
        let first = |(host, steps): (&HostName, &Vec<String>)| Some((host.clone(), steps.first()?.clone()));
        let running: BTreeMap<HostName, String> = self.running.iter().filter_map(first).collect();
        for (host, bar) in &self.hosts {
            let left = bar.length().is_some_and(|length| bar.position() < length);
            if !left {
                bar.set_message("done");
            } else if let Some(step) = running.get(host) {
                bar.set_message(step.clone());
            } else if let Some((other, step)) = running.first_key_value() {
                bar.set_message(format!("waits for {other}: {step}"));
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.running.clear();
        self.lines.clear();
        let hosts = std::mem::take(&mut self.hosts).into_values();
        for bar in hosts.chain(std::mem::take(&mut self.spinners).into_values()) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }
}

/// Returns a name that fits in front of a bar.
fn cut(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    let end = if unicode() { '…' } else { '~' };
    name.chars().take(NAME - 1).chain([end]).collect()
}

/// Returns the guest that has a spinner while the step runs.
fn guest(step: &Step) -> Option<String> {
    match step {
        Step::StartDomain(name, _) | Step::ConfigureGuest(name, _) | Step::SetUpGuest(name, _) => {
            Some(name.vm().to_string())
        }
        _ => None,
    }
}

/// Returns the key of a step's spinner.
fn key(host: &HostName, step: &Step) -> String {
    format!("{host}: {step}")
}

/// Returns a style; the default where the template is wrong, because a bar is no reason to fail.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    if unicode() {
        return style;
    }
    style.progress_chars("#>-").tick_chars("|/-\\ ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::ended;
    use super::*;

    #[test]
    fn bars_take_every_event_and_clear() {
        let mut bars = Bars::new();
        bars.all.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        bars.show(&Event::Planned(BTreeMap::from([("node1".parse().unwrap(), 1)])));
        bars.show(&ended(1, None));
        let bar = bars.hosts.values().next().unwrap();
        assert_eq!((bar.position(), bar.message()), (1, "done".to_owned()));
        bars.clear();
        assert!(bars.hosts.is_empty() && bars.spinners.is_empty());
    }

    #[test]
    fn a_host_that_waits_for_another_says_for_what() {
        let mut bars = Bars::new();
        bars.all.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        let (one, other) = ("node1".parse().unwrap(), "node2".parse().unwrap());
        bars.show(&Event::Planned(BTreeMap::from([(one, 1), (other, 2)])));
        let Event::Ended { host, step, .. } = ended(1, None) else {
            panic!("no end");
        };
        bars.show(&Event::Began { host, step });
        let waits = bars.hosts.values().map(ProgressBar::message).collect::<Vec<_>>();
        assert_eq!(waits, ["delete link br1", "waits for node1: delete link br1"]);
    }

    #[test]
    fn a_long_name_is_cut_to_the_width_of_the_column() {
        assert_eq!(cut("web-1"), "web-1");
        assert_eq!(cut("a-very-long-name-of-a-vm").chars().count(), NAME);
    }
}
