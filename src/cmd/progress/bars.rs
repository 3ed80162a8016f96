//! Progress bars on a terminal: one per host, and a spinner for each booting guest or slow thing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::lasting;
use crate::cmd::output::{one_line, print_error, set_bars};
use crate::cmd::terminal::unicode;
use crate::event::Event;
use crate::lab::HostName;
use crate::plan::Step;

/// Bars on a terminal.
pub(super) struct Bars {
    all: MultiProgress,
    hosts: BTreeMap<HostName, ProgressBar>,
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

    fn counted(&mut self, what: &str, done: usize, total: usize) {
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        let bar = self.spinner(what, what);
        if bar.length() != Some(number(total)) {
            bar.set_style(style("{prefix:>12} [{bar:20}] {pos}/{len} {elapsed}"));
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
            Event::Counted { what, done, total } => self.counted(what, *done, *total),
            Event::Done { what } | Event::Failed { what } => self.stop_spinner(what),
            Event::Stage(_) | Event::Warning(_) => {}
        }
    }

    pub(super) fn clear(&mut self) {
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
        Step::StartDomain(name) | Step::ConfigureGuest(name, _) | Step::SetUpGuest(name, _) => {
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
        assert_eq!(bars.hosts.values().next().map(ProgressBar::position), Some(1));
        bars.clear();
        assert!(bars.hosts.is_empty() && bars.spinners.is_empty());
    }
}
