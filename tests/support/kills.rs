//! Rounds of `up` and `down` that are ended at a random time, by SIGKILL, SIGTERM or SIGINT; after each, `up` or `down`
//! must succeed, and after `down` everything on the machines must be as before the first.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::random::Random;
use super::whole::difference;

/// Sets the number of rounds.
const ROUNDS: &str = "NETLAB_ROUNDS";

/// A lab, and the machines that it is on.
pub trait Site {
    /// netlab with arguments, in a PID namespace that nsenter(1) enters: the process to signal is its only child.
    fn netlab(&self, arguments: &[&str]) -> Command;
    /// The lab's name.
    fn lab(&self) -> &str;
    /// The file of the lab, with a guest or without.
    fn file(&self, guest: bool) -> String;
    /// Everything on the machines that a lab could change.
    fn observe(&self) -> BTreeSet<String>;
}

/// What became of the rounds.
#[derive(Debug, Default)]
pub struct Figures {
    rounds: u64,
    /// Runs that were ended by the signal, before they had ended by themselves.
    struck: u64,
    /// Times at which everything was compared and was as before.
    clean: u64,
    /// Labs with a guest.
    guests: u64,
}

/// Runs `rounds` rounds, or as many as the environment says, and prints seed and figures. A round fails with its seed,
/// its number and all that was printed.
pub fn rounds(site: &dyn Site, rounds: u64) {
    let (seed, mut random) = Random::from_env();
    let rounds = std::env::var(ROUNDS).map_or(rounds, |text| text.parse().unwrap());
    // At once: a test that takes too long is ended.
    let _ = writeln!(std::io::stderr(), "seed {seed}, {rounds} rounds");
    let mut all = Rounds::begin(site);
    let began = Instant::now();
    for round in 1..=rounds {
        let result = all.round(&mut random);
        if let Err(fault) = result {
            panic!("seed {seed}, round {round}: {fault}");
        }
    }
    all.figures.rounds = rounds;
    let result = format!(
        "seed {seed}: {:?} in {} s; undisturbed, up with a guest takes {:.1?}, without {:.1?}, down {:.1?}",
        all.figures,
        began.elapsed().as_secs(),
        all.up_takes[1],
        all.up_takes[0],
        all.down_takes
    );
    super::report(&format!("FIGURES: random kills: {result}"));
    assert!(all.figures.struck * 3 >= rounds, "too few runs were struck: {result}");
}

struct Rounds<'a> {
    site: &'a dyn Site,
    before: BTreeSet<String>,
    is_up: bool,
    /// How long an undisturbed `up` and `down` take; the first for a lab with a guest and one without.
    up_takes: [Duration; 2],
    down_takes: Duration,
    figures: Figures,
}

impl<'a> Rounds<'a> {
    /// Brings the lab up and down once: libvirt makes folders of its own at the first guest.
    fn begin(site: &'a dyn Site) -> Self {
        let mut rounds = Self {
            site,
            before: BTreeSet::new(),
            is_up: false,
            up_takes: [Duration::ZERO; 2],
            down_takes: Duration::ZERO,
            figures: Figures::default(),
        };
        let untouched = site.observe();
        for guest in [true, false] {
            rounds.up_takes[usize::from(guest)] = rounds.up(guest).unwrap();
            rounds.down_takes = rounds.down().unwrap();
        }
        rounds.before = site.observe();
        let fresh = difference(&untouched, &rounds.before);
        let left: Vec<&str> = fresh.lines().filter(|line| !stays(line)).collect();
        assert!(left.is_empty(), "left by an undisturbed up and down: {left:#?}");
        rounds
    }

