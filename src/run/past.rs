//! What a journal says of the runs that wrote it: which hosts may hold something, and how the last run ended.

use std::collections::BTreeMap;

use super::journal::{LabFile, ROLLBACK, Record};
use crate::lab::{Connect, HostName};
use crate::plan::Step;

/// What the journal of a lab says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// Hosts that may hold something of the lab.
    pub hosts: BTreeMap<HostName, Connect>,
    /// The last run did not reach its end: it was killed, or failed.
    pub unfinished: bool,
    /// Part of the journal was unreadable and was left out.
    pub damaged: bool,
    /// The last run, if one was recorded.
    pub last: Option<LastRun>,
    /// Since when each host runs, as of the last run that reached its end.
    pub boots: BTreeMap<HostName, String>,
    /// The lab file that the lab came up with, if it is recorded.
    pub file: Option<LabFile>,
}

/// The last run on a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// Its command, e.g. `up`.
    pub command: String,
    /// When it began, in seconds since 1970-01-01 00:00 UTC; for display only.
    pub began: Option<u64>,
    /// How it ended.
    pub end: RunEnd,
    /// Whether it was rolled back, and whether the rollback reached its end.
    pub rollback: Option<Rollback>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// It did everything.
    Finished,
    /// A step failed: the first one.
    Failed {
        /// Where.
        host: HostName,
        /// The step and why it failed.
        error: String,
    },
    /// It was killed, or stopped by a signal, while these steps were in progress; none: between two steps.
    Interrupted {
        /// The steps that were begun and whose end was not recorded.
        during: Vec<(HostName, Step)>,
        /// The last step that ended before that.
        after: Option<(HostName, Step)>,
    },
}

/// How far a rollback got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollback {
    /// Every host was restored.
    Complete,
    /// It failed or was interrupted.
    Incomplete,
}

impl Past {
    /// Adds the next record of the journal.
    pub(super) fn add(&mut self, record: Record) {
        match record {
            Record::Began { what, hosts, at, file } => {
                self.hosts.extend(hosts);
                self.file = file.or(self.file.take());
                self.unfinished = true;
                match &mut self.last {
                    Some(last) if what == ROLLBACK => last.rollback = Some(Rollback::Incomplete),
                    _ => {
                        self.last = Some(LastRun {
                            command: what,
                            began: at,
                            end: RunEnd::Interrupted {
                                during: Vec::new(),
                                after: None,
                            },
                            rollback: None,
                        });
                    }
                }
            }
            Record::Finished { hosts, boots } => match &mut self.last {
                Some(last) if last.rollback.is_some() => last.rollback = Some(Rollback::Complete),
                last => {
                    self.hosts = hosts;
                    self.boots = boots;
                    self.unfinished = false;
                    if let Some(last) = last {
                        last.end = RunEnd::Finished;
                    }
                }
            },
            Record::Intent { host, steps } => {
                if let Some(during) = self.running() {
                    for step in steps {
                        let step = (host.clone(), step);
                        // What follows a failed removal in its batch is begun a second time.
                        if !during.contains(&step) {
                            during.push(step);
                        }
                    }
                }
            }
            Record::Ended {
                host,
                steps,
                first,
                error,
            } => self.ended(host, steps, &first, error),
        }
    }

    fn ended(&mut self, host: HostName, steps: usize, first: &str, error: Option<String>) {
        let Some(last) = &mut self.last else { return };
        if last.rollback.is_some() {
            return;
        }
        let RunEnd::Interrupted { during, after } = &mut last.end else {
            return;
        };
        let is_first = |(at, step): &(HostName, Step)| *at == host && step.to_string() == first;
        if let Some(at) = during.iter().position(is_first) {
            let mut ended = during.drain(at..during.len().min(at + steps));
            *after = ended.next_back().or(after.take());
        }
        if let Some(error) = error {
            last.end = RunEnd::Failed { host, error };
        }
    }

    /// The steps in progress, unless the run has failed or is being rolled back.
    fn running(&mut self) -> Option<&mut Vec<(HostName, Step)>> {
        match self.last.as_mut()? {
            LastRun {
                end: RunEnd::Interrupted { during, .. },
                rollback: None,
                ..
            } => Some(during),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        name.parse().unwrap()
    }

    fn step(name: &str) -> Step {
        Step::CreateMachine(host(name))
    }

    fn began(what: &str) -> Record {
        Record::Began {
            what: what.to_owned(),
            hosts: BTreeMap::from([(host("a"), Connect::Emulated)]),
            at: Some(1_764_162_300),
            file: None,
        }
    }

    fn intent(steps: &[&str]) -> Record {
        Record::Intent {
            host: host("a"),
            steps: steps.iter().map(|name| step(name)).collect(),
        }
    }

    fn ended(first: &str, steps: usize, error: Option<&str>) -> Record {
        Record::Ended {
            host: host("a"),
            steps,
            first: step(first).to_string(),
            error: error.map(str::to_owned),
        }
    }

    fn last(records: Vec<Record>) -> LastRun {
        let mut past = Past::default();
        for record in records {
            past.add(record);
        }
        past.last.unwrap()
    }

    #[test]
    fn a_killed_run_names_the_steps_whose_end_is_not_recorded() {
        let run = last(vec![
            began("up"),
            intent(&["x"]),
            intent(&["y", "z"]),
            ended("x", 1, None),
        ]);
        assert_eq!((run.command.as_str(), run.began), ("up", Some(1_764_162_300)));
        assert_eq!(
            run.end,
            RunEnd::Interrupted {
                during: vec![(host("a"), step("y")), (host("a"), step("z"))],
                after: Some((host("a"), step("x"))),
            }
        );
    }

    #[test]
    fn a_run_stopped_between_steps_names_the_last_one() {
        let run = last(vec![began("up"), intent(&["x", "y"]), ended("x", 2, None)]);
        assert_eq!(
            run.end,
            RunEnd::Interrupted {
                during: Vec::new(),
                after: Some((host("a"), step("y"))),
            }
        );
    }

    #[test]
    fn a_failed_run_names_its_first_error_and_its_rollback() {
        let failed = || vec![began("up"), intent(&["x"]), ended("x", 1, Some("no space"))];
        let end = RunEnd::Failed {
            host: host("a"),
            error: "no space".to_owned(),
        };
        assert_eq!((last(failed()).end, last(failed()).rollback), (end.clone(), None));
        let mut rolled_back = failed();
        rolled_back.extend([began(ROLLBACK), intent(&["x"]), ended("x", 1, Some("again"))]);
        let run = last(rolled_back.clone());
        assert_eq!((run.end, run.rollback), (end.clone(), Some(Rollback::Incomplete)));
        rolled_back.push(Record::Finished {
            hosts: BTreeMap::new(),
            boots: BTreeMap::new(),
        });
        let run = last(rolled_back);
        assert_eq!((run.end, run.rollback), (end, Some(Rollback::Complete)));
        assert_eq!(run.command, "up");
    }
}
