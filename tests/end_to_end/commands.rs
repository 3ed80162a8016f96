//! The commands of the documentation, run one after the other on one quickstart lab, and their output compared with
//! what the page shows.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command as Process, Output};

use crate::support::markdown::{self, Command};
use crate::support::{emulated_hosts, kept, sources};

/// The lab of the documentation in a folder of its own, under a name of its own: a lab of the machine's user is not
/// touched. The name is as long as the real one, so that columns have the same width.
struct Lab {
    folder: tempfile::TempDir,
    /// Its name in the documentation.
    shown: &'static str,
    name: String,
}

const NAME: &str = "quickstart";
const TUTORIAL: &str = "docs/tutorial.md";

impl Lab {
    fn new(shown: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("nl").tempdir().unwrap();
        let id = std::process::id().to_string();
        let name = format!("{}{id:0>width$}", &shown[..1], width = shown.len() - 1);
        let labs = folder.path().join("labs");
        std::fs::create_dir(&labs).unwrap();
        for lab in sources::files("labs") {
            let path = lab.path.replace(shown, &name);
            std::fs::write(folder.path().join(path), lab.text.replace(shown, &name)).unwrap();
        }
        Self { folder, shown, name }
    }

    /// Runs a command line as a user would type it; standard output and standard error go to the same place.
    fn run(&self, line: &str) -> Output {
        let netlab = Path::new(env!("CARGO_BIN_EXE_netlab"));
        let path = std::env::var("PATH").unwrap();
        Process::new("bash")
            .args(["-c", &format!("{{ {}\n}} 2>&1", line.replace(self.shown, &self.name))])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", netlab.parent().unwrap().display()))
            .env("NETLAB_STATE_DIR", self.folder.path().join("s"))
            .env("NETLAB_CACHE_DIR", kept("cache"))
            .output()
            .unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.run(&format!("netlab -q down {}", self.shown));
    }
}

#[test]
fn every_command_shown_runs_and_prints_what_is_shown() {
    if !emulated_hosts("every_command_shown_runs_and_prints_what_is_shown") {
        return;
    }
    check(&Lab::new(NAME), |page| page != TUTORIAL);
}

#[test]
fn every_command_of_the_tutorial_runs_and_prints_what_is_shown() {
    if !emulated_hosts("every_command_of_the_tutorial_runs_and_prints_what_is_shown") {
        return;
    }
    check(&Lab::new("classic"), |page| page == TUTORIAL);
}

/// Runs the commands of pages, and compares what they print.
fn check(lab: &Lab, pages: impl Fn(&str) -> bool) {
    let mut commands: Vec<(String, Command)> = Vec::new();
    let found = markdown::pages().into_iter().filter(|page| pages(&page.path));
    for block in found.collect::<Vec<_>>().iter().flat_map(markdown::blocks) {
        if let Some(file) = &block.file {
            std::fs::write(lab.folder.path().join(file), &block.text).unwrap();
        }
        if block.language == "console" && block.not_run.is_none() {
            let place = format!("{}:{}", block.page, block.line);
            commands.extend(block.commands().into_iter().map(|command| (place.clone(), command)));
        }
    }
    // All pages share the lab: it goes down last.
    commands.sort_by_key(|(_, command)| command.line.starts_with("netlab down"));
    assert!(commands.len() > 5, "only {} commands were found", commands.len());
    let mut wrong = String::new();
    for (place, Command { line, output }) in &commands {
        let ran = lab.run(line);
        let printed = String::from_utf8_lossy(&ran.stdout).replace(&lab.name, lab.shown);
        // Those of other tests, which run at the same time.
        let is_others = |line: &&str| line.contains(" belongs to state folder ");
        let lines: Vec<&str> = printed.lines().filter(|line| !is_others(line)).collect();
        let shown: Vec<&str> = output.iter().map(String::as_str).collect();
        let as_shown = shown.is_empty() || same(&shown, &lines);
        if !ran.status.success() || !as_shown {
            let (end, shown) = (ran.status, shown.join("\n"));
            writeln!(wrong, "{place}: $ {line}\n{end}; shown:\n{shown}\nprinted:\n{printed}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Whether the lines printed are those shown; a line `…` is any number of lines, within a line `…` is any text.
fn same(shown: &[&str], printed: &[&str]) -> bool {
    match (shown, printed) {
        ([], []) => true,
        (["…", rest @ ..], _) => (0..=printed.len()).any(|at| same(rest, &printed[at..])),
        ([line, shown @ ..], [real, printed @ ..]) => fits(&normal(line), &normal(real)) && same(shown, printed),
        _ => false,
    }
}

/// Whether `text` is `pattern`, in which `…` is any text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().any(|at| fits(rest, &text[at..]))
        }),
    }
}

/// Returns a line without what differs from run to run: durations, round-trip times and the width of columns.
fn normal(line: &str) -> String {
    let tokens: Vec<&str> = line.split_whitespace().collect();
    let number = |token: &str| token.trim_start_matches('(').parse::<f64>().is_ok();
    let unit = |token: &str| ["ms", "s", "min"].contains(&token.trim_end_matches([')', ',', '.', ';']));
    let mut normal: Vec<&str> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let duration = number(token) && tokens.get(at + 1).is_some_and(|next| unit(next));
        let its_unit = unit(token) && at > 0 && number(tokens[at - 1]);
        let round_trip = number(token) && at > 0 && tokens[at - 1] == "ok";
        normal.push(if duration || round_trip {
            "N"
        } else if its_unit {
            "TIME"
        } else {
            token
        });
    }
    normal.join(" ")
}

#[test]
fn times_and_ellipses_are_all_that_may_differ() {
    assert_eq!(normal("start vm1 (479 ms)"), normal("start  vm1 (1.2 s)"));
    assert_eq!(normal("vm1  ok 26.2  ok 4"), normal("vm1  ok 6.2   ok 14"));
    assert_ne!(normal("22 steps"), normal("23 steps"));
    assert_ne!(normal("vm1 10.0.1.2/24"), normal("vm1 10.0.1.3/24"));
    assert!(fits("mac 52:…:01 up", "mac 52:54:01 up"));
    assert!(!fits("mac 52:…:01 up", "mac 52:54:02 up"));
    assert!(same(&["a", "…", "c"], &["a", "b", "b", "c"]));
    assert!(same(&["…", "c"], &["c"]));
    assert!(!same(&["a", "…", "c"], &["a", "b"]));
    assert!(!same(&["a"], &["a", "b"]));
}
