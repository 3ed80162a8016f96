//! Imports point downward: the layers of docs/ARCHITECTURE.md as a table that the compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::support::sources::{self, Source};

/// Each module of `src`, lowest layer first, with the modules it may import. A row names only rows above it, so
/// modules that keep to the table cannot import each other in a circle.
const LAYERS: &[(&str, &[&str])] = &[
    ("atomic_file", &[]),
    ("causes", &[]),
    ("locked", &[]),
    ("ssh_key", &[]),
    ("yaml", &[]),
    ("lab", &["ssh_key", "yaml"]),
    ("import", &["lab"]),
    ("topology", &["lab"]),
    ("graph", &["lab", "topology"]),
    ("state", &["lab", "topology"]),
    ("plan", &["lab", "topology", "state"]),
    ("preflight", &["lab", "topology", "state", "plan"]),
    ("folders", &["lab"]),
    ("event", &["lab", "plan"]),
    ("transport", &["lab", "folders"]),
    ("linux", &["lab", "topology", "state", "plan", "transport"]),
    ("guest", &["yaml", "lab", "state", "folders"]),
    ("image", &["atomic_file", "locked", "lab", "folders", "event"]),
    (
        "libvirt",
        &["lab", "topology", "state", "plan", "folders", "transport", "guest"],
    ),
    (
        "emulated",
        &[
            "atomic_file",
            "causes",
            "lab",
            "topology",
            "state",
            "plan",
            "folders",
            "transport",
            "linux",
            "libvirt",
        ],
    ),
    ("script", &["lab", "state", "plan", "transport", "linux", "libvirt"]),
    (
        "host",
        &[
            "causes",
            "locked",
            "lab",
            "state",
            "plan",
            "folders",
            "event",
            "transport",
            "linux",
            "guest",
            "image",
            "libvirt",
            "emulated",
        ],
    ),
    ("verify", &["lab", "topology", "state", "guest"]),
    (
        "run",
        &[
            "atomic_file",
            "causes",
            "locked",
            "lab",
            "state",
            "plan",
            "folders",
            "event",
            "host",
        ],
    ),
    (
        "ops",
        &[
            "atomic_file",
            "causes",
            "ssh_key",
            "lab",
            "import",
            "topology",
            "graph",
            "state",
            "plan",
            "preflight",
            "folders",
            "event",
            "transport",
            "linux",
            "guest",
            "image",
            "libvirt",
            "emulated",
            "script",
            "host",
            "verify",
            "run",
        ],
    ),
    (
        "cmd",
        &[
            "causes",
            "lab",
            "import",
            "topology",
            "graph",
            "state",
            "plan",
            "preflight",
            "folders",
            "event",
            "transport",
            "linux",
            "guest",
            "image",
            "libvirt",
            "emulated",
            "script",
            "host",
            "verify",
            "run",
            "ops",
        ],
    ),
];

/// The largest share of the lines of `src` that one folder may have, in percent.
const LARGEST_SHARE: usize = 15;

/// One mention of another module of the crate.
struct Import {
    path: String,
    line: usize,
    from: String,
    to: String,
}

/// Returns the top-level module of a file in `src`; none for `lib.rs` and `main.rs`, which only tie modules together.
fn module(path: &str) -> Option<String> {
    let name = path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (name != "lib" && name != "main").then(|| name.to_owned())
}

/// Returns all mentions of `crate::MODULE` outside comments, grouped `use crate::{…}` included.
fn imports(source: &Source) -> Vec<Import> {
    let Some(from) = module(&source.path) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut depth = 0;
    for (at, line) in source.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut names = BTreeSet::new();
        for (start, found) in code.match_indices("crate::") {
            names.insert(leading_name(&code[start + found.len()..]));
        }
        let group = code.split_once("use crate::{").map(|(_, rest)| rest);
        if group.is_some() {
            depth = 1;
        }
        if depth > 0 {
            depth = group_names(group.unwrap_or(code), depth, &mut names);
        }
        for to in names.into_iter().filter(|to| !to.is_empty() && *to != from) {
            found.push(Import {
                path: source.path.clone(),
                line: at + 1,
                from: from.clone(),
                to,
            });
        }
    }
    found
}

