//! Configurations of nova-network and DevStack: what `netlab import` makes of each file in `import/`, and that it comes up.
//! The first line of a file has the options of the command.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use netlab::host::Host;
use netlab::import::{Format, ImportOptions, Imported, import};
use netlab::lab::{self, ImageName};
use netlab::plan::plan;
use netlab::preflight::{Severity, preflight};
use netlab::state::{Site, desired};
use netlab::topology::allocate;

use super::{folder, hold, images};
use crate::properties::simulated::SimulatedSite;

/// The end of DevStack's files.
const DEVSTACK: &str = ".local.conf";

/// Reads the options in a comment.
fn options(first: &str) -> ImportOptions {
    let mut options = ImportOptions {
        name: "nova".parse().unwrap(),
        format: Format::NovaConf,
        hosts: Vec::new(),
        vms: 0,
    };
    let mut words = first.strip_prefix("# netlab import").unwrap().split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--from-devstack" => options.format = Format::DevStack,
            "--host" => options.hosts.push(words.next().unwrap().parse().unwrap()),
            "--vms" => options.vms = words.next().unwrap().parse().unwrap(),
            other => panic!("{other}"),
        }
    }
    options
}

/// Loads an imported lab, brings it up on simulated hosts, and sees that nothing remains to be done.
fn comes_up(name: &str, text: &str) {
    let images = images();
    let known: BTreeSet<ImageName> = images.keys().cloned().collect();
    let lab = lab::parse(name, text, &known).unwrap_or_else(|wrong| panic!("{name}: {text}\n{:#?}", wrong.problems));
    let topology = allocate(&lab, &images);
    let obstacles = preflight(&topology, &BTreeMap::new(), &Site::new());
    let blocking: Vec<_> = obstacles.iter().filter(|o| o.severity != Severity::Warning).collect();
    assert!(blocking.is_empty(), "{name}: {blocking:#?}");
    let wanted = desired(&topology, &BTreeMap::new());
    let world = SimulatedSite::new(Site::new(), topology.hosts.keys().cloned().collect());
    let steps = plan(&world.observe(), &wanted);
    assert!(!steps.is_empty(), "{name}: nothing to do");
    for (host, steps) in steps.stages.iter().flat_map(|(_, hosts)| hosts) {
        let applied = world.host(host).apply(&lab.name, steps, &());
        assert!(applied.is_ok(), "{name}: {host}: {applied:?}");
    }
    assert!(
        plan(&world.observe(), &wanted).is_empty(),
        "{name}: something is left to do"
    );
}

#[test]
fn every_configuration_gives_a_lab_that_comes_up_or_an_error() {
    let mut answers = BTreeMap::new();
    for entry in std::fs::read_dir(folder("tests/golden/import")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap();
        let options = options(std::str::from_utf8(first).unwrap());
        assert_eq!(file.ends_with(DEVSTACK), options.format == Format::DevStack, "{file}");
        let answer = match import(&bytes, &options) {
            Ok(Imported { text, warnings }) => {
                comes_up(&file, &text);
                assert!(!text.contains("s3cret"), "{file}: a password of another option\n{text}");
                let mut answer = String::new();
                for warning in warnings {
                    let _ = writeln!(answer, "warning: {warning}");
                }
                answer + &text
            }
            Err(error) => {
                let help = error.help().map(|help| format!("\nhelp: {help}"));
                format!("error: {error}{}", help.unwrap_or_default())
            }
        };
        answers.insert(file.trim_end_matches(".conf").replace(".local", "-local"), answer);
    }
    assert!(answers.len() >= 20, "one file per rule");
    hold("import", &answers);
}
