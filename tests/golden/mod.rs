//! Tier 2: what netlab makes of a lab file, byte for byte. Every lab in `labs/` gives its plan against empty hosts and
//! its domains' XML; every file in `bad/`, one per rule, gives what a user reads about it. Both folders are read
//! again each time: a lab without a snapshot fails, and so does a snapshot without its lab.
//!
//! After a wanted change: `INSTA_UPDATE=always cargo test --test pure golden`, then read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

mod import;
mod pages;
mod pictures;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use miette::{GraphicalReportHandler, GraphicalTheme};
use netlab::folders::Folders;
use netlab::graph::{dot, mermaid};
use netlab::image;
use netlab::lab::{self, Image, ImageName};
use netlab::libvirt::domain_xml::{self, Files, Template};
use netlab::plan::plan;
use netlab::script::script;
use netlab::state::{Site, desired};
use netlab::topology::{Topology, allocate};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every file of `folder` with this ending, as stem and text.
fn files(folder: &Path, ending: &str) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter_map(|path| {
            let stem = path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned();
            Some((stem, std::fs::read_to_string(&path).unwrap()))
        })
        .collect()
}

/// The catalog with the folders of a plain installation, wherever this test keeps its own.
fn images() -> BTreeMap<ImageName, Image> {
    let folders = Folders {
        state: "/var/lib/netlab".into(),
        cache: "/var/cache/netlab".into(),
    };
    image::catalog(&folders).unwrap()
}

/// Holds every answer against its snapshot in `snapshots/<kind>/` and reports all that differ, not the first.
fn hold(kind: &str, answers: &BTreeMap<String, String>) {
    let snapshots = folder("tests/golden/snapshots").join(kind);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&snapshots);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut different = Vec::new();
    settings.bind(|| {
        for (name, answer) in answers {
            let held = std::panic::catch_unwind(|| insta::assert_snapshot!(name.as_str(), answer));
            if held.is_err() {
                different.push(name);
            }
        }
    });
    assert!(different.is_empty(), "other than their snapshots: {different:?}");
    let there: BTreeSet<String> = files(&snapshots, ".snap").into_keys().collect();
    let wanted: BTreeSet<String> = answers.keys().cloned().collect();
    assert_eq!(there, wanted, "snapshots without a lab, or the reverse");
}

/// A release of netlab changes no snapshot.
fn unversioned(text: &str) -> String {
    text.replace(&format!("version>{}<", env!("CARGO_PKG_VERSION")), "version>VERSION<")
}

/// One answer for each lab in `labs/`.
fn each_lab(answer: impl Fn(&Topology) -> String) -> BTreeMap<String, String> {
    let images = images();
    let known = images.keys().cloned().collect();
    let labs = files(&folder("labs"), ".toml").into_iter().map(|(name, text)| {
        let lab = lab::parse(&name, &text, &known).unwrap_or_else(|wrong| panic!("{name}: {:#?}", wrong.problems));
        (name, answer(&allocate(&lab, &images)))
    });
    labs.collect()
}

#[test]
fn every_lab_gives_its_plan_for_empty_hosts() {
    let answers = each_lab(|topology| {
        let to_do = plan(&Site::new(), &desired(topology, &BTreeMap::new()));
        let mut text = String::new();
        for (stage, hosts) in &to_do.stages {
            let _ = writeln!(text, "[{stage:?}]");
            for (host, steps) in hosts {
                for step in steps {
                    let _ = writeln!(text, "{host}: {step}");
                }
            }
        }
        text
    });
    hold("plans", &answers);
}

#[test]
fn every_lab_gives_the_xml_of_its_domains() {
    let template = Template::built_in().unwrap();
    let answers = each_lab(|topology| {
        let mut text = String::new();
        for (host, state) in &desired(topology, &BTreeMap::new()) {
            for (name, domain) in &state.domains {
                let files = Files {
                    disk: "/disks/overlay.qcow2",
                    further: "/disks",
                    seed: "/seed.iso",
                    console_log: "/logs/console.log",
                };
                let xml = domain_xml::render(&template, name, domain, files).unwrap();
                let _ = writeln!(text, "<!-- {name} on {host} -->\n{}", xml.trim_end());
            }
        }
        unversioned(&text)
    });
    hold("domains", &answers);
}

#[test]
fn every_bad_lab_gives_its_diagnostic_with_place_and_help() {
    let known: BTreeSet<ImageName> = images().into_keys().collect();
    // Not the user's terminal: its width, colours and letters would get into the snapshots.
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut answers = BTreeMap::new();
    for (name, text) in files(&folder("tests/golden/bad"), ".toml") {
        let file = format!("{name}.toml");
        let wrong = lab::parse(&file, &text, &known).expect_err(&file);
        for problem in &wrong.problems {
            let (from, length) = (problem.span.offset(), problem.span.len());
            // A missing bracket is a place without text.
            assert!(
                text.get(from..from + length).is_some(),
                "{file}: {} points at no place of the file",
                problem.message
            );
        }
        let mut shown = String::new();
        handler.render_report(&mut shown, &wrong).unwrap();
        answers.insert(name, shown);
    }
    assert!(answers.len() >= 30, "one bad lab per rule");
    hold("bad", &answers);
}

#[test]
fn every_lab_gives_its_picture() {
    hold("graphs", &each_lab(dot));
    hold("mermaid", &each_lab(mermaid));
}

#[test]
fn every_host_of_every_lab_gives_its_script() {
    let template = Template::built_in().unwrap();
    let answers = each_lab(|topology| {
        let wanted = desired(topology, &BTreeMap::new());
        let plan = plan(&Site::new(), &wanted);
        let scripts = topology.hosts.keys().map(|host| {
            let steps: Vec<_> = plan
                .steps()
                .filter(|(name, _)| *name == host)
                .map(|(_, step)| step.clone())
                .collect();
            script(&topology.lab, host, &steps, &template).unwrap()
        });
        unversioned(&scripts.collect::<Vec<_>>().join("\n"))
    });
    hold("scripts", &answers);
}