/// Adds the names at depth 1 of `use crate::{…}`; returns the depth at the end of the line.
fn group_names(text: &str, mut depth: usize, names: &mut BTreeSet<String>) -> usize {
    let mut fresh = depth == 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' => fresh = depth == 1,
            c if c.is_alphabetic() && fresh && depth == 1 => {
                names.insert(leading_name(&text[at..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            return 0;
        }
    }
    depth
}

fn leading_name(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
        .collect()
}

#[test]
fn each_row_of_the_table_names_only_rows_above_it() {
    let mut above = BTreeSet::new();
    for (name, may) in LAYERS {
        for other in *may {
            assert!(
                above.contains(other),
                "{name} may import {other}, which is not below it"
            );
        }
        assert!(above.insert(name), "{name} has two rows");
    }
}

#[test]
fn every_module_has_a_row_in_the_table() {
    let rows: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    let modules: BTreeSet<String> = sources::files("src")
        .iter()
        .filter_map(|file| module(&file.path))
        .collect();
    let missing: Vec<_> = modules.iter().filter(|name| !rows.contains(name.as_str())).collect();
    assert!(
        missing.is_empty(),
        "give these modules a layer in {}: {missing:?}",
        file!()
    );
}

#[test]
fn imports_point_downward() {
    let may: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let all: Vec<Import> = sources::without_tests().iter().flat_map(imports).collect();
    assert!(
        all.len() > 100,
        "only {} imports were found: is the reader broken?",
        all.len()
    );
    let mut wrong = String::new();
    for Import { path, line, from, to } in &all {
        if !may[from.as_str()].contains(&to.as_str()) {
            writeln!(wrong, "{path}:{line}: {from} may not import {to}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "docs/ARCHITECTURE.md has the layers:\n{wrong}");
}

#[test]
fn no_folder_is_larger_than_its_share() {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut total = 0;
    for source in sources::files("src") {
        let count = source.text.lines().count();
        total += count;
        if let Some(module) = module(&source.path) {
            *lines.entry(module).or_default() += count;
        }
    }
    let large: Vec<String> = lines
        .iter()
        .filter(|(_, count)| **count * 100 > total * LARGEST_SHARE)
        .map(|(name, count)| format!("src/{name}: {count} of {total} lines"))
        .collect();
    assert!(large.is_empty(), "more than {LARGEST_SHARE} % of src: {large:?}");
}

#[test]
fn the_reader_finds_grouped_and_nested_imports_but_no_comments() {
    let source = Source {
        path: "src/run/mod.rs".to_owned(),
        text: "//! [`crate::cmd`]\nuse crate::{\n    host::{Host, sim}, // crate::cmd\n    lab,\n};\nfn f(x: crate::plan::Plan) {}\n"
            .to_owned(),
    };
    let found: Vec<_> = imports(&source)
        .into_iter()
        .map(|found| (found.line, found.to))
        .collect();
    let expected = [(3, "host"), (4, "lab"), (6, "plan")].map(|(line, to)| (line, to.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn items_compiled_for_tests_are_blanked_and_the_rest_is_kept() {
    let text = "use a;\n#[cfg(test)]\nuse b;\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn f() {\n    }\n}\nuse c;\n";
    assert_eq!(sources::blank_tests(text), "use a;\n\n\n\n\n\n\n\n\nuse c;\n");
}

#[test]
fn the_table_of_modules_in_the_documentation_is_the_one_that_is_enforced() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ARCHITECTURE.md")).unwrap();
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `src/") && line.matches(" | ").count() == 2);
    let mut written: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let name = cells[0].trim_matches('`').trim_start_matches("src/");
        let name = name.trim_end_matches('/').trim_end_matches(".rs");
        let may = cells[2].split(", ").filter(|one| *one != "nothing");
        written.push((
            name.to_owned(),
            may.map(|one| one.trim_matches('`').to_owned()).collect(),
        ));
    }
    let enforced: Vec<(String, Vec<String>)> = LAYERS
        .iter()
        .map(|(name, may)| ((*name).to_owned(), may.iter().map(|one| (*one).to_owned()).collect()))
        .collect();
    assert_eq!(written, enforced);
}