    fn round(&mut self, random: &mut Random) -> Result<(), String> {
        let guest = random.once_in(6);
        let signal = [Signal::KILL, Signal::TERM, Signal::INT][usize::try_from(random.below(3)).unwrap()];
        let down = self.is_up && !random.once_in(4);
        let (arguments, takes) = if down {
            (vec!["down".to_owned(), self.site.lab().to_owned()], self.down_takes)
        } else {
            self.figures.guests += u64::from(guest);
            (
                // A `down` that was killed early leaves the lab up from the other file.
                vec!["up".to_owned(), "--replace".to_owned(), self.site.file(guest)],
                self.up_takes[usize::from(guest)],
            )
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let after = random.moment(takes);
        let (output, struck) = self.struck(&arguments, after, signal)?;
        self.figures.struck += u64::from(struck);
        // A guest takes seconds to boot: most of the time it is taken down instead.
        let then_up = random.once_in(2) && (!guest || random.once_in(4));
        let done = if then_up {
            self.up(guest).map(drop)
        } else {
            self.down_and_compare()
        };
        done.map_err(|fault| {
            format!(
                "{fault}\nafter {arguments:?}, {signal:?} at {after:?} of {takes:?}: {}\n{}",
                output.status,
                said(&output)
            )
        })
    }

    /// Runs netlab, ended by `signal` after that time; whether it was struck.
    fn struck(&self, arguments: &[&str], after: Duration, signal: Signal) -> Result<(Output, bool), String> {
        let mut command = self.site.netlab(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        let netlab = loop {
            if let Some(netlab) = only_child(child.id()) {
                break Some(netlab);
            }
            if child.try_wait().unwrap().is_some() {
                break None;
            }
        };
        std::thread::sleep(after.saturating_sub(began.elapsed()));
        if let Some(netlab) = netlab.filter(|_| child.try_wait().is_ok_and(|ended| ended.is_none())) {
            // It may end at this moment.
            let _ = kill_process(netlab, signal);
        }
        let output = child.wait_with_output().unwrap();
        let number = signal.as_raw();
        let ended_by = |status: std::process::ExitStatus| {
            status.signal() == Some(number) || signal != Signal::KILL && status.code() == Some(128 + number)
        };
        if output.status.success() || ended_by(output.status) {
            return Ok((output.clone(), ended_by(output.status)));
        }
        Err(format!(
            "{arguments:?}, {signal:?} after {after:?}, ended with {}\n{}",
            output.status,
            said(&output)
        ))
    }

    fn up(&mut self, guest: bool) -> Result<Duration, String> {
        let file = self.site.file(guest);
        let took = self.good(&["up", "--replace", &file])?;
        self.is_up = true;
        let output = self.site.netlab(&["plan", &file]).output().unwrap();
        if said(&output).contains("nothing to do") {
            return Ok(took);
        }
        Err(format!("after up, there is still something to do: {}", said(&output)))
    }

    fn down(&mut self) -> Result<Duration, String> {
        let took = self.good(&["down", self.site.lab()])?;
        self.is_up = false;
        Ok(took)
    }

    fn down_and_compare(&mut self) -> Result<(), String> {
        self.down()?;
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let after = self.site.observe();
            if after == self.before {
                self.figures.clean += 1;
                return Ok(());
            }
            if Instant::now() > deadline {
                let difference = difference(&self.before, &after);
                return Err(format!("down has not restored everything:\n{difference}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs to the end and insists on success; gives how long it took.
    fn good(&self, arguments: &[&str]) -> Result<Duration, String> {
        let began = Instant::now();
        let output = self.site.netlab(arguments).output().unwrap();
        if output.status.success() {
            return Ok(began.elapsed());
        }
        Err(format!(
            "{arguments:?} ended with {}:\n{}",
            output.status,
            said(&output)
        ))
    }
}

/// What an undisturbed run may leave: iproute2's own folder of namespaces, netlab's empty folders, and the images on a
/// host behind ssh.
fn stays(line: &str) -> bool {
    let what = line.trim_start_matches(['+', '-', ' ']);
    ["mount /run/netns", "file d 755 /run/netns", "namespaces"]
        .iter()
        .any(|start| what.starts_with(start))
        || what.starts_with("file d ")
            && (what.ends_with("/netlab") || what.ends_with("/labs") || what.ends_with("/locks"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The child of the process `parent`, if it has one.
fn only_child(parent: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}
